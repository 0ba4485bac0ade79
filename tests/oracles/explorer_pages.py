"""Pages of the explorer as tests read them: their tags, and in a headless Chromium."""

import contextlib
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser")) if path), "")

# No network of its own: each of these would be a connection attempt at start or later.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

# Where a position of a Bokeh figure is on the screen, scrolled into sight.
PLACE = """([name, place, x, y]) => {
  document.getElementById(place).scrollIntoView({ block: "center" });
  const view = Bokeh.index.find_one_by_id(esmkitExplorer.part(name).id);
  const box = view.canvas_view.el.getBoundingClientRect();
  return [box.left + view.frame.x_scale.compute(x), box.top + view.frame.y_scale.compute(y)];
}"""


# Elements that Tab reaches and that have neither a name nor text, those inside Bokeh's figures too.
UNNAMED = """(() => {
  const found = [];
  const walk = (root) => {
    for (const part of root.querySelectorAll("*")) {
      if (part.shadowRoot) walk(part.shadowRoot);
      if (part.tabIndex < 0 || part.disabled || !part.getClientRects().length) continue;
      const named = ["aria-label", "aria-labelledby", "aria-describedby"].some((name) => part.getAttribute(name));
      const inside = root instanceof ShadowRoot;
      const text = !inside && ((part.labels || []).length || part.textContent.trim());
      if (!(named || text) || (inside && part.getAttribute("role") !== "button")) found.push(part.outerHTML.slice(0, 120));
    }
  };
  walk(document);
  return found;
})()"""


class Tags(HTMLParser):
    """Every tag with its attributes, and the text of elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._id: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._id = dict(attrs).get("id")

    def handle_data(self, data: str) -> None:
        if self._id:
            self.texts[self._id] = self.texts.get(self._id, "") + data


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium; skip, and say why, where it or Playwright is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
    )
    if not CHROMIUM:
        pytest.skip("there is no chromium (apt-get install chromium)")
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Opened:
    """One page in a window without a network; what goes wrong in it is collected."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.problems: list[str] = []
        size = {"width": 1440, "height": 950}
        self.window = browser.new_context(viewport=size, accept_downloads=True, **options)
        self.window.set_offline(True)
        self.tab = self.window.new_page()
        self.tab.on("console", self._console)
        self.tab.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.tab.on("request", self._request)
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)

    def _console(self, message: Any) -> None:
        hint = message.text.startswith("Canvas2D:")  # Chromium's advice on speed, to Bokeh 3.6
        if message.type in ("error", "warning") and not hint:
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "blob:", "data:")):
            self.problems.append(f"request: {request.url}")

    def close(self) -> None:
        self.window.close()

    def do(self, script: str, argument: Any = None) -> Any:
        return self.tab.evaluate(script, argument)

    def state(self, name: str) -> Any:
        return self.do(f"esmkitExplorer.state.{name}")

    def text(self, selector: str) -> str:
        return self.tab.inner_text(selector)

    def place(self, figure: str, x: float, y: float, inside: str | None = None) -> list[float]:
        return self.do(PLACE, [figure, inside or figure, x, y])

    def hover(self, figure: str, x: float, y: float, inside: str | None = None) -> list[str]:
        left, top = self.place(figure, x, y, inside)
        self.tab.mouse.move(left - 3, top)
        self.tab.mouse.move(left, top)
        self.tab.wait_for_timeout(60)  # Bokeh handles moves once in a frame
        return self.text("#tip").splitlines()

    def click(self, figure: str, x: float, y: float, inside: str | None = None) -> None:
        self.tab.mouse.click(*self.place(figure, x, y, inside))
        self.tab.wait_for_timeout(400)  # it waits whether a second click follows

    def drag(self, figure: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        from_x, from_y = self.place(figure, *start)
        to_x, to_y = self.place(figure, *end)
        self.tab.mouse.move(from_x, from_y)
        self.tab.mouse.down()
        self.tab.mouse.move((from_x + to_x) / 2, (from_y + to_y) / 2, steps=4)
        self.tab.mouse.move(to_x, to_y, steps=4)
        self.tab.mouse.up()
        with contextlib.suppress(
            Exception
        ):  # a busy machine takes its time; tests look at the state
            self.tab.wait_for_function("esmkitExplorer.state.brush !== null", timeout=3_000)

    def rows(self) -> list[list[str]]:
        """The table of links, cell by cell."""
        return self.do(
            "[...document.querySelectorAll('#links tbody tr')].map("
            "row => [...row.children].map(cell => cell.innerText.trim()))"
        )

    def metric(self, name: str) -> float:
        client = self.window.new_cdp_session(self.tab)
        client.send("Performance.enable")
        metrics = client.send("Performance.getMetrics")["metrics"]
        return {metric["name"]: metric["value"] for metric in metrics}[name]
