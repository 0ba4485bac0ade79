"""Right embeddings in layouts that nobody agreed on: none is accused, whatever its order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit.against import verify_against
from esmkit.errors import InputError
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import random_sequence
from oracles.planted import Maker

PROTEINS = [
    Protein(f"P{n}", random_sequence(length, n)) for n, length in enumerate((41, 30, 35, 52))
]
IDS = [protein.id for protein in PROTEINS]
BACK = IDS[::-1]


class Right:
    """What transformers makes of the proteins."""

    def __init__(self, maker: Maker) -> None:
        states = [maker.states(maker.ids(p.sequence))[-1].numpy() for p in PROTEINS]
        self.tokens = dict(zip(IDS, states, strict=True))
        self.residues = {name: rows[1:-1] for name, rows in self.tokens.items()}
        self.means = np.stack([rows.mean(0) for rows in self.residues.values()])
        self.width = self.means.shape[1]

    def frame(self, *, back: bool = False, names: Any = None) -> pandas.DataFrame:
        """Return a table with the IDs as its index, in reverse if need be."""
        table = pandas.DataFrame(self.means, index=IDS, columns=names)
        return table[::-1] if back else table


@pytest.fixture(scope="module")
def right(maker: Maker) -> Right:
    return Right(maker)


def passes(model: Esm2, path: Path) -> Any:
    found = verify_against(model, path, PROTEINS)
    assert found.passed, found.to_text()
    assert all(len(part.rows) == len(PROTEINS) for part in found.parts)
    return found


def parquet_index(path: Path, right: Right) -> None:
    right.frame(back=True).rename(columns=str).to_parquet(path)


def parquet_named_index(path: Path, right: Right) -> None:
    table = right.frame(back=True).rename(columns=str).rename_axis("which")
    table.assign(length=1, organism="yeast").to_parquet(path)


def parquet_levels_lost(path: Path, right: Right) -> None:
    """As a program leaves it that knows nothing of pandas."""
    from pyarrow import parquet

    parquet_index(path, right)
    parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)


def parquet_counted(path: Path, right: Right) -> None:
    table = right.frame().rename(columns=str)
    table.index = pandas.Index(range(len(table)), dtype="int64")
    table.to_parquet(path)


def parquet_sampled(path: Path, right: Right) -> None:
    """Rows in another order, whose numbers say which they were."""
    right.frame().rename(columns=str).reset_index(drop=True).iloc[[2, 0, 3, 1]].to_parquet(path)


def feather(path: Path, right: Right) -> None:
    right.frame(back=True).rename(columns=str).reset_index(names="id").to_feather(path)


def text(**options: Any) -> Callable[[Path, Right], None]:
    def make(path: Path, right: Right) -> None:
        first, form = options.get("first", 0), options.get("form", "{}")
        names = [form.format(n + first) for n in range(right.width)]
        kept = {k: v for k, v in options.items() if k not in ("first", "form", "ids")}
        table = right.frame(back=options.get("ids", False), names=names)
        if not options.get("ids"):
            table = table.reset_index(drop=True)
        table.to_csv(path, **kept)

    return make


def word2vec(path: Path, right: Right) -> None:
    lines = [f"{len(IDS)} {right.width}"]
    lines += [
        f"{name} some words " + " ".join(map(str, row))
        for name, row in right.frame(back=True).iterrows()
    ]
    path.write_text("\n".join(lines) + "\n")


def commented(path: Path, right: Right) -> None:
    np.savetxt(path, right.means, header="of a program")


def lists_without_header(path: Path, right: Right) -> None:
    lists = [row.tolist() for row in right.means]
    pandas.DataFrame({"id": IDS, "e": lists}).to_csv(path, sep="\t", header=False, index=False)


TABLES: dict[str, tuple[str, Callable[[Path, Right], None]]] = {
    "Parquet with an index": ("i.parquet", parquet_index),
    "Parquet with a named index": ("n.parquet", parquet_named_index),
    "Parquet without pandas": ("l.parquet", parquet_levels_lost),
    "Parquet with a counted index": ("c.parquet", parquet_counted),
    "Parquet with moved places": ("s.parquet", parquet_sampled),
    "Feather": ("f.feather", feather),
    "header 0, 1, 2": ("a.csv", text(index=False)),
    "header 1, 2, 3": ("b.csv", text(index=False, first=1)),
    "header 0.0, 1.0": ("c.csv", text(index=False, form="{}.0")),
    "header in quotes": ("d.csv", text(index=False, quoting=1)),
    "header dim_0": ("e.tsv", text(index=False, form="dim_{}", sep="\t")),
    "header V1": ("f.txt", text(index=False, form="V{}", first=1, sep=" ")),
    "header and places": ("g.csv", text()),
    "header and IDs": ("h.csv", text(ids=True)),
    "places without header": ("i.csv", text(header=False)),
    "IDs in quotes without header": ("j.csv", text(header=False, ids=True, quoting=1)),
    "decimal commas": ("k.csv", text(ids=True, sep=";", decimal=",")),
    "decimal commas without header": ("l.csv", text(ids=True, sep=";", decimal=",", header=False)),
    "decimal commas and tabs": ("m.tsv", text(index=False, sep="\t", decimal=",")),
    "spaces": ("n.txt", text(ids=True, sep=" ", header=False)),
    "word2vec": ("o.vec", word2vec),
    "comment": ("p.txt", commented),
    "lists without header": ("q.tsv", lists_without_header),
}


@pytest.mark.parametrize("name", TABLES)
def test_right_tables_pass(name: str, right: Right, tiny: Esm2, tmp_path: Path):
    file, make = TABLES[name]
    make(tmp_path / file, right)
    passes(tiny, tmp_path / file)


def test_a_header_is_no_record_of_a_longer_fasta(right: Right, tiny: Esm2, tmp_path: Path):
    """A FASTA of one protein more would make pairs of the header and all rows, each one late."""
    right.frame().to_csv(tmp_path / "x.csv", index=False)
    more = [Protein("first", random_sequence(33, 9)), *PROTEINS]
    with pytest.raises(InputError, match="has 4 records without IDs and there are 5 proteins"):
        verify_against(tiny, tmp_path / "x.csv", more)


def test_a_table_that_cannot_be_read_names_its_line(right: Right, tiny: Esm2, tmp_path: Path):
    path = tmp_path / "x.csv"
    right.frame().to_csv(path)
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    path.write_text(
        "\n".join([*lines[:2], ",".join([*cells[:3], "#VALUE!", *cells[4:]]), *lines[3:]])
    )
    with pytest.raises(InputError, match=r"line 3 of .* has '#VALUE!' in column 4"):
        verify_against(tiny, path, PROTEINS)
    path.write_text("\n".join([*lines[:2], lines[2] + ",1", *lines[3:]]))
    with pytest.raises(InputError, match="Expected 33 fields in line 3, saw 34"):
        verify_against(tiny, path, PROTEINS)
    path.write_text("1 32\nP0 " + "0.5 " * 32 + "\nP1 0.5\n")
    with pytest.raises(InputError, match=r"line 3 of .* is not a name and 32 numbers"):
        verify_against(tiny, path, PROTEINS)
