"""Names that want out of their place: of a folder, a file format, a spreadsheet, a terminal, a page.

IDs come from FASTA headers, from the names of structure files and of their chains, and through the
library. What figures look like, and how a page escapes text, is tested elsewhere.
"""

import csv
import io
import json
import os
import re
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.errors import EsmkitError, InputError
from esmkit.esm2 import Esm2
from esmkit.files.names import FileNames, file_name
from esmkit.files.tables import from_spreadsheet, spreadsheet_text
from esmkit.sequences.proteins import Protein, read_fasta
from esmkit.structure import read_structure
from esmkit.text import HIDDEN, visible, visible_lines
from oracles.checkpoints import random_sequence
from oracles.commands import fails
from oracles.structure_files import chain_lines, to_mmcif

IDS = [
    *("../evil", "../../../../tmp/esmkit-evil", "/tmp/esmkit-evil", "..", ".", "a/../b", "~", "~root"),
    *("a/b", "a%2Fb", "a\\b", "..\\evil", "C:\\evil", "C:evil", "\\\\host\\share", "a:stream"),
    *("CON", "con", "NUL.txt", "COM1", "LPT9.fasta", "AUX.", "PRN", "COM\u00b9", "dot.", "dots...", "-rf"),
    *("--force", "$(reboot)", "`reboot`", "a;b", "a|b", "a&b", "*", "?", "a'b", 'a"b', "a,b", "%s%n", "{0}"),
    *("=cmd|'/c_calc'!A1", "=HYPERLINK(\"x\")", "+1", "-1+1", "@SUM(A1)", "'=1", "''=1", "\uff1d1+1", "-"),
    *("<script>alert(1)</script>", "</script><svg/onload=alert(2)>", "<!--", "]]>", "&amp;", "javascript:1"),
    *("$\\frac{", "$x^$", "\\(", "_^", "{}", "$$", "%", "#"),
    *("caf\u00e9", "cafe\u0301", "\ufb01", "fi", "\uff21", "A", "a", "\u0410", "\u0391", "\u00c5", "\u212b", "\u00df", "SS"),
    *("NaN", "nan", "NA", "null", "None", "inf", "1e5", "001", "1.0", "True", "", "__provenance__", "x.npy"),
    *("provenance", "id", "e0", "attention", "P1", "P1~2", "x" * 4_096, "\u00e9" * 2_048, "\U0001f9ec", "\u05d0\u05d1"),
]  # fmt: skip
NAMES = [name for name in IDS if name]
SEQUENCES = {name: random_sequence(12 + number % 5, number) for number, name in enumerate(NAMES)}

ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What a terminal may obey, or what hides; line ends and tabs apart."""


def obeyed(text: str) -> list[str]:
    """What a terminal might obey in a text; the returns of the progress bar apart."""
    return ESCAPES.findall(
        re.sub(r"\r(?=(embed|attention|contacts|pages|reduce|drawing):)", "", text)
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder deep inside another, in which nothing may appear."""
    folder = tmp_path / "a" / "b" / "c" / "work"
    folder.mkdir(parents=True)
    text = "".join(f">{name} =1+1\t<b>{name}</b>\n{s}\n" for name, s in SEQUENCES.items())
    (folder / "in.fasta").write_text(text, encoding="utf-8")
    return folder


def all_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def check_outside(place: Path, folder: Path) -> None:
    """Nothing was written but inside ``folder``, and there with names that any system takes."""
    root = place.parents[3]
    inside = {path for path in all_files(root) if folder in path.parents}
    assert all_files(root) - inside - {place / "in.fasta"} == set()
    assert not Path("/tmp/esmkit-evil").exists()
    for path in inside:
        assert path.parent == folder
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,150}[A-Za-z0-9]", path.name), path.name
        assert path.name.split(".")[0].upper() not in {"CON", "NUL", "AUX", "PRN", "COM1", "LPT9"}
    names = [path.name.casefold() for path in inside]
    assert len(set(names)) == len(names)


# ------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("kind", ["h5", "parquet", "npz", "csv"])
@pytest.mark.parametrize("per", ["protein", "residue"])
def test_embeddings_keep_every_name(run, place: Path, tiny_folder: Path, tiny: Esm2, kind, per):
    output = place / "out" / f"x.{kind}"
    output.parent.mkdir()
    arguments = ("in.fasta", "-o", output, "--per", per, "--model", tiny_folder)
    done = run("embed", *arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    assert not obeyed(done.stderr)
    check_outside(place, output.parent)
    assert {p.name for p in output.parent.iterdir()} <= {
        output.name,
        f"{output.name}.provenance.json",
    }
    with esmkit.read(output) as found:
        assert list(found) == NAMES
        for name, sequence in list(SEQUENCES.items())[::7]:
            expected = tiny.embed(sequence)
            wanted = expected.mean if per == "protein" else expected.residues
            np.testing.assert_allclose(found[name], wanted, atol=1e-5)


def test_hdf5_has_one_dataset_for_each_name_at_its_root(run, place: Path, tiny_folder: Path):
    assert run("embed", "in.fasta", "--model", tiny_folder, cwd=place).returncode == 0
    with h5py.File(place / "in.h5") as file:
        assert len(file) == len(NAMES)
        assert all(isinstance(file[key], h5py.Dataset) for key in file)
        assert all(file.get(key, getlink=True).__class__ is h5py.HardLink for key in file)
        assert [str(file[key].attrs["id"]) for key in file] == NAMES


def test_attention_files_and_figures(run, place: Path, tiny_folder: Path):
    """All names; every figure of a few, and of those the awkward ones."""
    model = ("--model", tiny_folder, "--heads", "L0H0", "-q")
    done = run("attention", "in.fasta", *model, "-o", "x.h5", cwd=place)
    assert done.returncode == 0, done.stderr
    with esmkit.read(place / "x.h5") as found:
        assert list(found) == NAMES
        assert found["a/b"]["L0H0"].shape == (len(SEQUENCES["a/b"]),) * 2
    (place / "x.h5").unlink()
    chosen = [
        "../evil",
        "CON",
        "P1",
        "p1",
        "<svg/onload=alert(2)>",
        "$\\frac{",
        "=1+1",
        "caf\u00e9",
    ]
    text = "".join(f">{name}\n{random_sequence(9, 1)}\n" for name in chosen)
    (place / "in.fasta").write_text(text, encoding="utf-8")
    for kind in ("svg",):
        options = ("--plot", "figures", "--plot-format", kind, "--force")
        done = run("attention", "in.fasta", *model, *options, "-o", "figures.h5", cwd=place)
        assert done.returncode == 0, done.stderr
        (place / "figures.h5").unlink()
    check_outside(place, place / "figures")
    assert len(all_files(place / "figures")) == 2 * len(chosen)  # of one head no grid
    for path in (place / "figures").glob("*.svg"):
        assert "<svg/onload" not in path.read_text()


def test_tables_of_attention_and_contacts(run, place: Path, tiny_folder: Path):
    model = ("--model", tiny_folder, "-q")
    done = run("attention", "in.fasta", *model, "--reduce", "entropy", "-o", "x.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    done = run("contacts", "in.fasta", *model, "--min-separation", 6, "-o", "x.tsv", cwd=place)
    assert done.returncode == 0, done.stderr
    for name, tab in (("x.csv", ","), ("x.tsv", "\t")):
        rows = csv.reader(io.StringIO((place / name).read_text(encoding="utf-8")), delimiter=tab)
        header, *lines = rows
        assert header[0] == "id"
        assert {len(line) for line in lines} == {len(header)}
        assert list(dict.fromkeys(from_spreadsheet(line[0]) for line in lines)) == NAMES
        assert not [line[0] for line in lines if line[0][0] in "=+-@\uff1d"]
    assert run("contacts", "in.fasta", *model, "-o", "x.rr", cwd=place).returncode == 0
    targets = re.findall("(?m)^TARGET (.*)$", (place / "x.rr").read_text(encoding="utf-8"))
    assert targets == NAMES
    for kind in ("npz", "h5"):
        assert run("contacts", "in.fasta", *model, "-o", f"x.{kind}", cwd=place).returncode == 0
        with esmkit.read(place / f"x.{kind}") as found:
            assert list(found) == NAMES


def test_maps_of_contacts_are_drawn_in_their_folder(run, place: Path, tiny_folder: Path):
    chosen = ["../evil", "NUL.txt", "P1", "p1", "$x^$", "-1+1"]
    text = "".join(f">{name}\n{random_sequence(9, 1)}\n" for name in chosen)
    (place / "in.fasta").write_text(text)
    done = run("contacts", "in.fasta", "--model", tiny_folder, "--plot", "maps", "-q", cwd=place)
    assert done.returncode == 0, done.stderr
    for path in place.glob("in.contacts.tsv*"):
        path.unlink()
    check_outside(place, place / "maps")
    assert len(all_files(place / "maps")) == len(chosen)


def test_pages_are_made_in_their_folder(run, place: Path, tiny_folder: Path):
    chosen = ["../evil", "</script><svg/onload=alert(2)>", "con", "P1", "p1", "javascript:1", "{0}"]
    text = "".join(f">{name} </script>\n{random_sequence(9, 1)}\n" for name in chosen)
    (place / "in.fasta").write_text(text)
    options = ("--model", tiny_folder, "--heads", "L0H0", "-o", "pages")
    done = run("explore", "in.fasta", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    check_outside(place, place / "pages")
    assert len(all_files(place / "pages")) == len(chosen)
    for path in (place / "pages").iterdir():
        page = path.read_text(encoding="utf-8")
        assert "<svg/onload" not in page
        assert page.count("</title>") == 1


def test_a_file_whose_name_is_hostile(run, place: Path, tiny_folder: Path):
    """The default output is named after the input, which may hold anything but / and NUL."""
    for name in (
        "\x1b[2J\x1b]0;owned\x07.fasta",
        "a\nesmkit: wrote nothing.fasta",
        "=1.fasta",
        "..fasta",
    ):
        (place / name).write_text(">A\nMKTVRQ\n")
        done = run("embed", f"./{name}", "--model", tiny_folder, cwd=place)
        assert done.returncode == 0, done.stderr
        assert not obeyed(done.stderr)
        assert len(done.stderr.splitlines()) <= 6
        fails(run("embed", f"./{name}", "--model", tiny_folder, cwd=place))
    assert {path.parent for path in all_files(place.parents[3])} == {place}


def test_a_file_name_that_is_not_utf8(run, place: Path, tiny_folder: Path):
    name = os.fsdecode(b"\xff\xfeprot\xe9ines.fasta")
    try:
        (place / name).write_text(">A\nMKTVRQ\n")
    except OSError:
        pytest.skip("this file system has no such names")
    for kind in ("h5", "csv", "npz", "parquet"):
        done = run("embed", name, "--format", kind, "--model", tiny_folder, cwd=place)
        assert done.returncode == 0, done.stderr
        with esmkit.read(place / f"{name.removesuffix('.fasta')}.{kind}") as found:
            assert list(found) == ["A"]
    done = run("explore", name, "--model", tiny_folder, "--heads", "L0H0", cwd=place)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------- names that are refused


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31m", "a\u202eb", "a\rb", "x" * 10_000])
def test_through_the_library_the_same_rules_hold(tiny: Esm2, name: str, tmp_path: Path):
    protein = Protein(name, "MKTVRQERLKS", "header")
    for task in (tiny.embed, tiny.attention, tiny.contacts, lambda p: esmkit.explore(tiny, p)):
        with pytest.raises(InputError, match=r"^protein 1 has an ID (with an invisible|of 10,000)"):
            task(protein)


@given(st.text(min_size=1, max_size=40), st.sampled_from(["", "../", "=", "\x1b[", "$", "/"]))
def test_any_header_is_a_name_or_is_refused(tmp_path_factory, text: str, start: str):
    path = tmp_path_factory.getbasetemp() / "any.fasta"
    path.write_text(f">{start}{text}\nMKT\n", encoding="utf-8", errors="replace", newline="")
    try:
        names = [protein.id for protein in read_fasta(path)]
    except EsmkitError:
        return
    for name in names:
        assert name.isprintable()
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", file_name(name) + ".png")
        assert from_spreadsheet(spreadsheet_text(name)) == name


# ------------------------------------------------------------------------------ names of chains


@pytest.mark.parametrize(
    "chain", ["../../evil", "A B", "=1+1", "<b>\x1b[2J", "A\u202eB", "a" * 500 + "$\\frac{"]
)
def test_chains_of_mmcif_may_be_called_anything(run, place: Path, tiny_folder: Path, chain: str):
    text = to_mmcif(chain_lines("ACDEFGHIKLMN"), {}, [])
    quoted = f"'{chain}'"
    lines = [
        re.sub(r"\bA\b", lambda _: quoted, x) if x.startswith("ATOM") else x
        for x in text.splitlines()
    ]
    (place / "x\n>y.cif").write_text("\n".join(lines), encoding="utf-8")
    (structure,) = [read_structure(place / "x\n>y.cif")]
    assert structure.chain == chain.strip()
    assert structure.id.isprintable()
    assert " " not in structure.id
    assert "\n" not in structure.protein.header
    options = ("--structure", "x\n>y.cif", "--plot", "maps", "--model", tiny_folder, "-o", "x.tsv")
    done = run("contacts", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    assert not obeyed(done.stderr + done.stdout)
    done = run(
        "explore", "--structure", "x\n>y.cif", "--model", tiny_folder, "-o", "x.html", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert not obeyed(done.stderr)
    with (place / "x.scores.tsv").open(encoding="utf-8") as handle:
        header, *rows = csv.reader(handle, delimiter="\t")
    assert {len(row) for row in rows} == {len(header)}
    assert not [row for row in rows if row[0][0] in "=+-@" or row[1][0] in "=+-@"]
    assert {p.parent for p in all_files(place.parents[3])} <= {place, place / "maps"}


def test_structures_of_one_name_are_all_drawn(run, place: Path, tiny_folder: Path):
    """Two files called x.pdb, in two folders."""
    lines = "\n".join(chain_lines("ACDEFGHIKLMN"))
    (place / "in.fasta").write_text(">P1\nACDEFGHIKLMN\n")
    for folder in ("one", "two"):
        (place / folder).mkdir()
        (place / folder / "x.pdb").write_text(lines)
    options = ("--structure", "one/x.pdb", "--structure", "two/x.pdb", "--plot", "maps")
    done = run("contacts", "in.fasta", *options, "--model", tiny_folder, "-q", cwd=place)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (place / "maps").iterdir()}
    assert {"P1.x_A.png", "P1.x_A~2.png"} <= names


# --------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize(
    "data",
    [
        b">\x1b[2J\nMK\n",
        b">A\nMK\x1b]0;owned\x07\n",
        b"\x1b[2Jno fasta\n",
        b">A \x1b[31mred\nM-K\n",
        b">A\n\x1b[2J\n>B\nMK\n",
        ">A\nMK\u202eKM\u200b\n".encode(),
        b">A\nMK\x9b2J\n",
    ],
)
@pytest.mark.parametrize(
    ("command", "rule"),
    [("embed", "error"), ("embed", "replace"), ("contacts", "skip"), ("explore", "replace")],
)
def test_escapes_do_not_reach_the_terminal(run, place, tiny_folder, data, rule, command):
    (place / "in.fasta").write_bytes(data)
    done = run(command, "in.fasta", "--on-invalid", rule, "--model", tiny_folder, cwd=place)
    assert "Traceback" not in done.stderr
    assert not obeyed(done.stderr + done.stdout)


def test_escapes_in_options_and_notes(run, place: Path, tiny_folder: Path):
    for arguments in (
        ("embed", "--\x1b[31m"),
        ("\x1b[31m",),
        ("embed", "in.fasta", "--layers", "\x1b[31m"),
        ("embed", "in.fasta", "--model", "\x1b[31m"),
        ("embed", "in.fasta", "--device", "\x1b[31m", "--model", tiny_folder),
        ("attention", "in.fasta", "--heads", "\x1b[31m", "--model", tiny_folder),
        ("contacts", "in.fasta", "--structure", "\x1b[31m"),
        ("embed", "\x1b[31m.fasta"),
        ("embed", "in.fasta", "-o", "\x1b[31m/x.h5"),
    ):
        done = run(*arguments, cwd=place)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert not obeyed(done.stderr)
    config = json.loads((tiny_folder / "config.json").read_text())
    evil = place / "model"
    evil.mkdir()
    for path in tiny_folder.iterdir():
        (evil / path.name).write_bytes(path.read_bytes())
    (evil / "provenance.json").write_text(json.dumps({"note": "\x1b[2Jyou\nesmkit: won"}))
    done = run("embed", "in.fasta", "--model", evil, "-o", "x.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "[U+001B][2Jyou" in done.stderr
    assert not obeyed(done.stderr)
    (evil / "config.json").write_text(json.dumps({**config, "model_type": "\x1b[2J"}))
    assert not ESCAPES.search(
        fails(run("embed", "in.fasta", "--model", evil, "-o", "y", cwd=place))
    )


@given(st.text())
def test_visible_text_is_harmless(text: str):
    assert not ESCAPES.search(visible_lines(text).replace("\t", ""))
    assert all(unicodedata.category(c) not in HIDDEN for c in visible(text))
    assert visible_lines(text).count("\n") == text.count("\n")


# ------------------------------------------------------------------------------------ properties


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=30))
def test_file_names_differ_even_where_case_does_not_count(names: list[str]):
    name_of = FileNames()
    files = [name_of(name) for name in names]
    assert len({name.casefold() for name in files}) == len(files)
    assert all("/" not in name and "\\" not in name and name.strip(".") for name in files)


@given(
    st.text("'=+-@ab\t\r\uff1d\uff0b", max_size=6), st.text("'=+-@ab\t\r\uff1d\uff0b", max_size=6)
)
def test_cells_are_no_formulas_and_read_back(one: str, two: str):
    assert from_spreadsheet(spreadsheet_text(one)) == one
    assert spreadsheet_text(one)[:1] not in (*"=+-@\t\r\uff1d\uff0b\uff0d\uff20",)
    assert (spreadsheet_text(one) == spreadsheet_text(two)) == (one == two)
