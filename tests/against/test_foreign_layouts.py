"""Right embeddings in layouts that nobody agreed on: none is accused, whatever its order."""

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import torch

from esmkit.against import verify_against
from esmkit.against.given import Given
from esmkit.against.layout import laid_out
from esmkit.against.naming import pair
from esmkit.against.reading import read_given
from esmkit.against.records import Records
from esmkit.against.rows import token_words
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
        return table.iloc[::-1] if back else table


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


def holds(path: Path, right: Right, *, residues: bool = False) -> Given:
    """Hold what is read against what is right, protein by protein."""
    found = laid_out(read_given(path), right.width, PROTEINS)
    (part,) = found.parts
    places = pair(list(part.arrays), PROTEINS, str(path)).proteins
    assert sorted(places.values()) == list(range(len(PROTEINS)))
    for name, place in places.items():
        want = right.residues[IDS[place]] if residues else right.means[place]
        np.testing.assert_allclose(part.arrays[name], want, atol=1e-6)
    if found.close is not None:
        found.close()
    return found


def in_hdf5(**arrays: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return make


def transposed(right: Right) -> dict[str, Callable[[Path], Any]]:
    across = np.ascontiguousarray(right.means.T)
    back = right.frame(back=True).T
    named = back.set_axis([f"dim_{n}" for n in range(right.width)], axis="index")
    return {
        "a.npy": lambda path: np.save(path, across),
        "b.npz": lambda path: np.savez(path, across),
        "c.npz": lambda path: np.savez(path, embeddings=across[:, ::-1], ids=BACK),
        "d.pt": lambda path: torch.save(torch.from_numpy(across), path),
        "e.csv": lambda path: back.to_csv(path, index=False),
        "f.csv": back.to_csv,
        "g.tsv": lambda path: named.to_csv(path, sep="\t"),
        "h.txt": lambda path: np.savetxt(path, across),
        "i.parquet": named.to_parquet,
        "j.h5": in_hdf5(embeddings=across[:, ::-1], ids=BACK),
    }


TRANSPOSED = [*"abcdefghij"]


@pytest.mark.parametrize("file", TRANSPOSED)
def test_transposed_vectors_are_turned(file: str, right: Right, tmp_path: Path):
    name, make = next(pair for pair in transposed(right).items() if pair[0].startswith(file))
    make(tmp_path / name)
    notes = holds(tmp_path / name, right).notes
    assert notes == ["the arrays are transposed, 32 numbers x 4 records: they were read so"]


def test_transposed_residues_are_turned(right: Right, tmp_path: Path):
    turned = {name: rows.T for name, rows in right.residues.items()}
    in_hdf5(**turned)(tmp_path / "x.h5")
    np.savez(tmp_path / "x.npz", allow_pickle=True, **turned)
    for file in ("x.h5", "x.npz"):
        notes = holds(tmp_path / file, right, residues=True).notes
        assert notes == ["the arrays are transposed, 32 numbers x residues: they were read so"]
    more = {name: np.ones((32, 7 + n)) for n, name in enumerate(IDS)}
    np.savez(tmp_path / "y.npz", allow_pickle=True, **more)
    with pytest.raises(InputError, match="are transposed: 32 numbers x residues; give them as"):
        holds(tmp_path / "y.npz", right)


def test_transposed_vectors_of_other_proteins_are_refused(right: Right, tmp_path: Path):
    np.save(tmp_path / "x.npy", right.means.T[:, :3])
    with pytest.raises(InputError, match="are transposed: 32 numbers x 3 records; give them as"):
        holds(tmp_path / "x.npy", right)


def test_as_many_proteins_as_numbers_stay_as_they_are(right: Right, tmp_path: Path):
    many = [Protein(f"Q{n}", random_sequence(20, n)) for n in range(right.width)]
    for width in (7, right.width):
        block = np.random.default_rng(0).normal(size=(right.width, width)).astype(np.float32)
        np.save(tmp_path / "x.npy", block)
        found = laid_out(read_given(tmp_path / "x.npy"), right.width, many)
        assert not found.notes
        np.testing.assert_array_equal(found.parts[0].arrays["row 3"], block[3])


def padded(right: Right) -> tuple[Any, Any, Any]:
    """Return residues padded with what is no zero, a mask and lengths, in reverse."""
    lengths = np.array([len(right.residues[name]) for name in BACK])
    block = np.full((len(BACK), lengths.max(), right.width), 7, np.float32)
    for row, name in zip(block, BACK, strict=True):
        row[: len(right.residues[name])] = right.residues[name]
    return block, np.arange(lengths.max()) < lengths[:, None], lengths


def test_masks_and_lengths_cut_the_rows(right: Right, tmp_path: Path):
    block, mask, lengths = padded(right)
    flat = np.concatenate([right.residues[name] for name in BACK])
    tokens = np.ones(mask.shape, int)
    ways: list[dict[str, Any]] = [
        {"embeddings": block, "mask": mask, "ids": BACK},
        {"embeddings": block, "attention_mask": mask.astype(int), "names": BACK, "y": lengths},
        {"embeddings": block, "lengths": lengths, "accessions": BACK, "input_ids": tokens},
        {"embeddings": block, "padding_mask": ~mask, "keys": BACK, "done": True},
        {"embeddings": block, "mask": ~mask, "identifiers": BACK},
        {"embeddings": flat, "lengths": lengths, "ids": BACK},
        {"embeddings": block[::-1], "mask": mask[::-1]},
    ]
    for way in ways:
        np.savez(tmp_path / "x.npz", **way)
        in_hdf5(**way)(tmp_path / "x.h5")
        tensors = {
            name: value if isinstance(value, list | bool) else torch.from_numpy(value.copy())
            for name, value in way.items()
        }
        torch.save(tensors, tmp_path / "x.pt")
        for file in ("x.npz", "x.h5", "x.pt"):
            holds(tmp_path / file, right, residues=True)


def test_what_is_no_vector_is_passed_over(right: Right, tmp_path: Path):
    back, kinds = right.means[::-1], ["a", "b", "a", "b"]
    ways: list[dict[str, Any]] = [
        {"X": back, "names": np.array(BACK, dtype=object), "y": np.arange(4)},
        {"X": back, "ids": BACK, "labels": kinds, "coordinates": back[:, :3]},
        {"X": right.means, "y": np.arange(4)},
        {"arr_0": back, "arr_1": BACK},
        {"my_proteins": back, "headers": BACK, "epoch": 3, "labels": np.arange(4)},
    ]
    for way in ways:
        np.savez(tmp_path / "x.npz", **way)
        holds(tmp_path / "x.npz", right)


def test_anndata(right: Right, tmp_path: Path):
    sparse = pytest.importorskip("scipy.sparse")
    back = right.means[::-1].copy()
    path = tmp_path / "x.h5ad"
    in_hdf5(**{"X": back, "obs/_index": BACK, "obs/length": [1] * 4, "var/_index": ["a"]})(path)
    assert holds(path, right).kind == "AnnData"
    in_hdf5(X=back, obs=np.array([(one.encode(),) for one in BACK], [("index", "S9")]))(path)
    holds(path, right)
    for form in ("csr", "csc"):
        held = getattr(sparse, f"{form}_matrix")(back)
        kept = {f"X/{n}": getattr(held, n) for n in ("data", "indices", "indptr")}
        in_hdf5(**kept, **{"obs/cell": BACK})(path)
        with h5py.File(path, "a") as file:
            file["obs"].attrs["_index"] = "cell"
            file["X"].attrs.update({"encoding-type": f"{form}_matrix", "shape": back.shape})
        holds(path, right)
    in_hdf5(
        **{"X": np.ones((4, 9)), "obsm/pca": back[:, :2], "obsm/esm": back, "obs/_index": BACK}
    )(path)
    assert holds(path, right).notes == [
        "the other arrays of the file are no vectors: obsm/esm was read"
    ]


class Evil:
    def __reduce__(self) -> Any:
        return (sorted, ("run",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_arrays_are_read(protocol: int, right: Right, tmp_path: Path):
    back = dict(zip(BACK, right.means[::-1], strict=True))
    objects: list[Any] = [
        back,
        {name: row.astype(">f8") for name, row in back.items()},
        {name: row.tolist() for name, row in back.items()},
        (BACK, right.means[::-1]),
        {"ids": np.array(BACK), "embeddings": np.asfortranarray(right.means[::-1]), "epoch": 3},
        list(back.items()),
        right.means,
    ]
    for found in objects:
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(found, protocol))
        holds(tmp_path / "x.pkl", right)
        torch.save(found, tmp_path / "x.pt")
        holds(tmp_path / "x.pt", right)
    (tmp_path / "y.pickle").write_bytes(pickle.dumps(right.residues, protocol))
    holds(tmp_path / "y.pickle", right, residues=True)


def test_pickles_of_all_else_are_refused(
    right: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    cases = [
        (
            {"P0": Evil()},
            "holds a builtins.sorted, which reading would run; write the arrays with np",
        ),
        (
            right.frame(),
            "holds a pandas.*, which reading would run; write the table with df.to_parq",
        ),
        ({"P0": torch.ones(3)}, "would run; write the arrays with np.savez"),
        ([1], "a Python pickle of a list of 1 items"),
        ([[[[[[1.0]]]]]], "deep in each other"),
    ]
    for found, words in cases:
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(found))
        with pytest.raises(InputError, match=words):
            read_given(tmp_path / "x.pkl")
    whole = pickle.dumps(right.residues)
    for size in range(1, len(whole), 997):
        (tmp_path / "x.pkl").write_bytes(whole[:size])
        with pytest.raises(InputError, match="a Python pickle that cannot be read"):
            read_given(tmp_path / "x.pkl")
    torch.save({"P0": np.ones(3), "P1": Evil()}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="which reading would run"):
        read_given(tmp_path / "x.pt")
    assert "run" not in capsys.readouterr().out


def test_json_is_read(right: Right, tmp_path: Path):
    lists = dict(zip(BACK, right.means[::-1].tolist(), strict=True))
    rows = [{"id": name, "length": 3, "embedding": row} for name, row in lists.items()]
    table = right.frame(back=True)
    objects: list[Any] = [
        lists,
        rows,
        {"ids": BACK, "embeddings": list(lists.values())},
        {name: {"embedding": row} for name, row in lists.items()},
        list(lists.items()),
        right.means.tolist(),
        *(json.loads(str(table.to_json(orient=form))) for form in ("columns", "index", "split")),
        json.loads(str(table.reset_index(names="id").to_json(orient="records"))),
    ]
    for found in objects:
        (tmp_path / "x.json").write_text(json.dumps(found, indent=1))
        holds(tmp_path / "x.json", right)
        (tmp_path / "x.json.gz").write_bytes(gzip.compress(json.dumps(found).encode()))
        holds(tmp_path / "x.json.gz", right)
    for lines in (rows, [{name: row} for name, row in lists.items()], right.means.tolist()):
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        holds(tmp_path / "x.jsonl", right)
    residues = {name: block.tolist() for name, block in right.residues.items()}
    (tmp_path / "x.json").write_text(json.dumps(residues))
    holds(tmp_path / "x.json", right, residues=True)


def test_json_that_cannot_be_read_names_its_line(right: Right, tmp_path: Path):
    path = tmp_path / "x.json"
    for text, words in (
        ('{"P0": [1, 2,', "line 1 of .* is no JSON"),
        ('{"P0": [1, 2]}\n{"P1": [1,\n', "line 2 of .* is no JSON"),
        ('{"P0": "MKV"}', "is JSON of a dict of 1 items and no embeddings"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_given(path)


def test_ids_in_a_list_beside_an_array(right: Right, tmp_path: Path):
    np.save(tmp_path / "x.npy", right.means[::-1])
    np.savetxt(tmp_path / "x.csv", right.means[::-1], delimiter=",")
    text = "".join(f"{name}\n" for name in BACK)
    for list_name in ("x_ids.txt", "x.ids", "x.ids.txt", "ids.txt"):
        (tmp_path / list_name).write_text(text)
        for file in ("x.npy", "x.csv"):
            notes = holds(tmp_path / file, right).notes
            assert notes == [f"the file has no IDs: they were taken from {list_name} beside it"]
        (tmp_path / list_name).unlink()
    (tmp_path / "ids.txt").write_text("Q1\nQ2\n")  # of another file
    np.save(tmp_path / "x.npy", right.means)
    assert not holds(tmp_path / "x.npy", right).notes
    (tmp_path / "x_ids.txt").write_text("Q1\nQ2\n")
    with pytest.raises(InputError, match=r"has 4 rows, and .* beside it names another number"):
        read_given(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", right.means[::-1].T)
    (tmp_path / "x_ids.txt").write_text(f"id\n{text}")
    assert len(holds(tmp_path / "x.npy", right).notes) == 2


def test_an_array_of_each_sequence_once(right: Right, tiny: Esm2, tmp_path: Path):
    """Of a FASTA in which a sequence is there twice, under two IDs."""
    np.save(tmp_path / "x.npy", right.means)
    more = [*PROTEINS[:2], Protein("copy", PROTEINS[0].sequence), *PROTEINS[2:]]
    found = verify_against(tiny, tmp_path / "x.npy", more)
    assert found.passed, found.to_text()
    assert "1 of 5 proteins are not in the file: copy" in found.notes
    pairing = pair([f"row {n}" for n in range(4)], more, "x.npy")
    assert (list(pairing.proteins.values()), pairing.distinct) == ([0, 1, 3, 4], True)
    with pytest.raises(
        InputError, match="3 records without IDs and there are 5 proteins of 4 diff"
    ):
        pair(["row 0", "row 1", "row 2"], more, "x.npy")


def test_rows_of_tokens_are_told_by_their_number(right: Right):
    def words(*cuts: slice) -> str:
        arrays = [right.tokens[name][cut] for name, cut in zip(IDS, cuts, strict=False)]
        count = len(arrays)
        texts = [protein.sequence for protein in PROTEINS[:count]]
        records = Records.of(IDS[:count], PROTEINS[:count], texts, arrays, list(range(count)))
        return token_words(records)

    assert "is BOS and the last EOS;" in words(slice(None), slice(None))
    assert "is BOS and the last one the last residue, without EOS" in words(slice(-1), slice(-1))
    assert "EOS" not in words(slice(-1), slice(None))


def test_a_pickle_of_lists_in_lists_without_end(tmp_path: Path):
    """One list may be named a thousand times in another: 8 kB for a million million numbers."""
    inner: Any = [0.5] * 1_000
    for _ in range(3):
        inner = [inner] * 1_000
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(inner))
    assert (tmp_path / "x.pkl").stat().st_size < 40_000
    with pytest.raises(InputError, match=r"more items than can be read one by one.*np\.savez"):
        read_given(tmp_path / "x.pkl")
