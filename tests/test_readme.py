"""The README: its Python runs and prints what it shows, its commands work, its links lead somewhere."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md")]
PAGES += [page for page in [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"] if page.exists()]
TEXTS = [*(ROOT / "docs" / "how-to").glob("*.md"), *(ROOT / "docs" / "explain").glob("*.md")]
PAGES += [ROOT / "docs" / "start.md", *TEXTS]


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Fenced blocks in order: language and text."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def test_is_short():
    assert len(README.splitlines()) < 120


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.OfflineCheckpointWarning")
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
def test_python_prints_what_the_readme_shows(run, real: object, tmp_path: Path, monkeypatch):
    """One after the other, as a reader would in one session, after the first command."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data")
    assert run("embed", "data/demo.fasta", cwd=tmp_path).returncode == 0
    parts = blocks("python", "text")
    names: dict[str, object] = {}
    compared = 0
    for (language, text), (following, wanted) in zip(parts, [*parts[1:], ("", "")], strict=True):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, "README.md", "exec"), names)
        if following == "text":
            assert [x.rstrip() for x in printed.getvalue().splitlines()] == [
                x.rstrip() for x in wanted.splitlines()
            ]
            compared += 1
    assert compared >= 1


def commands() -> list[str]:
    """The esmkit commands in its blocks, without what leads to them."""
    found = []
    for _, text in blocks("sh"):
        for part in re.split(r"&&|\n", text):
            words = part.strip()
            if words.startswith("esmkit "):
                found.append(words)
    return found


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_commands_work(run, real: object, command: str, tmp_path: Path):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    (tmp_path / "seqs.fasta").write_bytes((ROOT / "data" / "ubiquitin.fasta").read_bytes())
    done = run(*shlex.split(command, comments=True)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_there_are_commands():
    assert len(commands()) >= 2
    assert "esmkit embed data/demo.fasta" in commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(<?([^)>#]+)>?(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_lead_to_a_heading(page: Path):
    links = re.findall(r"\]\(([^)#:\s]*\.md)?#([^)]+)\)", page.read_text(encoding="utf-8"))
    for target, anchor in links:
        assert anchor in anchors(page.parent / target if target else page), (target, anchor)


def test_files_of_the_project_that_a_text_names_are_there():
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # it has names of the past
    pages += (ROOT / "notebooks").glob("*.ipynb")
    for room in ("esmkit", "tests", "benchmarks"):
        pages += (ROOT / room).rglob("*.py")
    for planted in ("test_site.py", "packaging/test_built.py"):  # names of files that are not there
        pages.remove(ROOT / "tests" / planted)
    named = r"(?<![\w/.])(?:tests|esmkit|benchmarks|notebooks|docs)/[\w/-]+\.(?:py|md|ipynb)\b"
    found = [(page, name) for page in pages for name in re.findall(named, page.read_text("utf-8"))]
    assert len(found) >= 30
    assert [(page, name) for page, name in found if not (ROOT / name).exists()] == []


def test_every_notebook_is_named():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 5
    for path in notebooks:
        assert f"(notebooks/{path.name})" in README, path.name


def test_the_picture_is_what_its_command_draws():
    """It is not compared dot by dot (fonts differ); it is there, and the command that makes it is."""
    assert (ROOT / "notebooks" / "images" / "ubiquitin.heads.png").stat().st_size > 50_000
    assert "esmkit attention --plot" in README
