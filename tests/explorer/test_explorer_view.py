"""What a reader sees first, and the view in the page's address, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esmkit
from esmkit.data import demo_structure
from esmkit.esm2 import Esm2
from oracles.explorer_pages import Opened, chromium

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page_path(tiny: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    structure = demo_structure()
    page = esmkit.explore(tiny, structure.protein, structure=structure)
    page.data["notes"].append("a warning")
    return page.save(tmp_path_factory.mktemp("page") / "ubiquitin.html")


@pytest.fixture(scope="module")
def page(browser: Any, page_path: Path) -> Iterator[Opened]:
    opened = Opened(browser, page_path)
    yield opened
    opened.close()
    assert not opened.problems


def go(page: Opened, fragment: str) -> dict[str, Any]:
    """Open the page anew at a fragment of its address, and return its state."""
    file = page.tab.url.partition("#")[0]
    page.tab.goto("about:blank")
    page.tab.goto(file + fragment)
    page.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
    return json.loads(page.do("JSON.stringify(esmkitExplorer.state)"))


def test_what_the_page_is_stands_before_any_warning(page: Opened):
    go(page, "")
    about = page.text("#about")
    assert about.startswith("This page shows where the attention heads of a protein language model")
    assert "1ubi_A" in about
    assert "76 residues" in about
    top = "document.getElementById('{}').getBoundingClientRect().top"
    assert "a warning" in page.text("#notes")
    assert page.do(top.format("about")) < page.do(top.format("notes"))


@pytest.mark.parametrize("width", [1280, 1440])
def test_map_and_links_stand_side_by_side(page: Opened, width: int):
    page.tab.set_viewport_size({"width": width, "height": 900})
    go(page, "")
    left, right = (
        page.do(
            f"(() => {{ const b = document.querySelector('#map-section > .{side}')"
            ".getBoundingClientRect(); return [b.left, b.top, b.right]; })()"
        )
        for side in ("left", "right")
    )
    assert left[1] == right[1]
    assert left[2] <= right[0]
    assert page.do("document.documentElement.scrollWidth") <= width
    assert page.do("esmkitExplorer.part('map').frame_width") >= 450


def test_a_view_is_shared_by_its_address(page: Opened):
    """Any state, written into the address, is the state of the page that opens there."""
    random = np.random.default_rng(0)
    names = page.do("esmkitExplorer.data.heads.map(head => head.name)")

    def residues(count: int) -> list[int]:
        return [int(i) for i in random.integers(0, 76, count)]

    for turn in range(6):
        q, k = sorted(residues(2)), sorted(residues(2))
        either = turn == 3
        brush = {"q0": q[0], "q1": q[1], "k0": k[0], "k1": k[1], "either": either}
        if either:
            brush |= {"k0": q[0], "k1": q[1]}
        wanted = {
            "head": str(random.choice(names)),
            "query": residues(1)[0],
            "key": residues(1)[0],
            "threshold": round(float(random.random()) / 50, 4),
            "apc": bool(turn % 2),
            "truth": bool(turn % 3),
            "scale": ["linear", "sqrt"][turn % 2],
            "top": [25, 50, 100, 250][turn % 4],
            "separation": residues(1)[0],
            "farthest": None if turn % 2 else residues(1)[0],
            "brush": None if turn == 5 else brush,
        }
        page.do("changes => esmkitExplorer.set(changes)", wanted)
        fragment = page.do("location.hash")
        found = go(page, fragment)
        assert {name: found[name] for name in wanted} == wanted
        assert page.do("location.hash") == fragment
        controls = {
            "head": page.tab.input_value("#head"),
            "top": int(page.tab.input_value("#top")),
            "separation": int(page.tab.input_value("#separation")),
            "apc": page.tab.is_checked("#apc"),
            "truth": page.tab.is_checked("#truth"),
            "scale": page.tab.input_value("#scale"),
        }
        assert controls == {name: wanted[name] for name in controls}


def test_what_an_address_asks_for_in_vain_is_passed_over(page: Opened):
    plain = go(page, "")
    for fragment in (
        "#head=L9H9&query=0&key=77&threshold=x&rows=7&separation=-1",
        "#region=5-2,1-1&farthest=&colours=red&symmetric=maybe",
        "#query=1e1&key=%3Cb%3E&region=1-999",
        "#map-section",
        "#=&&==",
    ):
        assert go(page, fragment) == plain, fragment


def test_an_address_that_changes_changes_the_view(page: Opened):
    go(page, "#head=L0H1&query=3&key=9")
    assert page.text("#pair h3") == "I3 looks at T9"
    page.do("location.hash = '#head=L1H2&query=10'")
    page.tab.wait_for_timeout(100)
    assert (page.state("head"), page.state("query"), page.state("key")) == ("L1H2", 9, 8)
    for link in page.tab.query_selector_all("a[href^='#']:not(.skip)"):
        link.click()
    assert page.do("location.hash") == "#head=L1H2&query=10&key=9"


def test_open_ends_of_ranges(page: Opened):
    go(page, "")
    page.tab.fill("#q0", "60")
    page.tab.click("#brush button[type=submit]")
    assert page.state("brush") == {"q0": 59, "q1": 75, "k0": 0, "k1": 75, "either": False}
    assert page.text("#brush-text") == "Brushed: queries from N60 on, keys all."
    assert page.tab.input_value("#q1") == ""
    assert page.tab.input_value("#q0") == "60"
    page.tab.fill("#q0", "")
    page.tab.fill("#k1", "20")
    page.tab.click("#brush button[type=submit]")
    assert page.text("#brush-text") == "Brushed: queries all, keys up to S20."
    page.tab.click("#clear-brush")
    page.tab.fill("#farthest", "11")
    page.tab.press("#farthest", "Tab")
    assert page.do("esmkitExplorer.links.every(l => Math.abs(l.key - l.query) <= 11)")
    assert page.do("Math.max(...esmkitExplorer.links.map(l => Math.abs(l.key - l.query)))") == 11
    page.tab.fill("#farthest", "")
    page.tab.press("#farthest", "Tab")
    assert page.do("Math.max(...esmkitExplorer.links.map(l => Math.abs(l.key - l.query)))") > 11


def test_the_colours_of_bars_are_explained(page: Opened):
    go(page, "#head=L0H1&query=3&key=9")
    rgb = (
        "text => { const e = document.createElement('i'); e.style.color = text;"
        " document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return c; }"
    )
    legend = {
        kind: page.do(
            f"getComputedStyle(document.querySelector('#bars-legend .{kind}')).backgroundColor"
        )
        for kind in ("key", "special", "other")
    }
    shown = [
        page.do(rgb, text) for text in page.do("esmkitExplorer.part('weights-bars').data.colour")
    ]
    assert shown[0] == shown[-1] == legend["special"]
    assert shown[9] == legend["key"]
    assert {*shown[1:9], *shown[10:-1]} == {legend["other"]}
    assert len(set(legend.values())) == 3
