"""Colours that mean the same in every figure, and on the explorer's page."""

__all__ = ["COIL", "DOMAINS", "HELIX", "MARK", "PLDDT", "STRAND"]

HELIX, STRAND, COIL = "#a0437f", "#b98200", "0.35"
"""Secondary structure: purple helices and ochre strands, of different lightness too, and unlike the
blues, oranges and greys of what is measured. The explorer's page has the same
(``static/explorer.css``, with lighter ones on dark pages)."""

MARK = "#117733"
"""Marked residues: Tol's dark green, which nothing else has."""

DOMAINS = ("#77aadd", "#ee8866", "#bbcc33", "#ffaabb", "#99ddff", "#eedd88", "#44bb99", "#aaaa00")
"""Domains: Tol's light scheme, on which black text can be read; the ninth begins again."""

PLDDT = {
    "pLDDT 90 and more": (90.0, "#0053D6"),
    "pLDDT 70 to 90": (70.0, "#65CBF3"),
    "pLDDT 50 to 70": (50.0, "#FFDB13"),
    "pLDDT below 50": (0.0, "#FF7D45"),
}
"""Least pLDDT and colour of each class, as on the pages of the AlphaFold database
(https://alphafold.ebi.ac.uk), so that they are known."""
