"""The live page without a browser: what it holds, how exact that is, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esmkit
from esmkit.data import demo_structure
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.explorer import Explorer, LiveExplorer
from esmkit.explorer.live import page as live_page
from esmkit.explorer.live.accuracy import CHECKED, compare_packed, unpack
from esmkit.explorer.live.engine import ENGINE_SCRIPTS, kernel_bytes
from esmkit.explorer.live.weights import pack_weights
from esmkit.explorer.page import SCRIPTS
from esmkit.explorer.to_files import explore_to_files
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta
from oracles.explorer_pages import Tags

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")


@pytest.fixture(scope="module")
def live(tiny_lm: Esm2) -> Explorer:
    structure = demo_structure()
    return esmkit.explore(tiny_lm, structure.protein, structure=structure, live=True)


def test_the_page_holds_the_weights_and_no_maps(live: Explorer, tiny_lm: Esm2):
    assert isinstance(live, LiveExplorer)
    manifest, weights = pack_weights(tiny_lm, 16)
    assert live.arrays["weights"] == weights
    assert live.arrays["kernel"] == kernel_bytes()
    assert set(live.arrays) == {"weights", "kernel", "coordinates"}
    assert live.data["manifest"] == manifest
    assert len(live.data["heads"]) == tiny_lm.layers * tiny_lm.heads


def rounded(weight: np.ndarray, largest: int) -> np.ndarray:
    """A matrix in so many steps on either side of 0, a scale for each row."""
    scale = np.abs(weight).max(1, keepdims=True) / largest
    return np.round(weight / scale) * scale


def steps(name: str) -> int:
    """24 bits for the embedding, values and outputs of attention, 16 for all others."""
    finer = ("word_embeddings.weight", "self.value.weight", "attention.output.dense.weight")
    return 8_388_607 if name.endswith(finer) else 32_767


def test_what_packing_changes_is_measured(live: Explorer, tiny_lm: Esm2):
    """Weights are rounded here anew, and run in float64: the page's check is made in float32."""
    ids = encode(live.data["sequence"])[None]
    exact = {name: t.double().numpy() for name, t in tiny_lm.network.state_dict().items()}
    packed = {
        name: rounded(value, steps(name)) if value.ndim == 2 and len(value) > 1 else value
        for name, value in exact.items()
    }
    found = []
    for tensors in (exact, packed):
        parameters = reference.read_parameters(tensors, tiny_lm.heads)
        one = reference.encode(parameters, ids, attentions=True)
        assert one.attentions is not None
        contacts = reference.contact_probabilities(parameters, one.attentions, ids)
        found.append((np.stack(one.attentions), one.hidden_states[-1], contacts))
    largest = [float(np.abs(a - b).max()) for a, b in zip(*found, strict=True)]
    measured = [live.check[name] for name in ("map", "hidden", "contact")]
    np.testing.assert_allclose(
        measured, largest, rtol=0.15
    )  # the page rounds its scales to float32
    assert 0 < max(largest) < 1e-3
    assert live.check["hidden_largest"] == pytest.approx(np.abs(found[0][1]).max(), rel=1e-4)
    assert live.check["residues"] == 76


def test_tensors_are_read_as_they_were_written(tiny_lm: Esm2):
    """Half a step of a row is the most that a weight is off."""
    manifest, data = pack_weights(tiny_lm, 8)
    tensors = unpack(manifest, data)
    exact = {name: t.numpy() for name, t in tiny_lm.network.state_dict().items()}
    parameters = reference.read_parameters(exact, tiny_lm.heads, dtype=np.float32)
    for name, weight in (
        ("L1.expand.weight", parameters.layers[1].expand.weight),
        ("embedding", parameters.embedding),
    ):
        step = np.abs(weight).max(1, keepdims=True) / 127
        assert np.all(np.abs(tensors[name] - weight) <= 0.5001 * step)
    np.testing.assert_array_equal(tensors["final_norm.weight"], parameters.final_norm.weight)


def test_eight_bits_are_less_exact_and_said(tiny_lm: Esm2, live: Explorer):
    page = esmkit.explore(tiny_lm, live.data["sequence"], live=True, live_bits=8)
    assert page.check["map"] > 20 * live.check["map"]
    assert len(page.arrays["weights"]) < 0.65 * len(live.arrays["weights"])
    assert live.data["notes"] == []
    (note,) = page.data["notes"]
    assert note.startswith("The weights of this page are held in 8 bits, which changes attention")
    assert f"{page.check['map']:.2g}" in note


def test_the_check_is_made_on_the_first_residues(tiny_lm: Esm2):
    manifest, data = pack_weights(tiny_lm, 16)
    check = compare_packed(tiny_lm, random_sequence(CHECKED + 40, 3), manifest, data)
    assert check["residues"] == CHECKED


def test_one_file_that_loads_nothing(live: Explorer):
    text = live.to_html()
    tags = Tags(text)
    urls = [v for _, attributes in tags.tags for k, v in attributes.items() if k in ("src", "href")]
    assert not [url for url in urls if not str(url).startswith("#")]
    policy = next(a["content"] for _, a in tags.tags if a.get("http-equiv"))
    assert policy == live_page.POLICY
    assert str(policy).startswith("default-src 'none'; ")
    assert not re.search(r"https?:|connect-src|\*", str(policy))
    for name in ("live-section", "compare-section", "guess", "live-steps", "grid", "map"):
        assert len([1 for _, attributes in tags.tags if attributes.get("id") == name]) == 1
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_object_shows_itself_in_a_notebook(live: Explorer):
    shown = live._repr_html_()
    assert shown.startswith('<iframe title="LiveExplorer(1ubi_A: 76 residues, 8 head(s) of ')
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert repr(live).endswith(", beside 1ubi_A)")


def test_a_page_too_large_for_a_notebook_names_the_smaller_one(
    live: Explorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("esmkit.explorer.offline.INLINE_LIMIT", 1_000)
    assert "pack the weights with <code>live_bits=8</code>" in live._repr_html_()


def test_a_profile_names_the_heads(tiny_lm: Esm2):
    from oracles.head_profiles import made_profile

    profile = made_profile(labels={"L0H1": "offset -1"})
    page = esmkit.explore(tiny_lm, "MKTVRQERLK", live=True, profile=profile)
    row = next(row for row in page.data["heads"] if row["name"] == "L0H1")
    assert row["label"] == "offset -1"
    assert row["family"] == "position"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"heads": "L0H1"},
            "a live page computes all heads of all layers; leave out `heads` and `layers`",
        ),
        ({"layers": 1}, "a live page computes all heads of all layers"),
        (
            {"max_bytes": 1_000_000},
            "with weights of 16 bits takes 2 MB and at most 1 MB are allowed; pack the weights with "
            "`live_bits=8`, or allow more with `max_bytes`",
        ),
        (
            {"max_bytes": 1_000_000, "live_bits": 8},
            "with weights of 8 bits takes 2 MB and at most 1 MB are allowed; allow more with",
        ),
        ({"live_bits": 4}, "live_bits"),
    ],
)
def test_what_cannot_be_is_refused(tiny_lm: Esm2, options: dict[str, Any], words: str):
    with pytest.raises(OptionError, match=re.escape(words)):
        esmkit.explore(tiny_lm, "MKTVRQERLK", live=True, **options)


def test_bits_are_of_a_live_page_alone(tiny_lm: Esm2):
    with pytest.raises(OptionError, match="`live_bits` is for a live page; add `live`, or leave"):
        esmkit.explore(tiny_lm, "MKTVRQERLK", live_bits=8)


def test_long_proteins_are_refused_or_cut(tiny_lm: Esm2):
    long = Protein("long_1", random_sequence(1_030, 1))
    with pytest.raises(OptionError, match="has 1,030 residues and a live page reads at most 1,022"):
        esmkit.explore(tiny_lm, long, live=True)
    page = esmkit.explore(tiny_lm, long, live=True, long="truncate")
    assert len(page.data["sequence"]) == 1_022
    with pytest.raises(InputError, match="residue 3: 'J' is not an amino acid"):
        esmkit.explore(tiny_lm, "MKJ", live=True)


def test_the_command(run, tmp_path: Path, tiny_lm_folder: Path):
    fasta = write_fasta(tmp_path / "one.fasta", {"one": "MKTVRQERLKSIVRILERSKEPV"})
    options = ("--live", "--model", tiny_lm_folder, "-q")
    done = run("explore", fasta, *options, "--live-bits", "8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "one.html").read_text()
    data = json.loads(Tags(text).texts["data"])
    assert data["live"] is True
    assert data["manifest"]["bits"] == 8
    assert data["command"].startswith("esmkit explore")
    said = fails(run("explore", fasta, *options, "--heads", "L0H0", "--force", cwd=tmp_path))
    assert said.endswith("leave out --heads and --layers")
    said = fails(run("explore", fasta, *options, "--max-bytes", "1MB", "--force", cwd=tmp_path))
    assert said.endswith("pack the weights with --live-bits 8, or allow more with --max-bytes")


def test_scripts_and_styles_are_in_the_package():
    """Every file of the folder is used; files stay short; no text becomes HTML."""
    static = Path(esmkit.__file__).parent / "explorer" / "live" / "static"
    used = {*live_page.LIVE_SCRIPTS, *live_page.STYLES, *ENGINE_SCRIPTS, "live.html", "kernel.wasm"}
    assert {path.name for path in static.iterdir()} == used
    assert not set(live_page.LIVE_SCRIPTS) & set(SCRIPTS)
    for path in static.glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400, path.name
        assert lines[0] == '"use strict";'
        assert not [line for line in lines if "innerHTML" in line or "insertAdjacent" in line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"live": True, "heads": ["L0H1"]}, "leave out `heads` and `layers`"),
        ({"live": True, "layers": [0]}, "leave out `heads` and `layers`"),
        ({"live_bits": 8}, "`live_bits` is for a live page"),
    ],
)
def test_the_kind_of_page_is_settled_before_weights_are_loaded(
    options: dict[str, Any], message: str, tmp_path: Path
):
    def load_nothing() -> Any:
        raise AssertionError("the model was loaded before the options were looked at")

    fasta = tmp_path / "one.fasta"
    fasta.write_text(">one\nMKTVRQERLKSIVRILERSKEPVSG\n")
    with pytest.raises(OptionError, match=message):
        explore_to_files(load_nothing, [str(fasta)], tmp_path / "one.html", **options)
