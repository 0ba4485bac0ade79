"""Make ``training.fasta.gz``: real proteins on which a small network is trained within minutes.

What is needed, beside esmkit itself: the Debian packages ``mmseqs2`` (14-7e284), which finds
relatives, and ``mmseqs2-examples``, whose ``DB.fasta.gz`` holds 20,000 sequences of UniProt.

    apt-get install mmseqs2 mmseqs2-examples
    python data/make_training.py /usr/share/doc/mmseqs2/example-data/DB.fasta.gz WORK

Held out are 250 proteins drawn at random. No protein to train on has a relative among them, nor
among the other proteins that travel with esmkit (demo proteins, repeats, both sets of chains): none
that a sensitive search finds with an expectation of 0.001, however little of it is aligned.
"""

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from Bio import SeqIO

from esmkit.data import demo_proteins, repeat_proteins, replication, ts50
from esmkit.sequences.proteins import AMINO_ACIDS

SHA256 = "92a65aa435f5d3e0f33eb47d87910fe7fc6033a28bf4ed1367094377d791d567"
SHORTEST, LONGEST = 40, 400
HELD_OUT, TRAIN = 250, 2_250
SEED = 25
SEARCH = ("-s", "7.5", "-e", "1e-3", "--max-seqs", "20000", "--threads", "1", "-v", "1")
HEADER = re.compile(r"^\w+\|(\w+)\|\S+ (.+?) OS=(.+?) (?:GN=.+ )?PE=\d SV=\d+ Split=0")

Records = list[tuple[str, str, str]]
"""Accession, name and organism, letters."""


def candidates(database: Path) -> Records:
    """Return whole proteins of 40 to 400 standard residues, each sequence once."""
    if hashlib.sha256(database.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{database} is not the expected file: its SHA-256 differs")
    seen: dict[str, tuple[str, str]] = {}
    with gzip.open(database, "rt", encoding="ascii") as handle:
        for record in SeqIO.parse(handle, "fasta"):
            letters = str(record.seq).upper()
            header = HEADER.match(record.description)
            whole = header is not None and "(Fragment" not in header[2]
            if whole and SHORTEST <= len(letters) <= LONGEST and set(letters) <= set(AMINO_ACIDS):
                seen.setdefault(letters, (header[1], f"{header[2]}, {header[3]}"))
    return [(accession, name, letters) for letters, (accession, name) in seen.items()]


def relatives(work: Path, queries: list[str], targets: Records) -> set[int]:
    """Return the places of the targets that are relatives of any query."""
    for name, found in (("queries", queries), ("targets", [r[2] for r in targets])):
        text = "".join(f">{place}\n{letters}\n" for place, letters in enumerate(found))
        (work / f"{name}.fasta").write_text(text)
    files = [str(work / name) for name in ("queries.fasta", "targets.fasta", "hits.m8", "search")]
    columns = ("--format-output", "query,target,evalue")
    subprocess.run(["mmseqs", "easy-search", *files, *SEARCH, *columns], check=True)
    return {int(line.split("\t")[1]) for line in (work / "hits.m8").read_text().splitlines()}


def main(database: Path, work: Path) -> None:
    """Write the proteins, those to train on first."""
    work.mkdir(exist_ok=True)
    found = candidates(database)
    order = np.random.default_rng(SEED).permutation(len(found)).tolist()
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    shipped = [
        *demo_proteins(),
        *repeat_proteins(),
        *(c.protein for c in (*ts50(), *replication())),
    ]
    queries = [found[place][2] for place in held_out] + [protein.sequence for protein in shipped]
    near = relatives(work, queries, found)
    train = [place for place in rest if place not in near][:TRAIN]
    print(f"{len(found):,} candidates, {len(near):,} relatives, {len(train):,} to train on")
    lines = []
    for part, places in (("train", train), ("held_out", held_out)):
        for accession, name, letters in (found[place] for place in places):
            lines += [f">{accession} {part} {name}", letters]
    target = Path(__file__).parent / "training.fasta.gz"
    packed = gzip.compress(("\n".join(lines) + "\n").encode("ascii"), mtime=0)
    target.write_bytes(packed)
    print(f"{len(packed):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
