"""Embedding files of any origin: told by what they hold, closed, found by any name of an ID."""

import copy
import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import esmkit
from esmkit.attention.hdf5 import AttentionFile
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.embeddings.writers import open_writer
from esmkit.errors import ClosedFileError, EsmkitError, OutputError, UnknownIdError
from esmkit.esm2 import Esm2
from esmkit.files.provenance import provenance_sidecar
from esmkit.sequences.proteins import Protein

KINDS = ["h5", "npz", "csv", "parquet"]
SUFFIXES = [
    "h5",
    "hdf5",
    "HDF5",
    "hdf",
    "he5",
    "npz",
    "csv",
    "CSV",
    "parquet",
    "pq",
    "tsv",
    "txt",
    "",
]
IDS = ["sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN", "1UBI_A", "a/b"]


def vectors(names: list[str], width: int = 4) -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {name: random.normal(size=width).astype(np.float32) for name in names}


def write(path: Path, kind: str, values: dict[str, Any]) -> Path:
    provenance = {"task": "embed", "per": "protein", "layers": [6], "checkpoint": {"name": "tiny"}}
    writer = open_writer(kind, path, provenance, layers=[6], per="protein")
    for name, vector in values.items():
        writer.add(Protein(name, "MKV", f"{name} its header"), vector)
    writer.close()
    if kind == "csv":
        provenance_sidecar(path).write_text(json.dumps(provenance))
    return path


def same(found: EmbeddingFile, values: dict[str, Any]) -> bool:
    return list(found) == list(values) and all(
        found[name].dtype == np.float32 and np.array_equal(found[name], values[name])
        for name in values
    )


# ---------------------------------------------------------------------------- what a file holds


@settings(max_examples=30)
@given(kind=st.sampled_from(KINDS), suffix=st.sampled_from(SUFFIXES))
def test_a_file_is_known_by_what_it_holds(tmp_path_factory, kind: str, suffix: str):
    path = tmp_path_factory.mktemp("any") / f"x{'.' * bool(suffix)}{suffix}"
    values = vectors(IDS)
    with esmkit.read(write(path, kind, values)) as found:
        assert type(found) is EmbeddingFile
        assert same(found, values)
        assert found.provenance["checkpoint"] == {"name": "tiny"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_saved_again_by_a_spreadsheet(tmp_path: Path, separator: str):
    values = vectors(IDS)
    path = write(tmp_path / "x.csv", "csv", values)
    table = pandas.read_csv(path, dtype=str, keep_default_na=False)
    path.write_bytes(
        b"\xef\xbb\xbf"
        + table.to_csv(sep=separator, index=False, lineterminator="\r\n").encode("utf-8")
    )
    with esmkit.read(path) as found:
        assert same(found, values)


@pytest.mark.parametrize("per_residue", [False, True])
def test_files_of_uniprot(tmp_path: Path, per_residue: bool):
    """A dataset for each accession, float16, sorted by name: uniprot.org/help/embeddings."""
    random = np.random.default_rng(5)
    values = {
        name: random.normal(size=(number + 3, 1024) if per_residue else 1024).astype(np.float16)
        for number, name in enumerate(["A0A023GPI8", "P69905", "Q9Y5X2-2"])
    }
    path = tmp_path / ("per-residue.h5" if per_residue else "per-protein.h5")
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            file.create_dataset(name, data=array, compression="gzip")
    with esmkit.read(path) as found:
        assert found.provenance == {}
        assert found.layers == []
        assert repr(found) == f"EmbeddingFile({path.name}: 3 proteins, not written by esmkit)"
        assert same(found, {name: array.astype(np.float32) for name, array in values.items()})
        frame = found.to_frame()
        assert frame.index.names == (["id", "residue_number"] if per_residue else ["id"])
        assert list(frame["accession"].unique()) == list(values)
        assert frame["header"].isna().all()
        together = np.concatenate([np.atleast_2d(array) for array in values.values()])
        np.testing.assert_array_equal(frame.loc[:, 0:].to_numpy(), together.astype(np.float32))


@pytest.mark.parametrize("hashed", [False, True])
def test_files_of_bio_embeddings(tmp_path: Path, hashed: bool):
    """A dataset for each number, or MD5 of the sequence; ``original_id`` is the ID."""
    names = [f"sp|P{number:05d}|X" for number in range(12)]
    keys = [f"{7919 * n:032x}" if hashed else str(n) for n in range(12)]
    with h5py.File(tmp_path / "reduced_embeddings_file.h5", "w") as file:
        for number, (key, name) in enumerate(zip(keys, names, strict=True)):
            file[key] = np.full(8, number, np.float32)
            file[key].attrs["original_id"] = name
    with esmkit.read(tmp_path / "reduced_embeddings_file.h5") as found:
        order = [names[keys.index(key)] for key in sorted(keys)] if hashed else names
        assert list(found) == order
        assert all((found[name] == number).all() for number, name in enumerate(names))
        assert (found["P00011"] == 11).all()
        assert list(found.to_frame()["header"]) == order


def test_ids_that_became_groups(tmp_path: Path):
    """Of an ID with ``/`` h5py makes a group."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, name in enumerate(["a/b", "a/c", "d"]):
            file[name] = np.full((2, 3), number, np.float64)
    with esmkit.read(tmp_path / "x.h5") as found:
        assert list(found) == ["a/b", "a/c", "d"]
        assert (found["a/c"] == 1).all()


def test_npz_of_others(tmp_path: Path):
    values = {name: array.astype(np.float64) for name, array in vectors(["P1", "P2"]).items()}
    np.savez_compressed(tmp_path / "x.npz", **values)
    with esmkit.read(tmp_path / "x.npz") as found:
        assert found.provenance == {}
        assert same(found, {name: array.astype(np.float32) for name, array in values.items()})


def hdf5(path: Path, **arrays: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def npz(path: Path, **arrays: Any) -> None:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)


def parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"name": ["P69905"], "value": [1.0]}), path)


def archive(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(name, "text")


def torch_file(path: Path) -> None:
    import torch

    torch.save({"mean_representations": {6: torch.zeros(3)}}, path)


def bare_array(path: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))


OTHERS: dict[str, tuple[Any, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("hello\n"), "it is text that begins with 'hello'"),
    "variants": (
        lambda path: path.write_text("id\tmutant\tresidue_number\tresidue\n"),
        "it is a table of scores of variants; read it with `pandas.read_csv",
    ),
    "bytes": (lambda path: path.write_bytes(bytes(range(256)) * 8), "bytes of no format"),
    "FASTA": (lambda path: path.write_text(">P1\nMKV\n"), "it is FASTA; embed it"),
    "structure": (lambda path: path.write_text("HEADER    X\nATOM\n"), "it is a structure"),
    "page": (lambda path: path.write_text("<!DOCTYPE html>\n"), "it is a page of HTML"),
    "JSON": (lambda path: path.write_text('{"a": 1}'), "it is JSON"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(20)), "unpack it first"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "a Python pickle"),
    "git-lfs": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x\n"),
        "pointer of Git LFS",
    ),
    "contacts": (lambda path: path.write_text("id\ti_number\ti\n"), "a table of contacts"),
    "RR": (lambda path: path.write_text("PFRMAT RR\nTARGET P1\n"), "contacts in CASP's RR"),
    "reduced": (
        lambda path: path.write_text("id,layer,head,name,entropy\n"),
        "a table of attention in numbers",
    ),
    "other table": (lambda path: path.write_text("name,value\nP1,1\n"), "begins with 'name,value'"),
    "other Parquet": (parquet, "is a table with columns name, value, but no embedding or id"),
    "bare array": (bare_array, "one bare NumPy array"),
    "PyTorch": (torch_file, "it is PyTorch's"),
    "AnnData": (
        lambda path: hdf5(path, X=np.zeros((3, 4)), **{"obs/_index": np.arange(3)}),
        "is no embedding: (D,) or (R, D) of floats",
    ),
    "widths": (lambda path: hdf5(path, a=np.zeros(3), b=np.zeros(4)), "no embeddings of one model"),
    "no arrays": (hdf5, "it holds no arrays"),
    "ids and matrix": (
        lambda path: npz(path, ids=np.array(["P1"]), x=np.zeros((1, 3))),
        "is no embedding",
    ),
    "objects": (lambda path: npz(path, a=np.array([{}])), "is no embedding"),
    "workbook": (lambda path: archive(path, "[Content_Types].xml"), "it is a workbook"),
    "archive": (lambda path: archive(path, "notes.txt"), "a zip archive with 'notes.txt' in it"),
}


@pytest.mark.parametrize("suffix", ["h5", "parquet", "csv", ""])
@pytest.mark.parametrize("what", OTHERS)
def test_other_files_are_named_in_one_sentence(tmp_path: Path, what: str, suffix: str):
    path = tmp_path / f"x.{suffix}"
    make, said = OTHERS[what]
    make(path)
    with pytest.raises(OutputError) as caught:
        esmkit.read(path)
    text = str(caught.value)
    assert said in text
    assert text.startswith(repr(str(path)))
    assert "\n" not in text


def test_damaged_esmkit_files_of_each_kind_stay_refused(tmp_path: Path):
    with h5py.File(write(tmp_path / "x.h5", "h5", vectors(IDS)), "a") as file:
        file.attrs["provenance"] = "{"
    with pytest.raises(OutputError, match="is not a file of embeddings, or is damaged"):
        esmkit.read(tmp_path / "x.h5")


@pytest.fixture(scope="module")
def results(tiny: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an attention file, a contact file and an embedding file of three proteins."""
    folder = tmp_path_factory.mktemp("results")
    fasta = folder / "in.fasta"
    fasta.write_text("".join(f">{name}\nMKTAYIAKQR\n" for name in IDS[:3]))
    esmkit.attention_file(tiny, fasta, folder / "maps.hdf5")
    esmkit.contacts_file(tiny, fasta, folder / "contacts.hdf")
    esmkit.embed_file(tiny, fasta, folder / "embeddings.he5")
    return folder


def test_each_reader_says_which_is_the_right_one(results: Path, tmp_path: Path):
    assert type(esmkit.read(results / "maps.hdf5")) is AttentionFile
    for name in ("contacts.hdf", "embeddings.he5"):
        assert type(esmkit.read(results / name)) is EmbeddingFile
        with pytest.raises(
            OutputError, match=r"holds no attention maps .* and `esmkit.read` opens"
        ):
            AttentionFile(results / name)
    with pytest.raises(OutputError, match=r"holds attention maps; open it with `esmkit.read`"):
        EmbeddingFile(results / "maps.hdf5")
    other = shutil.copy(results / "maps.hdf5", tmp_path / "maps.csv")
    assert type(esmkit.read(other)) is AttentionFile


# ---------------------------------------------------------------------------- closed


def opened(results: Path, tmp_path: Path) -> list[Any]:
    files = [write(tmp_path / f"x.{kind}", kind, vectors(IDS)) for kind in KINDS]
    return [
        esmkit.read(path) for path in [*files, *results.glob("*.h*5"), results / "contacts.hdf"]
    ]


ACCESSES: dict[str, Any] = {
    "get item": lambda f: f["P69905"],
    "get item of no protein": lambda f: f["none"],
    "get": lambda f: f.get("P69905"),
    "get of no protein": lambda f: f.get("none"),
    "in": lambda f: "P69905" in f,
    "length": len,
    "truth": bool,
    "list": list,
    "next": lambda f: next(iter(f)),
    "keys": lambda f: list(f.keys()),
    "values": lambda f: list(f.values()),
    "items": lambda f: list(f.items()),
    "dict": dict,
    "equal": lambda f: f == {},
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "with": lambda f: f.__enter__(),
    "attributes": lambda f: f.attributes("P69905"),
    "frame": lambda f: f.to_frame(),
}


def test_a_closed_file_says_so_to_every_access(results: Path, tmp_path: Path):
    seen = set()
    for found in opened(results, tmp_path):
        before = iter(found)
        next(before)
        name = found.path.name
        assert not found.closed
        maps = found["P69905"] if isinstance(found, AttentionFile) else None
        with found:
            pass
        assert found.closed
        wanted = f"^{re.escape(f'{name!r} is closed; read it before the end of')}"
        for what, access in ACCESSES.items():
            if what in ("attributes", "frame") and isinstance(found, AttentionFile):
                continue
            with pytest.raises(ClosedFileError, match=wanted):
                access(found)
        with pytest.raises(ClosedFileError, match=wanted):
            next(before)
        if maps is not None:
            with pytest.raises(ClosedFileError, match=wanted):
                maps["L0H0"]
        assert issubclass(ClosedFileError, EsmkitError)
        assert issubclass(ClosedFileError, ValueError)
        assert f"{name}: closed, " in repr(found)
        found.close()  # once more does nothing
        seen.add(type(found))
    assert seen == {EmbeddingFile, AttentionFile}


# ---------------------------------------------------------------------------- IDs


def test_an_id_is_found_by_another_of_its_names(results: Path, tmp_path: Path):
    for found in opened(results, tmp_path):
        with found:
            for name in ("P69905", "HBA_HUMAN", "sp|P69905|HBA_HUMAN"):
                assert name in found
                exact, meant = found["sp|P69905|HBA_HUMAN"], found[name]
                assert found.get(name) is not None
                if isinstance(found, AttentionFile):
                    assert meant.id == "sp|P69905|HBA_HUMAN"
                else:
                    np.testing.assert_array_equal(meant, exact)
            with pytest.raises(UnknownIdError) as caught:
                found["P69906"]
            assert str(caught.value) == (
                f"there is no ID 'P69906' in {found.path.name!r}; near ones are "
                "'sp|P69905|HBA_HUMAN'"
            )
            assert "P69906" not in found
            assert found.get("P69906", 7) == 7
            assert 7 not in found


def test_a_name_of_several_finds_none(tmp_path: Path):
    values = vectors(["sp|P1|A", "tr|P1|B", "P2", "sp|P2|C"])
    with esmkit.read(write(tmp_path / "x.h5", "h5", values)) as found:
        with pytest.raises(KeyError, match=r"may mean 2 records: 'sp\|P1\|A', 'tr\|P1\|B'"):
            found["P1"]
        assert "P1" not in found
        assert found.get("P1") is None
        np.testing.assert_array_equal(found["P2"], values["P2"])  # the whole ID comes first
        np.testing.assert_array_equal(found["C"], values["sp|P2|C"])
        assert found.attributes("C")["header"] == "sp|P2|C its header"


# ---------------------------------------------------------------------------- other processes


def in_a_fork(look: Any) -> str:
    """Return what a forked child has to say."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            text = str(look())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as handle:
        text = handle.read()
    os.waitpid(child, 0)
    return text


def test_pickled_copied_and_forked_files_open_again(results: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for found in opened(results, Path()):  # relative paths, of which some are read elsewhere
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        wanted = str(found["P69905"])
        for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
            assert type(again) is type(found)
            assert again.path.is_absolute()
            assert list(again) == list(found)
            again.close()
        assert in_a_fork(lambda found=found: found["P69905"]) == wanted
        assert str(found["P69905"]) == wanted
        if isinstance(found, AttentionFile):
            maps = found["P69905"]
            expected = str(maps["L1H2"])
            assert str(pickle.loads(pickle.dumps(maps))["L1H2"]) == expected
            assert in_a_fork(lambda maps=maps: maps["L1H2"]) == expected
        else:
            expected = str(found.to_frame())
            assert in_a_fork(lambda found=found: found.to_frame()) == expected
        found.close()
        assert in_a_fork(lambda found=found: found["P69905"]).startswith("ClosedFileError: ")
        monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_children_and_parent_read_at_once(tmp_path: Path):
    """An npz that shared its place in the file with another process would give other values."""
    for kind in ("h5", "npz"):
        values = vectors([f"P{number}" for number in range(200)], 64)
        with esmkit.read(write(tmp_path / f"many.{kind}", kind, values)) as found:
            children = []
            for _ in range(3):
                child = os.fork()
                if not child:
                    os._exit(0 if same(found, values) and same(found, values) else 1)
                children.append(child)
            assert same(found, values)
            assert same(found, values)
            assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changed_is_not_opened_again(tmp_path: Path, kind: str):
    path = write(tmp_path / f"x.{kind}", kind, vectors(IDS))
    found = esmkit.read(path)
    kept = pickle.dumps(found)
    path.unlink()
    with pytest.raises(OutputError, match=r"there is no file '.*' any more"):
        pickle.loads(kept)
    write(path, kind, vectors([*IDS, "more"]))
    with pytest.raises(OutputError, match=r"has changed since it was opened; open it again"):
        pickle.loads(kept)
    assert "has changed since it was opened" in in_a_fork(lambda: found["P69905"])
    found.close()


class Embeddings(Dataset[Any]):
    """What people write for training: an open file in a dataset."""

    def __init__(self, path: Path) -> None:
        self.file = esmkit.read(path)
        self.names = list(self.file)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> Any:
        return self.file[self.names[place]]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_data_loader_with_workers(tmp_path: Path, start: str):
    values = vectors(IDS)
    data = Embeddings(write(tmp_path / "x.h5", "h5", values))
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context=start)
    together = np.concatenate([batch.numpy() for batch in loader])
    np.testing.assert_array_equal(together, np.stack(list(values.values())))


def test_a_table_without_the_column_of_layers(tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("id,e0,e1\nP1,1,2\nP2,3,4\n")
    with EmbeddingFile(path) as found:
        np.testing.assert_array_equal(found["P2"], [3, 4])
        assert found.to_frame(facts=False).shape == (2, 2)


def test_too_little_memory_is_not_called_damage_alone(tmp_path: Path, monkeypatch: Any):
    path = tmp_path / "a.npz"
    np.savez(path, P1=np.zeros(4, np.float32))

    def too_large(self: EmbeddingFile, key: str) -> Any:
        raise MemoryError("Unable to allocate 4.00 GiB")

    monkeypatch.setattr(EmbeddingFile, "_read", too_large)
    with EmbeddingFile(path) as found, pytest.raises(OutputError) as caught:
        found["P1"]
    assert str(caught.value) == (
        f"{str(path)!r} does not fit into memory, or is damaged (Unable to allocate 4.00 GiB); "
        "free memory, or make it anew"
    )


@pytest.mark.parametrize("kind", ["h5", "npz", "parquet", "csv"])
def test_any_damage_is_one_sentence_on_one_line(kind: str, tmp_path: Path):
    """Bytes changed or cut off anywhere: HDF5, zip and Parquet have errors of their own for each."""
    path = tmp_path / f"a.{kind}"
    vectors = {"a": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}
    table = pandas.DataFrame({"id": list(vectors), "e0": [0.5, 1], "e1": [1.5, 2]})
    if kind == "h5":
        with h5py.File(path, "w") as handle:
            for name, vector in vectors.items():
                handle[name] = vector
    elif kind == "npz":
        np.savez(path, **vectors)  # type: ignore[arg-type]
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = []
    for _ in range(200):
        data = bytearray(whole)
        at = int(random.integers(len(data)))
        if random.random() < 0.2:
            del data[at:]
        else:
            data[at : at + 4] = random.bytes(4)
        path.write_bytes(data)
        try:
            with EmbeddingFile(path) as found:
                for name in found:
                    found[name]
        except EsmkitError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("\n" not in text for text in refused)
