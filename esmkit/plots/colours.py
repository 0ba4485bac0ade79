"""Colours that mean the same in every figure, and on the explorer's page."""

__all__ = ["COIL", "DOMAINS", "HELIX", "MARK", "STRAND"]

HELIX, STRAND, COIL = "#a0437f", "#b98200", "0.35"
"""Secondary structure: purple helices and ochre strands, of different lightness too, and unlike the
blues, oranges and greys of what is measured. The explorer's page has the same
(``static/explorer.css``, with lighter ones on dark pages)."""

MARK = "#117733"
"""Marked residues: Tol's dark green, which nothing else has."""

DOMAINS = ("#77aadd", "#ee8866", "#bbcc33", "#ffaabb", "#99ddff", "#eedd88", "#44bb99", "#aaaa00")
"""Domains: Tol's light scheme, on which black text can be read; the ninth begins again."""
