"""A view for Mol*: MolViewSpec's archive, with the structure in it."""

import io
import json
import re
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esmkit.structure.views.atoms import Atom, FileAtoms
from esmkit.structure.views.view import Drawn, View
from esmkit.text import visible

__all__ = ["archive"]

ENDINGS = {"pdb": "pdb", "mmcif": "cif"}


def archive(view: View, file: FileAtoms, links: list[Drawn], path: Path) -> bytes:
    """Return the archive: ``index.mvsj``, the view, and the text of the structure's file.

    References
    ----------
    MolViewSpec, tree schema version 1 (https://molstar.org/mol-view-spec-docs/tree-schema/).
    """
    name = f"structure.{ENDINGS[file.kind]}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("index.mvsj", json.dumps(_tree(view, file, links, name), indent=1))
        into.writestr(name, "\n".join([*file.lines, ""]))
    return packed.getvalue()


def _tree(view: View, file: FileAtoms, links: list[Drawn], url: str) -> dict[str, Any]:
    chain = next((atom.chain for link in links for atom in link[:2]), view.structure.chain)
    cartoon = _node("representation", {"type": "cartoon"}, [_node("color", {"color": "#c8c8c8"})])
    shown = _node(
        "component",
        {"selector": {"auth_asym_id": chain} if chain else "polymer"},
        [cartoon, _node("focus")],
    )
    repeated = _repeated(view.structure.residue_numbers)
    drawn = [_node("primitive", _tube(view, link, repeated)) for link in links]
    model = _node(
        "structure",
        {"type": "model", "model_index": file.place - 1},
        [shown, *([_node("primitives", children=drawn)] if drawn else [])],
    )
    parsed = _node("parse", {"format": file.kind}, [model])
    root = _node("root", children=[_node("download", {"url": url}, [parsed])])
    return {
        "kind": "single",
        "root": root,
        "metadata": {
            "title": visible(f"{view.name} on {view.structure.id}"),
            "description": visible(" ".join(view.sentences())),
            "description_format": "plaintext",
            "timestamp": datetime.now(UTC).isoformat(),
            "version": "1",
        },
    }


def _node(
    kind: str, params: dict[str, Any] | None = None, children: list[Any] | None = None
) -> dict[str, Any]:
    node: dict[str, Any] = {"kind": kind}
    if params:
        node["params"] = params
    if children:
        node["children"] = children
    return node


def _repeated(numbers: tuple[str, ...]) -> set[int]:
    """Return numbers that stand with several insertion codes: a selector without one takes all."""
    bare = [int(found[0]) for number in numbers if (found := re.match(r"-?\d+", number))]
    return {number for number, times in Counter(bare).items() if times > 1}


def _tube(view: View, link: Drawn, repeated: set[int]) -> dict[str, Any]:
    touching = "they touch" if link.touching else "they do not touch"
    return {
        "kind": "tube",
        "start": _end(link.one, repeated),
        "end": _end(link.other, repeated),
        "radius": link.radius,
        "color": link.colour,
        "tooltip": f"{link.label.replace('_', ' - ')}: {view.what} {link.weight:.3g}, "
        f"{link.distance:.1f} Å, {touching}",
    }


def _end(atom: Atom, repeated: set[int]) -> dict[str, Any] | list[float]:
    """Return where a tube ends: an atom, or where names do not tell it from others, a place."""
    if atom.altloc or not atom.chain or (not atom.insertion and atom.number in repeated):
        return list(atom.xyz)
    selector: dict[str, Any] = {"auth_asym_id": atom.chain, "auth_seq_id": atom.number}
    if atom.insertion:
        selector["pdbx_PDB_ins_code"] = atom.insertion
    return selector | {"label_atom_id": atom.name}
