"""The atlas in a real browser: search, sort, filter, address, keyboard, and no network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import esmkit
from esmkit.esm2 import Esm2
from esmkit.explorer.atlas.folder import add_atlas
from esmkit.heads.circuits import circuits
from oracles.atlas_pages import HOSTILE, ablation_of, chains, profile_of, write_folder
from oracles.explorer_pages import Opened, chromium

pytestmark = pytest.mark.browser

NAMES = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folders(tiny: Esm2, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders; the second model's L0H0 is another, and its numbers are larger."""
    place = tmp_path_factory.mktemp("heads")
    one = write_folder(place / "one", profile_of(tiny), repeats=True)
    other = profile_of(tiny, labels={"L0H0": "positional"})
    effects = other.effects.assign(difference=2 * other.effects["difference"])
    two = write_folder(
        place / "two", type(other)(effects, other.heads, other.provenance, other.left_out)
    )
    add_atlas(one, lambda: tiny, chains)
    return one, two


@pytest.fixture(scope="module")
def opened(browser: Any, folders: tuple[Path, Path]) -> Iterator[Opened]:
    opened = Opened(browser, folders[0] / "atlas.html")
    yield opened
    opened.close()


@pytest.fixture
def page(opened: Opened) -> Iterator[Opened]:
    """The page as it begins; after each test nothing has gone wrong and no script of a name has run."""
    go(opened, "")
    yield opened
    assert opened.problems == []
    assert opened.tab.title().endswith("atlas of attention heads · esmkit")
    assert opened.do("document.images.length") == 0


def go(page: Opened, fragment: str) -> dict[str, Any]:
    file = page.tab.url.partition("#")[0]
    page.tab.goto("about:blank")
    page.tab.goto(file + fragment)
    page.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
    return json.loads(page.do("JSON.stringify(esmkitExplorer.state)"))


def names(page: Opened) -> list[str]:
    return page.do("[...document.querySelectorAll('#heads tbody tr')].map(row => row.dataset.name)")


def column(page: Opened, place: int) -> list[str]:
    return page.do(
        "n => [...document.querySelectorAll('#heads tbody tr')].map(row => "
        "row.children[n].firstChild.textContent.trim())",
        place,
    )


def table(page: Opened, heading: str) -> list[list[str]]:
    """The table of the card under a heading, cell by cell."""
    return page.do(
        "title => { const h = [...document.querySelectorAll('#cards h4')].find(h => "
        "h.textContent.startsWith(title)); return [...h.parentElement.querySelectorAll('tbody tr')]"
        ".map(row => [...row.children].map(cell => cell.innerText.trim())); }",
        heading,
    )


def test_the_first_sentence_says_what_one_sees(page: Opened):
    about = page.text("#about")
    assert about.startswith("This page shows what each of the 8 attention heads of a protein")
    assert "measured on 4 protein chains" in about
    assert page.text("#card-title") == "Open head: L1H2, long-range contact"
    assert names(page)[0] == "L1H2"
    assert page.text("#count") == "8 of 8 heads."


def test_search_filters_by_name_label_and_reason(page: Opened):
    for words, found in (
        ("l1h2", ["L1H2"]),
        ("insufficient", ["L1H3"]),
        ("bos SINK", ["L0H0"]),
        ("onerror", ["L0H0"]),  # in its reason
        ("no such thing", [None]),
    ):
        page.tab.fill("#find", words)
        assert names(page) == found, words
        assert page.text("#count").startswith(f"{len([n for n in found if n])} of 8 heads")
    assert "No head is left" in page.text("#heads tbody")
    assert page.do("document.querySelectorAll('#grid .faint').length") == 8
    page.tab.click("#clear")
    assert len(names(page)) == 8
    assert page.do("document.querySelectorAll('#grid .faint').length") == 0


def test_labels_filter_alone_and_as_families(page: Opened):
    page.tab.select_option("#label", "label:offset -1")
    assert names(page) == ["L0H1"]
    page.tab.select_option("#label", "family:none")
    assert sorted(names(page)) == ["L0H2", "L0H3", "L1H0", "L1H1", "L1H3"]
    page.tab.select_option("#label", "family:pair")
    assert names(page) == ["L1H2"]


def test_numbers_sort_and_limit_as_in_the_table(page: Opened):
    page.tab.select_option("#number", "mean:precision_change")
    change: Any = ablation_of().query("mode == 'mean'").set_index("name")["precision_change"]
    order = change.sort_values(ascending=False, kind="stable")
    assert names(page) == list(order.index)
    shown = [float(text.replace("\u2212", "-")) for text in column(page, 2)]
    np.testing.assert_allclose(shown, 100 * order, rtol=5e-3)
    sort = page.tab.locator("#heads [data-sort=number]")
    assert page.do("document.querySelector('#heads [aria-sort=descending]').innerText")
    sort.click()
    assert names(page) == list(change.sort_values(kind="stable").index)
    assert page.do("document.activeElement.dataset.sort") == "number"
    page.tab.fill("#most", "-1")
    assert names(page) == ["L1H2"]
    page.tab.fill("#most", "")
    page.tab.fill("#least", "0.15")
    assert set(names(page)) == {"L0H2", "L0H3", "L1H3"}
    assert "false discovery rate over 8 heads; 20 chains" in page.text("#number-note")
    assert "points" in page.text("#number-note")
    # what is not known is last in both directions, and no limit lets it pass
    page.tab.click("#clear")
    page.tab.select_option("#number", "copying")
    known = [name for name in NAMES if name != "L0H2"]
    assert names(page) == [*known[::-1], "L0H2"]
    page.tab.click("#heads [data-sort=number]")
    assert names(page) == [*known, "L0H2"]
    rare = page.do("[...document.getElementById('number').options].map(o => o.value)")
    rare = next(value for value in rare if HOSTILE[:9] in value)
    page.tab.select_option("#number", rare)
    assert column(page, 2) == ["insufficient"] * 8
    assert "of 8 the number is not known" in page.text("#count")
    page.tab.fill("#least", "-1000")
    assert names(page) == [None]


def test_the_card_says_what_the_tables_say(page: Opened, folders: tuple[Path, Path]):
    effects = pandas.read_csv(folders[0] / "effects.csv").query("name == 'L1H2'")
    effects = effects.set_index("property")
    rows = {row[0]: row for row in table(page, "What it looks at")}
    share, background, low = (
        100 * effects.loc["disulfide"][c] for c in ("share", "background", "low")
    )
    assert rows["disulfide"][1] == f"{share:.2g} ({background:.2g})"
    assert f"[+{low:.2g}, " in rows["disulfide"][2]
    assert rows["disulfide"][5] == "Slightly more than expected" or rows["disulfide"][5]
    assert rows["long-range contact"][5] == "A preference, not a detector"
    page.tab.check("#all")
    every = table(page, "What it looks at")
    assert len(every) == effects.index.nunique()
    assert every[-1] == [HOSTILE, "insufficient: in 3 chains, at least 10 are needed"]
    removal = {row[0]: row for row in table(page, "Effects of its removal")}
    assert removal["long-range P@L, head gone"][1:] == [
        "\u22121 [\u22121.5, \u22120.5]\nq = 0.01",
        "\u22122 [\u22122.5, \u22121.5]\nq = 0.01",
        "points",
    ]
    assert removal["long-range P@L, regression fitted anew"][2] == "the same"
    assert "masked lm loss" in removal
    others = {row[0]: row for row in table(page, "Repeats, disulfides")}
    assert others["weight on the other copy of a repeat"][1] == "0.6 [0.58, 0.62]"
    page.tab.click("[data-head=L1H3]")
    assert "insufficient" in page.text("#card-title")


def test_links_and_matrices_are_those_of_the_page(page: Opened, tiny: Esm2):
    for chain in chains()[:4]:
        place = page.do(
            "text => esmkitExplorer.models[0].examples.findIndex(e => e.sequence === text)",
            chain.sequence,
        )
        page.tab.select_option("#chain", str(place))
        page.tab.select_option("#apart", "far")
        links = page.do(f"esmkitExplorer.linksOf(esmkitExplorer.models[0], 'L1H2', {place}, true)")
        maps = tiny.attention(chain.protein, heads="L1H2")["L1H2"]
        contacts, resolved = chain.contacts(), chain.resolved
        for link in links:
            i, j = link["query"], link["key"]
            assert link["weight"] == pytest.approx(maps[i, j], abs=2e-5)
            known = resolved[i] and resolved[j]
            expected = ("contact" if contacts[i, j] else "other") if known else "unknown"
            assert link["kind"] == expected
        count = sum(link["kind"] == "contact" for link in links)
        said = page.text("#cards")
        assert f"Of the {len(links)} strongest links of L1H2 six or more apart in" in said
        counted = "1 is a contact" if count == 1 else f"{count or 'none'} are contacts"
        assert f"{counted} of the structure" in said
        drawn = page.do("document.querySelectorAll('#cards .plot path.contact').length")
        assert drawn == count
    found: Any = circuits(tiny, permutations=1, controls=1)
    shown = page.do("Array.from(esmkitExplorer.matrixOf(esmkitExplorer.models[0], 'L1H2'))")
    exact = found.ov[1, 2]
    bound = np.abs(exact).max() / 254 * 1.01
    np.testing.assert_allclose(np.reshape(shown, (20, 20)), exact, atol=bound, rtol=0)
    page.tab.select_option("#offset", "-3")
    text = page.text("#cards")
    assert "\u22123 residues away" in text
    qk = found.matrix("L1H2", -3)
    qk = qk.sub(qk.mean(axis=1), axis=0).stack()
    assert f"{qk.idxmax()[0]}\u2192{qk.idxmax()[1]} +{qk.max():.2g}" in text


def test_the_keyboard_reaches_everything(page: Opened):
    page.tab.focus("#find")
    page.tab.keyboard.type("mixed")
    order = names(page)
    assert page.do("document.querySelectorAll('#heads tbody [tabindex=\"0\"]').length") == 1
    page.tab.locator("#heads tbody [tabindex='0']").focus()
    page.tab.keyboard.press("Enter")
    assert page.state("head") == order[0]
    for key, head in (("ArrowDown", order[1]), ("End", order[-1]), ("ArrowUp", order[-2])):
        page.tab.keyboard.press(key)
        assert page.state("head") == head
        assert page.do("document.activeElement.dataset.open") == head
        assert page.text("#card-title").startswith(f"Open head: {head}")
    assert page.do("document.querySelectorAll('#heads [aria-current]').length") == 1
    page.tab.focus("#grid [tabindex='0']")
    page.tab.keyboard.press("Home")
    assert page.state("head") == f"{page.state('head')[:2]}H0"
    # no control without a name, no picture without words, and every table scrolls with the keyboard
    nameless = page.do(
        "[...document.querySelectorAll('button, select, input')].filter(e => !(e.innerText || "
        "e.getAttribute('aria-label') || (e.labels && e.labels.length))).length"
    )
    assert nameless == 0
    assert (
        page.do("document.querySelectorAll('svg:not([aria-label]):not([aria-hidden])').length") == 0
    )
    assert page.do("[...document.querySelectorAll('.plain-table')].every(e => e.tabIndex === 0)")


def test_the_address_holds_the_view(page: Opened):
    assert page.do("location.hash") == "#head=L1H2"
    page.tab.select_option("#number", "entropy")
    page.tab.fill("#find", "mixed offset")
    page.tab.fill("#find", "mixed")
    page.tab.fill("#least", "0.25")
    page.tab.check("#all")
    page.tab.select_option("#apart", "any")
    page.tab.click("[data-head=L0H3]")
    shared = page.do("location.hash")
    asked = dict(part.split("=") for part in shared[1:].split("&"))
    assert asked == {
        **{"head": "L0H3", "find": "mixed", "number": "entropy", "from": "0.25"},
        **{"all": "yes", "links": "any"},
    }
    before = json.loads(page.do("JSON.stringify(esmkitExplorer.state)"))
    assert go(page, shared) == before
    assert page.tab.input_value("#find") == "mixed"
    assert page.tab.input_value("#least") == "0.25"
    assert go(page, "#L0H1")["head"] == "L0H1"
    start = go(page, "#")
    for fragment in (
        "#head=L9H9&number=none&label=x&sort=x&order=x&chain=9&offset=99&from=a&all=maybe",
        f"#{HOSTILE}",
        "#head=%E0%A4%A",
    ):
        assert go(page, fragment) == start, fragment
    page.do("location.hash = '#L1H0'")
    page.tab.wait_for_function("esmkitExplorer.state.head === 'L1H0'")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser, folders, width: int, scheme: str):
    opened = Opened(browser, folders[0] / "atlas.html", color_scheme=scheme)
    opened.tab.set_viewport_size({"width": width, "height": 800})
    opened.tab.wait_for_timeout(150)
    assert opened.do("document.documentElement.scrollWidth") <= width
    ink, paper = (
        sum(int(v) for v in opened.do(f"getComputedStyle(document.body).{of}")[4:-1].split(","))
        for of in ("color", "backgroundColor")
    )
    assert (ink > paper) == (scheme == "dark")
    opened.tab.click("#theme")
    assert opened.do("getComputedStyle(document.body).color") != ""
    wide = opened.do(
        "[...document.querySelectorAll('#cards svg')].filter(e => e.getBoundingClientRect().right > "
        "innerWidth && !e.closest('.plain-table')).length"
    )
    assert wide == 0
    assert opened.problems == []
    opened.close()


def test_two_models_stand_beside_each_other(browser, folders, tmp_path: Path):
    one, two = folders
    path = esmkit.atlas(two, compare=one).save(tmp_path / "both.html")
    page = Opened(browser, path)
    assert page.do("document.querySelectorAll('#cards article').length") == 2
    page.tab.select_option("#number", "property:long-range contact")
    page.tab.click("#heads [data-sort=difference]")
    table = [pandas.read_csv(folder / "effects.csv") for folder in (two, one)]
    rows = [t[t["property"] == "long-range contact"].set_index("name")["difference"] for t in table]
    apart: Any = 100 * (rows[1] - rows[0])
    expected = apart.sort_values(ascending=False, kind="stable")
    assert names(page) == list(expected.index)
    shown = [float(text.replace("\u2212", "-")) for text in column(page, 5)]
    np.testing.assert_allclose(shown, expected, rtol=5e-3)
    page.tab.check("#differ")
    assert set(names(page)) == {"L0H0", "L0H1", "L1H3"}
    page.tab.click("[data-head=L0H0]")
    assert page.text("#card-title") == "Open head: L0H0, positional, beside BOS sink"
    csv = page.do("esmkitExplorer.csv()").splitlines()
    assert csv[0].startswith("name,label,property:long-range contact,")
    assert len(csv) == 4
    assert page.problems == []
    page.close()
