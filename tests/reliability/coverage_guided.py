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
import io
import json
import os
import random
import shutil
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from parsers import ENDINGS, FACTORIES, refusal, scratch  # noqa: E402

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


WORDS["against"] = [*WORDS["files"], "layer", "embeddings", "sequence", "index,sequence_id"]

COUNTED_EVERY = 60.0
"""Seconds of processor time between two lines of the tally."""


def _seeds(parser: str) -> list[bytes]:
    """Return small good and bad files to begin with."""
    paths = [path for path in sorted(CORPUS.iterdir()) if path.stat().st_size < 20_000]
    if parser == "fasta":
        real = (DATA / "demo.fasta").read_bytes()[:2_000]
        packed = [gzip.compress(real[:600], level, mtime=0) for level in (0, 1, 9)]
        return [path.read_bytes() for path in paths if "fasta" in path.name] + [
            *(real, *packed, packed[1] + packed[2])
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
    return _seed_files() + (_seeds_of_pytorch() if parser == "against" else [])


def _seed_files() -> list[bytes]:
    """Return a file of each format and layout, each after the byte that chooses its ending."""
    import h5py
    import numpy as np
    import pandas

    table = pandas.DataFrame({"id": ["A", "P0"], "e0": [0.5, 1.0], "e1": [1.5, 2.0]})
    vectors = dict(zip("AB", table[["e0", "e1"]].to_numpy(np.float32), strict=True))
    lists = pandas.DataFrame({"id": ["A", "P0"], "embedding": [[0.5, 1.5], [1.0, 2.0]]})
    nested = pandas.DataFrame({"id": ["A"], "embedding": [[[0.5, 1.5], [1.0, 2.0]]]})
    found = {
        ".npz": [_saved(np.savez, **vectors), _saved(np.savez_compressed, **vectors)],
        ".csv": [table.to_csv(index=False).encode()],
        ".tsv": [table.to_csv(index=False, sep="\t").encode()],
        ".csv.gz": [gzip.compress(table.to_csv(index=False).encode(), 1, mtime=0)],
        ".parquet": [_saved(each.to_parquet) for each in (table, lists, nested)],
        ".npy": [_saved(np.save, np.stack([*vectors.values()]))],
    }
    layouts: tuple[dict[str, Any], ...] = (
        vectors,
        {f"layer_{n}/{name}": array for n in (1, 2) for name, array in vectors.items()},
        {"A/deep/er/mean": vectors["A"]},
        {"ids": ["A", "P0"], "embeddings": np.stack([*vectors.values()])},
    )
    for layout in layouts:
        with h5py.File(target := io.BytesIO(), "w") as file:
            for name, array in layout.items():
                file[name] = array
        found.setdefault(".h5", []).append(target.getvalue())
    with h5py.File(target := io.BytesIO(), "w") as file:
        file.attrs["provenance"] = json.dumps({"task": "embed", "layers": [2], "per": "protein"})
        file["A"] = vectors["A"]
    found[".h5"].append(target.getvalue())
    return [bytes([ENDINGS.index(ending)]) + data for ending in found for data in found[ending]]


def _seeds_of_pytorch() -> list[bytes]:
    """Return files that only ``--against`` reads."""
    import torch
    from safetensors.torch import save

    tensor = torch.ones(3)
    things = (
        {"A": tensor, "P0": tensor},
        {"label": "A", "mean_representations": {6: tensor}},
        {"label": "A", "representations": {6: torch.ones(4, 3)}},
    )
    found = [
        (".pt", _saved(lambda target, thing=thing: torch.save(thing, target))) for thing in things
    ]
    found.append((".safetensors", save({"A": tensor})))
    return [bytes([ENDINGS.index(ending)]) + data for ending, data in found]


def _saved(save: Any, *things: Any, **named: Any) -> bytes:
    target = io.BytesIO()
    save(target, *things, **named)
    return target.getvalue()


class Run:
    """What atheris calls with each input, until the processor time is over."""

    def __init__(self, parser: str, seconds: float, tally: Path | None) -> None:
        self.parser, self.seconds, self.tally = parser, seconds, tally
        self.folder = scratch()
        self.one = FACTORIES[parser](self.folder)
        self.outcomes: Counter[str] = Counter()
        self.begun = time.process_time()
        self.counted = 0.0

    def __call__(self, data: bytes) -> None:
        from esmkit.errors import EsmkitError

        try:
            self.one(data)
        except EsmkitError as error:
            refusal(error)
            self.outcomes["refused"] += 1
        else:
            self.outcomes["accepted"] += 1
        if not sum(self.outcomes.values()) % 256:
            spent = self.spent()
            if spent > self.seconds:
                self.count()
                shutil.rmtree(self.folder, ignore_errors=True)
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


def table_of(paths: list[Path]) -> str:
    """Return what tallies add up to, as Markdown."""
    sums: dict[str, Counter[str]] = {}
    for line in (json.loads(text) for path in paths for text in path.read_text().splitlines()):
        of_parser = sums.setdefault(line.pop("parser"), Counter())
        of_parser.update({name: round(10 * value) for name, value in line.items()})
    rows = ["| parser | processor time | inputs | read | refused |", "|---|---:|---:|---:|---:|"]
    for name in (name for name in FACTORIES if name in sums):
        one = {key: value / 10 for key, value in sums[name].items()}
        counts = (f"{one.get(key, 0):,.0f}" for key in ("inputs", "accepted", "refused"))
        rows.append(f"| {name} | {one['processor_seconds']:,.0f} s | {' | '.join(counts)} |")
    return "\n".join(rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("parser", nargs="?", choices=sorted(FACTORIES))
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--corpus", type=Path)
    options.add_argument("--table", type=Path, nargs="+", help="sums of tallies, and nothing else")
    options.add_argument("--tally", type=Path)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    if given.table:
        print(table_of(given.table))
        return
    if given.parser is None or given.corpus is None:
        options.error("name a parser and a folder for its corpus")
    atheris: Any = importlib.import_module("atheris")

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
