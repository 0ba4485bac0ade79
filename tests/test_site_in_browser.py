"""The built site in Chromium, opened from the disk: nothing from a network, nothing too wide, search.

``.ci/docs`` builds what is looked at here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracles.explorer_pages import chromium

SITE = Path(__file__).parents[1] / "docs/_build/html"
PAGES = [
    "index.html",
    "tutorials/01_transformer_from_scratch.html",
    "tutorials/06_what_does_a_head_do.html",
    "how-to/variants.html",
    "explain/transformer.html",
    "reference/python/esmkit.Esm2.html",
    "reference/python/index.html",
    "reference/commands/esmkit-embed.html",
    "reference/activations.html",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SITE / "searchindex.js").exists(), reason="the site is not built: .ci/docs builds it"
    ),
]

TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  return [document.documentElement.scrollWidth - width, width];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    yield page
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_whole_without_a_network(page: Any, name: str):
    page.goto((SITE / name).as_uri())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        more, shown = page.evaluate(TOO_WIDE)
        assert shown > width - 20
        assert more <= 0  # nothing is scrolled sideways but inside itself
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.wrong == []
    assert page.locator("h1").count() == 1


def test_equations_have_their_font(page: Any):
    page.goto((SITE / "explain/transformer.html").as_uri())
    assert page.locator("math").count() > 20
    page.evaluate("() => document.fonts.ready")
    loaded = page.evaluate(
        "() => [...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)"
    )
    assert "STIX Two Math" in " ".join(loaded)


def test_search_finds_and_says_what_it_found(page: Any):
    page.goto((SITE / "index.html").as_uri())
    page.locator("button.search-button__button:visible").first.click()
    page.keyboard.type("embed_file")
    page.keyboard.press("Enter")
    found = page.locator("#search-results ul.search > li")
    found.filter(has=page.locator(".summary")).first.wait_for()
    assert "embed_file" in found.first.inner_text()
    assert "Embed" in found.first.locator(".summary").inner_text()
    assert [url for url in page.asked if not url.startswith("file:")] == []
    assert page.wrong == []
    found.first.locator("a").first.click()
    page.wait_for_url("**/reference/python/esmkit.embed_file.html*")
