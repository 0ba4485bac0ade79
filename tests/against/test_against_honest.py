"""Honest files are not accused for what they name, pad or leave out, and notes on them are true."""

import gc
import hashlib
import time
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import torch

from esmkit.against import check, reading, verify_against
from esmkit.against.naming import pair
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.errors import InputError
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta
from oracles.planted import Maker

TWELVE = [Protein(f"sp|Q{n:05d}|X{n}", random_sequence(20 + n, n)) for n in range(12)]
THREE = TWELVE[:3]


@pytest.fixture(scope="module")
def means(maker: Maker) -> np.ndarray:
    return np.stack(list(maker.means({p.id: p.sequence for p in TWELVE}).values()))


def as_hdf5(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


# Numbers in place of IDs


@pytest.mark.parametrize("form", ["seq_{}", "{}", "Protein {}", "run/seq-{:03d}"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_are_places_whatever_their_order(form: str, first: int):
    names = sorted(form.format(n + first) for n in range(12))  # as HDF5 and folders list them
    found = pair(names, TWELVE, "x")
    assert found.by_place
    assert found.proteins == {form.format(n + first): n for n in range(12)}


@pytest.mark.parametrize(
    "names",
    [
        ["P12345", "P69905", "O15143"],
        ["ENSP00000251595", "ENSP00000369442", "ENSP00000494175"],
        ["NP_000508", "NP_000549", "NP_000509"],
        ["seq_2", "seq_3", "seq_4"],  # of which the first is not there
        ["a0", "b1", "c2"],
        ["0", "1", "1~2"],
    ],
)
def test_other_ids_are_no_numbers(names: list[str]):
    with pytest.raises(InputError, match="has the ID of a protein"):
        pair(names, THREE, "x")


@pytest.mark.parametrize("layout", ["HDF5", "folder of npy", "folder of pt"])
def test_numbered_files_are_right(layout: str, means: np.ndarray, tiny: Esm2, tmp_path: Path):
    path = tmp_path / "theirs"
    if layout == "HDF5":
        as_hdf5(path, {f"seq_{n}": mean for n, mean in enumerate(means)})
    else:
        path.mkdir()
    for n, mean in enumerate(means if path.is_dir() else ()):
        if layout == "folder of npy":
            np.save(path / f"{n}.npy", mean)
        else:
            torch.save(torch.from_numpy(mean), path / f"{n}.pt")
    found = verify_against(tiny, path, TWELVE)
    assert found.passed, found.to_text()
    name = "seq_0" if layout == "HDF5" else "0"
    assert found.notes == [
        f"the file has no IDs but numbers, which were taken for places: {name!r} is the first protein"
    ]


def test_rows_without_names_keep_their_note(means: np.ndarray, tiny: Esm2, tmp_path: Path):
    np.save(tmp_path / "x.npy", means)
    assert verify_against(tiny, tmp_path / "x.npy", TWELVE).notes == [
        "the file has no IDs: its first record was taken for the first protein, and so on"
    ]


def many(kind: str, count: int) -> float:
    """Seconds of a processor that pairing takes."""
    header = {"header": "one", "md5": ""}.get(kind, "")
    proteins = [Protein(f"P{n}", f"MKV{n}", header or f"P{n}") for n in range(count)]
    names = [f"one~{n + 1}" if n else "one" for n in range(count)]
    if kind == "md5":
        names = [hashlib.md5(p.sequence.encode()).hexdigest() for p in proteins]
    if kind == "repeated":
        names = [f"P0~{n}" for n in range(2, count + 2)] + ["P0"]
    start = time.process_time()
    found = pair(names, proteins, "x")
    assert len(found.proteins) == (1 if kind == "repeated" else count)
    return time.process_time() - start


@pytest.mark.parametrize("kind", ["md5", "header", "repeated"])
def test_pairing_takes_as_long_as_there_are_names(kind: str):
    """Were it quadratic, 3,000 names would take from two seconds to minutes."""
    assert many(kind, 3_000) < 0.8


# Rows


def states(maker: Maker, proteins: list[Protein]) -> dict[str, np.ndarray]:
    return {p.id: maker.states(maker.ids(p.sequence))[-1].numpy() for p in proteins}


def padded(arrays: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    return {n: np.pad(a, [(0, rows - len(a)), (0, 0)]) for n, a in arrays.items()}


@pytest.mark.parametrize("of", ["residues", "tokens"])
@pytest.mark.parametrize("chosen", [slice(None), slice(0, 3), slice(0, 1)])
def test_blocks_filled_with_zeros_are_right(
    of: str, chosen: slice, maker: Maker, tiny: Esm2, tmp_path: Path
):
    """One protein is a residue shorter than the block; of a block some proteins may be asked for."""
    whole = states(maker, TWELVE[:6])
    if of == "residues":
        whole = {n: h[1:-1] for n, h in whole.items()}
    block = padded(whole, max(map(len, whole.values())))
    proteins = TWELVE[:6][chosen]
    path = as_hdf5(tmp_path / "x.h5", {p.id: block[p.id] for p in proteins})
    found = verify_against(tiny, path, proteins)
    assert found.passed, found.to_text()


def test_rows_that_are_too_many_are_told(maker: Maker, tiny: Esm2, tmp_path: Path):
    whole = states(maker, THREE)
    late = {n: h[1:] for n, h in whole.items()}
    found = verify_against(tiny, as_hdf5(tmp_path / "eos.h5", late), THREE)
    assert "one row too many, such as EOS" in found.to_text()
    zeros = {n: np.pad(h[1:-1], [(0, 1), (0, 0)]) for n, h in whole.items()}
    found = verify_against(tiny, as_hdf5(tmp_path / "zeros.h5", zeros), THREE)
    assert "rows after the last residue, zeros" in found.to_text()
    noise = {n: np.concatenate([h, h[:5]]) for n, h in list(whole.items())[:1]}
    found = verify_against(tiny, as_hdf5(tmp_path / "one.h5", noise), THREE[:1])
    assert "rows after EOS, of padding" in found.to_text()


# Names of arrays


@pytest.mark.parametrize(
    "name",
    [
        *("ribosome", "ribosomal_embeddings", "1", "meaning", "player_1", "1bos", "mean_no_cls"),
        *("without_bos", "mean_without_bos_layer_2"),
    ],
)
def test_names_that_tell_nothing(name: str, means: np.ndarray, tiny: Esm2, tmp_path: Path):
    np.save(tmp_path / f"{name}.npy", means)
    found = verify_against(tiny, tmp_path / f"{name}.npy", TWELVE)
    assert found.passed, found.to_text()


@pytest.mark.parametrize("name", ["cls", "BOS-layer1", "esm2_layer1_bos", "hidden.layer-1.bos"])
def test_names_that_tell_the_pooling_and_layer(name: str, maker: Maker, tiny: Esm2, tmp_path: Path):
    layer = 1 if "1" in name else 2
    bos = [maker.states(maker.ids(p.sequence))[layer][0].numpy() for p in THREE]
    np.save(tmp_path / f"{name}.npy", bos)
    found = verify_against(tiny, tmp_path / f"{name}.npy", THREE)
    assert found.passed, found.to_text()


def test_groups_named_by_numbers_alone(maker: Maker, tiny: Esm2, tmp_path: Path):
    """They are layers where each has every protein, and shares of the proteins where none is twice."""
    texts = {p.id: p.sequence for p in TWELVE[:6]}
    layers = {f"{n}/{p}": v for n in (1, 2) for p, v in maker.means(texts, n).items()}
    found = verify_against(tiny, as_hdf5(tmp_path / "layers.h5", layers), TWELVE[:6])
    assert found.passed, found.to_text()
    last = maker.means(texts)
    shares = {f"{n // 3}/{p}": last[p] for n, p in enumerate(last)}
    found = verify_against(tiny, as_hdf5(tmp_path / "shares.h5", shares), TWELVE[:6])
    assert found.passed, found.to_text()


def test_keys_that_begin_like_weights(means: np.ndarray, tiny: Esm2, tmp_path: Path):
    proteins = [
        Protein(n, p.sequence) for n, p in zip(("model_1_A", "esm.x"), TWELVE, strict=False)
    ]
    vectors = {p.id: torch.from_numpy(mean) for p, mean in zip(proteins, means, strict=False)}
    torch.save(vectors, tmp_path / "x.pt")
    assert verify_against(tiny, tmp_path / "x.pt", proteins).passed
    weights = {"model.layers.0.fc1.weight": torch.ones(2, 2)}
    for saved in (weights, {"model": weights}, {"state_dict": weights, "epoch": 3}):
        torch.save(saved, tmp_path / "w.pt")
        with pytest.raises(InputError, match="holds weights of a model"):
            verify_against(tiny, tmp_path / "w.pt", proteins)


# What the user says, and what the file says


def test_a_layer_is_held_against_what_the_file_has_of_it(maker: Maker, tiny: Esm2, tmp_path: Path):
    texts = {p.id: p.sequence for p in THREE}
    layers = {f"layer_{n}/{p}": v for n in range(3) for p, v in maker.means(texts, n).items()}
    path = as_hdf5(tmp_path / "x.h5", layers)
    for layer in (1, -2):
        found = verify_against(tiny, path, THREE, layer=layer)
        assert found.passed, found.to_text()
        assert [part.name for part in found.parts] == ["layer_1"]
        assert found.notes == [
            "only what the file has of hidden state 1 was looked at: 1 of 3 parts"
        ]
    del layers["layer_1/" + THREE[0].id], layers["layer_1/" + THREE[1].id]
    del layers["layer_1/" + THREE[2].id]
    found = verify_against(tiny, as_hdf5(tmp_path / "y.h5", layers), THREE, layer=1)
    assert "hidden state 0 and not 1" in found.to_text() or "token embedding" in found.to_text()
    assert (found.verdict, len(found.parts)) == ("differs", 2)


def test_a_pooling_is_held_against_what_the_file_has_of_it(
    maker: Maker, tiny: Esm2, tmp_path: Path
):
    for p in THREE:
        last = maker.states(maker.ids(p.sequence))[-1]
        kinds = {"mean_representations": last[1:-1].mean(0), "bos_representations": last[0].clone()}
        torch.save(
            {"label": p.id, **{k: {2: v} for k, v in kinds.items()}}, tmp_path / f"{p.id[3:9]}.pt"
        )
    found = verify_against(tiny, tmp_path, THREE, pool="bos", layer=2)
    assert found.passed, found.to_text()
    assert found.notes == ["only what the file has of pooling bos was looked at: 1 of 2 parts"]


def test_the_weights_that_a_file_names(means: np.ndarray, tiny: Esm2, tmp_path: Path):
    name = tiny.checkpoint.name
    path = as_hdf5(tmp_path / "x.h5", {p.id: m for p, m in zip(TWELVE, means, strict=True)})
    for told, notes in (
        (name, []),
        ("esm1b", [f"the file says that it was made with esm1b; it was compared with {name}"]),
    ):
        with h5py.File(path, "a") as file:
            file.attrs["model_name"], file.attrs["model"] = told, "ESM-2"
        assert verify_against(tiny, path, TWELVE).notes == notes
    fasta = write_fasta(tmp_path / "x.fasta", {p.id: p.sequence for p in THREE})
    embed_file(tiny, fasta, tmp_path / "own.npz", EmbedOptions())
    given = reading.read_given(tmp_path / "own.npz")
    given.close()
    given.checkpoint["sha256"] = "0" * 64
    assert check._checkpoint_notes(tiny, given) == [
        f"the file says that it was made with other weights named {name} (SHA-256 00000000000…)"
    ]


@pytest.mark.slow
def test_notes_on_long_proteins_are_true(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {"long": random_sequence(1_030, 1)})
    for long, note in (
        ("truncate", "1 longer than 1,022 residues: the file says that they were cut there"),
        (
            "window",
            "1 longer than 1,022 residues: read whole or in esmkit's windows, either of which is right",
        ),
        ("whole", None),
    ):
        embed_file(tiny, fasta, tmp_path / f"{long}.h5", EmbedOptions(long=long))  # type: ignore[arg-type]
        found = verify_against(tiny, tmp_path / f"{long}.h5", fasta)
        assert found.passed, found.to_text()
        assert found.parts[0].notes == [note] * (note is not None)


# Reading


def test_an_attribute_is_read_within_the_open_file(tmp_path: Path):
    path = as_hdf5(tmp_path / "x.h5", {"P1": np.ones(32)})
    with h5py.File(path, "a") as file:
        file.attrs["model_name"] = h5py.Empty("f4")
    given = reading.read_given(path)
    given.close()
    assert given.parts


def test_a_file_is_not_held_twice(
    means: np.ndarray, tiny: Esm2, tiny_folder: Path, tmp_path: Path, monkeypatch: Any, run: Any
):
    np.save(tmp_path / "x.npy", means)
    fasta = write_fasta(tmp_path / "x.fasta", {p.id: p.sequence for p in TWELVE})
    kept: list[Any] = []
    read = reading.read_given

    def remembered(path: Any) -> Any:
        kept.append(None)
        found = read(path)
        kept[-1] = weakref.ref(found)
        return found

    def compare(*given: Any, **options: Any) -> Any:
        gc.collect()
        assert kept[0]() is None
        raise InputError("seen")

    monkeypatch.setattr(reading, "read_given", remembered)
    monkeypatch.setattr(check, "compare", compare)
    done = run(
        "verify", fasta, "--against", tmp_path / "x.npy", "--model", tiny_folder, cwd=tmp_path
    )
    assert "seen" in done.stderr
    assert len(kept) == 1


WORDS = "Catalyses the first step of a pathway, with zinc as a cofactor, and binds to " * 2


@pytest.mark.parametrize(
    "text", [WORDS, "(S)-lactate dehydrogenase", "[1] of two", "3 of " + WORDS]
)
@pytest.mark.parametrize("column", ["description", "features"])
def test_words_in_a_table_are_no_vectors(
    text: str, column: str, means: np.ndarray, tiny: Esm2, tmp_path: Path
):
    table = pandas.DataFrame(means[:3], columns=[f"e{n}" for n in range(means.shape[1])])
    table.insert(0, column, [text, "", "unknown"])
    table.insert(0, "id", [p.id for p in THREE])
    table.to_csv(tmp_path / "x.tsv", index=False, sep="\t")
    found = verify_against(tiny, tmp_path / "x.tsv", THREE)
    assert found.passed, found.to_text()


@pytest.mark.parametrize(
    ("form", "between"),
    [
        *(("{}", ", "), ("{}", ";"), ("[{}]", " "), ("({})", ","), ("tensor([{}])", ", ")),
        ("array([{}], dtype=float32)", ", "),
    ],
)
def test_vectors_in_text_are_seen(
    form: str, between: str, means: np.ndarray, tiny: Esm2, tmp_path: Path
):
    lists = [form.format(between.join(map(repr, mean.tolist()))) for mean in means[:3]]
    table = pandas.DataFrame({"id": [p.id for p in THREE], "theirs": lists})
    table.to_csv(tmp_path / "x.tsv", index=False, sep="\t")
    found = verify_against(tiny, tmp_path / "x.tsv", THREE)
    assert found.passed, found.to_text()


def test_a_shortened_list_is_refused(tmp_path: Path):
    (tmp_path / "x.csv").write_text("id,embedding\nP1,[0.1 0.2 0.3 ... 0.9 1.0]\n")
    with pytest.raises(InputError, match="write every vector in full"):
        reading.read_given(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text("id,embedding\nP1,abc\n")
    with pytest.raises(InputError, match="begins with 'abc', which is no list of numbers"):
        reading.read_given(tmp_path / "y.csv")
