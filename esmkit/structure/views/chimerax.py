"""A ChimeraX command file: it opens the structure and draws each link as a pseudobond."""

import re
from pathlib import Path

from esmkit.structure.views.atoms import Atom, FileAtoms
from esmkit.structure.views.view import Drawn, View
from esmkit.text import visible

__all__ = ["script"]


def script(view: View, file: FileAtoms, links: list[Drawn], path: Path) -> bytes:
    """Return the commands.

    References
    ----------
    ChimeraX User Guide: commands open and pbond, Command-Line Target Specification, Pseudobonds
    (https://www.cgl.ucsf.edu/chimerax/docs/user/index.html).
    """
    model = "#1" if file.models == 1 else f"#1.{file.place}"
    ends = {atom.residue: atom for link in links for atom in link[:2]}
    target = view.structure.path.resolve().as_posix()
    lines = [
        *(f"# {visible(text)}" for text in view.sentences()),
        "# Open it in ChimeraX with nothing else open: the structure is to be model #1.",
        f"open {_quoted(target)} format {file.kind}",
        "hide #1 atoms",
        "hide #1 cartoons",
        f"show {model} cartoons",
        f"color {model} light gray",
    ]
    if ends:  # a pseudobond is shown where its atoms are
        first = next(iter(ends.values()))
        lines += [f"show {_spec(model, first, ','.join(ends), 'CA,CB')} atoms"]
        lines += [f"style {model} stick"]
    for link in links:
        group = f"{view.name} {'touching' if link.touching else 'apart'}"
        lines.append(
            f"pbond {_spec(model, link.one)} {_spec(model, link.other)} color {link.colour} "
            f"radius {link.radius} dashes 0 name {_quoted(group)}"
        )
    return "\n".join([*lines, f"view {model}", ""]).encode()


def _spec(model: str, atom: Atom, residues: str = "", names: str = "") -> str:
    """Return how an atom, or named atoms of residues of its chain, are called: ``#1/A:52A@CB``.

    Where the chain has no name its residues are looked for in all chains; a name that is no word
    would be read as a list or a range, and is compared as text.
    """
    chain = ""
    if atom.chain:
        is_word = re.fullmatch(r"[A-Za-z0-9_]+", atom.chain)
        chain = f"/{atom.chain}" if is_word else f"//chain_id={_quoted(atom.chain)}"
    return f"{model}{chain}:{residues or atom.residue}@{names or atom.name}"


def _quoted(text: str) -> str:
    """Return text in quotes, within which a backslash escapes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
