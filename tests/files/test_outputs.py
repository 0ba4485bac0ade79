"""Outputs of every kind: formats whatever the name, links, pipes and devices."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.errors import OptionError, OutputError, ResumeError
from esmkit.esm2 import Esm2
from esmkit.files.contents import format_of_content
from esmkit.files.disk import move_into_place, place_of, write_durably
from esmkit.files.names import check_folder, folder_beside
from esmkit.files.outputs import SUFFIXES, choose_format, format_of_name, is_stream
from esmkit.files.provenance import provenance_sidecar
from esmkit.files.run_options import Run
from esmkit.files.work_folder import WorkFolder
from esmkit.plots.figure import new, save

FORMATS = ["h5", "parquet", "npz", "csv"]
FORCE = Run(force=True)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fasta"
    path.write_text(">P1 first\nMKTAYIAKQR\n>P2\nMKV\n")
    return path


# ---------------------------------------------------------------------------- formats

ENDINGS = sorted({ending for endings in SUFFIXES.values() for ending in endings})


@given(
    stem=st.sampled_from(["x", "my.data", ".hidden", "a b"]),
    ending=st.sampled_from([*ENDINGS, "", "bak", "gz"]),
    capitals=st.booleans(),
    asked=st.sampled_from([None, *FORMATS]),
)
def test_format_is_the_one_asked_for_or_that_of_the_name(
    stem: str, ending: str, capitals: bool, asked: str | None
):
    name = f"{stem}.{ending.upper() if capitals else ending}" if ending else stem
    of_name = {
        **dict.fromkeys(("h5", "hdf5", "hdf", "he5"), "h5"),
        **dict.fromkeys(("parquet", "pq"), "parquet"),
        **{kind: kind for kind in ("npz", "csv", "tsv", "rr")},
    }.get(ending)
    said: list[str] = []
    if asked is None and of_name not in FORMATS:
        with pytest.raises(OptionError, match=r"says no format: let it end in .h5, .parquet"):
            choose_format(name, asked, FORMATS, streamed=("csv",), say=said.append)
        return
    found = choose_format(name, asked, FORMATS, streamed=("csv",), say=said.append)
    assert found == (asked or of_name)
    assert len(said) == (asked is not None and of_name not in (None, asked))


def test_unknown_format_and_what_a_stream_cannot_take():
    with pytest.raises(OptionError, match=r"^format is h5, parquet, npz, csv, not 'xlsx'$"):
        choose_format("x.h5", "xlsx", FORMATS, streamed=("csv",))
    with pytest.raises(OptionError, match=r"^standard output takes csv, not h5; name a file"):
        choose_format("-", "h5", FORMATS, streamed=("csv",))
    with pytest.raises(
        OptionError, match=r"^the stream '/dev/null' takes csv, not npz; name a file"
    ):
        choose_format("/dev/null", "npz", FORMATS, streamed=("csv",))
    assert format_of_name("x.h5.gz") is None


@pytest.mark.parametrize("name", ["embeddings", "x.csv"])
def test_every_command_writes_the_format_asked_for(tiny: Esm2, fasta: Path, tmp_path: Path, name):
    for kind in FORMATS:
        esmkit.embed_file(tiny, fasta, tmp_path / name, file_format=kind, run=FORCE)
        assert format_of_content(tmp_path / name) == kind
        with esmkit.read(tmp_path / name) as found:
            assert list(found) == ["P1", "P2"]
            assert found.provenance["format"] == kind
    for kind in ("h5", "npz"):
        esmkit.contacts_file(tiny, fasta, tmp_path / name, file_format=kind, run=FORCE)
        assert format_of_content(tmp_path / name) == kind
    esmkit.contacts_file(tiny, fasta, tmp_path / name, file_format="tsv", run=FORCE)
    assert "i_number" in pandas.read_csv(tmp_path / name, sep="\t")
    esmkit.contacts_file(tiny, fasta, tmp_path / name, file_format="rr", run=FORCE)
    assert (tmp_path / name).read_text().startswith("PFRMAT RR\n")
    esmkit.attention_file(tiny, fasta, tmp_path / name, file_format="h5", run=FORCE)
    with h5py.File(tmp_path / name) as handle:
        assert list(handle) == ["P1", "P2"]
    options = esmkit.AttentionOptions(reduce=("entropy",))
    tables = {
        "csv": pandas.read_csv,
        "tsv": lambda path: pandas.read_csv(path, sep="\t"),
        "parquet": pandas.read_parquet,
    }
    for kind, read in tables.items():
        esmkit.attention_file(tiny, fasta, tmp_path / name, options, file_format=kind, run=FORCE)
        assert len(read(tmp_path / name)) == 2 * 8


def test_formats_of_attention_that_do_not_fit(tiny: Esm2, fasta: Path, tmp_path: Path):
    reduced = esmkit.AttentionOptions(reduce=("entropy",))
    for options, asked, message in (
        (esmkit.AttentionOptions(), "csv", "attention maps are written to HDF5"),
        (reduced, "h5", "with reductions the output is a table"),
        (reduced, "npz", "with reductions the output is a table"),
    ):
        with pytest.raises(OptionError, match=message):
            esmkit.attention_file(tiny, fasta, tmp_path / "x", options, file_format=asked)
    with pytest.raises(OptionError, match="standard output takes tables, not h5; name a file"):
        esmkit.attention_file(tiny, fasta, "-")
    assert list(tmp_path.iterdir()) == [fasta]


def test_folder_for_figures_is_never_the_output():
    assert folder_beside(Path("d/seqs.h5")) == Path("d/seqs")
    assert folder_beside(Path("d/maps")) == Path("d/maps.figures")


def test_figures_and_the_output_are_kept_apart_before_anything_is_computed(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "link.h5").symlink_to("x.h5")
    for output, folder, message in (
        ("x.h5", "x.h5", "is the file to be written; name a folder"),
        ("link.h5", "x.h5", "is the file to be written; name a folder"),
        ("d/x.h5", "d", "will hold 'x.h5'"),
        ("link/x.h5", "d", "will hold 'x.h5'"),
        ("d/x.h5", "link", "will hold 'x.h5'"),
        ("new/../x.h5", "x.h5", "is the file to be written; name a folder"),
    ):
        with pytest.raises(OutputError, match=message):
            check_folder(tmp_path / folder, "folder", force=False, beside=tmp_path / output)
    check_folder(tmp_path / "d", "folder", force=True, beside=tmp_path / "d" / "x.h5")
    check_folder(tmp_path / "d", "folder", force=False, beside=tmp_path / "x.h5")
    check_folder(tmp_path / "d" / "x", "folder", force=False, beside=tmp_path / "d" / "x.h5")


# ---------------------------------------------------------------------------- streams


def test_what_is_a_stream(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_stdout").symlink_to("/dev/stdout")
    (tmp_path / "twice").symlink_to("to_stdout")
    (tmp_path / "file").write_text("")
    for path in ("-", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/1", "/dev/null"):
        assert is_stream(path), path
    for name in ("pipe", "to_stdout", "twice"):
        assert is_stream(tmp_path / name), name
    for path in (
        tmp_path,
        tmp_path / "file",
        tmp_path / "none",
        "/dev/shm/x.h5",
        "a\0b",
        "x" * 999,
    ):
        assert not is_stream(path), path


def test_a_pipe_is_written_as_a_stream(tiny: Esm2, fasta: Path, tmp_path: Path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    esmkit.embed_file(tiny, fasta, pipe)
    reader.join()
    esmkit.embed_file(tiny, fasta, tmp_path / "x.csv")
    assert read == [(tmp_path / "x.csv").read_text()]
    assert pipe.is_fifo()
    assert not provenance_sidecar(pipe).exists()
    assert not list(tmp_path.glob("*.work"))
    for write in (
        lambda: write_durably(pipe, b"x"),
        lambda: save(new(1, 1, "", ""), tmp_path / "f.png"),
        lambda: check_folder(pipe, "folder", force=True),
    ):
        if not (tmp_path / "f.png").exists():
            os.mkfifo(tmp_path / "f.png")
        with pytest.raises(OutputError, match="is a stream, and"):
            write()


def test_standard_output_sent_to_a_file(tiny: Esm2, fasta: Path, tmp_path: Path, capsys):
    esmkit.embed_file(tiny, fasta, tmp_path / "x.csv")
    for name in ("/dev/stdout", "/dev/fd/1", "-"):
        esmkit.embed_file(tiny, fasta, name)
        assert capsys.readouterr().out == (tmp_path / "x.csv").read_text()
    # A shell that appends to a file: what stands there stays
    script = (
        "import sys; from esmkit.files.outputs import open_stream, is_stream\n"
        "assert is_stream('/dev/stderr')\n"
        "with open_stream('/dev/stderr') as stream: stream.write('more')\n"
    )
    (tmp_path / "log").write_text("before ")
    with (tmp_path / "log").open("a") as log:
        subprocess.run([sys.executable, "-c", script], stderr=log, check=True)
    assert (tmp_path / "log").read_text() == "before more"


# ---------------------------------------------------------------------------- links


def linked(folder: Path, how: str) -> tuple[Path, Path]:
    """Return a link, and the file that it leads to, in another folder and of another name."""
    (folder / "disk").mkdir()
    link, real = folder / "link.out", folder / "disk" / "real.data"
    if how != "dangling":
        real.write_text("before")
    if how == "chain":
        (folder / "between").symlink_to("disk/real.data")
        link.symlink_to("between")
    else:
        link.symlink_to(real if how == "absolute" else "disk/real.data")
    return link, real


@pytest.mark.parametrize("how", ["relative", "absolute", "chain", "dangling"])
def test_a_link_is_written_through(tiny: Esm2, fasta: Path, tmp_path: Path, how: str):
    link, real = linked(tmp_path, how)
    leads_to = link.readlink()
    if how != "dangling":
        with pytest.raises(OutputError, match="exists already"):
            esmkit.embed_file(tiny, fasta, link, file_format="h5")
        assert real.read_text() == "before"
    run = Run(force=how != "dangling")
    for kind in ("h5", "csv"):
        esmkit.embed_file(tiny, fasta, link, file_format=kind, run=run)
        assert link.readlink() == leads_to
        assert not real.is_symlink()
        assert format_of_content(real) == kind
        run = FORCE
        with esmkit.read(link) as found:  # its provenance stands beside the file itself
            assert found.provenance["format"] == kind
    esmkit.attention_file(tiny, fasta, link, file_format="h5", run=FORCE)
    esmkit.contacts_file(tiny, fasta, link, file_format="tsv", run=FORCE)
    assert real.read_text().startswith("id\ti_number")
    picture = tmp_path / "figure.svg"
    picture.symlink_to(real)
    save(new(1, 1, "a", "b"), picture)
    write_durably(link, b"text")
    assert link.readlink() == leads_to
    assert picture.is_symlink()
    assert real.read_text() == "text"
    assert sorted(path.name for path in real.parent.iterdir()) == [
        "real.data",
        "real.data.provenance.json",
    ]


def test_work_that_was_stopped_goes_on_by_either_name(tiny: Esm2, fasta: Path, tmp_path: Path):
    link, real = linked(tmp_path, "dangling")

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    said: list[str] = []
    with pytest.raises(Stop):
        esmkit.embed_file(tiny, fasta, link, file_format="h5", run=Run(then=stop))
    assert (real.parent / "real.data.work").is_dir()
    assert not list(tmp_path.glob("*.work"))
    esmkit.embed_file(tiny, fasta, real, file_format="h5", run=Run(say=said.append))
    assert any("was complete" in line for line in said)
    assert not (real.parent / "real.data.work").exists()
    assert link.is_symlink()


def test_links_that_cannot_be_written_are_refused(tiny: Esm2, fasta: Path, tmp_path: Path):
    (tmp_path / "loop").symlink_to("back")
    (tmp_path / "back").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("no/folder/x.h5")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to_folder").symlink_to("folder")
    (tmp_path / "one").write_text("before")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    for name, message in (
        ("loop", "is a link that leads back to itself; delete it"),
        ("nowhere", "there is no folder"),
        ("to_folder", "is a folder; give a file name"),
        ("two", r"has another name \(a hard link\), which would keep the old contents"),
    ):
        with pytest.raises(OutputError, match=message):
            esmkit.embed_file(tiny, fasta, tmp_path / name, file_format="h5", run=FORCE)
    for write in (
        lambda: write_durably(tmp_path / "two", b"x"),
        lambda: move_into_place(fasta, tmp_path / "two"),
        lambda: place_of(tmp_path / "two"),
    ):
        with pytest.raises(OutputError, match="has another name"):
            write()
    assert (tmp_path / "one").read_text() == "before"
    assert fasta.exists()


def test_a_link_to_a_folder_is_a_folder_for_figures(tiny: Esm2, fasta: Path, tmp_path: Path):
    from esmkit.attention.to_figures import attention_figures

    esmkit.attention_file(tiny, fasta, tmp_path / "x.h5", esmkit.AttentionOptions(heads=("L0H1",)))
    (tmp_path / "figures").symlink_to("disk/of/figures")  # none of them there yet
    drawn = list(attention_figures(tmp_path / "x.h5", tmp_path / "figures", kind="svg"))
    assert len(drawn) == 4
    assert {path.name for path in (tmp_path / "disk/of/figures").iterdir()} == {
        path.name for path in drawn
    }
    assert (tmp_path / "figures").is_symlink()


@pytest.mark.parametrize("there", ["nothing", "empty folder", "files"])
def test_a_folder_of_results_goes_through_links(tmp_path: Path, there: str):
    real, link = tmp_path / "real", tmp_path / "heads"
    link.symlink_to("real")
    if there != "nothing":
        real.mkdir()
    if there == "files":
        (real / "summary.md").symlink_to("../elsewhere.md")
    work = WorkFolder(link, {"task": "heads"}, force=True)
    assert work.folder == tmp_path / "real.work"
    work.temporary().mkdir()
    (work.temporary() / "summary.md").write_text("new")
    work.finish_folder()
    assert link.readlink() == Path("real")
    assert (link / "summary.md").read_text() == "new"
    assert (real / "summary.md").is_symlink() == (there == "files")
    assert (tmp_path / "elsewhere.md").exists() == (there == "files")
    assert not (tmp_path / "real.work").exists()


def test_another_disk_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A rename cannot cross disks: the file is copied beside its place, and renamed there."""
    source, target = tmp_path / "made", tmp_path / "there"
    source.write_text("new")
    target.write_text("old")
    real = Path.replace

    def replace(path: Path, to: Path) -> Path:
        if path == source:
            raise OSError(18, "Invalid cross-device link")
        return real(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    move_into_place(source, target)
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_two_runs_into_one_file_by_two_names(tiny: Esm2, fasta: Path, tmp_path: Path):
    link, real = linked(tmp_path, "dangling")

    def again() -> None:
        with pytest.raises(ResumeError, match="another process is writing"):
            esmkit.embed_file(tiny, fasta, real, file_format="h5", run=FORCE)

    esmkit.embed_file(
        tiny, fasta, link, file_format="h5", run=Run(say=lambda text: None, then=again)
    )
