"""The atlas says what the tables and the model say, and takes its place in the folder."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import esmkit
from esmkit.data import ts50
from esmkit.errors import InputError, OutputError
from esmkit.esm2 import Esm2
from esmkit.explorer.atlas.chains import MOST_RESIDUES, choose_examples
from esmkit.explorer.atlas.folder import FolderAtlas, add_atlas
from esmkit.explorer.atlas.page import LINKS, SCRIPTS, Atlas
from esmkit.explorer.atlas.removal import removal_numbers
from esmkit.explorer.atlas.tables import read_tables
from esmkit.explorer.atlas.weights import links_of
from esmkit.files.run_options import Run
from esmkit.heads.circuits import circuits
from esmkit.heads.made import read_made
from oracles.atlas_pages import ablation_of, chains, circuits_of, profile_of, write_folder

NAMES = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


@pytest.fixture(scope="module")
def folder(tiny: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("heads") / "out", profile_of(tiny), repeats=True)


@pytest.fixture(scope="module")
def page(tiny: Esm2, folder: Path) -> Atlas:
    return esmkit.atlas(folder, model=tiny, structures=chains())


def numbers(page: Atlas, model: int = 0) -> dict[str, np.ndarray]:
    """Value, low, high and q of each head, by the key of the number."""
    facts = page.data["models"][model]
    values = np.frombuffer(page.arrays[f"{model}-numbers"], "<f4")
    values = values.reshape(len(facts["numbers"]), 4, len(facts["heads"]))
    return {number["key"]: values[at] for at, number in enumerate(facts["numbers"])}


def of(page: Atlas, key: str) -> dict[str, Any]:
    return next(n for n in page.data["models"][0]["numbers"] if n["key"] == key)


def test_numbers_are_those_of_the_tables(page: Atlas, folder: Path):
    tables, found = read_tables(folder), numbers(page)
    effects = tables.profile.effects
    for name, rows in effects.groupby("property", sort=False):
        rows = rows.set_index("name").loc[NAMES]
        expected = [100 * rows["difference"], 100 * rows["low"], 100 * rows["high"], rows["q"]]
        np.testing.assert_allclose(found[f"property:{name}"], np.array(expected), rtol=1e-6)
    heads = tables.profile.heads
    np.testing.assert_allclose(found["distance"][0], heads["distance"], rtol=1e-6)
    np.testing.assert_allclose(found["bos"][0], 100 * heads["bos"], rtol=1e-6)
    mean = ablation_of().query("mode == 'mean'")
    expected = [*(100 * mean[c] for c in ("precision_change", "low", "high")), mean["q"]]
    np.testing.assert_allclose(found["mean:precision_change"], np.array(expected), rtol=1e-6)
    assert "112" not in of(page, "mean:precision_change")["note"]
    assert (
        of(page, "mean:precision_change")["note"] == "false discovery rate over 8 heads; 20 chains"
    )
    copying = np.linspace(-0.7, 0.7, 8)
    copying[2] = np.nan
    np.testing.assert_allclose(found["copying"][0], copying, rtol=1e-6)
    np.testing.assert_allclose(found["repeat_score"][0], np.linspace(0, 0.7, 8), rtol=1e-6)
    np.testing.assert_allclose(found["repeat_score"][1], np.linspace(0, 0.7, 8) - 0.02, rtol=1e-5)
    assert np.isnan(found["repeat_control"][3]).all()


def test_effects_have_their_size_and_what_q_was_corrected_over(page: Atlas, folder: Path):
    facts = page.data["models"][0]
    sizes = np.frombuffer(page.arrays["0-sizes"], np.uint8).reshape(-1, 8)
    words = {
        row["name"]: [page.data["sizes"][s] if s < 255 else "insufficient" for s in sizes[at]]
        for at, row in enumerate(facts["properties"])
    }
    planted = NAMES.index("L1H2")
    assert words["long-range contact"][planted] == "A preference, not a detector"
    others = [word for at, word in enumerate(words["long-range contact"]) if at != planted]
    assert set(others) == {"not confirmed"}
    rare = next(row for row in facts["properties"] if "<img" in row["name"])
    assert set(words[rare["name"]]) == {"insufficient"}
    assert rare["note"] == "insufficient: in 3 chains, at least 10 are needed"
    # six kinds of pairs, of which one is in too few chains
    pair = next(row for row in facts["properties"] if row["name"] == "disulfide")
    assert pair["note"] == "q within pairs: 8 heads x 5 properties; in 15 chains"
    effects = np.frombuffer(page.arrays["0-effects"], "<f4").reshape(
        -1, len(page.data["fields"]), 8
    )
    table = read_tables(folder).profile.effects
    rows = table[table["property"] == "helix partner"].set_index("name").loc[NAMES]
    at = [row["name"] for row in facts["properties"]].index("helix partner")
    for place, field in enumerate(page.data["fields"]):
        if field in rows:
            np.testing.assert_allclose(effects[at, place], rows[field], rtol=1e-6)


def test_a_measure_that_is_not_known_is_shown_with_its_interval():
    found = {number.key: number for number in removal_numbers(ablation_of(), NAMES)}
    loss = found["zero:masked_lm_loss_change"]
    assert loss.title == "masked lm loss"
    zero = ablation_of().query("mode == 'zero'")
    np.testing.assert_array_equal(loss.values[0], zero["masked_lm_loss_change"])
    np.testing.assert_array_equal(loss.values[2], zero["masked_lm_loss_high"])
    assert set(loss.values[3]) == {0.04}
    # what is the same in every mode comes once; levels without an interval and counts never
    assert "mean:refit_change" in found
    assert "zero:refit_change" not in found
    assert not [key for key in found if key.endswith(("precision", "chains", "scored", "_low"))]


def test_matrices_are_those_of_the_circuits_within_their_bits(page: Atlas, tiny: Esm2):
    found = circuits(tiny, permutations=1, controls=1)
    offsets = page.data["models"][0]["circuits"]["offsets"]
    assert offsets == list(found.offsets)
    exact = found.qk.reshape(8, len(offsets), 20, 20)
    exact = {"ov": found.ov.reshape(8, 20, 20), "qk": exact - exact.mean(axis=-1, keepdims=True)}
    for name, values in exact.items():
        codes = np.frombuffer(page.arrays[f"0-{name}"], np.int8).reshape(values.shape)
        scales = np.frombuffer(page.arrays[f"0-{name}-scales"], "<f4")
        for code, scale, value in zip(codes, scales, values, strict=True):
            bound = np.abs(value).max() / 254 * 1.001
            np.testing.assert_allclose(code * scale, value, atol=bound, rtol=0)


@given(arrays(np.float32, (9, 9), elements=st.sampled_from([0, 0.125, 0.25, 0.5, 1])))
def test_links_are_the_largest_weights_ties_by_place(weights: np.ndarray):
    for least in (1, 6):
        pairs = [(i, j) for i in range(9) for j in range(9) if abs(i - j) >= least]
        order = sorted(pairs, key=lambda pair: (-weights[pair], pair))[:LINKS]
        expected = [[i, j, round(65_535 * float(weights[i, j]))] for i, j in order if weights[i, j]]
        assert links_of(weights, least).tolist() == expected


def test_links_of_the_page_are_those_of_the_model(page: Atlas, tiny: Esm2):
    by_id = {chain.id: chain for chain in chains()}
    examples = page.data["models"][0]["examples"]
    assert len(examples) == 4
    for place, example in enumerate(examples):
        chain = by_id[next(name for name in by_id if name[:12] == example["id"][:12])]
        links = np.frombuffer(page.arrays[f"0-links-{place}"], "<u2").reshape(8, 2, LINKS, 3)
        maps = tiny.attention(chain.protein)
        for at, name in enumerate(maps.heads):
            apart = np.abs(np.subtract.outer(range(len(chain)), range(len(chain))))
            for far, least in enumerate((1, 6)):
                query, key, code = links[at, far].astype(int).T
                assert (np.abs(query - key) >= least).all()
                np.testing.assert_allclose(code / 65_535, maps[name][query, key], atol=2e-5)
                left = np.where(apart >= least, maps[name], 0).ravel()
                np.testing.assert_allclose(code / 65_535, np.sort(left)[::-1][:LINKS], atol=2e-5)
        known = np.triu(chain.resolved[:, None] & chain.resolved, 6)
        assert example["pairs"] == known.sum()
        assert example["contacts"] == (chain.contacts() & known).sum()
        assert example["secondary"] == chain.secondary_structure


def test_examples_are_unlike_each_other_and_chosen_by_structure_alone():
    found = choose_examples(ts50())
    assert [e.why for e in found] == [
        *("the most helix", "the most strand", "the most disulfides", "of middling length")
    ]
    assert len({e.structure.id for e in found}) == 4
    short = [chain for chain in ts50() if len(chain) <= MOST_RESIDUES]
    share = {c.id: np.mean([s == "H" for s in c.secondary_structure_3]) for c in short}
    assert share[found[0].structure.id] == max(share.values())
    assert len(found[2].structure.disulfides) >= 3
    backwards = choose_examples(ts50()[::-1])
    assert [e.structure.id for e in backwards] == [e.structure.id for e in found]
    assert choose_examples([]) == []


def test_the_page_is_one_file_that_loads_nothing(page: Atlas, tmp_path: Path):
    text = page.save(tmp_path / "a.html").read_text()
    assert "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)
    assert "<img src=x" not in text  # names are escaped
    assert len(text) < 20_000_000 / 120 * 8 + 200_000  # 20 MB for 120 heads
    assert repr(page) == "Atlas(tiny-esm2, 8 heads)"
    assert 'sandbox="allow-scripts allow-downloads"' in page._repr_html_()


def test_static_files():
    static = Path(esmkit.__file__).parent / "explorer" / "atlas" / "static"
    own = {name for name, package in SCRIPTS.items() if package == "esmkit.explorer.atlas"}
    assert {path.name for path in static.iterdir()} == {*own, "atlas.html", "atlas.css"}
    for path in static.glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400
        assert lines[0] == '"use strict";'
        assert not [line for line in lines if "innerHTML" in line]


def test_a_finished_folder_gets_its_atlas_and_nothing_else_changes(
    tiny: Esm2, tmp_path: Path, monkeypatch
):
    folder = write_folder(tmp_path / "out", profile_of(tiny))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    facts = json.loads(before.pop("provenance.json"))
    made = add_atlas(folder, lambda: tiny, chains)
    assert made == folder / "atlas.html"
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    files = facts["files"]
    now = json.loads(after["provenance.json"])
    assert now["files"] == {**files, "atlas.html": now["files"]["atlas.html"]}
    assert {k: v for k, v in now.items() if k != "files"} == {
        k: v for k, v in facts.items() if k != "files"
    }
    listed = read_made(folder)
    assert listed is not None
    assert listed.changed() == []
    add_atlas(folder, lambda: tiny, chains)  # anew
    made.write_text("notes of somebody")
    with pytest.raises(OutputError, match=r"atlas\.html.*is not as it was written"):
        add_atlas(folder, lambda: tiny, chains)
    assert made.read_text() == "notes of somebody"
    add_atlas(folder, lambda: tiny, chains, run=Run(force=True))
    # what a killed run left beside the folder is cleared
    left = tmp_path / ".out.atlas" / "staged"
    left.mkdir(parents=True)
    (left / "atlas.html.tmp").write_text("half a page")
    add_atlas(folder, lambda: tiny, chains)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # a disk that fails leaves the old page whole, and nothing beside the folder
    whole = made.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esmkit.heads.made.move_into_place", full)
    with pytest.raises(OutputError, match="No space left"):
        add_atlas(folder, lambda: tiny, chains, compare=folder, run=Run(force=True))
    assert made.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_model_stands_beside(tiny: Esm2, tmp_path: Path):
    one = write_folder(tmp_path / "one", profile_of(tiny))
    other = profile_of(tiny, labels={"L0H0": "positional"}, chains=["other"])
    two = write_folder(tmp_path / "two", other)
    alone = esmkit.atlas(one, model=tiny, structures=chains(), compare=two)
    assert alone.data["models"][1]["circuits"] is None
    assert any("different chains" in note for note in alone.data["notes"])
    add_atlas(one, lambda: tiny, chains)
    page = esmkit.atlas(two, compare=one)
    first, second = page.data["models"]
    assert [m["name"] for m in (first, second)] == ["tiny-esm2", "tiny-esm2 (second)"]
    assert (first["circuits"], bool(second["circuits"])) == (None, True)
    assert len(second["examples"]) == 4
    expected = esmkit.atlas(one, model=tiny, structures=chains())
    for name in ("ov", "qk", "links-0", "coordinates-3", "numbers", "effects"):
        assert page.arrays[f"1-{name}"] == expected.arrays[f"0-{name}"]
    # a page that is damaged, or of something else, is as none
    whole = (one / "atlas.html").read_text()
    for text in (whole.replace('id="data-0-ov">', 'id="data-0-ov">AAAA'), "", "{", whole[:20_000]):
        (one / "atlas.html").write_text(text)
        assert esmkit.atlas(two, compare=one).data["models"][1]["circuits"] is None


def test_mistakes_are_told_in_a_sentence(tiny: Esm2, folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="there is no folder"):
        esmkit.atlas(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"there is no folder.*nowhere"):
        FolderAtlas(tmp_path / "nowhere")
    with pytest.raises(InputError, match="none of the 1 structures is a chain of the profile"):
        esmkit.atlas(folder, model=tiny, structures=[chains()[4]])
    other = profile_of(tiny, checkpoint={"name": "another", "sha256": "cd" * 32})
    with pytest.raises(InputError, match=r"of the weights another .* cdcdcdcdcdcd, and those of"):
        esmkit.atlas(other, model=tiny)
    small = dataclasses.replace(other, heads=other.heads[:4])
    with pytest.raises(InputError, match="about 4 heads and tiny-esm2 has 8"):
        esmkit.atlas(small, model=tiny)
    (tmp_path / "bad").mkdir()
    for path in folder.iterdir():
        (tmp_path / "bad" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "bad" / "ablation.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        InputError, match=r"ablation\.csv.*is not a table that `esmkit heads` wrote"
    ):
        esmkit.atlas(tmp_path / "bad")


def test_a_profile_alone_is_enough(tiny: Esm2):
    page = esmkit.atlas(profile_of(tiny))
    model = page.data["models"][0]
    assert (model["circuits"], model["examples"], model["ablated"]) == (None, [], 0)
    assert any("are not in this page" in note for note in page.data["notes"])
    page = esmkit.atlas(
        profile_of(tiny), ablation=ablation_of(), circuits=circuits_of(profile_of(tiny))
    )
    assert {"copying", "mean:precision_change"} <= set(numbers(page))
    table = pandas.DataFrame({"name": NAMES[::-1], "copying": range(8)})
    found = numbers(esmkit.atlas(profile_of(tiny), circuits=table))
    assert found["copying"][0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
