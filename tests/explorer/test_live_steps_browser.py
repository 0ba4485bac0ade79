"""Step by step and the guesses of a live page in a real browser: with keys, a pointer, on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import esmkit
from esmkit.esm2 import Esm2
from esmkit.reference import encoder as reference
from esmkit.reference.masked_lm import masked_lm_steps, read_masked_lm_head
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import TOKENS, encode
from oracles.explorer_pages import Opened, chromium

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")
pytestmark = pytest.mark.browser

SEQUENCE = "MKTAYIWQRDEVLGHSNPFC" * 2
ORDER = "AVILMCFYWGPSTNQHKRDE"

TOLERANCE = 1e-3
"""Of the largest number of a vector: weights are held in 16 bits; see test_live_steps.py."""

SHOWN = "#live-steps[data-shown='{}']"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page_path(tiny_lm: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = esmkit.explore(tiny_lm, Protein("made", SEQUENCE), live=True)
    return page.save(tmp_path_factory.mktemp("live-steps") / "made.html")


@pytest.fixture(scope="module")
def opened(browser: Any, page_path: Path) -> Iterator[Opened]:
    page = Opened(browser, page_path)
    yield page
    page.close()


@pytest.fixture
def page(opened: Opened) -> Iterator[Opened]:
    """The one page, put back to where each test begins."""
    opened.do("esmkitExplorer.states.show(0)")
    opened.tab.wait_for_function("esmkitExplorer.states.at === 0")
    opened.tab.select_option("#live-layer", "1")
    show(opened, "L0H1", 6, 11)
    yield opened
    assert not opened.problems


def show(page: Opened, head: str, query: int, key: int) -> None:
    page.do("place => esmkitExplorer.set(place)", {"head": head, "query": query, "key": key})
    wait(page, f"{head} {query} {key} ")


def wait(page: Opened, shown: str) -> None:
    page.tab.wait_for_selector(SHOWN.format(shown), timeout=30_000)


def trace(model: Esm2, sequence: str, hidden: tuple[int, ...] = ()) -> tuple[Any, np.ndarray]:
    """Steps of all layers, and logits (T, 33), of the reference in float64."""
    tensors = {name: t.numpy() for name, t in model.network.state_dict().items()}
    ids = encode(sequence)[None].copy()
    for residue in hidden:
        ids[0, residue + 1] = reference.MASK
    parameters = reference.read_parameters(tensors, model.heads)
    found = reference.encode(parameters, ids, trace=True)
    assert model.lm_head is not None
    parts = {n: t.detach().numpy() for n, t in model.lm_head.weights.tensors().items()}
    end = masked_lm_steps(found.hidden_states[-1], read_masked_lm_head(tensors, parts))
    return found, end["logits"][0]


def shares(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the 20 amino acids, (R, 20), in the order of the map."""
    return softmax(logits[1:-1][:, [TOKENS.index(letter) for letter in ORDER]], axis=1)


def number(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def walk_over(page: Opened, name: str, count: int) -> list[float]:
    """Every number of a drawing, as a screen reader is told of it while an arrow key is pressed."""
    drawing = page.tab.locator(f"#live-steps canvas[data-vector='{name}']")
    drawing.focus()
    page.tab.keyboard.press("Home")
    told = []
    for place in range(count):
        assert drawing.get_attribute("aria-valuenow") == str(place + 1)
        told.append(number((drawing.get_attribute("aria-valuetext") or "").rpartition(": ")[2]))
        page.tab.keyboard.press("ArrowRight")
    assert drawing.get_attribute("aria-valuenow") == str(count)  # there is nothing after the last
    return told


def test_every_number_can_be_reached_with_the_keyboard(page: Opened, tiny_lm: Esm2):
    steps = trace(tiny_lm, SEQUENCE)[0].trace[0]
    expected = {
        "L0.attention_input": steps["attention_input"][0, 7],
        "L0H1.rotated_query": steps["rotated_query"][0, 1, 7],
        "L0H1.output": steps["head_output"][0, 1, 7],
        "L0.residual": steps["residual"][0, 7],
    }
    for name, values in expected.items():
        told = walk_over(page, name, len(values))
        np.testing.assert_allclose(told, values, atol=TOLERANCE * np.abs(values).max())


def test_an_equation_is_of_the_number_that_is_picked(page: Opened, tiny_lm: Esm2):
    values = trace(tiny_lm, SEQUENCE)[0].trace[0]["residual"][0, 7]
    drawing = page.tab.locator("#live-steps canvas[data-vector='L0.residual']")
    width = drawing.evaluate("e => e.clientWidth")
    for place in (3, 20):
        where = {"x": width * (place + 0.5) / len(values), "y": 9}
        drawing.hover(position=where)
        tip = page.text("#tip").splitlines()
        assert tip[0].endswith(f"number {place + 1} of {len(values)}")
        assert number(tip[1]) == pytest.approx(values[place], rel=SHOWN_DIGITS, abs=1e-3)
        drawing.click(position=where)
        said = page.do(
            "[...document.querySelectorAll('[data-step=\"L0.residual\"] math')].at(-1).textContent"
        )
        last = number(said.rpartition("=")[2])
        assert last == pytest.approx(values[place], rel=SHOWN_DIGITS, abs=1e-3)
        assert drawing.get_attribute("aria-valuenow") == str(place + 1)


SHOWN_DIGITS = 2e-3
"""Four digits, and 16 bits of the weights."""


def test_keys_lead_from_layer_to_layer_to_the_probabilities(page: Opened, tiny_lm: Esm2):
    found, logits = trace(tiny_lm, SEQUENCE)
    page.tab.focus("#live-next")
    page.tab.keyboard.press("Enter")
    wait(page, "L1H1 6 11 ")
    assert page.state("head") == "L1H1"  # the other views follow
    names = page.do("[...document.querySelectorAll('.live-step')].map(e => e.dataset.step)")
    assert (names[0], names[-1]) == ("L0.residual", "L1.residual")
    assert "L1H1.weights" in names
    assert page.do("document.activeElement.id") == "live-next"
    assert page.text("#live-next") == "Final norm and logits →"
    page.tab.keyboard.press("Enter")
    wait(page, "L1H1 6 11 end")
    names = page.do("[...document.querySelectorAll('.live-step')].map(e => e.dataset.step)")
    assert names == ["final", "lm_hidden", "lm_normed", "logits", "probabilities"]
    told = walk_over(page, "final", 32)
    expected = found.hidden_states[-1][0, 7]
    np.testing.assert_allclose(told, expected, atol=TOLERANCE * np.abs(expected).max())
    drawing = page.tab.locator("canvas[data-vector='probabilities']")
    text = drawing.get_attribute("aria-valuetext") or ""
    told_share = re.match(r"(\w): .* % \((.*)\)", text)
    assert told_share, text
    letter, share = told_share.groups()
    best = shares(logits)[6].argmax()
    assert letter == ORDER[best]
    assert number(share) == pytest.approx(shares(logits)[6].max(), abs=TOLERANCE)
    page.tab.focus("#live-back")
    page.tab.keyboard.press("Enter")
    wait(page, "L1H1 6 11 ")


def test_a_click_on_a_weight_picks_the_key(page: Opened):
    drawing = page.tab.locator("#live-steps canvas[data-vector='L0H1.weights']")
    token = 30
    width = drawing.evaluate("e => e.clientWidth")
    drawing.click(position={"x": width * (token + 0.5) / (len(SEQUENCE) + 2), "y": 9})
    wait(page, f"L0H1 6 {token - 1} ")
    assert page.state("key") == token - 1
    assert SEQUENCE[token - 1] + str(token) in page.text("[data-step='L0H1.weights']")


def test_the_guess_of_a_hidden_residue(page: Opened, tiny_lm: Esm2):
    plain = shares(trace(tiny_lm, SEQUENCE)[1])[6]
    blind = shares(trace(tiny_lm, SEQUENCE, hidden=(6,))[1])[6]
    assert f"At W7 the model gives {ORDER[plain.argmax()]} " in page.text("#guess")
    page.tab.focus("#guess-hide")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector("#guess .guess-site p:nth-of-type(2)")
    words = page.text("#guess .guess-site p:nth-of-type(2)")
    assert words.startswith("Hidden, so that the model has to guess from the other 39 residues: ")
    named = re.findall(r"([A-Z]) ([\d.]+) %", words.partition(". ")[0])
    order = np.argsort(-blind)[:5]
    assert [letter for letter, _ in named] == [ORDER[place] for place in order]
    for (_, percent), place in zip(named, order, strict=True):
        assert float(percent) == pytest.approx(100 * blind[place], rel=0.06, abs=0.01)  # two digits
    rows = page.do(
        "[...document.querySelectorAll('#guess tbody tr')].map(r => [...r.children].map(c => c.innerText))"
    )
    own = next(row for row in rows if "there" in row[0])
    assert own[0].startswith("W")
    for cell, of in zip(own[1:], (plain, blind), strict=True):
        share = number(cell.split()[0])
        assert share == pytest.approx(100 * of[ORDER.index("W")], rel=0.06, abs=0.01)


def test_keys_move_along_the_sites_and_through_the_letters(page: Opened, tiny_lm: Esm2):
    expected = shares(trace(tiny_lm, SEQUENCE)[1])
    page.tab.focus("#guess-map")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_function("esmkitExplorer.state.query === 8")
    site = page.tab.locator("#guess-map")
    assert (site.get_attribute("aria-valuetext") or "").startswith("R9: ")
    page.tab.keyboard.press("ArrowDown")  # from R, which is there, to the next row
    told = site.get_attribute("aria-valuetext") or ""
    letter = ORDER[ORDER.index("R") + 1]
    share = re.match(rf"R9: {letter} ([\d.e\u2212]+) %; likeliest", told)
    assert share, told
    expected_share = 100 * expected[8, ORDER.index(letter)]
    assert number(share[1]) == pytest.approx(expected_share, rel=0.06, abs=0.01)
    page.tab.keyboard.press("End")
    page.tab.wait_for_function("esmkitExplorer.state.query === 39")
    assert (site.get_attribute("aria-valuenow")) == "40"


def test_a_mutation_says_which_sites_moved(page: Opened, tiny_lm: Esm2):
    changed = SEQUENCE[:20] + "W" + SEQUENCE[21:]
    page.do("esmkitExplorer.states.mutate(20, 'W')")
    page.tab.wait_for_selector("#guess .guess-change table tbody tr")
    now, then = (shares(trace(tiny_lm, s)[1]) for s in (changed, SEQUENCE))
    moved = np.abs(now - then).sum(1) / 2
    rows = page.do(
        "[...document.querySelectorAll('.guess-change tbody tr')].map("
        "r => [...r.children].map(c => c.innerText.trim()))"
    )
    assert len(rows) == 10
    for row, site in zip(rows, np.argsort(-moved)[:10], strict=True):
        assert row[:2] == [f"{changed[site]}{site + 1}", f"{SEQUENCE[site]}{site + 1}"]
        assert float(row[2].split()[0]) == pytest.approx(100 * moved[site], rel=0.06)
        assert row[3].split()[0] == ORDER[then[site].argmax()]
        assert row[4].split()[0] == ORDER[now[site].argmax()]
    many = int((moved >= 0.05).sum())
    assert f"At {many} of 40 sites 5 %" in page.text(".guess-change")
    page.do("esmkitExplorer.states.undo()")
    page.tab.wait_for_function("document.querySelector('.guess-change').hidden")


def test_a_head_that_is_off_is_said_to_be_off(page: Opened):
    page.do("esmkitExplorer.states.toggleHead('L0H1')")
    page.tab.wait_for_function(
        "document.querySelector('[data-step=\"L0H1.output\"]').textContent.includes('switched off')"
    )
    assert set(walk_over(page, "L0H1.output", 8)) == {0.0}


def test_on_a_phone_nothing_sticks_out_and_all_drawings_have_words(browser: Any, page_path: Path):
    page = Opened(browser, page_path)
    page.tab.set_viewport_size({"width": 390, "height": 844})
    show(page, "L1H0", 2, 3)
    assert page.do("document.documentElement.scrollWidth") == 390
    drawings = page.do(
        "[...document.querySelectorAll('#live-steps canvas, #guess canvas')].map(e => ["
        "e.getAttribute('role'), e.getAttribute('aria-label'), e.tabIndex, e.ariaHidden])"
    )
    assert len(drawings) > 20
    for role, label, order, hidden in drawings:
        assert hidden == "true" or (
            role in ("slider", "img") and len(label) > 20 and order in (0, -1)
        )
    labels = [label for _, label, _, _ in drawings if label]
    assert any("32 numbers from" in label and "largest number" in label for label in labels)
    fields = page.do(
        "[...document.querySelectorAll('#live-steps input, #live-steps select')].map("
        "e => e.labels.length)"
    )
    assert fields == [1, 1, 1, 1]
    page.close()
    assert not page.problems


def test_drawings_follow_light_and_dark(page: Opened):
    drawing = "document.querySelector(\"canvas[data-vector='L0.residual']\")"
    page.do(f"{drawing}.scrollIntoView()")
    page.tab.wait_for_timeout(200)
    before = page.do(f"{drawing}.toDataURL() + document.getElementById('guess-map').toDataURL()")
    assert len(before) > 1_000
    page.tab.click("#theme")
    after = page.do(f"{drawing}.toDataURL() + document.getElementById('guess-map').toDataURL()")
    assert before != after


def test_a_model_without_a_head_says_so(browser: Any, tiny: Esm2, tmp_path: Path):
    made = esmkit.explore(tiny, Protein("made", SEQUENCE), live=True).save(tmp_path / "page.html")
    page = Opened(browser, made)
    assert "These weights have no masked-LM head" in page.text("#guess")
    page.tab.select_option("#live-layer", "end")
    page.tab.wait_for_selector("[data-step='final']")
    assert page.tab.locator(".live-step").count() == 1
    page.close()
    assert not page.problems
