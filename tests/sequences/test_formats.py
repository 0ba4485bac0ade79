"""Files that are not FASTA: named, with a command that makes FASTA of them and runs."""

import gzip
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from Bio import AlignIO, SeqIO
from Bio.Align import MultipleSeqAlignment
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from esmkit.errors import InputError
from esmkit.sequences.proteins import OnInvalid, read_fasta

LETTERS = {"P1": "MKTAYIAKQR", "P2": "MSLLTEVETP"}


def records() -> list[SeqRecord]:
    facts: Any = {"molecule_type": "protein"}
    return [SeqRecord(Seq(s), i, i, "a protein", annotations=facts) for i, s in LETTERS.items()]


def refused(path: Path, rule: OnInvalid = "error") -> str:
    with pytest.raises(InputError) as caught:
        list(read_fasta(path, on_invalid=rule))
    return str(caught.value)


def convert(message: str, folder: Path) -> Path:
    """Run the command of a message as a shell would; return the file that it made."""
    command = shlex.split(re.findall(r"`(python -c .*?)`", message)[0])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], cwd=folder, check=True)
    return Path(re.findall(r"'([^']*)', 'fasta'\)", command[2])[0])


def test_what_biopython_writes_is_named_and_converted(tmp_path: Path):
    """The commands of all messages run, in one process because each costs seconds."""
    forms = ["genbank", "embl", "clustal", "stockholm", "nexus", "phylip-relaxed"]
    code = []
    for form in forms:
        path = tmp_path / f"{form}.txt"
        if form in ("genbank", "embl"):
            SeqIO.write(records(), path, form)
        else:
            with path.open("w") as handle:
                AlignIO.write(MultipleSeqAlignment(records()), handle, form)
        packed = tmp_path / f"{form}.packed.{'gz' if form == 'embl' else 'txt'}"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        for one in (path, packed):
            message = refused(one)
            assert "is not FASTA" in message
            code.append(re.findall(r'python -c "(.*?)"', message)[0])
    subprocess.run([sys.executable, "-c", "\n".join(code)], check=True)
    made = [f"{form}.fasta" for form in forms]
    made += ["embl.fasta" if form == "embl" else f"{form}.packed.fasta" for form in forms]
    for name in made:
        found = read_fasta(tmp_path / name, on_invalid="degap")
        assert {p.id.split(".")[0]: p.sequence for p in found} == LETTERS


PIR = ">{};{}\nALPHA CHAIN OF A MADE UP CASE\n{}*\n"


@pytest.mark.parametrize("rule", ["error", "replace", "skip", "degap"])
@pytest.mark.parametrize("code", ["P1", "F1"])
def test_a_pir_file_is_refused_with_a_command_that_runs(tmp_path: Path, rule: OnInvalid, code: str):
    path = tmp_path / "in.pir"
    path.write_text("".join(PIR.format(code, *both) for both in LETTERS.items()))
    message = refused(path, rule)
    assert f"line 1: '>{code};P1' is a header of NBRF/PIR" in message
    if (rule, code) == ("error", "P1"):
        made = convert(message, tmp_path)
        assert {p.id: p.sequence for p in read_fasta(made)} == LETTERS


def test_a_pir_record_further_down(tmp_path: Path):
    path = tmp_path / "in.fasta"
    path.write_text(">A\nMKT\n\n" + PIR.format("P1", "X", "MKT"))
    assert "'in.fasta'" not in refused(path)  # the whole path
    assert ", line 4: '>P1;X' is a header of NBRF/PIR" in refused(path)
    path.write_text(">P1 ; no PIR\nMKT\n>P1;\nMKT\n>AP1;b\nMKT\n")
    assert len(list(read_fasta(path))) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HEADER    HYDROLASE\nATOM      1\n", "it looks like PDB"),
        ("data_1UBI\n#\n", "it looks like mmCIF"),
        ("id,sequence\nP1,MKT\n", "it looks like a table"),
        ("id\tsequence\nP1\tMKT\n", "it looks like a table"),
        ('[{"id": "P1"}]\n', "it looks like JSON"),
        ("<!DOCTYPE html>\n", "it looks like a web page"),
        ("<pre>\n>P1\nMKT\n</pre>\n", "it looks like a web page"),
        ("&gt;P1\nMKT\n", "another sign for '>': write '>' in its place"),
        ("\uff1eP1\nMKT\n", "another sign for '>'"),
        ("{\\rtf1 >P1", "a document of a word processor"),
        ("#22\t1\n>101\nMKT\n", "a comment: remove the lines that begin with '#'"),
        ("<?xml version='1.0'?>\n", "it looks like XML"),
        ("@read1\nACGT\n+\nIIII\n", "it looks like FASTQ"),
        ("ID   HBA_HUMAN  Reviewed;  142 AA.\n", "it looks like UniProt text"),
        ("MKTAYIAK\n", "it looks like a sequence without a header"),
        ("; comment\n>P1\nMKT\n", "remove the lines that begin with ';'"),
    ],
)
def test_other_files_are_named(tmp_path: Path, text: str, said: str):
    path = tmp_path / "in.fasta"
    path.write_text(text)
    message = refused(path)
    assert said in message
    assert len(message.splitlines()) == 1
