"""The live page in a real browser without a network: the model in it, and what a reader does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esmkit
from esmkit.data import demo_structure
from esmkit.esm2 import Esm2, load
from esmkit.explorer.facts import HeadMap, facts, thumbnail
from esmkit.explorer.structure import truth_of
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import Protein
from esmkit.sequences.remarks import REMARKS, remarks_on
from esmkit.sequences.tokens import encode
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.explorer_pages import UNNAMED, Opened, chromium

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")
pytestmark = pytest.mark.browser

TOLERANCE = 1e-3
"""Of hidden states, weights and scores: what 16 bits of tiny random weights change is half of it."""

SETTLED = "!esmkitExplorer.state.busy && esmkitExplorer.states.settled"

SUBMITTED = """(() => {
  window.submitted = false;
  const form = document.getElementById("sequence-form");
  form.addEventListener("submit", () => (window.submitted = true), { once: true });
})()"""

BEGIN = """(async () => {
  const s = esmkitExplorer.states;
  s.history.splice(1);
  s.target = 0;
  s.pinned = null;
  esmkitExplorer.state.compare = "before";
  await s.show(0, { head: "L0H0", query: 3, key: 60, apc: false, threshold: 0 });
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page_path(tiny_lm: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    structure = demo_structure()
    page = esmkit.explore(tiny_lm, structure.protein, structure=structure, live=True)
    return page.save(tmp_path_factory.mktemp("live") / "ubiquitin.html")


@pytest.fixture(scope="module")
def opened(browser: Any, page_path: Path) -> Iterator[Opened]:
    page = Opened(browser, page_path)
    yield page
    page.close()
    assert not page.problems


@pytest.fixture
def page(opened: Opened) -> Opened:
    """The one page, as it began."""
    opened.do(BEGIN)
    opened.tab.wait_for_function(SETTLED)
    return opened


def settle(page: Opened) -> None:
    page.tab.wait_for_timeout(60)
    page.tab.wait_for_function(SETTLED, timeout=60_000)


def array(page: Opened, script: str) -> np.ndarray:
    return np.array(page.do(f"Array.from({script})"))


class Expected:
    """What the reference computes in float64, with the exact weights."""

    def __init__(self, model: Esm2, sequence: str) -> None:
        tensors = {name: t.double().numpy() for name, t in model.network.state_dict().items()}
        parameters = reference.read_parameters(tensors, model.heads)
        ids = encode(sequence)[None]
        found = reference.encode(parameters, ids, attentions=True)
        assert found.attentions is not None
        self.hidden = [state[0] for state in found.hidden_states]
        self.maps = [of_layer[0] for of_layer in found.attentions]
        self.contacts = reference.contact_probabilities(parameters, found.attentions, ids)[0]


def assert_is(page: Opened, model: Esm2, sequence: str) -> None:
    """Compare all that the page has of a sequence with the reference."""
    assert page.do("esmkitExplorer.sequence") == sequence
    expected = Expected(model, sequence)
    size = len(sequence)
    for n, state in enumerate(expected.hidden):
        found = array(page, f"esmkitExplorer.run.hidden[{n}]").reshape(state.shape)
        # the stream between layers holds numbers of 10 and more: a thousandth of the largest
        between = n < len(expected.hidden) - 1
        atol = TOLERANCE * (max(1.0, float(np.abs(state).max())) if between else 1.0)
        np.testing.assert_allclose(found, state, atol=atol, rtol=0)
    for layer, maps in enumerate(expected.maps):
        for head, weights in list(enumerate(maps))[:: max(1, len(maps) // 2)]:  # two of each layer
            name = f"L{layer}H{head}"
            found = array(page, f"esmkitExplorer.mapOf('{name}').weights").reshape(size, size)
            np.testing.assert_allclose(found, weights[1:-1, 1:-1], atol=TOLERANCE, rtol=0)
            bos = array(page, f"esmkitExplorer.mapOf('{name}').bos")
            np.testing.assert_allclose(bos, weights[1:-1, 0], atol=TOLERANCE, rtol=0)
    upper = np.triu_indices(size, 1)
    found = array(page, "esmkitExplorer.run.contacts")
    np.testing.assert_allclose(found, expected.contacts[upper], atol=TOLERANCE, rtol=0)
    shown = page.do(f"[esmkitExplorer.probability(2, {size - 1}), esmkitExplorer.residues]")
    assert shown == [pytest.approx(expected.contacts[2, size - 1], abs=TOLERANCE), size]


def mutate(page: Opened, number: int, letter: str) -> None:
    page.tab.click(f"[data-residue='{number - 1}']")
    page.tab.click(f"[data-letter={letter}]")
    settle(page)


def paste(page: Opened, text: str) -> str:
    """Paste a text, press the button, and return what is said below the field."""
    page.do("document.getElementById('type-sequence').open = true")
    page.tab.fill("#sequence-text", text)
    page.do(SUBMITTED)
    page.tab.click("#sequence-run")
    page.tab.wait_for_function("window.submitted")
    settle(page)
    return page.text("#sequence-note")


UBIQUITIN = demo_structure().sequence


def test_it_runs_the_protein_a_mutant_and_a_pasted_sequence(page: Opened, tiny_lm: Esm2):
    assert page.do("[esmkitExplorer.live.kind, esmkitExplorer.live.place]") == ["wasm", "worker"]
    assert_is(page, tiny_lm, UBIQUITIN)
    mutate(page, 7, "A")
    mutant = UBIQUITIN[:6] + "A" + UBIQUITIN[7:]
    assert_is(page, tiny_lm, mutant)
    assert page.do("location.hash").endswith("mutations=T7A")
    assert page.text("#title") == "1ubi_A, T7A"
    assert re.fullmatch(
        r"T7A: computed in [\d.]+ s; \d+ contacts? gained, \d+ lost\.", page.text("#live-status")
    )
    other = random_sequence(41, 8)
    paste(page, f">mine of my own\n{other[:20].lower()}\n 21 {other[20:]}*\n")
    assert_is(page, tiny_lm, other)
    assert page.text("#title") == "mine of my own"
    assert "is not the structure of this sequence" in page.text("#live-structure")
    bounds = page.do("['map', 'contacts', 'arcs'].map(n => esmkitExplorer.part(n).x_range.end)")
    assert bounds == [41.5, 41.5, 42]
    image = page.do("esmkitExplorer.part('map-image').data.dw[0]")
    assert image == 41
    page.tab.click("#undo")
    settle(page)
    assert_is(page, tiny_lm, mutant)
    page.tab.click("#restart")
    settle(page)
    assert_is(page, tiny_lm, UBIQUITIN)


def test_a_slow_press_of_the_button_counts(page: Opened):
    """What is said of a text while the button is held down must not move the button away."""
    page.do("document.getElementById('type-sequence').open = true")
    button = page.tab.locator("#sequence-run")
    for text in ("", "MK", "MKTAYI " * 60, "MKT1J!", ">name\nMKTAYIAKQR"):
        button.scroll_into_view_if_needed()
        page.tab.fill("#sequence-text", text)
        page.tab.hover("#sequence-run")
        box = button.bounding_box()
        page.do(SUBMITTED)
        page.tab.mouse.down()
        said = "document.getElementById('sequence-note').textContent"
        page.tab.wait_for_function(f"{said} !== ''" if text else f"{said} === ''")
        page.tab.wait_for_timeout(200)  # the words come 150 ms after the text
        assert button.bounding_box() == box
        page.tab.mouse.up()
        page.tab.wait_for_function("window.submitted", timeout=5_000)
        settle(page)


def test_facts_are_those_of_a_page_made_in_python(page: Opened, tiny_lm: Esm2):
    structure = demo_structure()
    truth = truth_of(structure.protein, structure)
    side = page.do("esmkitExplorer.gridOf.side")
    pictures = array(page, "esmkitExplorer.states.pictures").reshape(-1, side, side)
    for place, head in enumerate(page.do("esmkitExplorer.data.heads")):
        name = head["name"]
        of = {
            part: array(page, f"esmkitExplorer.mapOf('{name}').{part}").astype(np.float32)
            for part in ("weights", "bos", "eos")
        }
        found = HeadMap(of["weights"].reshape(76, 76), of["bos"], of["eos"])
        for key, value in facts(found, truth).items():
            # sums in another order
            assert head[key] == pytest.approx(value, rel=1e-5, abs=1e-9), (name, key)
        picture, _ = thumbnail(found.weights)
        assert np.abs(pictures[place] - picture.astype(int)).max() <= 1  # halves round up
    scores = tiny_lm.contacts(structure.protein).score(structure)
    for row in page.do("esmkitExplorer.store.scores()"):
        for name in ("pairs", "contacts", "background", "P@L", "P@L/2", "P@L/5", "ceiling P@L"):
            # one pair more or less: 16 bits may change the order of two of them
            assert row[name] == pytest.approx(scores.loc[row["range"], name], abs=1.01 / 15), name


def test_what_changed_is_a_difference(page: Opened, tiny_lm: Esm2):
    mutate(page, 45, "W")
    mutant = UBIQUITIN[:44] + "W" + UBIQUITIN[45:]
    before, now = (Expected(tiny_lm, sequence) for sequence in (UBIQUITIN, mutant))
    page.tab.click("[data-head=L1H2]")
    difference = (now.maps[1][2] - before.maps[1][2])[1:-1, 1:-1]
    i, j = np.unravel_index(difference.argmax(), difference.shape)
    text = page.text("#compare-map-text")
    assert f"({mutant[i]}{i + 1} looks at {mutant[j]}{j + 1})" in text
    assert f"Largest increase +{difference.max():.2g}" in text
    moved = np.abs(now.maps[1][2] - before.maps[1][2])[1:-1].sum(1).mean() / 2
    found = page.do("esmkitExplorer.states.moved.get('L1H2')")
    assert found == pytest.approx(moved, abs=TOLERANCE)
    shares = page.do("[...esmkitExplorer.states.moved.values()]")
    rows = page.do(
        "[...document.querySelectorAll('#compare-heads tr td:first-child')].map(c => c.innerText)"
    )
    order = np.argsort(-np.array(shares))[: len(rows)]
    assert rows == [f"L{n // 4}H{n % 4}" for n in order]
    far = np.triu_indices(76, 6)
    was, is_ = before.contacts[far], now.contacts[far]
    change = page.do("esmkitExplorer.contactChange()")
    assert change["gained"] == int(((was < 0.5) & (is_ >= 0.5)).sum())
    assert change["lost"] == int(((was >= 0.5) & (is_ < 0.5)).sum())
    top = change["pairs"][0]
    assert abs(top["is"] - top["was"]) == pytest.approx(np.abs(is_ - was).max(), abs=TOLERANCE)
    # the pixel of the largest increase is orange, that of the largest decrease blue
    pixel = """([i, j]) => [...document.querySelector('#panel-map-difference canvas')
        .getContext('2d').getImageData(j, i, 1, 1).data]"""
    red, _, blue, _ = page.do(pixel, [int(i), int(j)])
    assert red > blue
    i, j = np.unravel_index(difference.argmin(), difference.shape)
    red, _, blue, _ = page.do(pixel, [int(i), int(j)])
    assert red < blue
    page.do("esmkitExplorer.set({ query: 44, key: 3 })")
    assert "weight before" in page.text("#pair")


def test_sequences_of_other_lengths_lie_on_each_other_with_one_gap(page: Opened, tiny_lm: Esm2):
    longer = UBIQUITIN[:30] + "GSG" + UBIQUITIN[30:]
    longer = longer[:5] + "W" + longer[6:]
    paste(page, longer)
    assert_is(page, tiny_lm, longer)
    assert "3 residues inserted after I30, 1 changed" in page.text("#compare-text")
    places = page.do(
        "[...esmkitExplorer.alignSequences(esmkitExplorer.before.sequence, esmkitExplorer.sequence)]"
    )
    assert places == [*range(30), -1, -1, -1, *range(30, 76)]
    structure = demo_structure()
    expected = structure.distances[10, 60]
    assert page.do("esmkitExplorer.distance(10, 63)") == pytest.approx(expected, abs=1e-3)
    assert page.do("Number.isNaN(esmkitExplorer.distance(10, 31))")
    assert page.text("#compare-scores") == ""
    found = page.do("esmkitExplorer.alignSequences('MKTVRQ', 'MKRQ').join()")
    assert found == "0,1,4,5"


def test_a_head_that_is_off(page: Opened, tiny_lm: Esm2):
    page.tab.click("[data-head=L0H2]")
    page.tab.click("#switch-head")
    settle(page)
    trace = tiny_lm.trace(UBIQUITIN, keep="L1.residual", edit={"L0H2.output": "zero"})
    found = array(page, "esmkitExplorer.run.hidden[2]").reshape(78, -1)[1:-1]
    intact = Expected(tiny_lm, UBIQUITIN).hidden[2][1:-1]
    parameters = {n: t.double().numpy() for n, t in tiny_lm.network.state_dict().items()}
    norm = reference.read_parameters(parameters, tiny_lm.heads).final_norm
    expected = reference.layer_norm(np.asarray(trace["L1.residual"], float), norm)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert np.abs(found - intact).max() > 0.1
    assert page.do("location.hash").endswith("off=L0H2")
    assert "the contact head still reads it" in page.text("#off-text")
    off = page.tab.locator("[data-head=L0H2]")
    assert "off" in (off.get_attribute("class") or "")
    assert (off.get_attribute("aria-label") or "").endswith(", off")
    assert page.text("#compare-text").startswith("A is 1ubi_A; B, on show, is 1ubi_A; L0H2 off.")
    assert "P@L" in page.text("#compare-scores")
    with_map = array(page, "esmkitExplorer.run.contacts")
    page.tab.select_option("#off-means", "both")
    settle(page)
    assert np.abs(array(page, "esmkitExplorer.run.contacts") - with_map).max() > 0.01
    assert "without=both&off=L0H2" in page.do("location.hash")
    page.tab.focus("[data-head=L0H2]")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("o")
    settle(page)
    assert page.state("off") == "L0H2,L0H3"
    page.tab.click("#all-on")
    settle(page)
    assert page.state("off") == ""
    assert page.tab.is_hidden("#off-text")


def test_the_last_layer_changes_no_map_and_says_so(page: Opened):
    page.tab.click("[data-head=L1H1]")
    page.tab.click("#switch-head")
    settle(page)
    assert "All that are off are in layer 1, the last" in page.text("#off-text")
    assert page.text("#compare-map-text") == "The same in both."
    assert page.text("#compare-heads").startswith("No head has moved")


def test_undo_redo_and_the_history(page: Opened):
    mutate(page, 7, "A")
    mutate(page, 8, "W")
    page.tab.keyboard.press("Control+z")
    settle(page)
    assert page.state("mutations") == "T7A"
    page.tab.keyboard.press("Control+Shift+z")
    settle(page)
    assert page.state("mutations") == "T7A,L8W"
    page.do("document.getElementById('history-box').open = true")
    assert page.text("#history").split("\n") == ["start: 1ubi_A", "T7A", "L8W"]
    page.tab.click("#history li:first-child button")
    settle(page)
    assert page.state("mutations") is None
    assert page.tab.is_disabled("#undo")
    assert page.tab.is_hidden("#compare-body")
    mutate(page, 9, "A")  # what lay ahead is dropped
    assert page.text("#history").split("\n") == ["start: 1ubi_A", "T9A"]


def test_a_state_is_pinned(page: Opened):
    mutate(page, 7, "A")
    page.tab.click("#pin")
    settle(page)
    assert page.text("#compare-text").startswith("What is on show is the state")
    mutate(page, 8, "W")
    mutate(page, 9, "P")
    assert page.text("#compare-text").startswith(
        "A is 1ubi_A, T7A; B, on show, is 1ubi_A, T7A, L8W"
    )
    page.tab.select_option("#compare", "start")
    settle(page)
    assert page.text("#compare-text").startswith("A is 1ubi_A; B")
    page.tab.select_option("#compare", "before")
    settle(page)
    assert page.text("#compare-text").startswith("A is 1ubi_A, T7A, L8W; B")


def test_the_keyboard_alone(page: Opened):
    page.tab.focus("#residues button")
    page.tab.keyboard.press("Home")
    for key in ("ArrowRight", "ArrowRight", "w"):
        page.tab.keyboard.press(key)
    settle(page)
    assert page.state("mutations") == "I3W"
    assert page.do("document.activeElement.dataset.residue") == "2"
    name = page.do("document.activeElement.getAttribute('aria-label')")
    assert name == "tryptophan 3, I at first"
    page.tab.keyboard.press("Enter")
    assert page.text("#letters-title") == "Change W3 to"
    page.tab.focus("[data-letter=D]")
    page.tab.keyboard.press("Enter")
    settle(page)
    assert page.state("mutations") == "I3D"
    page.tab.keyboard.press("Escape")
    assert page.tab.is_hidden("#letters")


REFUSED = {
    "": "The sequence is empty; type or paste residues, such as MKTVRQERLK.",
    "MKT-V": "Residue 4: '-' is a gap, and ESM-2 reads unaligned sequences; remove the gaps.",
    "MKTJ": "Residue 4: 'J' is not an amino acid esmkit knows; use X.",
    "MK*TJJ": "Residue 3: '*' is a stop inside the sequence (and 2 more such letters); use X, or cut",
    "MK\u202eT": "Residue 3: U+202E is not an amino acid esmkit knows (it cannot be seen); remove it.",
    "\u00df": "Residue 1: U+00DF is not an amino acid esmkit knows; use X.",
    "MK:TV": "Residue 3: ':' is not an amino acid esmkit knows (does it join chains?",
    "MK(SEP)T": "Residue 3: '(' is not an amino acid esmkit knows (is it a modified residue",
    ">a\nMK\n>b\nMK": "The text holds 2 FASTA records; give one.",
    ">only a header": "The sequence is empty",
    "ACDEFGHIKL" * 103: "The sequence has 1,030 residues and this page reads at most 1,022; cut it",
    "x" * 1_100_000: "The text has 1,100,000 characters and no protein has nearly as many",
    "<script>alert(1)</script>": "Residue 1: '<' is not an amino acid esmkit knows",
}


def test_what_is_no_sequence_is_refused_with_its_place(page: Opened):
    """One after the other in one page, which takes seconds to open."""
    for text, wanted in REFUSED.items():
        said = paste(page, text)
        assert said.startswith(wanted), text[:12]
        assert page.do("esmkitExplorer.sequence") == UBIQUITIN, text[:12]
        assert page.tab.get_attribute("#sequence-text", "aria-invalid") == "true", text[:12]


REMARKED = {
    "ATGCAGATCTTCGTCAAGACGTTAACCGGTAA": "it is of A, C, G, T, U and N alone, like DNA or RNA",
    "MetLysThrAla": "it is of three-letter codes such as MetLysThr, read as three residues each",
    "MKXXXVBZ": "over a tenth of it is B, O, U, X or Z",
    "ACGTACGT": None,  # a short peptide may be of these alone
    "MKTVXX": None,
    "MKTVRQERLK": None,
}


def test_what_is_odd_is_remarked_on_as_the_reader_does(page: Opened):
    for text, wanted in REMARKED.items():
        found = remarks_on(text)
        assert bool(found) == (wanted is not None), text
        notes = page.do("text => esmkitExplorer.readSequence(text).notes.join('; ')", text)
        if wanted is not None:
            assert wanted in notes, text
            if found != ["rare_letters"]:  # the page takes no J
                said = REMARKS[found[0]].split(", for example")[:1]
                assert all(part in notes for part in said), text
        else:
            assert "check that" not in notes, text
            assert "like DNA" not in notes, text


def test_a_few_residues_are_not_alike_by_chance(page: Opened):
    related = "([a, b]) => esmkitExplorer.related(a, b)"
    assert not page.do(related, [UBIQUITIN, "M"])
    assert not page.do(related, [UBIQUITIN, "MK"])
    assert page.do(related, [UBIQUITIN, UBIQUITIN[:40]])
    assert page.do(related, ["MKT", "MKV"])
    assert page.do(related, ["M", "MK"])


def test_one_section_of_steps_and_every_stop_of_tab_has_a_name(page: Opened):
    assert page.tab.is_hidden("#steps-section")
    links = page.do("[...document.querySelectorAll('.top .actions a')].map(a => a.hash)")
    assert links.count("#live-steps") == 1
    for link in links:
        assert page.tab.is_visible(link) or link == "#compare-section"
    assert page.do(UNNAMED) == []


def test_hostile_headers_are_text(page: Opened):
    header = "<img src=x onerror=alert(1)> </script><b>bold</b> \u202egnp \0 &amp; ${1}"
    elements = "document.querySelectorAll('img, b, script').length"
    before = page.do(elements)
    paste(page, f">{header}\nMKTVRQERLKSIVR\n")
    page.do("document.getElementById('history-box').open = true")
    assert page.do(elements) == before
    for place in ("#title", "#live-status", "#history", "#compare-text"):
        text = page.text(place)
        assert "<img src=x onerror=alert(1)>" in text
        assert "\u202e" not in text


@pytest.mark.parametrize("address", ["", "#", "#compare-section"])
def test_an_address_that_asks_for_nothing_is_passed_over_in_silence(
    browser: Any, page_path: Path, address: str
):
    window = browser.new_context()
    window.set_offline(True)
    try:
        tab = window.new_page()
        tab.goto(page_path.as_uri() + address)
        tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
        tab.wait_for_function("!esmkitExplorer.state.busy")
        tab.wait_for_timeout(200)  # what an address asks in vain is told after the page has begun
        assert tab.inner_text("#live-status").startswith("start: 1ubi_A: computed in")
    finally:
        window.close()


def test_an_address_opens_what_it_holds(browser: Any, page_path: Path, tiny_lm: Esm2):
    page = Opened(browser, page_path)
    try:
        file = page.tab.url.partition("#")[0]

        def go(fragment: str) -> None:
            page.tab.goto("about:blank")
            page.tab.goto(file + fragment)
            page.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
            settle(page)

        go("#head=L1H1&query=7&key=3&mutations=T7A,L8W&off=L0H1,L1H0&without=map")
        assert page.state("mutations") == "T7A,L8W"
        assert page.state("off") == "L0H1,L1H0"
        assert page.state("means") == "map"
        assert [page.state(name) for name in ("head", "query", "key")] == ["L1H1", 6, 2]
        go("#head=L1H1&query=14&sequence=MKTVRQERLKSIVRILERSK")
        assert page.do("esmkitExplorer.sequence") == "MKTVRQERLKSIVRILERSK"
        assert page.state("query") == 13
        go("#mutations=T8A&off=L9H9&sequence=%3Cscript%3E&query=999")
        assert page.do("esmkitExplorer.sequence") == UBIQUITIN
        said = page.text("#live-status")
        assert said.startswith(
            "The address asks for mutations, sequence, off, query that this page does not"
        )
        go("#head=L9H9&off=L0H1&without=nonsense")
        assert page.state("off") == "L0H1"
        assert page.text("#live-status").startswith("The address asks for head, without that")
        assert not page.problems
    finally:
        page.close()


REFUSING = {
    "no WebAssembly": ("delete window.WebAssembly", ["javascript", "worker"]),
    "no workers": ("delete window.Worker", ["wasm", "page"]),
}


@pytest.mark.parametrize("what", REFUSING)
def test_where_a_browser_refuses(browser: Any, page_path: Path, tiny_lm: Esm2, what: str):
    script, expected = REFUSING[what]
    page = Opened.__new__(Opened)
    page.problems = []
    page.window = browser.new_context()
    page.window.set_offline(True)
    try:
        page.tab = page.window.new_page()
        page.tab.on("pageerror", lambda error: page.problems.append(str(error)))
        page.tab.add_init_script(script)
        page.tab.goto(page_path.as_uri())
        page.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
        found = page.do("[esmkitExplorer.live.kind, esmkitExplorer.live.place]")
        if what == "no workers":
            assert found == expected
        else:  # a worker has a WebAssembly of its own: the page cannot take it away
            assert found in (expected, ["wasm", "worker"])
        assert_is(page, tiny_lm, UBIQUITIN)
        assert not page.problems
    finally:
        page.window.close()


def test_weights_without_heads(browser: Any, tmp_path: Path):
    """No contact head and no masked-LM head: what needs them says so, the rest works."""
    model = load(make_checkpoint(tmp_path / "bare", (2, 4, 32)), "cpu")
    model.has_contact_head = False
    path = esmkit.explore(model, UBIQUITIN[:30], live=True).save(tmp_path / "bare.html")
    page = Opened(browser, path)
    try:
        assert "no contact head" in page.text("#contacts-text")
        mutate(page, 7, "A")
        assert page.text("#live-status").startswith("T7A: computed in")
        assert page.tab.is_hidden("#compare-contacts")
        assert page.tab.is_visible("#compare-map")
        assert "no masked-LM head" in page.text("#guess")
        assert not page.problems
    finally:
        page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(page: Opened, width: int):
    page.tab.set_viewport_size({"width": width, "height": 900})
    mutate(page, 7, "A")
    page.tab.wait_for_timeout(200)
    assert page.do("document.documentElement.scrollWidth") <= width
    page.tab.set_viewport_size({"width": 1440, "height": 950})


def test_it_runs_in_the_frame_of_a_notebook(browser: Any, tiny_lm: Esm2, tmp_path: Path):
    shown = esmkit.explore(tiny_lm, Protein("one", UBIQUITIN[:30]), live=True)._repr_html_()
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{shown}</body>")
    window = browser.new_context()
    window.set_offline(True)
    try:
        tab = window.new_page()
        tab.goto(path.as_uri())
        frame = tab.frame_locator("iframe")
        frame.locator("html[data-ready=true]").wait_for(timeout=60_000)
        frame.locator("[data-residue='6']").click()
        frame.locator("[data-letter=A]").click()
        frame.get_by_text(re.compile("T7A: computed in")).first.wait_for(timeout=20_000)
    finally:
        window.close()


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
def test_the_real_model_within_its_time_and_size(browser: Any, real: Esm2, tmp_path: Path):
    structure = demo_structure()
    path = esmkit.explore(real, structure.protein, structure=structure, live=True).save(
        tmp_path / "real.html"
    )
    assert path.stat().st_size < 25e6
    page = Opened(browser, path)
    try:
        assert_is(page, real, UBIQUITIN)
        mutate(page, 7, "A")
        assert_is(page, real, UBIQUITIN[:6] + "A" + UBIQUITIN[7:])
        other = random_sequence(120, 4)
        paste(page, other)
        assert_is(page, real, other)
        assert page.metric("JSHeapUsedSize") < 200e6
        footer = page.text("#provenance")
        assert "runs in this page from weights of 16 bits, by WebAssembly, in a thread" in footer
        assert not page.problems
    finally:
        page.close()
