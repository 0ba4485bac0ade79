"""The explorer in a real browser: it opens offline, and every control does what it says."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from scipy.special import softmax

import esmkit
from esmkit.data import demo_structure
from esmkit.esm2 import Esm2, load
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from esmkit.structure import Structure
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.explorer_pages import UNNAMED, Opened, chromium
from oracles.head_profiles import made_profile

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")
pytestmark = pytest.mark.browser

TOLERANCE = 1e-3
"""Of weights: 16-bit queries and keys of tiny random weights; see test_explorer.py."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def structure() -> Structure:
    return demo_structure()


@pytest.fixture(scope="module")
def page_path(tiny: Esm2, structure: Structure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ubiquitin with its structure and an invented profile, in a tiny model."""
    profile = made_profile(labels={"L0H1": "offset -1"})
    page = esmkit.explore(tiny, structure.protein, structure=structure, profile=profile)
    return page.save(tmp_path_factory.mktemp("page") / "ubiquitin.html")


@pytest.fixture
def page(browser: Any, page_path: Path) -> Iterator[Opened]:
    opened = Opened(browser, page_path)
    yield opened
    opened.close()
    assert not opened.problems


def open_head(page: Opened, name: str) -> None:
    page.tab.click(f"[data-head={name}]")


def test_every_stop_of_tab_has_a_name(page: Opened):
    assert page.do(UNNAMED) == []
    page.tab.click("#theme")  # tools stay named when they are drawn anew
    page.tab.set_viewport_size({"width": 700, "height": 800})
    page.tab.wait_for_timeout(300)
    assert page.do(UNNAMED) == []


def number(text: str) -> float:
    return float(text.replace("\u2212", "-").split()[0])


def test_a_click_opens_a_head_and_the_map_is_the_array(page: Opened, tiny: Esm2, structure):
    maps = tiny.attention(structure.protein)
    for name in ("L0H0", "L1H3"):
        open_head(page, name)
        assert page.state("head") == name
        assert page.text("#map-title").startswith(name)
        assert page.tab.get_attribute(f"[data-head={name}]", "aria-selected") == "true"
        assert page.tab.input_value("#head") == name
        shown = page.do(
            f"(() => {{ const m = esmkitExplorer.mapOf('{name}');"
            " return [Array.from(m.weights), Array.from(m.bos), Array.from(m.eos)]; })()"
        )
        place = maps.heads.index(name)
        weights = np.array(shown[0]).reshape(76, 76)
        np.testing.assert_allclose(weights, maps[name], atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(shown[1], maps.bos[place], atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(shown[2], maps.eos[place], atol=TOLERANCE, rtol=0)
        facts = page.text("#head-facts").replace("\n", " ")
        assert f"mean weight on BOS {100 * maps.bos[place].mean():.2g} %" in facts


def test_the_picture_shows_the_largest_weights_darkest(page: Opened, tiny: Esm2, structure):
    open_head(page, "L1H0")
    pixels = page.do(
        "Array.from(esmkitExplorer.part('map-image').data.image[0], c => "
        "(c & 255) + ((c >> 8) & 255) + ((c >> 16) & 255))"
    )
    brightness = np.array(pixels).reshape(76, 76)
    weights = tiny.attention(structure.protein, heads="L1H0")["L1H0"]
    order = np.argsort(-weights.ravel())
    assert brightness.ravel()[order[:20]].max() < brightness.ravel()[order[-3000:]].min()


def test_hovering_tells_both_residues(page: Opened, tiny: Esm2, structure: Structure):
    open_head(page, "L1H2")
    weights = tiny.attention(structure.protein, heads="L1H2")["L1H2"]
    for query, key in ((45, 4), (3, 66), (75, 75)):
        lines = page.hover("map", key + 1, query + 1)
        letters = structure.sequence
        assert lines[0].startswith(f"query {letters[query]}{query + 1}, ")
        assert lines[1].startswith(f"key {letters[key]}{key + 1}, ")
        facts = {line.split()[0]: line for line in lines[2:]}
        shown = number(facts["weight"].removeprefix("weight "))
        assert shown == pytest.approx(weights[query, key], rel=0.02, abs=TOLERANCE)
        assert number(facts["separation"].removeprefix("separation ")) == key - query
        distance = structure.distances[query, key]
        assert number(facts["distance"].removeprefix("distance ")) == round(float(distance), 1)
        if query != key:
            contact = structure.contacts()[query, key]
            assert facts["distance"].endswith("a contact" if contact else "no contact")
    names = {"H": "α-helix", "E": "β-strand", "T": "turn", "-": "coil", "G": "3-10 helix"}
    assert page.hover("map", 30, 5)[1] == f"key I30, {names[structure.secondary_structure[29]]}"


def test_contacts_of_the_page_are_those_of_the_structure(page: Opened, structure: Structure):
    pairs = page.do(
        "(() => { const s = esmkitExplorer.part('map-truth').data; "
        "return [Array.from(s.y), Array.from(s.x)]; })()"
    )
    shown = np.zeros((76, 76), bool)
    shown[np.array(pairs[0], int) - 1, np.array(pairs[1], int) - 1] = True
    far = np.abs(np.subtract.outer(np.arange(76), np.arange(76))) >= 6
    np.testing.assert_array_equal(shown, structure.contacts() & far)
    page.tab.uncheck("#truth")
    assert page.do("esmkitExplorer.part('map-truth').data.x.length") == 0
    every = page.do(
        "Array.from({length: 76 * 76}, (_, i) => "
        "esmkitExplorer.isContact(Math.floor(i / 76), i % 76))"
    )
    np.testing.assert_array_equal(np.array(every).reshape(76, 76), structure.contacts())


def test_secondary_structure_stands_beside_the_maps(page: Opened, structure: Structure):
    expected = []
    for i, letter in enumerate(structure.secondary_structure_3):
        if letter in "HE" and expected and expected[-1][1:] == [i - 1, letter]:
            expected[-1][1] = i
        elif letter in "HE":
            expected.append([i, i, letter])
    for figure in ("map", "contacts"):
        quads = page.do(f"esmkitExplorer.part('{figure}-secondary').data")
        above = list(zip(quads["left"], quads["right"], strict=True))[::2]
        assert above == [(first + 0.5, last + 1.5) for first, last, _ in expected]
        aside = list(zip(quads["top"], quads["bottom"], strict=True))[1::2]
        assert aside == above
        assert max(quads["bottom"][::2]) < 0.5
    along = page.do("esmkitExplorer.part('arcs-secondary').data")
    assert list(zip(along["left"], along["right"], strict=True)) == above


def test_threshold(page: Opened, tiny: Esm2, structure: Structure):
    open_head(page, "L0H2")
    weights = tiny.attention(structure.protein, heads="L0H2")["L0H2"].astype(float)
    ordered = np.sort(weights.ravel())
    limit = float(np.round((ordered[-200] + ordered[-199]) / 2, 5))
    page.tab.fill("#threshold-number", str(limit))
    page.tab.dispatch_event("#threshold-number", "change")
    kept = weights >= limit
    text = page.text("#threshold-text")
    assert text.startswith(f"{kept.sum()} of 5,776 pairs reach ")
    share = 100 * weights[kept].sum() / weights.sum()
    assert f"and hold {share:.2g} % of the weight" in text
    far = np.abs(np.subtract.outer(np.arange(76), np.arange(76))) >= 6
    right, judged = (structure.contacts() & kept & far).sum(), (kept & far).sum()
    assert f"{right} of {judged} " in text
    assert all(number(row[3]) >= 0.999 * limit for row in page.rows())
    blank = page.do(
        "(() => { const i = esmkitExplorer.part('map-image').data.image[0];"
        " return Array.from(i, c => c === esmkitExplorer.palette()[0]); })()"
    )
    assert (~np.array(blank).reshape(76, 76) <= kept).all()
    page.tab.evaluate(
        "s => { const e = document.querySelector('#threshold'); e.value = 0;"
        " e.dispatchEvent(new Event('input')); }"
    )
    assert page.text("#threshold-text") == "All 5,776 pairs are shown."


def test_apc(page: Opened, tiny: Esm2, structure: Structure):
    open_head(page, "L1H1")
    page.tab.check("#apc")
    both = tiny.attention(structure.protein, heads="L1H1")["L1H1"].astype(np.float64)
    expected = reference.average_product_correction(reference.symmetrise(both[None, None]))[0, 0]
    shown = page.do("Array.from(esmkitExplorer.shown())")
    np.testing.assert_allclose(
        np.array(shown).reshape(76, 76), expected, atol=2 * TOLERANCE, rtol=0
    )
    rows = page.rows()
    upper = [(abs(number(row[0][1:])), abs(number(row[1][1:]))) for row in rows]
    assert all(query < key for query, key in upper)
    assert "corrected weight" in page.text("#bar-text")
    assert page.hover("map", 30, 5)[3].startswith("corrected ")
    page.tab.uncheck("#apc")
    assert "attention weight" in page.text("#bar-text")


def test_brushing_the_map_is_seen_by_arcs_and_table(page: Opened, tiny: Esm2, structure):
    open_head(page, "L1H2")
    page.drag("map", (5, 40), (20, 70))
    assert page.state("brush") == {"q0": 39, "q1": 69, "k0": 4, "k1": 19, "either": False}
    assert page.text("#brush-text") == "Brushed: queries Q40 to V70, keys V5 to S20."
    weights = tiny.attention(structure.protein, heads="L1H2")["L1H2"]
    rows = page.rows()
    assert len(rows) == 50
    expected = np.sort(weights[39:70, 4:20].ravel())[::-1][:50]
    shown = [number(row[3]) for row in rows]
    np.testing.assert_allclose(shown, expected, atol=TOLERANCE, rtol=0.01)
    assert all(40 <= int(row[0].split()[0][1:]) <= 70 for row in rows)
    arcs = page.do("esmkitExplorer.part('arcs-links').data.xs.map(x => [x[0], x[x.length - 1]])")
    assert len(arcs) == 50
    assert all(40 <= round(query) <= 70 and 5 <= round(key) <= 20 for query, key in arcs)
    assert page.tab.input_value("#q0") == "40"
    page.tab.click("#clear-brush")
    assert page.state("brush") is None
    # the same region without a mouse
    for field, value in {"q0": 40, "q1": 70, "k0": 5, "k1": 20}.items():
        page.tab.fill(f"#{field}", str(value))
    page.tab.press("#k1", "Enter")
    assert [number(row[3]) for row in page.rows()] == shown


def test_brushing_the_arcs_is_seen_by_map_and_table(page: Opened):
    page.drag("arcs", (20, 0.6), (30, 0.6))
    assert page.state("brush") == {"q0": 19, "q1": 29, "k0": 19, "k1": 29, "either": True}
    assert page.text("#brush-text") == "Brushed: links that begin or end in S20 to I30."
    for row in page.rows():
        ends = [int(cell.split()[0][1:]) for cell in row[:2]]
        assert any(20 <= end <= 30 for end in ends)
    faded = page.do(
        "Array.from(esmkitExplorer.part('map-image').data.image[0], c => (c >>> 24) < 255)"
    )
    shown = ~np.array(faded).reshape(76, 76)
    inside = np.zeros(76, bool)
    inside[19:30] = True
    np.testing.assert_array_equal(shown, inside[:, None] | inside)


def test_a_residue_picked_in_one_view_is_picked_in_all(page: Opened, tiny: Esm2, structure):
    open_head(page, "L1H2")

    def picked() -> list[Any]:
        return page.do(
            "(() => { const part = n => esmkitExplorer.part(n);"
            " return [part('map-query').location, part('map-key').location,"
            " part('contacts-query').location, part('contacts-key').location,"
            " ...part('arcs-pick').data.x, document.querySelector('#step-query').value,"
            " document.querySelector('#step-key').value].map(Number); })()"
        )

    page.click("map", 14, 2)
    assert page.text("#pair h3") == "Q2 looks at T14"
    assert picked() == [2, 14] * 4
    page.click("contacts", 30, 50)
    assert page.text("#pair h3") == "L50 looks at I30"
    assert picked() == [50, 30] * 4
    weights = tiny.attention(structure.protein, heads="L1H2")["L1H2"]
    page.click("arcs", 40, 0)  # a letter of the sequence: beside its strongest key
    assert picked()[:2] == [40, 1 + int(weights[39].argmax())]
    page.click("special", 10, 0.0001, inside="arcs")
    assert picked()[0] == 10
    row = page.rows()[4]
    page.tab.click("#links tbody tr:nth-child(5) button")
    assert picked()[:2] == [int(row[0].split()[0][1:]), int(row[1].split()[0][1:])]
    assert page.tab.get_attribute("#links tbody tr:nth-child(5)", "aria-current") == "true"
    # an arc, at its highest point
    link = page.do("esmkitExplorer.links[0]")
    middle = (link["query"] + link["key"]) / 2 + 1
    farthest = page.do("Math.max(...esmkitExplorer.links.map(l => Math.abs(l.key - l.query)))")
    height = 0.09 + 0.95 * (abs(link["key"] - link["query"]) / farthest) ** 0.7
    page.click("arcs", middle, height if link["key"] > link["query"] else -height)
    found = (page.state("query"), page.state("key"))
    assert found in {(one["query"], one["key"]) for one in page.do("esmkitExplorer.links")}
    page.tab.fill("#step-query", "7")
    page.tab.press("#step-query", "Tab")
    assert picked()[0] == 7


def test_table_sorts_and_downloads(page: Opened, tiny: Esm2, structure: Structure):
    open_head(page, "L0H3")
    expected = tiny.attention(structure.protein, heads="L0H3").top(50, min_separation=6)
    with page.tab.expect_download() as waiting:
        page.tab.click("#download")
    assert waiting.value.suggested_filename == "1ubi_A.L0H3.csv"
    table = pandas.read_csv(io.StringIO(Path(waiting.value.path()).read_text()))
    assert list(table.columns[:7]) == list(expected.columns)
    same = ["head", "query_number", "query", "key_number", "key", "separation"]
    # neighbours in the order may change places where weights are within rounding
    ours = set(table[same].itertuples(index=False, name=None))
    theirs = set(expected[same].itertuples(index=False, name=None))
    assert len(ours & theirs) >= 48
    np.testing.assert_allclose(table["weight"], expected["weight"], atol=TOLERANCE, rtol=0)
    i, j = table["query_number"] - 1, table["key_number"] - 1
    np.testing.assert_allclose(table["distance"], structure.distances[i, j], atol=1e-3)
    np.testing.assert_array_equal(table["contact"], structure.contacts()[i, j])
    letters = np.array(list(structure.secondary_structure))
    np.testing.assert_array_equal(table["query_secondary_structure"], letters[i])
    for column, values in (("distance", 4), ("separation", 2), ("weight", 3)):
        page.tab.click(f"[data-sort={column}]")
        first = page.tab.get_attribute(f"th:has([data-sort={column}])", "aria-sort")
        shown = [number(row[values]) for row in page.rows()]
        assert shown == sorted(shown, reverse=first == "descending"), column
        page.tab.click(f"[data-sort={column}]")
        second = page.tab.get_attribute(f"th:has([data-sort={column}])", "aria-sort")
        assert {first, second} == {"ascending", "descending"}
        shown = [number(row[values]) for row in page.rows()]
        assert shown == sorted(shown, reverse=second == "descending"), column
    page.tab.select_option("#top", "25")
    assert len(page.rows()) == 25
    page.tab.fill("#separation", "24")
    page.tab.press("#separation", "Tab")
    assert all(abs(number(row[2])) >= 24 for row in page.rows())


def test_predicted_contacts_and_their_scores(page: Opened, tiny: Esm2, structure: Structure):
    found = tiny.contacts(structure.protein)
    shown = page.do(
        "Array.from({length: 76 * 76}, (_, i) => "
        "esmkitExplorer.probability(Math.floor(i / 76), i % 76))"
    )
    shown = np.array([np.nan if value is None else value for value in shown], float)
    off = ~np.eye(76, dtype=bool)
    np.testing.assert_allclose(
        shown.reshape(76, 76)[off], found.probability[off], atol=0.51 / 65_534, rtol=0
    )
    score = found.score(structure)
    for name in ("short", "medium", "long"):
        cells = page.text(f"tr[data-range={name}]").split("\t")
        values = [number(cell) for cell in cells[1:]]
        row = score.loc[name]
        expected = [row[c] for c in ("P@L", "ceiling P@L", "P@L/2", "P@L/5", "background")]
        np.testing.assert_allclose(values[:5], np.array(expected, float), rtol=0.06, atol=1e-9)
        assert values[5] == row["contacts"]


def test_step_by_step_is_the_trace(page: Opened, tiny: Esm2, structure: Structure):
    tensors = {name: t.numpy() for name, t in tiny.network.state_dict().items()}
    parameters = reference.read_parameters(tensors, tiny.heads)
    ids = encode(structure.sequence)[None]
    encoding = reference.encode(parameters, ids, trace=True)
    assert encoding.trace is not None
    layer, head, query, key = 1, 3, 21, 55
    open_head(page, f"L{layer}H{head}")
    page.click("map", key + 1, query + 1)
    steps, token = encoding.trace[layer], query + 1
    found = page.do(
        f"(() => {{ const f = esmkitExplorer.steps('L{layer}H{head}', {query}, {key});"
        " const r = esmkitExplorer.residualOf(f); const list = v => Array.from(v);"
        " return {q: list(f.q), k: list(f.k), scores: list(f.scores), weights: list(f.weights),"
        " mix: list(f.mix), before: r.before, added: r.added, after: r.after,"
        " contribution: r.contribution, part: list(r.vectors.part),"
        " stream: list(r.vectors.before)}; })()"
    )
    close: dict[str, Any] = {"rtol": 2e-3, "atol": 5e-3}
    np.testing.assert_allclose(found["q"], steps["rotated_query"][0, head, token], **close)
    np.testing.assert_allclose(found["k"], steps["rotated_key"][0, head, key + 1], **close)
    np.testing.assert_allclose(found["scores"], steps["scores"][0, head, token], **close)
    np.testing.assert_allclose(found["weights"], steps["weights"][0, head, token], atol=TOLERANCE)
    np.testing.assert_allclose(
        found["weights"], softmax(steps["scores"][0, head, token]), atol=TOLERANCE
    )
    np.testing.assert_allclose(found["mix"], steps["head_output"][0, head, token], **close)
    before = encoding.hidden_states[layer][0, token]
    assert found["before"] == pytest.approx(np.linalg.norm(before), rel=1e-4)
    assert found["added"] == pytest.approx(
        np.linalg.norm(steps["attention_output"][0, token]), rel=1e-4
    )
    assert found["after"] == pytest.approx(
        np.linalg.norm(steps["attention_residual"][0, token]), rel=1e-4
    )
    width = tiny.width // tiny.heads
    output = parameters.layers[layer].attention.output.weight[:, head * width : (head + 1) * width]
    part = output @ steps["head_output"][0, head, token]
    np.testing.assert_allclose(found["part"], part, **close)
    assert found["contribution"] == pytest.approx(np.linalg.norm(part), rel=1e-3)
    np.testing.assert_allclose(found["stream"], before, atol=np.abs(before).max() / 127)
    weight = steps["weights"][0, head, token, key + 1]
    sentence = page.text("#step-3").split(f"{structure.sequence[key]}{key + 1} gets ")[1]
    assert number(sentence.split(";")[0]) == pytest.approx(weight, abs=TOLERANCE)
    bars = page.do("esmkitExplorer.part('weights-bars').data.top")
    np.testing.assert_allclose(bars, steps["weights"][0, head, token], atol=TOLERANCE)
    assert "length" in page.text("#step-5")


def test_everything_without_a_mouse(page: Opened):
    tab = page.tab
    tab.focus("[data-head][tabindex='0']")
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowUp")
    assert page.state("head") == "L0H0"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    assert page.state("head") == "L1H1"
    assert page.do("document.activeElement.dataset.head") == "L1H1"
    assert page.do("document.querySelectorAll('[data-head][tabindex=\"0\"]').length") == 1
    tab.focus("#map")
    before = page.state("query"), page.state("key")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    after = page.state("query"), page.state("key")
    assert after == (min(75, before[0] + 1), min(75, before[1] + 1))
    span = "(() => { const r = esmkitExplorer.part('map').x_range; return r.end - r.start; })()"
    all_of_it = page.do(span)
    assert 76 <= all_of_it < 80  # a strip of secondary structure stands beside the map
    tab.keyboard.press("+")
    assert page.do(span) == pytest.approx(all_of_it / 2)
    tab.keyboard.press("0")
    assert page.do(span) == pytest.approx(all_of_it)
    page.do("esmkitExplorer.set({brush: {q0: 1, q1: 2, k0: 1, k1: 2, either: false}})")
    tab.keyboard.press("Escape")
    assert page.state("brush") is None
    # every control has a name, and Tab reaches it
    nameless = page.do(
        "[...document.querySelectorAll('button, input, select, [tabindex=\"0\"], canvas[role=img]')]"
        ".filter(e => e.offsetParent !== null && !(e.labels && e.labels.length) &&"
        " !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby') &&"
        " !e.textContent.trim()).map(e => e.outerHTML.slice(0, 80))"
    )
    assert nameless == []


def test_panning_and_zooming(page: Opened):
    ends = "(() => { const r = esmkitExplorer.part('map').x_range; return [r.start, r.end]; })()"
    left, top = page.place("map", 20, 20)
    page.tab.mouse.move(left, top)
    page.tab.keyboard.down("Shift")
    page.tab.mouse.wheel(0, -600)
    page.tab.wait_for_timeout(200)
    page.tab.keyboard.up("Shift")
    start, end = page.do(ends)
    assert end - start < 70
    assert start < 20 < end
    page.do("(() => { const t = esmkitExplorer.part('map').toolbar; t.tools.find("
            "tool => tool.type === 'PanTool').active = true; })()")  # fmt: skip
    middle = (start + end) / 2
    page.drag("map", (middle, middle), (middle + 2, middle))
    moved = page.do(ends)
    assert moved[1] - moved[0] == pytest.approx(end - start)
    assert moved[0] == pytest.approx(max(0.5, start - 2), abs=0.3)


def test_axes_number_residues_and_nothing_else(page: Opened):
    for start, end, ticks in (
        (0.5, 76.5, [1, 10, 20, 30, 40, 50, 60, 70, 76]),
        (76.5, -4.1, [1, 10, 20, 30, 40, 50, 60, 70, 76]),
        (20.5, 51.5, [25, 30, 35, 40, 45, 50]),
        (0.5, 6.5, [1, 2, 3, 4, 5, 6]),
        (0.5, 16.5, [1, 4, 6, 8, 10, 12, 14, 16]),
        (74.2, 76.5, [75, 76]),
    ):
        found = page.do(f"esmkitExplorer.ticks({start}, {end})")
        assert found == ticks
        assert all(page.do(f"[{found}].map(esmkitExplorer.tick)"))
    both = page.do("esmkitExplorer.tokenTicks(-0.5, 77.5)")
    assert both == [0, 10, 20, 30, 40, 50, 60, 70, 77]


def test_a_grid_that_is_cut_says_so(page: Opened):
    assert not page.tab.is_visible("#grid-more")
    page.tab.set_viewport_size({"width": 200, "height": 900})
    page.tab.wait_for_selector("#grid-more")


def test_scores_of_contacts_are_no_probabilities(page: Opened):
    """A score is no frequency: the words say so where the page shows one."""
    assert "no frequency" in page.text("#contacts-text")
    assert "probabilit" not in page.text("body").casefold()
    assert "contact head's score" in page.text("#pair")


def test_labels_stand_beside_their_colours(page: Opened):
    assert "offset -1" in page.text("[data-head=L0H1]")
    assert page.tab.get_attribute("[data-head=L1H2]", "aria-label").startswith(
        "L1H2, long-range contact"
    )
    legend = page.text("#families")
    assert "a kind of pair: 1" in legend
    assert "an offset, or positional: 1" in legend


def test_light_and_dark(browser: Any, page_path: Path):
    page = Opened(browser, page_path, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.do(background)
    assert page.text("#theme") == "◐ Light"
    figure = page.do("esmkitExplorer.part('map').background_fill_color")
    page.tab.click("#theme")
    light = page.do(background)
    assert light != dark
    assert sum(map(int, light[4:-1].split(","))) > 600 > 150 > sum(map(int, dark[4:-1].split(",")))
    assert page.do("esmkitExplorer.part('map').background_fill_color") != figure
    page.close()
    assert not page.problems


def test_hostile_names_are_text(browser: Any, tiny: Esm2, tmp_path: Path):
    from test_explorer import HOSTILE

    protein = Protein("<img/src=x/onerror=window.harm=1>", random_sequence(20, 1), HOSTILE)
    path = esmkit.explore(tiny, protein).save(tmp_path / "hostile.html")
    page = Opened(browser, path)
    assert page.do("window.harm") is None
    assert page.text("#title") == "<img/src=x/onerror=window.harm=1>"
    shown = page.text("#header")
    assert "evil</script><script>alert(1)</script>" in shown
    assert "[U+202E]gnp.exe[U+202C]" in shown
    assert page.do("document.querySelectorAll('main img').length") == 0
    assert page.tab.title().startswith("<img/src=x/onerror=window.harm=1> · ")
    with page.tab.expect_download() as waiting:
        page.tab.click("#download")
    assert waiting.value.suggested_filename == "_img_src_x_onerror_window.harm_1_.L0H0.csv".replace(
        "L0H0", page.state("head")
    )
    page.close()
    assert not page.problems


def test_without_structure_profile_and_contact_head(
    browser: Any, tiny: Esm2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiny, "has_contact_head", False)
    for sequence in ("M", "MK", random_sequence(30, 2)):
        path = esmkit.explore(tiny, sequence).save(tmp_path / f"{len(sequence)}.html")
        page = Opened(browser, path)
        assert "no contact head" in page.text("#contacts-text")
        assert not page.tab.is_visible("#truth-label")
        assert len(page.hover("map", 1, 1)) >= 4
        page.close()
        assert not page.problems


@pytest.fixture(scope="module")
def shape_8m(tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    """Random weights in the shape of ESM-2 8M."""
    folder = make_checkpoint(tmp_path_factory.mktemp("8m") / "shape-8m", (6, 20, 320))
    return load(folder, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("residues", [300, 1_000])
def test_long_chains_open_in_seconds(browser: Any, shape_8m: Esm2, tmp_path: Path, residues: int):
    protein = random_sequence(residues, 3)
    path = esmkit.explore(shape_8m, protein).save(tmp_path / "long.html")
    begin = time.perf_counter()
    page = Opened(browser, path)
    opened = time.perf_counter() - begin
    heap = page.metric("JSHeapUsedSize")
    print(f"{residues}: {path.stat().st_size / 1e6:.1f} MB, {opened:.1f} s, {heap / 1e6:.0f} MB")
    assert opened < 20  # 1.4 s on two idle cores
    assert heap < 200e6
    maps = shape_8m.attention(protein, heads=["L3H7"])
    page.do("esmkitExplorer.set({head: 'L3H7'})")
    some = np.random.default_rng(0).integers(0, residues, (50, 2)).tolist()
    shown = page.do(
        "pairs => pairs.map(([i, j]) => "
        "esmkitExplorer.mapOf('L3H7').weights[i * esmkitExplorer.residues + j])",
        some,
    )
    expected = [maps["L3H7"][i, j] for i, j in some]
    np.testing.assert_allclose(shown, expected, atol=TOLERANCE, rtol=0)
    # from afar several residues share a pixel, and the largest of them shows
    image = "(() => { const s = esmkitExplorer.part('map-image').data; return [s.dw[0], s.image[0].shape[0]]; })()"
    width, pixels = page.do(image)
    assert width / pixels == -(-residues // 560)
    page.do("esmkitExplorer.zoom(esmkitExplorer.part('map'), 0.1, 100, 100)")
    width, pixels = page.do(image)
    assert (width, pixels) == (residues, residues)
    page.close()
    assert not page.problems


def test_windows_leave_gaps(browser: Any, tiny: Esm2, tmp_path: Path):
    protein = random_sequence(1_600, 5)
    path = esmkit.explore(tiny, protein, heads=["L0H1", "L1H2"]).save(tmp_path / "windows.html")
    page = Opened(browser, path)
    page.do("esmkitExplorer.set({head: 'L1H2'})")
    maps = tiny.attention(protein, heads=["L1H2"])["L1H2"]
    pairs = [[0, 5], [700, 600], [1_599, 1_000], [0, 1_599], [1_500, 30], [800, 1_300]]
    shown = page.do(
        "pairs => pairs.map(([i, j]) => esmkitExplorer.mapOf('L1H2').weights[i * 1600 + j])",
        pairs,
    )
    shown = np.array([np.nan if value is None else value for value in shown], float)
    np.testing.assert_allclose(shown, [maps[i, j] for i, j in pairs], atol=TOLERANCE, rtol=0)
    assert np.isnan(shown).sum() == 2
    page.close()
    assert not page.problems


def test_in_a_notebook_frame(browser: Any, tiny: Esm2, tmp_path: Path):
    """As Jupyter shows it: an iframe with the page as text, in a sandbox."""
    shown = esmkit.explore(tiny, random_sequence(20, 1))._repr_html_()
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{shown}", encoding="utf-8")
    window = browser.new_context()
    window.set_offline(True)
    tab = window.new_page()
    problems: list[str] = []
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator("html[data-ready=true]").wait_for()
    assert frame.locator("#title").inner_text() == "sequence_1"
    frame.locator("[data-head=L1H3]").click()
    assert frame.locator("#map-title").inner_text() == "L1H3"
    window.close()
    assert not problems
