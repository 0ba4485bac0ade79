"""The site: every public name, command and option has its page, and no link is dead.

``.ci/docs`` builds it. What is built from is looked at here, without Sphinx, and so is the check of
links, which finds what is planted.
"""

import fnmatch
import re
from pathlib import Path, PurePosixPath

import click
import pytest

from _make.activation_page import activation_page, described
from _make.assemble import Layout, assemble
from _make.check import broken_links, broken_links_of_markdown
from _make.command_pages import command_pages, commands, page_of
from _make.links import anchors_of, links_of, relative, rewritten
from _make.named import page_named
from _make.names import ROOMS, first_sentence, methods_of, page_names, public_names
from _make.python_pages import python_pages
from _make.tasks import TASKS, names_of
from esmkit.encoder.activations import LAYER_STEPS, MAPS, OF_HEADS

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "data/**/*.md", "benchmarks/*.md", "esmkit/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Layout]:
    """What Sphinx would read."""
    source = tmp_path_factory.mktemp("site") / "source"
    return source, assemble(ROOT, source)


def test_public_names_stand_in_one_task_each():
    sorted_in = [path for task in TASKS for path in names_of(task)]
    assert sorted(sorted_in) == sorted(public_names())


def test_public_names_have_pages():
    pages, files = python_pages(), page_names()
    assert len(public_names()) > 300
    for path, name in public_names().items():
        text = pages[files[path]]
        directive = {"function": "autofunction", "constant": "py:data"}.get(name.kind, "autoclass")
        assert re.search(rf"^\.\. {re.escape(f'{directive}:: {path}')}(\(.*\))?$", text, re.M)
        assert f"<{files[path]}>" in pages["index"] or f"/{files[path]}>" in pages["index"]
        assert f"   {files[path]}\n" in pages[name.room]
        for also in name.also:
            assert f"/{files[path]}>" in pages[also.rpartition(".")[0]]


def test_all_that_is_public_is_found():
    """Each ``__all__`` of a room, whatever it is called there."""
    import importlib
    from types import ModuleType

    known = {p for path, name in public_names().items() for p in (path, *name.also)}
    for room in ROOMS:
        here = importlib.import_module(room)
        names = [n for n in here.__all__ if not isinstance(getattr(here, n), ModuleType)]
        assert {f"{room}.{name}" for name in names} <= known


def test_pages_differ_where_file_names_do_not_know_capitals():
    files = [file.lower() for file in page_names().values()]
    assert len(set(files) | {room.lower() for room in ROOMS}) == len(files) + len(ROOMS)


def test_a_bound_method_keeps_its_first_parameter():
    """Sphinx drops that of ``Esm2.load`` once more where it is public as ``esmkit.load``."""
    text = python_pages()[page_names()["esmkit.load"]]
    assert ".. autofunction:: esmkit.load(model='auto', device='auto', " in text
    assert ", *, " in text


def test_classes_show_their_methods():
    text = python_pages()[page_names()["esmkit.Esm2"]]
    for method in ("load", "embed", "attention", "contacts", "score", "trace", "patch", "logits"):
        assert f".. automethod:: esmkit.Esm2.{method}\n" in text
    assert ".. autoproperty:: esmkit.Esm2.has_lm_head\n" in text
    assert "keys" not in methods_of(public_names()["esmkit.EmbeddingFile"].thing)  # a Mapping's own


def test_public_names_say_what_they_are():
    silent = [path for path, name in public_names().items() if not name.summary]
    # Constants that read as what they are
    assert set(silent) <= {
        "esmkit.__version__",
        *(f"esmkit.sequences.{token}" for token in ("BOS", "EOS", "MASK", "PAD", "UNKNOWN")),
        *(f"esmkit.reference.{token}" for token in ("CLS", "EOS", "MASK", "PAD")),
        "esmkit.reference.transformer.SINUSOID_BASE",
    }


def test_first_sentences_end_where_they_end():
    assert first_sentence("Load it (Rives et al. 2021,\nfig. 2). And more.") == (
        "Load it (Rives et al. 2021, fig. 2)."
    )
    assert first_sentence("Read 2.5\nfiles. More.\n\nMore") == "Read 2.5 files."
    assert first_sentence("Take ``S_i. S_j`` off. More.") == "Take ``S_i. S_j`` off."
    assert first_sentence(None) == ""


def test_commands_and_options_have_pages():
    pages = command_pages()
    seen = 0
    for words, command in commands().items():
        text = pages[page_of(words)]
        assert f".. program:: {words}\n" in text
        if words != "esmkit":
            assert f"<{page_of(words)}>" in pages["index"]
        listed = "\n".join(re.findall(r"^\.\. option:: (.+)$", text, re.M))
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                for name in (*option.opts, *option.secondary_opts):
                    assert re.search(rf"(?:^|, ){re.escape(name)}(?=[ ,\n]|$)", listed, re.M), name
                    seen += 1
        assert "--help" in listed
        for example in re.findall(r"^ +(esmkit .+)$", command.help or "", re.M):
            assert f"   $ {example}" in text
    assert seen > 150


def test_help_keeps_its_letters():
    text = command_pages()["esmkit-embed"]
    assert r"sp\|P69905\|HBA\_HUMAN" in text  # not a substitution, not a target
    assert ":doc:`/how-to/cluster`" in text
    assert ".. option:: -h, --help" in text or ".. option:: --help, -h" in text


def test_activations_are_described():
    names = [name.removeprefix("L5.") for name, _, _ in described()]
    assert names == ["embedding", *LAYER_STEPS, "final", "logits"]
    shapes = {name.removeprefix("L5."): shape for name, _, shape in described()}
    assert all(shapes[step].startswith("(H, T, ") for step in OF_HEADS)
    assert all(shapes[step].startswith("(H, T, T)") for step in MAPS)
    page = activation_page()
    assert all(f"``{name}``" in page for name, _, _ in described())
    assert "``L5H4.output``" in page


def test_nothing_links_to_what_is_not_there(laid_out: tuple[Path, Layout]):
    assert laid_out[1].broken == []
    assert broken_links_of_markdown(ROOT, MARKDOWN) == []
    assert len(MARKDOWN) > 15


def _entries(page: str, text: str) -> list[str]:
    """Pages that a page's tables of contents name."""
    found = []
    pattern = r"^ *(?:```+|:::+)\{toctree\}\n(.*?)^ *(?:```+|:::+) *$|^\.\. toctree::\n((?:[ \t]+.*\n|\n)+)"
    for match in re.finditer(pattern, text + "\n", re.M | re.S if page.endswith(".md") else re.M):
        for line in (match[1] or match[2]).splitlines():
            entry = line.strip()
            if entry and not entry.startswith(":"):
                entry = re.sub(r".*<(.+)>$", r"\1", entry)
                whole = (PurePosixPath(page).parent / entry).as_posix()
                found.append(relative(whole, "index"))
    return found


def test_every_page_is_in_a_table_of_contents(laid_out: tuple[Path, Layout]):
    source, _ = laid_out
    pages = {
        path.relative_to(source).with_suffix("").as_posix(): path
        for path in source.rglob("*")
        if path.suffix in (".md", ".rst", ".ipynb")
    }
    reached, waiting = {"index"}, ["index"]
    while waiting:
        page = waiting.pop()
        path = pages[page]
        text = path.read_text(encoding="utf-8") if path.suffix != ".ipynb" else ""
        for entry in _entries(page + path.suffix, text):
            fitting = [entry] if entry in pages else fnmatch.filter(pages, entry)
            assert fitting, f"{page} names {entry}, which is no page"
            waiting += [name for name in fitting if name not in reached]
            reached |= set(fitting)
    assert set(pages) - reached == set()
    assert {"start", "tutorials/09_what_did_it_replace", "changelog"} <= reached


def test_links_lead_to_pages_of_the_site(laid_out: tuple[Path, Layout]):
    source, layout = laid_out
    at = "docs/explain/claims.md"
    assert layout.link("../../notebooks/05_verify.ipynb", at, "explain/claims.md") == (
        "../tutorials/05_verify.ipynb"
    )
    assert layout.link("#here", at, "explain/claims.md") == "#here"
    assert layout.link("../../CHANGELOG.md#new", at, "explain/claims.md") == "../changelog.md#new"
    assert layout.link("../../README.md#numbers", at, "explain/claims.md") == "../index.md"
    assert layout.link("../../esmkit/reference/transformer", at, "explain/claims.md") == (
        "../reference/python/esmkit.reference.transformer.rst"
    )
    assert layout.link("../../esmkit/heads/ablation.py", at, "explain/claims.md") == (
        "../project/esmkit-heads-ablation-py.md"
    )
    text = (source / "tutorials/01_transformer_from_scratch.ipynb").read_text(encoding="utf-8")
    assert "](../explain/transformer.md)" in text


def test_links_to_no_file_are_told(tmp_path: Path):
    layout = Layout(ROOT)
    assert layout.link("nowhere.md", "docs/start.md", "start.md") == "nowhere.md"
    assert layout.broken == ["docs/start.md: nowhere.md: there is no file docs/nowhere.md"]


CODE = """[a](one.md) and `[no](two.md)`
```
[no](three.md)
```
![p](four.png) [w](https://x.org/five) <img src="six.png"> [t](seven.md "title") [s](#eight)
"""


def test_code_has_no_links():
    found = {match["target"] for match in links_of(CODE)}
    assert found == {"one.md", "four.png", "six.png", "seven.md", "#eight"}
    changed = rewritten(CODE, str.upper)
    assert "[no](two.md)" in changed
    assert "[no](three.md)" in changed
    assert "[a](ONE.MD)" in changed
    assert '[t](SEVEN.MD "title")' in changed


def test_headings_have_the_anchors_of_code_hosts():
    text = '# One √K: a `b` (c)\n\n## Same\n## Same\n```\n# no\n```\n<a id="own"></a>\n'
    assert anchors_of(text) == {"one-k-a-b-c", "same", "same-1", "own"}


@pytest.mark.parametrize(
    ("code", "page"),
    [
        ("esmkit.load", "reference/python/esmkit.load"),
        ('esmkit.load("auto")', "reference/python/esmkit.load"),
        ("esmkit.attention.AttentionMaps", "reference/python/esmkit.AttentionMaps"),
        ("esmkit.Trace.mean", "reference/python/esmkit.Trace#esmkit.Trace.mean"),
        ("model.contacts(protein)", "reference/python/esmkit.Esm2#esmkit.Esm2.contacts"),
        ("esmkit contacts --plot", "reference/commands/esmkit-contacts"),
        ("esmkit score variants x.fasta --all", "reference/commands/esmkit-score-variants"),
        ("reference.softmax", "reference/python/esmkit.reference.softmax"),
        ("docs/explain/numbers.md", "explain/numbers"),
    ],
)
def test_code_names_pages(code: str, page: str):
    found = page_named(code)
    assert found is not None
    assert "#".join(part for part in found if part) == page


@pytest.mark.parametrize(
    "code",
    ["esmkit", "esmkit.gone", "model.gone", "plots.gone", "numpy.exp", "esmkit gone", "load", "x"],
)
def test_other_code_names_none(code: str):
    assert page_named(code) is None


GOOD = """<html><head><link rel="stylesheet" href="a.css"><link rel="next" href="sub/two.html"></head>
<body id="top"><h1 id="first">1</h1><a href="#first">x</a><a href="sub/two.html#second">y</a>
<a href="https://example.org/">out</a><a href="mailto:a@example.org">m</a><img src="p.png">
<img src="data:image/png;base64,AAAA"><a href="sub/two.html?q=1">q</a></body></html>"""
TWO = '<html><body><p id="second"></p><a href="../one.html#first">back</a></body></html>'


def _site(folder: Path, more: str = "", style: str = "") -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "one.html").write_text(GOOD.replace("</body>", f"{more}</body>"))
    (folder / "sub/two.html").write_text(TWO)
    (folder / "a.css").write_text("b { background: url('p.png') }" + style)
    (folder / "p.png").write_bytes(b"")
    return folder


def test_a_whole_site_is_whole(tmp_path: Path):
    assert broken_links(_site(tmp_path)) == []


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ('<a href="gone.html">x</a>', "there is no such file"),
        ('<a href="#gone">x</a>', "there is no anchor 'gone' in one.html"),
        ('<a href="sub/two.html#gone">x</a>', "there is no anchor 'gone' in sub/two.html"),
        ('<img src="gone.png">', "there is no such file"),
        ('<script src="gone.js"></script>', "there is no such file"),
        ('<script src="https://example.org/x.js"></script>', "is loaded from a network"),
        ('<img src="//example.org/x.png"/>', "is loaded from a network"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "is loaded from a network"),
        ('<a href="../README.md">x</a>', "leads out of the site"),
        ('<a href="/one.html">x</a>', "begins at the root of a server"),
        ('<a href="file:///etc/x">x</a>', "is no address of the web"),
        ('<a href="sub">x</a>', "there is no such file"),
    ],
)
def test_dead_links_are_found(tmp_path: Path, planted: str, said: str):
    (found,) = broken_links(_site(tmp_path, planted))
    assert found.startswith("one.html: ")
    assert said in found


def test_dead_links_of_styles_are_found(tmp_path: Path):
    found = broken_links(_site(tmp_path, style="i { background: url(https://example.org/f.woff) }"))
    assert found == ["a.css: https://example.org/f.woff: is loaded from a network"]


def test_dead_links_of_markdown_are_found(tmp_path: Path):
    (tmp_path / "there.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-heading) [c](#own)\n# Own\n"
        "[d](gone.md)\n[e](there.md#gone)\n[f](../out.md)\n[g](#gone)\n"
    )
    assert broken_links_of_markdown(tmp_path, [page]) == [
        "page.md:3: gone.md: there is no such file",
        "page.md:4: there.md#gone: there is no such heading",
        "page.md:5: ../out.md: leads out of the repository",
        "page.md:6: #gone: there is no such heading",
    ]


def test_equations_are_mathml():
    pytest.importorskip("math_core", reason="the extra docs is not installed")
    from _make.equations import mathml

    shown = mathml(r"\frac{a}{b} < c", block=True)
    assert shown.startswith('<math alttext="\\frac{a}{b} &lt; c" display="block">')
    assert "<mfrac>" in shown
    assert mathml(r"\begin{matrix} a \cr b \end{matrix}", block=False).count("<mtr>") == 2
