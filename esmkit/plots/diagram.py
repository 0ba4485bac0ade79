"""The whole encoder in one picture, with the shape of every array.

Three panels from left to right: the encoder, one of its layers, the attention in that layer. Names of
arrays are those of the trace of :func:`esmkit.reference.encode`, of
:func:`esmkit.reference.masked_lm_steps` and of :func:`esmkit.reference.contact_features`.
"""

from typing import Any

from esmkit.arguments import what_is, whole_number
from esmkit.errors import OptionError
from esmkit.plots.svg import TIMES, Canvas, Diagram

__all__ = ["encoder_diagram"]

WIDTH, HEIGHT = 1120, 780
"""Size of the drawing."""

TITLE = "ESM-2, the whole encoder with the shape of every array"
DESCRIPTION = (
    "Left: tokens are looked up in a table, pass through the layers, a final norm and the masked-LM "
    "head, and become probabilities of letters; from the attention maps of all layers a logistic "
    "regression makes contacts. Middle: a layer adds to each token what attention says and then what "
    "a feed-forward network says, each after a norm. Right: attention makes queries, keys and "
    "values, splits them into heads, turns queries and keys by their positions, multiplies them to "
    "scores, takes the softmax of each row, fetches the values by these weights, lays the heads "
    "side by side and multiplies by one more matrix."
)
MAIN, SIDE = 110, 268
"""x of the two columns of the left panel."""

STREAM, BRANCH = 388, 520
"""x of the two columns of the middle panel."""

QUERY, KEY, VALUE = 742, 872, 1002
"""x of the three columns of the right panel."""


def encoder_diagram(
    *,
    layers: int = 6,
    heads: int = 20,
    width: int = 320,
    hidden: int = 1280,
    vocabulary: int = 33,
    tokens: int | None = None,
) -> Diagram:
    """Draw ESM-2 with the shape of every array; the numbers are those of ESM-2 8M by default.

    Parameters
    ----------
    layers, heads, width : int
        N, H and D.
    hidden : int
        F, width of the feed-forward network.
    vocabulary : int
        V, tokens that the model knows.
    tokens : int, optional
        T, residues and both ends; by default the letter stays.

    Returns
    -------
    Diagram
        ``svg`` is the text, ``save(path)`` writes it, and a notebook shows it.

    Raises
    ------
    OptionError
        If a number is not a whole number over 0, there are fewer than 3 tokens, or the width does
        not split into heads of even width.

    Examples
    --------
    >>> diagram = encoder_diagram(tokens=78)
    >>> diagram.shapes["scores"], diagram.shapes["contacts"]
    (('20', '78', '78'), ('76', '76'))
    >>> diagram.save("encoder.svg")                                      # doctest: +SKIP
    """
    sizes = _sizes(layers, heads, width, hidden, vocabulary, tokens)
    canvas = Canvas(WIDTH, HEIGHT, TITLE, DESCRIPTION)
    _encoder(canvas, sizes)
    _layer(canvas, sizes)
    _attention(canvas, sizes)
    _legend(canvas, sizes)
    return canvas.diagram()


def _sizes(*numbers: Any) -> dict[str, str]:
    """Return what stands for each axis, checked."""
    names = ("layers", "heads", "width", "hidden units", "tokens in the vocabulary", "tokens")
    found = []
    for name, number in zip(names, numbers, strict=True):
        whole = whole_number(number)
        if name == "tokens" and number is None:
            found.append(None)
        elif whole is None or whole < (3 if name == "tokens" else 1):
            least = "3 or more, for one residue and both ends" if name == "tokens" else "1 or more"
            raise OptionError(f"{what_is(number)} {name}: give a whole number, {least}")
        else:
            found.append(whole)
    depth, heads, width, hidden, vocabulary, tokens = found
    if width % (2 * heads):
        raise OptionError(
            f"a width of {width} does not split into {heads} heads of even width; give a multiple "
            f"of {2 * heads}"
        )
    return {
        "N": str(depth),
        "H": str(heads),
        "D": str(width),
        "K": str(width // heads),
        "F": str(hidden),
        "V": str(vocabulary),
        "T": "T" if tokens is None else str(tokens),
        "R": "R" if tokens is None else str(tokens - 2),
    }


def _encoder(canvas: Canvas, sizes: dict[str, str]) -> None:
    """Draw the left panel: from letters to probabilities and to contacts."""
    x = MAIN
    canvas.text(26, 36, "The encoder", "ed-head", "start")
    canvas.text(x, 72, "M Q I F V K T L … G G")
    canvas.arrow((x, 80), (x, 116))
    canvas.shape(x + 10, 102, "ids", "T", sizes, beside=True)
    canvas.box(x, 140, 164, "embedding", "a row of a table each", height=46)
    _down(canvas, x, 163, "embedding", "T D", sizes)
    top = 207
    for depth in (8, 4, 0):  # a stack of sheets
        canvas.frame(x - 82 + depth, top - depth, 164, 88, "green")
    last = int(sizes["N"]) - 1
    named = [f"layer {n}" for n in dict.fromkeys((0, min(1, last), last))]
    for number, name in enumerate(named):
        between = len(named) == 3 and last > 2 and number == 2
        canvas.text(x, top + 25 + 18 * number + 14 * between, name)
        if between:
            canvas.text(x, top + 54, "⋮", "ed-small")
    _down(canvas, x, top + 88, "residual_last", "T D", sizes)
    canvas.box(x, 356, 164, "final norm")
    _down(canvas, x, 373, "final", "T D", sizes)
    canvas.frame(x - 82, 417, 164, 118, "orange")
    canvas.text(x, 439, "masked-LM head")
    canvas.text(x, 461, "dense, GELU", "ed-small")
    canvas.shape(x, 481, "lm_hidden", "T D", sizes, anchor="middle", beside=True)
    canvas.text(x, 501, f"norm,{TIMES}table of", "ed-small")
    canvas.text(x, 519, "embeddings, + bias", "ed-small")
    _down(canvas, x, 535, "logits", "T V", sizes)
    canvas.box(x, 596, 164, "softmax of each row", kind="orange")
    _down(canvas, x, 613, "probabilities", "T V", sizes)
    canvas.text(x, 676, "which letter")
    canvas.text(x, 694, "stands there?")
    _contacts(canvas, sizes)


def _contacts(canvas: Canvas, sizes: dict[str, str]) -> None:
    """Draw the branch from attention maps to contacts."""
    x = SIDE
    canvas.path([(MAIN + 90, 240), (x, 240), (x, 272)], "purple")
    canvas.text(x, 290, "attention maps", "ed-small")
    canvas.shape(x, 310, "attentions", "N H T T", sizes, anchor="middle")
    canvas.arrow((x, 334), (x, 417), kind="purple")
    canvas.box(x, 444, 126, "residues alone,", "symmetrise, APC", kind="purple", height=54)
    canvas.path([(x, 471), (x, 492)], "purple")
    canvas.shape(x, 508, "contact_features", "N H R R", sizes, anchor="middle")
    canvas.arrow((x, 532), (x, 561), kind="purple")
    canvas.box(x, 588, 126, "logistic", "regression", kind="purple", height=54)
    _down(canvas, x, 615, "contacts", "R R", sizes, kind="purple")
    canvas.text(x, 676, "which residues")
    canvas.text(x, 694, "touch?")


def _layer(canvas: Canvas, sizes: dict[str, str]) -> None:
    """Draw the middle panel: what one layer adds to the residual stream."""
    x, to = STREAM, BRANCH
    canvas.frame(352, 12, 268, 704, "green-panel")
    canvas.text(368, 36, "One layer", "ed-head", "start")
    canvas.text(606, 36, f"one of N = {sizes['N']}", "ed-small", "end")
    canvas.shape(x + 12, 70, "residual_before", "T D", sizes, beside=True)
    for start, stop in ((52, 293), (315, 595), (617, 700)):
        canvas.path([(x, start), (x, stop)], "green")
    canvas.arrow((x, 690), (x, 706), kind="green")
    canvas.arrow((x, 92), (to, 92), (to, 112))
    canvas.box(to, 128, 130, "norm", height=32)
    _down(canvas, to, 144, "attention_input", "T D", sizes)
    canvas.box(to, 214, 130, "attention", f"{sizes['H']} heads", kind="blue", height=52)
    canvas.path([(to, 240), (to, 304)])
    canvas.arrow((to, 304), (x + 11, 304))
    canvas.shape(to + 10, 268, "attention_output", "T D", sizes)
    canvas.plus(x, 304, "green")
    canvas.shape(x + 12, 342, "attention_residual", "T D", sizes, beside=True)
    canvas.arrow((x, 360), (to, 360), (to, 380))
    canvas.box(to, 396, 130, "norm", height=32)
    _down(canvas, to, 412, "feed_forward_input", "T D", sizes)
    canvas.box(to, 473, 130, "expand, GELU", kind="orange", height=34)
    _down(canvas, to, 490, "feed_forward_hidden", "T F", sizes)
    canvas.box(to, 551, 130, "contract", kind="orange", height=34)
    canvas.path([(to, 568), (to, 606)])
    canvas.arrow((to, 606), (x + 11, 606))
    canvas.shape(to + 10, 586, "feed_forward_output", "T D", sizes)
    canvas.plus(x, 606, "green")
    canvas.shape(x + 12, 644, "residual", "T D", sizes, beside=True)
    canvas.text(x + 12, 672, "residual stream: layers add,", "ed-small", "start")
    canvas.text(x + 12, 690, "nothing is replaced", "ed-small", "start")


def _attention(canvas: Canvas, sizes: dict[str, str]) -> None:
    """Draw the right panel: attention, from the normed tokens to what is added to them."""
    canvas.frame(634, 12, 472, 704, "blue-panel")
    canvas.text(650, 36, "Attention", "ed-head", "start")
    canvas.text(1092, 36, f"H = {sizes['H']} heads side by side", "ed-small", "end")
    canvas.path([(KEY, 48), (KEY, 66), (QUERY, 66)], "blue")
    canvas.path([(KEY, 66), (VALUE, 66)], "blue")
    canvas.shape(KEY + 10, 60, "attention_input_again", "T D", sizes, beside=True)
    named = {QUERY: ("Q", "query"), KEY: ("K", "key"), VALUE: ("V", "value")}
    for x, (letter, name) in named.items():
        canvas.arrow((x, 66), (x, 84), kind="blue")
        canvas.box(x, 100, 112, f"{TIMES}W^{letter}  {name}".strip(), kind="blue", height=32)
        _down(canvas, x, 116, f"wide_{name}", "T D", sizes, kind="blue")
        canvas.shape(x + 10, 210, name, "H T K", sizes)
    canvas.box(KEY, 176, 372, "cut the width into H heads of K", kind="blue", height=32)
    for x in (QUERY, KEY):
        canvas.arrow((x, 192), (x, 236), kind="blue")
    canvas.box(QUERY, 256, 112, "÷ √K, rotate", kind="blue", height=40)
    canvas.box(KEY, 256, 112, "rotate", kind="blue", height=40)
    _down(canvas, QUERY, 276, "rotated_query", "H T K", sizes, kind="blue")
    _down(canvas, KEY, 276, "rotated_key", "H T K", sizes, kind="blue")
    middle = (QUERY + KEY) / 2
    canvas.box(middle, 338, 242, "each query · each key", kind="blue", height=36)
    _down(canvas, middle, 356, "scores", "H T T", sizes, kind="blue")
    canvas.box(middle, 418, 242, "softmax of each row", kind="blue", height=36)
    _down(canvas, middle, 436, "weights", "H T T", sizes, kind="blue")
    canvas.arrow((middle - 60, 436), (middle - 60, 458), kind="purple")
    canvas.text(middle - 60, 472, "attention maps", "ed-small")
    canvas.arrow((VALUE, 192), (VALUE, 480), kind="blue")
    canvas.box(KEY, 498, 372, f"weights{TIMES}values: fetch", kind="blue", height=36)
    _down(canvas, KEY, 516, "head_output", "H T K", sizes, kind="blue")
    canvas.box(KEY, 576, 372, "concatenate the heads", kind="blue", height=32)
    _down(canvas, KEY, 592, "concatenated", "T D", sizes, kind="blue")
    canvas.box(KEY, 650, 372, f"{TIMES}W^O".strip(), kind="blue", height=32)
    _down(canvas, KEY, 666, "attention_output_again", "T D", sizes, kind="blue")


def _legend(canvas: Canvas, sizes: dict[str, str]) -> None:
    """Explain the letters at the bottom."""
    length = "" if sizes["T"] == "T" else f" = {sizes['T']}"
    first = (
        f"T{length} tokens: R residues, <cls> before and <eos> behind    "
        f"D = {sizes['D']} width    H = {sizes['H']} heads    K = D / H = {sizes['K']} width of a head"
    )
    second = (
        f"F = {sizes['F']} width of the feed-forward network    N = {sizes['N']} layers    "
        f"V = {sizes['V']} tokens known    APC: average product correction"
    )
    canvas.text(26, 744, first.replace("    ", " \u2003 "), "ed-small", "start")
    canvas.text(26, 765, second.replace("    ", " \u2003 "), "ed-small", "start")


def _down(
    canvas: Canvas,
    x: float,
    y: float,
    name: str,
    axes: str,
    sizes: dict[str, str],
    *,
    kind: str = "plain",
) -> None:
    """Draw a short arrow downwards from y, with the shape of what goes along it."""
    canvas.arrow((x, y), (x, y + 44), kind=kind)
    canvas.shape(x + 10, y + 18, name, axes, sizes)
