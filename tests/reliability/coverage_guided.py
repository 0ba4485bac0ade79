"""Fuzz a parser, guided by the branches that each input reaches (atheris, libFuzzer).

    pip install atheris
    python tests/reliability/coverage_guided.py fasta --seconds 3600 --corpus FOLDER --tally FILE

Seconds are processor time of this process. An input may be read, or refused by an `EsmkitError` of
one line; anything else ends the run, and the input lies in the folder. What was found to reach new
branches is kept there too, and the next run begins with it.
"""

import argparse
import gzip
import importlib
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
DATA = HERE.parents[1] / "data"

WORDS = {
    "fasta": [
        ">",
        ">sp|",
        "*",
        "-",
        "\r\n",
        "\x1f\x8b\x08",
        "\ufeff",
        ";",
        "X",
        "LOCUS",
        "CLUSTAL",
    ],
    "structures": [
        *("ATOM  ", "HETATM", "TER", "MODEL ", "ENDMDL", "SEQRES", "MODRES", "HELIX ", "SHEET "),
        *("data_", "loop_", "_atom_site.", "_entity_poly.", ";\n", "'", '"', "MSE", "nan", "1e9"),
    ],
    "mutations": [
        *(
            "A12G",
            "p.(Ala12Gly)",
            "p.Met1?",
            "del",
            "ins",
            "dup",
            "delins",
            "_",
            ":",
            "/",
            ",",
            ";",
        ),
        *("mutant", "mutated_sequence", "DMS_score", "hgvs_pro", "\t", '"', "\r\n", "#", "WT", "="),
    ],
    "words": [
        *(
            "L5H4",
            "L0",
            "all",
            "-",
            ",",
            "..",
            "A:",
            "GB",
            "MB",
            "residual",
            ".output=zero",
            "=mean",
        ),
        *("weights", "value", "feed_forward", "attention", "K48", "10-20", "\u0663", "1e3", "nan"),
    ],
    "files": [
        "\x89HDF\r\n\x1a\n",
        "PK\x03\x04",
        "PAR1",
        "\x93NUMPY",
        "id",
        ",",
        "\t",
        "nan",
        "{",
        "}",
    ],
}


COUNTED_EVERY = 60.0
"""Seconds of processor time between two lines of the tally."""


def _path(suffix: str = "") -> Path:
    """Return a name of a file in memory where there is such a folder."""
    fast = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=fast if fast.is_dir() else None)
    return Path(folder) / f"x{suffix}"


def fasta() -> Callable[[bytes], Any]:
    from esmkit.sequences.index import InputIndex
    from esmkit.sequences.proteins import read_fasta
    from esmkit.sequences.report import InputReport

    path, again = _path(".fasta"), _path(".fasta")
    rules = ("error", "replace", "skip", "degap")

    def one(data: bytes) -> None:
        path.write_bytes(data)
        report = InputReport()
        rule: Any = rules[len(data) % 4]
        found = list(read_fasta(path, on_invalid=rule, report=report))
        assert len(found) == report.proteins == report.records - report.skipped
        assert len({protein.id for protein in found}) == len(found)
        lines = "".join(f">{p.header}\n{p.sequence}\n" for p in found)
        again.write_text(lines, encoding="utf-8", newline="\n")
        assert not found or list(read_fasta(again)) == found
        if found and not len(data) % 8:
            index = InputIndex.build([path], on_invalid=rule, scratch=path.parent)
            assert [p.id for _, p in index.proteins()] == [p.id for p in found]

    return one


def structures() -> Callable[[bytes], Any]:
    from esmkit.structure import chains_of, read_structure

    path = _path()

    def one(data: bytes) -> None:
        path.write_bytes(data)
        for chain in chains_of(path):
            if chain.kind == "protein":
                found = read_structure(path, chain.chain)
                assert len(found) == len(found.residue_numbers) == len(found.cb) > 0

    return one


def mutations() -> Callable[[bytes], Any]:
    from esmkit.score.variants.mutations import parse_variant
    from esmkit.score.variants.placing import Refused, place_all
    from esmkit.score.variants.rows import read_mutations
    from esmkit.sequences.proteins import Protein

    path = _path(".csv")
    sequence = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQK"
    protein = Protein("P0CG48", sequence, "P0CG48")

    def one(data: bytes) -> None:
        if len(data) < 60 and b"\n" not in data:
            variant = parse_variant(data.decode("utf-8", "replace"))
            assert parse_variant(str(variant)) == variant
            return
        path.write_bytes(data)
        table = read_mutations(path)
        refused = Refused()
        placed = place_all(table.rows, protein, refused=refused)
        assert len(placed) + refused.count == len(table.rows)

    return one


def words() -> Callable[[bytes], Any]:
    from esmkit.encoder.activations import Activations
    from esmkit.encoder.names import choose_heads, head_names, layer_numbers, parse_head
    from esmkit.inside.edits import read_edits
    from esmkit.sequences.sites import parse_sites, parse_stretch
    from esmkit.text import parse_bytes, shorten, visible, visible_lines

    known = Activations(layers=2, heads=4, width=32, hidden=64)
    asked: list[Callable[[Any], Any]] = [
        parse_head,
        lambda text: parse_head(text.strip()),
        lambda text: head_names(text.split(",")),
        lambda text: layer_numbers(text),
        lambda text: choose_heads(text, "all", of_layers=2, of_heads=4),
        parse_sites,
        parse_stretch,
        parse_bytes,
        lambda text: read_edits(
            dict([text.split("=", 1)]) if "=" in text else {text: "zero"}, known
        ),
        lambda text: [visible(text), visible_lines(text), shorten(text)],
    ]

    def one(data: bytes) -> None:
        if data:
            asked[data[0] % len(asked)](data[1:].decode("utf-8", "replace"))

    return one


def files() -> Callable[[bytes], Any]:
    from esmkit.results import read

    paths = [_path(kind) for kind in (".h5", ".npz", ".csv", ".parquet", "", ".tsv")]

    def one(data: bytes) -> None:
        if not data:
            return
        path = paths[data[0] % len(paths)]
        path.write_bytes(data[1:])
        found = read(path)
        try:
            for name, _ in zip(found, range(3), strict=False):
                found[name]
        finally:
            if hasattr(found, "close"):
                found.close()

    return one


PARSERS = {each.__name__: each for each in (fasta, structures, mutations, words, files)}


def _seeds(parser: str) -> list[bytes]:
    """Return small good and bad files to begin with."""
    paths = [path for path in sorted(CORPUS.iterdir()) if path.stat().st_size < 20_000]
    if parser == "fasta":
        return [path.read_bytes() for path in paths if "fasta" in path.name] + [
            (DATA / "demo.fasta").read_bytes()[:2_000]
        ]
    if parser == "structures":
        real = gzip.decompress((DATA / "1ubi.pdb.gz").read_bytes()).splitlines(keepends=True)
        heads = [line for line in real if line[:6] in (b"HEADER", b"SEQRES", b"HELIX ")]
        atoms = [line for line in real if line.startswith(b"ATOM")][:40]
        return [path.read_bytes() for path in paths if path.suffix in (".pdb", ".cif")] + [
            b"".join([*heads, *atoms, b"TER\nEND\n"])
        ]
    if parser == "mutations":
        lines = [
            *(b"A12G", b"p.Ala12Gly", b"p.(Lys6del)", b"K6_T7insAG", b"Q2_I3delinsW", b"M1V:K6R"),
            *(b"T7dup", b"M1=", b"p.Trp26Ter", b"I3A/F4W", b"3 I A"),
        ]
        tables = [
            b"mutant,DMS_score\nM1V,0.5\nK6R:T7A,-1\n",
            b"protein\tvariant\tvalue\nP0CG48\tI3A\t1,5\nP0CG48\tF4W\t2,5\n",
            b'hgvs_pro;score\n"p.Ile3Ala";1,0\n',
            b"mutated_sequence,score\nMAIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQK,1\n",
        ]
        return [*lines, *tables, b"\n".join(lines)]
    if parser == "words":
        texts = [
            "L5H4",
            "0,1,-1",
            "L0H1,L1H3",
            "K48",
            "10-20,A:5",
            "12..20",
            "10GB",
            "L1.residual=zero",
        ]
        return [bytes([n]) + text.encode() for n in range(10) for text in texts]
    return _seed_files()


def _seed_files() -> list[bytes]:
    import h5py
    import numpy as np
    import pandas

    found = []
    table = pandas.DataFrame({"id": ["a", "b"], "e0": [0.5, 1.0], "e1": [1.5, 2.0]})
    vectors = table[["e0", "e1"]].to_numpy(np.float32)
    for number, kind in enumerate((".h5", ".npz", ".csv", ".parquet")):
        path = _path(kind)
        if kind == ".h5":
            with h5py.File(path, "w") as file:
                for name, row in zip("ab", vectors, strict=True):
                    file[name] = row
        elif kind == ".npz":
            np.savez(path, a=vectors[0], b=vectors[1])
        elif kind == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path)
        found.append(bytes([number]) + path.read_bytes())
    return found


class Run:
    """What atheris calls with each input, until the processor time is over."""

    def __init__(self, parser: str, seconds: float, tally: Path | None) -> None:
        self.parser, self.seconds, self.tally = parser, seconds, tally
        self.one = PARSERS[parser]()
        self.outcomes: Counter[str] = Counter()
        self.begun = time.process_time()
        self.counted = 0.0

    def __call__(self, data: bytes) -> None:
        from esmkit.errors import EsmkitError

        try:
            self.one(data)
        except EsmkitError as error:
            text = str(error)
            assert 10 < len(text) < 5_000, text
            assert "\n" not in text, text
            self.outcomes["refused"] += 1
        else:
            self.outcomes["accepted"] += 1
        if not sum(self.outcomes.values()) % 256:
            spent = self.spent()
            if spent > self.seconds:
                self.count()
                os._exit(0)  # libFuzzer has no other end
            if spent > self.counted + COUNTED_EVERY:
                self.count()

    def spent(self) -> float:
        return time.process_time() - self.begun

    def count(self) -> None:
        """Add a line of what came since the last one: a run that is killed has counted its own."""
        spent = self.spent()
        line = {
            "parser": self.parser,
            "inputs": sum(self.outcomes.values()),
            **self.outcomes,
            "processor_seconds": round(spent - self.counted, 1),
        }
        self.outcomes.clear()
        self.counted = spent
        print(json.dumps(line), flush=True)
        if self.tally:
            with self.tally.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("parser", choices=sorted(PARSERS))
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--corpus", type=Path, required=True)
    options.add_argument("--tally", type=Path)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    atheris: Any = importlib.import_module("atheris")

    sys.path.insert(0, str(HERE.parents[1]))
    with atheris.instrument_imports(include=["esmkit"]):
        run = Run(given.parser, given.seconds, given.tally)
    warnings.simplefilter("ignore")
    random.seed(given.seed)
    folder = given.corpus / given.parser
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for number, seed in enumerate(_seeds(given.parser)):
            (folder / f"seed{number:03d}").write_bytes(seed)
    dictionary = given.corpus / f"{given.parser}.dict"
    escaped = ["".join(f"\\x{b:02x}" for b in word.encode()) for word in WORDS[given.parser]]
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped), encoding="ascii")
    arguments = [
        *(sys.argv[0], str(folder), f"-dict={dictionary}", f"-seed={given.seed}", "-timeout=30"),
        *(
            "-max_len=6000",
            "-rss_limit_mb=3000",
            f"-artifact_prefix={given.corpus}/{given.parser}-",
        ),
        *("-verbosity=1", "-print_final_stats=1"),
    ]
    atheris.Setup(arguments, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
