"""The explorer without a browser: what a page holds, and that it holds it exactly enough."""

import base64
import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.contacts import ContactHead
from esmkit.data import demo_structure
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, MissingDependencyError, OptionError, OutputError
from esmkit.esm2 import Esm2, load
from esmkit.explorer.facts import head_map, thumbnail
from esmkit.explorer.labels import read_labels
from esmkit.explorer.offline import json_for_script
from esmkit.explorer.structure import truth_of
from esmkit.explorer.trace import quantise, run_trace
from esmkit.plots.profiles import FAMILIES
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from esmkit.sequences.windows import windows
from esmkit.text import visible
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.explorer_pages import Tags
from oracles.head_profiles import made_profile

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")

HOSTILE = (
    "evil</script><script>alert(1)</script> <img src=x onerror=alert(2)> \"quoted\" 'single' & amp "
    "<!-- \u202egnp.exe\u202c \u2066x\u2069 zero\u200bwidth \ud7ff ${1} `tick` {{7*7}} \\u003c"
)


def every_head(model: Esm2):
    return choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)


def test_every_number_of_a_head_is_that_of_the_reference(tiny: Esm2):
    """16 bits: off by at most half a step, 1/65,534 of the largest number."""
    sequence = random_sequence(31, 1)
    trace = run_trace(tiny, sequence, [(0, 31)], every_head(tiny), strips=True)
    tensors = {name: t.numpy() for name, t in tiny.network.state_dict().items()}
    parameters = reference.read_parameters(tensors, tiny.heads)  # float64
    ids = encode(sequence)[None]
    expected = reference.encode(parameters, ids, trace=True)
    assert expected.trace is not None
    for (layer, head), found in trace.heads.items():
        steps = expected.trace[layer]
        for place, name in enumerate(("rotated_query", "rotated_key", "value")):
            values = steps[name][0, head]
            codes = (found.query, found.key, found.value)[place]
            assert codes.dtype == np.int16
            step = np.abs(values).max() / 32_767
            np.testing.assert_allclose(
                codes * found.scales[place], values, rtol=0, atol=0.51 * step + 1e-5
            )
        width = tiny.width // tiny.heads
        weight = parameters.layers[layer].attention.output.weight
        added = steps["head_output"][0, head] @ weight[:, head * width : (head + 1) * width].T
        np.testing.assert_allclose(
            found.contribution, np.linalg.norm(added, axis=1), rtol=1e-4, atol=1e-4
        )
    for layer, found in trace.layers.items():
        before = expected.hidden_states[layer][0]
        added = expected.trace[layer]["attention_output"][0]
        for codes, scales, values in (
            (found.before, found.before_scales, before),
            (found.added, found.added_scales, added),
        ):
            assert codes is not None
            assert scales is not None
            step = np.abs(values).max(axis=1, keepdims=True) / 127
            difference = np.abs(codes * scales[:, None] - values)
            assert (difference <= 0.51 * step + 1e-5).all()
        after = expected.trace[layer]["attention_residual"][0]
        lengths = [np.linalg.norm(v, axis=1) for v in (before, added, after)]
        np.testing.assert_allclose(found.lengths, lengths, rtol=1e-4)
        assert found.output is not None
        np.testing.assert_allclose(
            found.output * found.output_scale,
            parameters.layers[layer].attention.output.weight,
            atol=0.51 * found.output_scale,
            rtol=0,
        )


def test_maps_are_those_of_the_model(tiny: Esm2):
    protein = Protein("p", random_sequence(40, 2), "p")
    trace = run_trace(tiny, protein.sequence, [(0, 40)], every_head(tiny), strips=False)
    maps = tiny.attention(protein)
    for place, (head, packed) in enumerate(trace.heads.items()):
        found = head_map(packed, trace.pieces)
        theirs = maps.get(place)
        # scores reach 20, their rounding 1e-3; and that is what a weight near 1/2 can be off
        np.testing.assert_allclose(found.weights, theirs, atol=1e-3, rtol=0, err_msg=str(head))
        np.testing.assert_allclose(found.bos, maps.bos[place], atol=1e-3, rtol=0)
        np.testing.assert_allclose(found.eos, maps.eos[place], atol=1e-3, rtol=0)
        np.testing.assert_allclose(found.weights.sum(1) + found.bos + found.eos, 1, atol=1e-5)


def test_windows_are_averaged_and_gaps_are_nan(tiny: Esm2):
    protein = Protein("long", random_sequence(1_600, 3), "long")
    choice = choose_heads(["L1H2"], "all", of_layers=2, of_heads=4)
    trace = run_trace(tiny, protein.sequence, windows(1_600), choice, strips=False)
    assert len(trace.pieces) == 3
    found = head_map(trace.heads[1, 2], trace.pieces)
    maps = tiny.attention(protein, heads=["L1H2"])
    np.testing.assert_array_equal(np.isnan(found.weights), np.isnan(maps["L1H2"]))
    assert np.isnan(found.weights).any()
    np.testing.assert_allclose(found.weights, maps["L1H2"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(found.bos, maps.bos[0], atol=1e-3, rtol=0)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_packing_rounds_by_half_a_step(values: list[float]):
    array = np.array(values)
    for kind, most in ((np.int16, 32_767), (np.int8, 127)):
        codes, scale = quantise(array, kind)
        assert np.abs(codes.astype(int)).max() <= most
        limit = np.abs(array).max() / most * 0.5000001 + 1e-300
        assert (np.abs(codes * scale - array) <= limit).all()


def test_thumbnails_keep_single_links():
    weights = np.full((200, 200), 0.001, np.float32)
    weights[np.arange(200), np.arange(200) - 1] = 0.9
    weights[150, 20] = 0.8
    picture, cut = thumbnail(weights)
    assert picture.shape == (64, 64)
    assert cut == np.float32(0.9)
    edges = np.linspace(0, 200, 65).astype(int)
    row, column = (np.searchsorted(edges, i, side="right") - 1 for i in (150, 20))
    assert picture[row, column] == round(255 * 0.8 / 0.9)
    assert (picture == 255).sum() >= 64
    small, _ = thumbnail(np.array([[np.nan, 0.5], [0.25, 0]], np.float32))
    assert small.tolist() == [[0, 255], [128, 0]]


def test_precision_of_a_head_is_that_of_contacts(tiny: Esm2):
    """Facts beside each map equal what `contacts` scores for the same single head."""
    structure = demo_structure()
    page = esmkit.explore(tiny, structure.protein, structure=structure)
    for head in page.data["heads"]:
        alone = ContactHead.mean_of(tiny, [head["name"]])
        score = tiny.contacts(structure.protein, head=alone).score(structure).loc["long"]
        # near ties may change places when weights are rounded: by one pair of 76 or 38
        assert abs(head["precision"] - score["P@L"]) <= 1.01 / 76
        assert abs(head["precision_half"] - score["P@L/2"]) <= 1.01 / 38
        weights = tiny.attention(structure.protein, heads=head["name"])[head["name"]]
        far = np.abs(np.subtract.outer(np.arange(76), np.arange(76))) >= 6
        true = structure.contacts() & far
        expected = weights[true].sum() / weights[far].sum()
        assert head["on_contacts"] == pytest.approx(expected, abs=1e-3)
        assert head["background"] == pytest.approx(true.sum() / far.sum())
        assert head["largest"] == pytest.approx(weights.max(), abs=1e-3)
    table = {row["range"]: row for row in page.data["contacts"]["scores"]}
    expected = tiny.contacts(structure.protein).score(structure)
    assert table["long"]["P@L"] == expected.loc["long", "P@L"]
    assert page.data["contacts"]["source"] == "contact head of tiny-esm2"


def test_the_largest_difference_is_measured(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    protein = random_sequence(25, 4)
    assert esmkit.explore(tiny, protein).check["largest"] < 1e-3

    def wrong(*arguments: Any, **options: Any):
        trace = run_trace(*arguments, **options)
        trace.heads[1, 3].query[7] += 3_000
        return trace

    monkeypatch.setattr("esmkit.explorer.gather.run_trace", wrong)
    check = esmkit.explore(tiny, protein).check
    assert check["largest"] > 0.01
    assert check["where"] == "L1H3"


def test_a_structure_is_laid_on_a_tagged_sequence():
    structure = demo_structure()
    protein = Protein("tagged", "GSHMHHHHHH" + structure.sequence + "AAA", "tagged")
    truth = truth_of(protein, structure)
    assert truth.aligned == 76
    assert not truth.resolved[:10].any()
    assert truth.resolved[10:86].all()
    assert not truth.resolved[86:].any()
    np.testing.assert_array_equal(truth.contacts[10:86, 10:86], structure.contacts())
    assert truth.contacts.sum() == structure.contacts().sum()
    assert truth.secondary == "." * 10 + structure.secondary_structure + "..."
    assert truth.numbers[10] == "1"
    with pytest.raises(InputError, match="do not belong together"):
        truth_of(Protein("other", random_sequence(76, 1), ""), structure)


def test_a_model_in_half_precision_is_noted(tiny_folder: Path):
    rough = load(tiny_folder, "cpu", "bfloat16")
    page = esmkit.explore(rough, random_sequence(25, 4))
    assert page.check["largest"] > 1 / 255
    assert "from those that the model computed in bfloat16" in page.data["notes"][0]


# ------------------------------------------------------------------------------------- the file


def test_one_file_that_loads_nothing(tiny: Esm2):
    page = esmkit.explore(tiny, demo_structure().protein, structure=demo_structure()).to_html()
    tags = Tags(page).tags
    assert not [tag for tag, _ in tags if tag in ("link", "img", "iframe", "object", "base")]
    for tag, attributes in tags:
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; ")
    assert "http" not in str(policy)
    ids = [a["id"] for _, a in tags if a.get("id")]
    assert len(ids) == len(set(ids))


def test_arrays_come_back_from_the_page(tiny: Esm2):
    page = esmkit.explore(tiny, random_sequence(20, 5))
    texts = Tags(page.to_html()).texts
    for name, data in page.arrays.items():
        assert base64.b64decode(texts[f"data-{name}"]) == data, name
    assert len(page.arrays["head-L0H0"]) == 3 * 22 * 8 * 2
    assert len(page.arrays["thumbnails"]) == 8 * 20 * 20
    assert json.loads(texts["data"])["sequence"] == random_sequence(20, 5)


def test_hostile_text_is_text(tiny: Esm2):
    protein = Protein("<svg/onload=alert(3)>", random_sequence(15, 6), HOSTILE)
    page = esmkit.explore(tiny, protein, command="esmkit explore '</script>'")
    text = page.to_html()
    for harm in ("alert(1)</script>", "<img src=x", "<svg/onload", "</script>'"):
        assert harm not in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", text)
    data = json.loads(Tags(text).texts["data"])
    assert data["header"] == visible(HOSTILE)
    assert "evil</script><script>alert(1)" in data["header"]
    assert "[U+202E]gnp.exe[U+202C]" in data["header"]
    assert data["id"] == "<svg/onload=alert(3)>"
    shown = page._repr_html_()
    assert "<svg" not in shown
    assert len(Tags(shown).tags) == 1


@given(st.recursive(st.text() | st.floats() | st.none(), lambda x: st.lists(x, max_size=4)))
def test_any_text_stays_inside_its_script(value: Any):
    text = json_for_script(value)
    assert not set(text) & set("<>&")
    assert text.isascii()

    def expected(item: Any) -> Any:
        if isinstance(item, list):
            return [expected(one) for one in item]
        if isinstance(item, float):
            return item if np.isfinite(item) else None
        return visible(item) if isinstance(item, str) else item

    assert json.loads(text) == expected(value)


@given(st.text())
def test_nothing_is_hidden(text: str):
    assert visible(visible(text)) == visible(text)
    assert all(c.isprintable() or c in text for c in visible(text))


# ------------------------------------------------------------------------------- size and heads


@pytest.fixture(scope="module")
def shape_8m(tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    """Random weights in the shape of ESM-2 8M."""
    folder = make_checkpoint(tmp_path_factory.mktemp("8m") / "shape-8m", (6, 20, 320))
    return load(folder, "cpu")


def test_300_residues_with_all_heads_are_under_15_mb(shape_8m: Esm2):
    page = esmkit.explore(shape_8m, random_sequence(300, 7))
    assert len(page.data["heads"]) == 120
    assert not page.data["notes"]
    assert 8e6 < len(page.to_html()) < 15e6


@pytest.mark.slow
def test_1000_residues_with_all_heads_are_under_60_mb(shape_8m: Esm2):
    page = esmkit.explore(shape_8m, random_sequence(1_000, 7))
    assert len(page.data["heads"]) == 120
    assert not page.data["notes"]
    assert 20e6 < len(page.to_html()) < 60e6


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_said(shape_8m: Esm2):
    protein = random_sequence(300, 8)
    full = len(esmkit.explore(shape_8m, protein).to_html())
    without = esmkit.explore(shape_8m, protein, max_bytes=full - 2_000_000)
    assert len(without.data["heads"]) == 120
    assert "before-0" not in without.arrays
    assert len(without.arrays["lengths-0"]) == 3 * 302 * 4
    assert without.data["notes"] == [
        "The residual stream itself is not in this page, only its length: it would have made the "
        f"file larger than {(full - 2_000_000) / 1e6:,.0f} MB."
    ]
    few = esmkit.explore(shape_8m, protein, max_bytes=4_000_000)
    assert len(few.to_html()) <= 4_000_000
    kept = [head["name"] for head in few.data["heads"]]
    assert 20 < len(kept) < 60
    assert f"This page shows {len(kept)} of 120 heads, those in which" in few.data["notes"][1]
    every = esmkit.explore(shape_8m, protein).data["heads"]
    best = sorted(every, key=lambda head: -head["reach"])
    assert set(kept) == {head["name"] for head in best[: len(kept)]}
    # what a profile calls a kind of pair comes first
    last = best[-1]["name"]
    labels = {head["name"]: "mixed" for head in every} | {last: "long-range contact"}
    profile = made_profile(6, 20, labels=labels)
    few = esmkit.explore(shape_8m, protein, max_bytes=4_000_000, profile=profile)
    assert last in {head["name"] for head in few.data["heads"]}


def test_named_heads_are_never_left_out(shape_8m: Esm2):
    page = esmkit.explore(shape_8m, random_sequence(50, 9), heads=["L5H4", "L0"])
    assert [h["name"] for h in page.data["heads"]] == [*(f"L0H{h}" for h in range(20)), "L5H4"]
    assert set(page.data["layers"]) == {"0", "5"}
    with pytest.raises(OptionError, match=r"a page with 120 head\(s\) of .* at most 3 MB are"):
        esmkit.explore(
            shape_8m,
            random_sequence(300, 9),
            heads=[f"L{n}" for n in range(6)],
            max_bytes=3 * 10**6,
        )


def test_too_long_is_refused(tiny: Esm2):
    with pytest.raises(OptionError, match="has 5,001 residues and a page shows at most 5,000"):
        esmkit.explore(tiny, "M" * 5_001)
    cut = esmkit.explore(tiny, "M" * 1_100, long="truncate", heads="L0H0")
    assert len(cut.data["sequence"]) == 1_022


# --------------------------------------------------------------------------------------- labels


def test_pages_have_words_and_colours_for_every_family_of_labels():
    """Those of a family that a page does not know would be missing in its legend and its filter."""
    static = files("esmkit.explorer") / "static"
    script = (static / "colours.js").read_text(encoding="utf-8")
    listed = re.search(r"app\.families = \{(.*?)\};", script, re.DOTALL)
    assert listed is not None
    assert dict(re.findall(r'(\w+): "(.*?)"', listed[1])) == FAMILIES
    style = (static / "explorer.css").read_text(encoding="utf-8")
    colours = {name: re.findall(rf"--family-{name}: (#\w+);", style) for name in FAMILIES}
    assert {len(found) for found in colours.values()} == {3}  # light, dark, and dark by choice
    for theme in zip(*colours.values(), strict=True):
        assert len(set(theme)) == len(FAMILIES)


@pytest.mark.slow
def test_labels_from_memory_and_from_a_folder(tiny: Esm2, tmp_path: Path):
    profile = made_profile()
    profile.save(tmp_path / "heads")
    given_profile = read_labels(profile, tiny)
    read = read_labels(tmp_path / "heads", tiny)
    assert read.heads == given_profile.heads
    assert set(read.heads) == {f"L{n}H{h}" for n in range(2) for h in range(4)}
    page = esmkit.explore(tiny, random_sequence(12, 1), profile=tmp_path / "heads")
    for head in page.data["heads"]:
        row = profile.heads.set_index("name").loc[head["name"]]
        assert (head["label"], head["evidence"]) == (row["label"], row["evidence"])
        assert head["family"] in ("pair", "residue", "position", "sink", "none")
    # the invented profile is not about these weights
    assert "not of these weights" in page.data["notes"][0]


def test_profiles_that_do_not_fit(tiny: Esm2, tmp_path: Path):
    with pytest.raises(InputError, match="the profile is about 9 heads and tiny-esm2 has 8"):
        read_labels(made_profile(3, 3), tiny)
    with pytest.raises(InputError, match="there is no folder"):
        read_labels(tmp_path / "none", tiny)
    with pytest.raises(InputError, match="is not a folder that `esmkit heads` wrote"):
        read_labels(tmp_path, tiny)
    (tmp_path / "heads.csv").write_text("name\nL0H0\n")
    (tmp_path / "effects.csv").write_text("property,kind\nx,pair\n")
    (tmp_path / "provenance.json").write_text("{}")
    with pytest.raises(InputError, match="is not a folder that `esmkit heads` wrote"):
        read_labels(tmp_path, tiny)


# ----------------------------------------------------------------------------------- the object


def test_the_object_shows_and_saves_itself(tiny: Esm2, tmp_path: Path):
    page = esmkit.explore(tiny, random_sequence(12, 1), heads="L1H1")
    assert repr(page) == "Explorer(sequence_1: 12 residues, 1 head(s) of tiny-esm2)"
    frame = Tags(page._repr_html_()).tags
    assert [tag for tag, _ in frame] == ["iframe"]
    assert frame[0][1]["srcdoc"] == page.to_html()
    assert frame[0][1]["sandbox"] == "allow-scripts allow-downloads"
    path = page.save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == page.to_html()
    with pytest.raises(OutputError, match="exists already"):
        page.save(path)
    page.save(path, force=True)
    with pytest.raises(OptionError, match=r"end the name .* in \.html"):
        page.save(tmp_path / "page.txt")
    with pytest.raises(InputError, match="a page is about one protein"):
        esmkit.explore(tiny, ["MK", "MV"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_large_page_is_not_put_into_a_notebook(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("esmkit.explorer.offline.INLINE_LIMIT", 1_000)
    shown = esmkit.explore(tiny, "MKV")._repr_html_()
    assert "iframe" not in shown
    assert "are too much inside a notebook" in shown


def test_without_bokeh_the_extra_is_named(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "esmkit\[explorer\]"'):
        esmkit.explore(tiny, "MKV")


def test_weights_without_a_contact_head(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiny, "has_contact_head", False)
    page = esmkit.explore(tiny, demo_structure().protein, structure=demo_structure())
    assert page.data["contacts"] is None
    assert "probabilities" not in page.arrays


def test_scripts_and_styles_are_in_the_package():
    """hatchling takes every file of the package; a wheel without them would be an empty page."""
    from esmkit.explorer.page import SCRIPTS

    static = Path(esmkit.__file__).parent / "explorer" / "static"
    assert {path.name for path in static.iterdir()} == {*SCRIPTS, "page.html", "explorer.css"}
    for path in static.glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400
        assert lines[0] == '"use strict";'
        assert not [line for line in lines if "innerHTML" in line]
