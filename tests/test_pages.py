"""The pages of the docs: what they run runs, and prints what they show."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from esmkit.encoder.checkpoints import FittedHeadWarning, OfflineCheckpointWarning
from oracles.commands import Done
from oracles.doc_pages import NUMBER, agree, blocks_of, commands_in, missing_lines, run_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "start.md", *sorted((ROOT / "docs").glob("[eh]*/*.md"))]
RUNNING = [page for page in PAGES if any(b.why is None for b in blocks_of(page.read_text("utf-8")))]

QUICKER = {
    "fine-tuning": (
        "train, test = esmkit.data.ts50(), esmkit.data.replication()",
        "train, test = esmkit.data.ts50()[:6], esmkit.data.ts50()[6:8]",
    )
}
"""Pages that would take a minute, with fewer chains: their numbers are others, so words are compared."""


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(
    page: Path,
    run: Callable[..., Done],
    real: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.py"))

    def command(words: list[str]) -> str:
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    text = page.read_text("utf-8")
    if page.stem in QUICKER:
        assert QUICKER[page.stem][0] in text
        text = text.replace(*QUICKER[page.stem])
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("ignore", OfflineCheckpointWarning)
        warnings.simplefilter("ignore", FittedHeadWarning)
        for block, printed in run_page(text, page.name, command):
            if block.shown is not None:
                shown, python = block.shown, block.language == "python"
                if page.stem in QUICKER:
                    shown, printed = NUMBER.sub("0", shown), NUMBER.sub("0", printed)
                missing = missing_lines(shown, printed, all_of_it=python)
                assert not missing, f"{page.name}: {missing}\n{printed}"
    plt.close("all")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_says_why(page: Path):
    """And what is run as a command is one, so that no block is passed over."""
    for block in blocks_of(page.read_text("utf-8")):
        if block.why is None and block.language == "sh":
            assert commands_in(block.text)


def test_pages_are_found():
    assert {"start", "table", "figure", "fine-tuning", "coming-from"} <= {p.stem for p in RUNNING}


PAGE = """
```python
print(1 / 3)
```

```text
0.333
```

<!-- not run: it needs a cluster -->
```sh
ray start
```

```sh
esmkit embed a.fasta \\
  -o b.h5  # a comment
```
"""


def test_blocks_of_a_page():
    python, ray, embed = blocks_of(PAGE)
    assert (python.language, python.why, python.shown) == ("python", None, "0.333\n")
    assert (ray.why, ray.shown) == ("it needs a cluster", None)
    assert commands_in(embed.text) == [["embed", "a.fasta", "-o", "b.h5"]]
    with pytest.raises(ValueError, match="only esmkit commands are run"):
        commands_in(ray.text)
    ran = list(run_page(PAGE, "page.md", lambda words: " ".join(words)))
    assert [printed for _, printed in ran] == [f"{1 / 3}\n", "embed a.fasta -o b.h5"]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("P@L  0.147", "P@L 0.148", True),  # one step of the last digit
        ("P@L 0.147", "P@L 0.149", False),
        ("P@L 0.147", "P@K 0.147", False),
        ("18 proteins", "19 proteins", False),  # a count is exact
        ("1.3e-05", "1.4e-05", True),
        ("1.3e-05", "1.3e-04", False),
        ("a  -0.12", "a 0.12", False),
    ],
)
def test_lines_agree(shown: str, printed: str, same: bool):
    assert agree(shown, printed) is same


def test_lines_that_were_not_printed():
    assert missing_lines("a\nc\n", "a\nb\nc\n", all_of_it=False) == []
    assert missing_lines("a\n...\nc\n", "a\nb\nc\n", all_of_it=True) == []
    assert missing_lines("a\nc\n", "a\nb\nc\n", all_of_it=True) == ["c", "printed and not shown: b"]
    assert missing_lines("a\n", "a\nb\n", all_of_it=True) == ["printed and not shown: b"]
    assert missing_lines("c\na\n", "a\nc\n", all_of_it=False) == ["a"]
    assert missing_lines("a\n", "", all_of_it=False) == ["a"]
