"""``--id`` in every command that reads FASTA, and what goes on where another run was."""

import json
from pathlib import Path

import numpy as np
import pytest

import esmkit
from esmkit.attention.options import AttentionOptions
from esmkit.attention.to_file import attention_file
from esmkit.contacts.to_file import contacts_file
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.errors import ResumeError, UnknownIdError
from esmkit.esm2 import Esm2
from esmkit.files.work_folder import WorkFolder
from oracles.checkpoints import random_sequence
from oracles.commands import fails

ONE, TWO = "sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fasta"
    path.write_text(
        f">{ONE} alpha\n{random_sequence(12, 1)}\n>broken\nMK1\n>\nMKT\n"
        f">{TWO} beta\n{random_sequence(15, 2)}\n>other\n{random_sequence(9, 3)}\n"
    )
    return path


def test_every_task_takes_the_records_asked_for(tiny: Esm2, fasta: Path, tmp_path: Path):
    ids = ["HBB_HUMAN", "P69905"]
    embed_file(tiny, fasta, tmp_path / "e.h5", ids=ids)
    attention_file(tiny, fasta, tmp_path / "a.h5", ids=ids)
    reduce = AttentionOptions(reduce=("entropy",))
    attention_file(tiny, fasta, tmp_path / "a.csv", reduce, ids=ids)
    contacts_file(tiny, fasta, tmp_path / "c.h5", ids=iter(ids))
    picked = {p.id: p.sequence for p in esmkit.read_fasta(fasta, ids=ids)}
    assert list(picked) == [ONE, TWO]  # in the order of the file
    for name in ("e.h5", "a.h5", "c.h5"):
        with esmkit.read(tmp_path / name) as found:
            assert list(found) == [ONE, TWO]
            assert found.provenance["id"] == ["HBB_HUMAN", "P69905"]
            assert found.provenance["input_report"]["not_asked_for"] == 3
    table = (tmp_path / "a.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table[1:]} == {ONE, TWO}
    # The file holds what the same sequences alone give
    alone = tmp_path / "alone.fasta"
    alone.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in picked.items()))
    embed_file(tiny, alone, tmp_path / "alone.h5")
    with esmkit.read(tmp_path / "alone.h5") as wanted, esmkit.read(tmp_path / "e.h5") as found:
        assert "id" not in wanted.provenance
        for name in picked:
            np.testing.assert_array_equal(found[name], wanted[name])


def test_a_run_of_other_records_is_not_gone_on_with(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = EmbedOptions(on_invalid="skip")

    def stop(self, *arguments, **more):
        raise KeyboardInterrupt

    for first, then, said in [
        (["P69905"], ["P68871"], r'id was \["P69905"\], now \["P68871"\]'),
        (None, ["P68871"], r'id was null, now \["P68871"\]'),
    ]:
        output = tmp_path / f"{said[:12]}.h5"
        with monkeypatch.context() as patch:
            patch.setattr(WorkFolder, "finish", stop)
            with pytest.raises(KeyboardInterrupt):
                embed_file(tiny, fasta, output, options, ids=first)
        with pytest.raises(ResumeError, match=said):
            embed_file(tiny, fasta, output, options, ids=then)
        embed_file(tiny, fasta, output, options, ids=first)
        assert output.exists()


def test_an_id_that_is_not_there_leaves_nothing_behind(tiny: Esm2, fasta: Path, tmp_path: Path):
    with pytest.raises(UnknownIdError, match=r"there is no ID 'P69906'; near ones are 'sp\|P69905"):
        embed_file(tiny, fasta, tmp_path / "e.h5", ids=["P69905", "P69906"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.fasta"]


def test_commands(run, tiny_folder: Path, fasta: Path, tmp_path: Path):
    model = ("--model", tiny_folder, "--id", "P69905", "--id", "HBB_HUMAN")
    for command, output in {"embed": "e.h5", "attention": "a.h5", "contacts": "c.h5"}.items():
        done = run(command, "in.fasta", "-o", output, *model, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "3 other record(s) of the input not asked for" in done.stderr
        with esmkit.read(tmp_path / output) as found:
            assert list(found) == [ONE, TWO]
    done = run("embed", "-", "-o", "-", *model, cwd=tmp_path, text=fasta.read_text())
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["id", ONE, TWO]
    done = run("verify", "in.fasta", "--json", *model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ONE in done.stderr
    assert "other" not in json.dumps(json.loads(done.stdout))
    done = run("explore", "in.fasta", "-o", "page.html", *model[:4], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").exists()


def test_contacts_drawn_and_scored_are_those_asked_for(
    run, tiny_folder: Path, fasta: Path, tmp_path: Path
):
    done = run(
        *("contacts", "in.fasta", "--id", "P69905", "--plot", "figures", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "figures").iterdir())) == 1


REFUSED = {
    ("embed", "in.fasta", "--id", "P69906"): (1, "there is no ID 'P69906'; near ones are"),
    ("embed", "in.fasta", "--id", "P69905", "--engine", "ray"): (2, "--id is for --engine local"),
    ("embed", "--check", "folder", "--id", "P69905"): (2, "without --check or --merge"),
    ("embed", "--merge", "folder", "-o", "x.h5", "--id", "P69905"): (2, "without --check or"),
    ("attention", "maps.h5", "--id", "P69905"): (2, "--id picks records out of FASTA"),
    ("explore", "in.fasta", "--id", "nothing"): (1, "there is no ID 'nothing'; there are 4"),
    ("explore", "--structure", "x.pdb", "--id", "P69905"): (1, "--id picks records out of FASTA"),
    ("verify", "--id", "P6990"): (1, "there is no ID 'P6990'; near ones are "),
    ("contacts", "in.fasta", "--id", "broken"): (1, "sequence 'broken', residue 3: '1' is not"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_is_refused(run, tiny_folder: Path, fasta: Path, tmp_path: Path, arguments):
    code, message = REFUSED[arguments]
    assert message in fails(run(*arguments, "--model", tiny_folder, cwd=tmp_path), code)
    assert [path.name for path in tmp_path.iterdir()] == ["in.fasta"]
