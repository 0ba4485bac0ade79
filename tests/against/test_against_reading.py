"""Files of embeddings in every layout that programs write; bad ones have one clear sentence."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import torch

from esmkit.against import verify_against
from esmkit.against.naming import pair
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta
from oracles.planted import Maker

PROTEINS = [
    Protein("sp|P69905|HBA_HUMAN", random_sequence(41, 1), "sp|P69905|HBA_HUMAN Alpha, 1/2"),
    Protein("1UBI_A", random_sequence(30, 2), "1UBI_A ubiquitin"),
    Protein("x/y", random_sequence(35, 3), "x/y"),
]
HEADERS = [protein.header for protein in PROTEINS]
IDS = [protein.id for protein in PROTEINS]


class Own:
    """Right embeddings of three proteins by transformers: means, residues and all layers."""

    def __init__(self, folder: Path) -> None:
        maker = Maker(folder)
        self.states = [
            [state.numpy() for state in maker.states(maker.ids(p.sequence))] for p in PROTEINS
        ]
        self.means = np.stack([state[-1][1:-1].mean(0) for state in self.states])
        self.residues = [state[-1][1:-1] for state in self.states]


@pytest.fixture(scope="module")
def own(tiny_folder: Path) -> Own:
    return Own(tiny_folder)


def uniprot(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        for name, mean in zip(("P69905", "1UBI_A", "x_y"), own.means, strict=True):
            file[name] = mean.astype(np.float16)


def bio_embeddings(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        for number, mean in enumerate(own.means):
            file[str(number)] = mean
            file[str(number)].attrs["original_id"] = IDS[number]


def protspace(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_name"] = "esm2_8m"
        for name, mean in zip(("P69905", "1UBI_A", "x_y"), own.means, strict=True):
            file[f"proteins/{name}"] = mean[None]


def protembedder(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("embeddings", track_order=True)
        for header, residues in zip(HEADERS, own.residues, strict=True):
            group[header.replace("/", "|")] = residues
        file.create_dataset("headers", data=HEADERS, dtype=h5py.special_dtype(vlen=str))


def scikit_bio(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        file["embeddings"] = np.concatenate(own.residues)
        stops = np.cumsum([len(protein) for protein in PROTEINS])
        file["embedding_ptr"], file["idptr"] = stops, stops
        letters = "".join(protein.sequence for protein in PROTEINS)
        file["id"] = np.frombuffer(letters.encode(), np.uint8)


def one_matrix(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        file["embeddings"] = own.means
        file["ids"] = [name.encode() for name in IDS]


def by_layer(path: Path, own: Own) -> None:
    with h5py.File(path, "w") as file:
        for layer in range(3):
            for name, states in zip(("P69905", "1UBI_A", "x_y"), own.states, strict=True):
                file[f"layer_{layer}/{name}"] = states[layer][1:-1].mean(0)


def csv_of_protembedder(path: Path, own: Own) -> None:
    names = [f"emb_{n}" for n in range(own.means.shape[1])]
    pandas.DataFrame(own.means, columns=names).assign(header=HEADERS)[["header", *names]].to_csv(
        path, index=False
    )


def csv_indexed(path: Path, own: Own) -> None:
    pandas.DataFrame(own.means, index=IDS).to_csv(path)


def csv_of_lists(path: Path, own: Own) -> None:
    lists = [json.dumps(mean.tolist()) for mean in own.means]
    sequences = [protein.sequence for protein in PROTEINS]
    table = pandas.DataFrame({"sequence": sequences, "embedding": lists})
    table.to_csv(path, sep="\t", index=False)


def csv_bare(path: Path, own: Own) -> None:
    np.savetxt(path, own.means, delimiter=",")


def parquet_columns(path: Path, own: Own) -> None:
    table = pandas.DataFrame(own.means, index=pandas.Index(IDS, name="entry"))
    table.columns = [f"dim_{n}" for n in range(table.shape[1])]
    table.to_parquet(path)


def parquet_lists(path: Path, own: Own) -> None:
    pandas.DataFrame({"protein_id": IDS, "vector": list(own.means)}).to_parquet(path)


def npz_of_protembedder(path: Path, own: Own) -> None:
    block = np.empty(3, object)
    block[:] = own.residues
    np.savez_compressed(path, embeddings=block, headers=np.array(HEADERS, dtype=object))


def npz_by_id(path: Path, own: Own) -> None:
    names = ("P69905", "1UBI_A", "x_y")
    np.savez(path, **dict(zip(names, own.means, strict=True)))


def npy_of_pepe(path: Path, own: Own) -> None:
    longest = max(len(states[-1]) for states in own.states)
    block = np.zeros((3, longest, own.means.shape[1]), np.float32)
    for row, states in zip(block, own.states, strict=True):
        row[: len(states[-1])] = states[-1]
    np.save(path, block)
    rows = [f"{n},{header}\n" for n, header in enumerate(HEADERS)]
    (path.parent / "seqs_idx.csv").write_text("index,sequence_id\n" + "".join(rows))


def npy_bare(path: Path, own: Own) -> None:
    np.save(path, own.means)


def npy_all_layers(path: Path, own: Own) -> None:
    np.save(path, np.stack([[s[1:-1].mean(0) for s in states] for states in own.states]))


def pt_of_dict(path: Path, own: Own) -> None:
    torch.save({h: torch.from_numpy(m) for h, m in zip(HEADERS, own.means, strict=True)}, path)


def pt_of_extract(path: Path, own: Own) -> None:
    path.mkdir()
    for number, (header, states) in enumerate(zip(HEADERS, own.states, strict=True)):
        layers = {n: torch.from_numpy(s.copy()) for n, s in enumerate(states)}
        found = {
            "label": header,
            "representations": {n: s[1:-1].clone() for n, s in layers.items()},
            "mean_representations": {n: s[1:-1].mean(0) for n, s in layers.items()},
            "bos_representations": {n: s[0].clone() for n, s in layers.items()},
        }
        torch.save(found, path / f"{number}.pt")


def pt_of_tensor(path: Path, own: Own) -> None:
    torch.save(torch.from_numpy(own.means), path)


def safetensors(path: Path, own: Own) -> None:
    from safetensors.numpy import save_file

    save_file(dict(zip(IDS, own.means, strict=True)), path)


def concatenated(path: Path, own: Own) -> None:
    """BOS and mean side by side: two vectors in one."""
    bos = np.stack([states[-1][0] for states in own.states])
    np.save(path, np.concatenate([own.means, bos], axis=1))


LAYOUTS: dict[str, tuple[str, Callable[[Path, Own], None], int]] = {
    "UniProt": ("u.h5", uniprot, 1),
    "bio_embeddings": ("b.h5", bio_embeddings, 1),
    "ProtSpace": ("p.h5", protspace, 1),
    "protembedder": ("e.h5", protembedder, 1),
    "scikit-bio": ("s.h5", scikit_bio, 1),
    "one matrix": ("m.h5", one_matrix, 1),
    "groups by layer": ("l.h5", by_layer, 3),
    "CSV of protembedder": ("e.csv", csv_of_protembedder, 1),
    "CSV with an index": ("i.csv", csv_indexed, 1),
    "TSV of lists": ("l.tsv", csv_of_lists, 1),
    "CSV without header": ("n.csv", csv_bare, 1),
    "Parquet, a column a number": ("c.parquet", parquet_columns, 1),
    "Parquet of lists": ("l.parquet", parquet_lists, 1),
    "npz of protembedder": ("e.npz", npz_of_protembedder, 1),
    "npz by ID": ("i.npz", npz_by_id, 1),
    "npy of PEPE": ("x_layer_2.npy", npy_of_pepe, 1),
    "npy": ("x.npy", npy_bare, 1),
    "npy of all layers": ("a.npy", npy_all_layers, 3),
    "pt of a dict": ("d.pt", pt_of_dict, 1),
    "pt of extract.py": ("extract", pt_of_extract, 9),
    "pt of a tensor": ("t.pt", pt_of_tensor, 1),
    "safetensors": ("s.safetensors", safetensors, 1),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_right_files_of_every_layout_pass(name: str, own: Own, tiny: Esm2, tmp_path: Path):
    file, make, parts = LAYOUTS[name]
    make(tmp_path / file, own)
    found = verify_against(tiny, tmp_path / file, PROTEINS)
    assert found.passed, found.to_text()
    assert len(found.parts) == parts
    assert all(len(part.rows) == 3 for part in found.parts)


OPTIONS = [{"pool": "bos"}, {"layers": "all"}, {"per": "residue"}, {}]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (k, o)
        for n, k in enumerate(("h5", "npz", "csv", "parquet"))
        for o in OPTIONS[min(n, 2) :][:2]
    ],
)
def test_own_files_pass(kind: str, options: dict[str, Any], tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {p.header: p.sequence for p in PROTEINS})
    path = tmp_path / f"x.{kind}"
    embed_file(tiny, fasta, path, EmbedOptions(**options))
    found = verify_against(tiny, path, fasta)
    assert found.passed, found.to_text()
    assert found.kind.startswith("embeddings that esmkit wrote")


def test_vectors_side_by_side(own: Own, tiny: Esm2, tmp_path: Path):
    concatenated(tmp_path / "c.npy", own)
    found = verify_against(tiny, tmp_path / "c.npy", PROTEINS)
    assert [part.verdict for part in found.parts] == ["same", "differs"]
    assert found.parts[1].summary == "the BOS token (<cls>)"


def test_the_layer_that_the_file_names_is_held_against_it(own: Own, tiny: Esm2, tmp_path: Path):
    right = [states[1][1:-1].mean(0) for states in own.states]
    tensors = {n: torch.from_numpy(mean) for n, mean in zip(IDS, right, strict=True)}
    for number, name in enumerate(IDS):
        found = {"label": name, "mean_representations": {2: tensors[name]}}
        torch.save(found, tmp_path / f"{number}.pt")
    found = verify_against(tiny, tmp_path, PROTEINS)
    assert "hidden state 1 and not 2, one layer too early" in found.to_text()
    assert verify_against(tiny, tmp_path, PROTEINS, layer=1).passed


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def bad_files() -> dict[str, tuple[str, Callable[[Path], Any], str]]:
    def h5(**arrays: Any) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array

        return make

    def cut_off(path: Path) -> None:
        h5(**{"1UBI_A": np.ones(32)})(path)
        path.write_bytes(path.read_bytes()[:-200])

    def objects(path: Path) -> None:
        np.save(path, np.array([Evil(), Evil()], dtype=object), allow_pickle=True)

    def zip_of_text(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.txt", "x")

    text = "1UBI_A"
    nan = np.full(32, np.nan, np.float32)
    return {
        "missing": ("none.h5", lambda p: None, "there is no file"),
        "empty": ("e.h5", lambda p: p.write_bytes(b""), "is empty"),
        "cut off": ("c.h5", cut_off, "is damaged"),
        "FASTA": ("x.h5", lambda p: p.write_text(">a\nMK\n"), "it is FASTA"),
        "PDF": ("x.pt", lambda p: p.write_bytes(b"%PDF-1.4"), "is not a file of PyTorch"),
        "nothing in it": ("n.h5", h5(), "without anything in it"),
        "NaN": ("n.h5", h5(**{text: nan}), "every record of"),
        "zeros": ("z.h5", h5(**{text: np.zeros(32)}), "all zeros"),
        "widths": (
            "w.h5",
            h5(**{text: np.ones(32), "P69905": np.ones(31)}),
            "which no embeddings of one model are",
        ),
        "other IDs": ("o.h5", h5(Q1=np.ones(32), Q2A=np.ones(32)), "has the ID of a protein"),
        "text": ("t.h5", h5(**{text: [b"a", b"b"]}), "is no embedding"),
        "pickle": ("p.pkl", lambda p: p.write_bytes(pickle.dumps([1])), "a Python pickle"),
        "code in pt": ("c.pt", lambda p: torch.save({"a": Evil()}, p), "would run"),
        "code in npy": ("c.npy", objects, "object array holds"),
        "zip": ("z.npz", zip_of_text, "without arrays of NumPy"),
        "no rows": ("r.npy", lambda p: np.save(p, np.zeros((0, 32))), "without rows"),
        "other count": ("r.npy", lambda p: np.save(p, np.ones((7, 32))), "whose is whose"),
        "table of words": ("t.csv", lambda p: p.write_text("id,a\n1UBI_A,b\n"), "without columns"),
        "page": ("p.csv", lambda p: p.write_text("<html></html>"), "it is a page"),
        "folder": ("f", lambda p: p.mkdir(), "without .pt or .npy"),
        "weights": (
            "w.pt",
            lambda p: torch.save({"encoder.layer.0.weight": torch.ones(2)}, p),
            "weights of a model",
        ),
    }


@pytest.mark.parametrize("name", bad_files())
def test_bad_files_have_one_sentence(
    name: str, tiny: Esm2, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, make, words = bad_files()[name]
    make(tmp_path / file)
    with pytest.raises(InputError) as error:
        verify_against(tiny, tmp_path / file, PROTEINS)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "run" not in capsys.readouterr().out  # nothing in a file is carried out


def test_options_that_do_not_exist(tiny: Esm2, tiny_folder: Path, own: Own, tmp_path: Path):
    np.save(tmp_path / "x.npy", own.means)
    with pytest.raises(OptionError, match="pool is 'mean' or 'bos', not 'max'"):
        verify_against(tiny, tmp_path / "x.npy", PROTEINS, pool="max")
    with pytest.raises(OptionError, match="hidden state"):
        verify_against(tiny, tmp_path / "x.npy", PROTEINS, layer=7)
    half = load(tiny_folder, "cpu", "bfloat16")
    with pytest.raises(OptionError, match="load the model with dtype float32"):
        verify_against(half, tmp_path / "x.npy", PROTEINS)
    with pytest.raises(InputError, match="has no sequences in it"):
        verify_against(tiny, tmp_path / "x.npy")


def test_names_are_found_in_every_form():
    names = ["P69905", "1ubi_a", "x_y"]
    assert pair(names, PROTEINS, "f").proteins == {"P69905": 0, "1ubi_a": 1, "x_y": 2}
    found = pair([HEADERS[0], "other"], PROTEINS, "f")
    assert (found.proteins, found.absent, found.unknown) == ({HEADERS[0]: 0}, [1, 2], ["other"])
    by_text = pair([protein.sequence for protein in PROTEINS], PROTEINS, "f")
    assert list(by_text.proteins.values()) == [0, 1, 2]
    assert pair(["row 0", "row 1", "row 2"], PROTEINS, "f").by_place


def test_the_command(run, tiny_folder: Path, own: Own, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {p.header: p.sequence for p in PROTEINS})
    np.save(tmp_path / "right.npy", own.means)
    done = run(
        *("verify", fasta, "--against", "right.npy", "--model", tiny_folder),
        *("-o", "records.tsv"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "SAME  these are this model's mean embeddings of the last layer" in done.stdout
    table = pandas.read_csv(tmp_path / "records.tsv", sep="\t")
    assert list(table["id"]) == IDS
    assert set(table["verdict"]) == {"same"}
    np.save(tmp_path / "sums.npy", own.means * [[41], [30], [35]])
    done = run(
        "verify", fasta, "--against", "sums.npy", "--json", "--model", tiny_folder, cwd=tmp_path
    )
    assert "the sum over residues" in fails(done)
    told = json.loads(done.stdout)
    assert (told["verdict"], told["passed"]) == ("differs", False)
    assert told["parts"][0]["causes"][0]["share"] == 1
    assert "--layer is for --against" in fails(run("verify", "--layer", 5, cwd=tmp_path), 2)
    csv_of_lists(tmp_path / "own.tsv", own)
    done = run("verify", "--against", "own.tsv", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # the sequences are in the file
