"""A PyMOL script: it loads the structure and draws each link as a distance object."""

import os
import re
from pathlib import Path

from esmkit.structure.views.atoms import Atom, FileAtoms
from esmkit.structure.views.view import APART, TOUCHING, Drawn, View
from esmkit.text import visible

__all__ = ["script"]

FORMATS = {"pdb": "pdb", "mmcif": "cif"}
"""PyMOL's names of the formats."""

_COMMANDS = """
import os
from pymol import cmd

here = os.path.dirname(os.path.abspath(globals().get("__script__", "")))
found = [path for path in (os.path.join(here, paths[0]), *paths) if os.path.exists(path)]
cmd.delete(name)
cmd.delete(name + "_*")
if found:
    cmd.load(found[0], name, format=kind, zoom=0)
    if models > 1:  # keep one model of the file
        cmd.set_name(name, name + "_models")
        cmd.create(name, name + "_models", model, 1)
        cmd.delete(name + "_models")
    cmd.hide("everything", name)
    cmd.show("cartoon", name)
    cmd.color("gray80", name)
    atoms = {}
    cmd.iterate(
        name + " and name CA+CB",
        "atoms.setdefault((chain, resi, name, alt), index)",
        space={"atoms": atoms},
    )
    lacking = 0
    for label, radius, touching, one, other in links:
        if one not in atoms or other not in atoms:
            lacking += 1
            continue
        drawn = name + "_" + label
        ends = ["%s and index %d" % (name, atoms[end]) for end in (one, other)]
        cmd.distance(drawn, ends[0], ends[1])
        cmd.hide("labels", drawn)
        cmd.set("dash_gap", 0, drawn)
        cmd.set("dash_radius", radius, drawn)
        cmd.set("dash_color", colours[touching], drawn)
        cmd.group(name + ("_touching" if touching else "_apart"), drawn)
    cmd.orient(name)
    if lacking:
        print("esmkit: %d link(s) end at atoms that are not in %s" % (lacking, found[0]))
else:
    print("esmkit: there is no structure at " + " or ".join(paths) + "; mend the paths in the script")
"""


def script(view: View, file: FileAtoms, links: list[Drawn], path: Path) -> bytes:
    """Return the script.

    Everything is Python between ``python`` and ``python end``, so that names and paths are quoted
    as Python does, and atoms are found by what PyMOL read, not by a selection that names could be
    mistaken in.
    """
    target = view.structure.path.resolve()
    try:
        relative = os.path.relpath(target, path.absolute().parent.resolve())
    except ValueError:  # another drive
        relative = str(target)
    # Read and written as ASCII whatever the machine's encoding is
    rows = [
        f"    {(link.label, link.radius, int(link.touching), _key(link.one), _key(link.other))!a},"
        f"  # {link.weight:.4g}, {link.distance:.1f} A"
        for link in links
    ]
    lines = [
        *(f"# {_comment(text)}" for text in view.sentences()),
        f"# Open it in PyMOL: File > Run Script, or  pymol {_comment(ascii(path.name))}",
        "python",
        f"name = {_legal(f'{view.structure.id}_{view.name}')!a}",
        f"paths = {[relative, str(target)]!a}",
        f"kind, model, models = {FORMATS[file.kind]!r}, {file.place}, {file.models}",
        f"colours = {[_colour(APART), _colour(TOUCHING)]}  # apart, touching",
        f"# label, radius (A), whether the residues touch, two atoms; {view.what}, distance",
        "links = [",
        *rows,
        "]",
    ]
    return ("\n".join(lines) + _COMMANDS + "python end\n").encode("ascii")


def _key(atom: Atom) -> tuple[str, str, str, str]:
    return atom.chain, atom.residue, atom.name, atom.altloc


def _comment(text: str) -> str:
    """Return text for a comment: one line, ASCII; a last backslash would go on in the next."""
    return visible(text).encode("ascii", "backslashreplace").decode().rstrip("\\")


def _legal(name: str) -> str:
    """Return a name that PyMOL gives objects; it takes other characters for parts of selections."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _colour(colour: str) -> str:
    return colour.replace("#", "0x")
