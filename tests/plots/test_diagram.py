"""The diagram of the encoder: the file that is shown, and shapes that are those of the arrays."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from esmkit import reference
from esmkit.errors import OptionError, OutputError
from esmkit.plots import encoder_diagram
from esmkit.plots.svg import DARK, KINDS, LIGHT, TIMES
from esmkit.sequences import encode

ROOT = Path(__file__).parents[2]
SHOWN = ROOT / "docs" / "images" / "encoder.svg"
SVG = "{http://www.w3.org/2000/svg}"
SEQUENCE = "MKTVRQERLK"


def labels(svg: str) -> dict[str, tuple[str, str]]:
    """Return symbols and numbers of every shape that is written in a drawing."""
    found = {}
    for text in ElementTree.fromstring(svg).iter(SVG + "text"):
        if name := text.get("data-array"):
            numbers = "".join(tspan.text or "" for tspan in text.iter(SVG + "tspan"))
            assert name not in found, name
            found[name] = (text.text or "", numbers or text.text or "")
    return found


@pytest.fixture(scope="module")
def arrays(tiny_lm) -> dict[str, np.ndarray]:
    """Every array that the diagram names, of a tiny model and one protein, by the reference."""
    parameters = reference.parameters_of(tiny_lm)
    lm_head = reference.masked_lm_head_of(tiny_lm)
    ids = encode(SEQUENCE)
    encoding = reference.encode(parameters, ids[None], attentions=True, trace=True)
    assert encoding.trace is not None
    assert encoding.attentions is not None
    steps, layer = encoding.trace[0], parameters.layers[0].attention
    guess = reference.masked_lm_steps(encoding.hidden_states[-1], lm_head)
    present = np.ones((1, len(ids)), bool)
    named = {name: array[0] for name, array in {**steps, **guess}.items()}
    named |= {
        "ids": ids,
        "embedding": encoding.hidden_states[0][0],
        "residual_before": encoding.hidden_states[0][0],
        "residual_last": encoding.trace[-1]["residual"][0],
        "attention_input_again": steps["attention_input"][0],
        "attention_output_again": steps["attention_output"][0],
        "concatenated": reference.concatenate_heads(steps["head_output"])[0],
        "probabilities": reference.softmax(guess["logits"])[0],
        "attentions": np.stack(encoding.attentions)[:, 0],
        "contact_features": np.stack(
            [reference.contact_features(m, ids[None], present)[0] for m in encoding.attentions]
        ),
        "contacts": reference.contact_probabilities(parameters, encoding.attentions, ids[None])[0],
    }
    for name in ("query", "key", "value"):
        named["wide_" + name] = reference.linear(steps["attention_input"], getattr(layer, name))[0]
    return named


def test_shapes_are_those_of_the_arrays(arrays: dict[str, np.ndarray], tiny_lm):
    diagram = encoder_diagram(
        layers=tiny_lm.layers,
        heads=tiny_lm.heads,
        width=tiny_lm.width,
        hidden=arrays["feed_forward_hidden"].shape[-1],
        vocabulary=arrays["logits"].shape[-1],
        tokens=len(SEQUENCE) + 2,
    )
    written = {name: numbers for name, (_, numbers) in labels(diagram.svg).items()}
    expected = {
        name: TIMES.join(map(str, array.shape)) for name, array in arrays.items() if name in written
    }
    assert written == expected
    assert {name: TIMES.join(axes) for name, axes in diagram.shapes.items()} == written
    # Nothing that the reference traces is left out
    assert set(arrays) - set(written) == {"lm_normed"}


def test_symbols_and_numbers_say_the_same():
    sizes = {"N": "6", "H": "20", "D": "320", "K": "16", "F": "1280", "V": "33"}
    for name, (symbols, numbers) in labels(encoder_diagram().svg).items():
        letters = symbols.split(TIMES)
        assert numbers == TIMES.join(sizes.get(letter, letter) for letter in letters), name


def test_the_file_that_is_shown_is_the_one_that_is_made(tmp_path: Path):
    """To make it again: ``esmkit.plots.encoder_diagram().save("docs/images/encoder.svg")``."""
    encoder_diagram().save(tmp_path / "encoder.svg")
    assert (tmp_path / "encoder.svg").read_bytes() == SHOWN.read_bytes()
    assert SHOWN.stat().st_size < 40_000
    assert "images/encoder.svg" in (ROOT / "docs" / "explain" / "transformer.md").read_text()


def test_notebook_01_shows_the_same_picture():
    notebook = json.loads((ROOT / "notebooks" / "01_transformer_from_scratch.ipynb").read_text())
    kept = [
        "".join(output["data"]["image/svg+xml"]).strip()
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]
    assert SHOWN.read_text().strip() in kept


def test_it_is_plain_svg():
    """Well formed, no raster, no script, nothing fetched, and its meaning in words."""
    svg = encoder_diagram()._repr_svg_()
    root = ElementTree.fromstring(svg)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "tspan"} | {
        "polyline",
        "polygon",
        "circle",
        "path",
    }
    assert "url(" not in svg
    assert "href" not in svg
    assert "ESM-2" in (root[0].text or "")
    assert "attention" in (root[1].text or "")
    assert root.get("role") == "img"


def test_nothing_leaves_the_page():
    root = ElementTree.fromstring(encoder_diagram().svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    checked = 0
    for element in root.iter():
        for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if element.get(name) is not None:
                assert 0 <= float(element.get(name, "")) <= most
                checked += 1
    assert checked > 200


def luminance(colour: str) -> float:
    """Relative luminance of a hexadecimal colour (WCAG 2.2)."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out(palette):
    """At least 4.5:1 between every text and what it stands on, as WCAG asks for."""
    grounds = [palette["page"], *(palette[kind][0] for kind in KINDS)]
    for ground in grounds:
        for text in (palette["ink"], palette["quiet"]):
            light, dark = sorted((luminance(ground), luminance(text)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, text)
    for colour in [palette["ink"], *palette["blue"]]:
        assert colour in encoder_diagram().svg


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, r"^0 heads: give a whole number, 1 or more$"),
        ({"layers": "6"}, r"^'6' layers: give a whole number, 1 or more$"),
        ({"tokens": 2}, r"^2 tokens: give a whole number, 3 or more, for one residue and both"),
        ({"hidden": 1.5}, r"^1\.5 \(a float\) hidden units: give a whole number"),
        ({"width": 300}, r"^a width of 300 does not split into 20 heads of even width; give a mul"),
    ],
)
def test_numbers_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=message):
        encoder_diagram(**options)


def test_one_layer_has_no_second():
    words = re.findall(r">(layer \d+)<", encoder_diagram(layers=1).svg)
    assert words == ["layer 0"]
    assert "⋮" not in encoder_diagram(layers=2).svg


def test_where_it_cannot_be_saved(tmp_path: Path):
    diagram = encoder_diagram()
    with pytest.raises(OptionError, match=r"a diagram is SVG; end the name in \.svg"):
        diagram.save(tmp_path / "x.png")
    with pytest.raises(OutputError, match=r"there is no folder .*; make it first"):
        diagram.save(tmp_path / "none" / "x.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(OutputError):
        diagram.save(tmp_path / "folder.svg")


def test_the_page_names_what_there_is():
    """Every function that the page on the transformer names is public, and every file is there."""
    page = (ROOT / "docs" / "explain" / "transformer.md").read_text()
    named = set(re.findall(r"`reference\.(\w+)`", page))
    assert len(named) >= 18
    assert named <= set(reference.__all__)
    links = re.findall(r"\]\(([^)#:]+)\)", page)
    assert len(links) >= 4
    assert all((ROOT / "docs" / "explain" / link).exists() for link in links), links
