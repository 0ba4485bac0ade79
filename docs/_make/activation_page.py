"""The page of activations: names, shapes and meaning of what a pass computes, from code."""

import inspect
import re

from esmkit.encoder import activations

__all__ = ["activation_page", "described"]

FLAGSHIP = (6, 20, 320, 1280)
"""Layers, heads, width and feed-forward width of ESM-2 8M."""


def described() -> list[tuple[str, str, str]]:
    """Return name, meaning and shape of each activation, as the table of the module has them."""
    table = inspect.getdoc(activations) or ""
    rows = re.search(r"^=+ +=+\n(.*?)^=+ +=+$", table, re.M | re.S)
    assert rows is not None, "the module of activations has lost its table"
    found = []
    for line in rows[1].strip().splitlines():
        names, meaning = re.split(r"  +", line.strip(), maxsplit=1)
        shape = re.search(r",? \([A-Z](?:, [A-Z0-9]+)*\)(?:, \[.*\])?$", meaning)
        plain = meaning if shape is None else meaning[: shape.start()]
        # `L5.query``, ``.key``: several steps of one line
        for one in re.findall(r"``([^`]+)``", names):
            name = one if not one.startswith(".") else f"L5{one}"
            said = "" if shape is None else meaning[shape.start() :].strip(", ")
            if not said and name.rpartition(".")[2] in activations.OF_HEADS:
                said = "(H, T, K)"  # the table leaves it out where the line above has it
            found.append((name, plain, said))
    return found


def activation_page() -> str:
    """Return the page, in reStructuredText."""
    layers, heads, width, hidden = FLAGSHIP
    known = activations.Activations(layers, heads, width, hidden)
    lines = [
        "Activations\n===========\n",
        "The names of what a forward pass computes, for ``esmkit trace --keep``, "
        "`model.trace(keep=...)`, edits and patching. The order is that of the pass. Layers and "
        "heads count from 0.\n",
        ".. list-table::",
        "   :class: names",
        "   :header-rows: 1",
        "   :widths: 30 50 20\n",
        "   * - Name",
        "     - What it is",
        "     - Shape",
    ]
    lines[1] = lines[1].replace("`model.trace", "``model.trace").replace("...)`", "...)``")
    for name, meaning, shape in described():
        lines += [f"   * - ``{name}``", f"     - {meaning}", f"     - {shape}"]
    single = [name.name for name in known.choose("L5H4.*")]
    lines += [
        "",
        "T tokens (BOS, residues, EOS), D width, H heads, K head width, F feed-forward width; of "
        "ESM-2 8M D is 320, H 20, K 16 and F 1,280.\n",
        "One head\n--------\n",
        "Of what has heads, one head is written with its number, and its array has no axis of heads: "
        + ", ".join(f"``{one}``" for one in single)
        + ".\n",
        "Patterns\n--------\n",
        "``L*.residual`` is of all layers, ``L5.*`` all steps of one, ``L5H*.output`` one step of each "
        "head, ``all`` everything that is not a single head's. Capitals do not matter.\n",
        f"For {layers} layers of {heads} heads ``all`` is {len(known.whole)} arrays.\n",
    ]
    return "\n".join(lines)
