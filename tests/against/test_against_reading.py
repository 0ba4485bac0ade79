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

import esmkit
from esmkit.against import verify_against
from esmkit.against.naming import pair
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.errors import InputError, OptionError, OutputError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import make_fair_esm, random_sequence
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


def csv_of_r(path: Path, own: Own) -> None:
    """As write.table of R writes it: no name above the column of names."""
    lines = ["\t".join(f'"V{n}"' for n in range(own.means.shape[1]))]
    for name, mean in zip(IDS, own.means, strict=True):
        lines.append("\t".join([f'"{name}"', *map(repr, mean.tolist())]))
    path.write_text("\n".join(lines) + "\n")


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
    "table of R": ("r.tsv", csv_of_r, 1),
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
        return (sorted, ("run",))


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

    def bundle(path: Path) -> None:
        """What protspace's bundle.py writes: three tables of Parquet and a line between them."""
        pandas.DataFrame({"identifier": IDS, "x": [0.1, 0.2, 0.3]}).to_parquet(path)
        path.write_bytes(b"---PARQUET_DELIMITER---".join([path.read_bytes()] * 3))

    def huge(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("1UBI_A", (10**9, 32), "f4", chunks=(1024, 32))

    text = "1UBI_A"
    layers = {"label": "1UBI_A", "mean_representations": {"last": torch.ones(32)}}
    contacts = {"label": "1UBI_A", "contacts": torch.ones(5, 5)}
    nan = np.full(32, np.nan, np.float32)
    return {
        "missing": ("none.h5", lambda p: None, "there is no file"),
        "empty": ("e.h5", lambda p: p.write_bytes(b""), "is empty"),
        "cut off": ("c.h5", cut_off, "is damaged"),
        "FASTA": ("x.h5", lambda p: p.write_text(">a\nMK\n"), "it is FASTA"),
        "PDF": ("x.pt", lambda p: p.write_bytes(b"%PDF-1.4"), "is not a file of PyTorch"),
        "nothing in it": ("n.h5", h5(), "without anything in it"),
        "NaN": ("n.h5", h5(**{text: nan}), "every record of"),
        "ProtSpace": ("x.parquetbundle", bundle, "it is a bundle of ProtSpace, projections"),
        "huge": ("h.h5", huge, "says that it has 128.0 GB"),
        "no values": ("v.h5", h5(**{text: h5py.Empty("f4")}), "is no embedding"),
        "too large": ("l.h5", h5(**{text: np.full(32, 1e300)}), "beyond float32"),
        "layers": ("l.pt", lambda p: torch.save(layers, p), "from the number of a layer"),
        "contacts": ("c.pt", lambda p: torch.save(contacts, p), "holds contacts"),
        "a number": ("n.pt", lambda p: torch.save(torch.tensor(1.0), p), "a single number"),
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


def test_other_readers_know_a_bundle_too(tmp_path: Path):
    make = bad_files()["ProtSpace"][1]
    make(tmp_path / "x.parquetbundle")
    with pytest.raises(OutputError, match="a bundle of ProtSpace, projections to two or three"):
        esmkit.read(tmp_path / "x.parquetbundle")


def test_coordinates_are_no_embeddings(own: Own, tiny: Esm2, tmp_path: Path):
    table = pandas.DataFrame({"identifier": IDS, "x": [0.1, 0.2, 0.3], "y": [0.3, 0.1, 0.2]})
    table.to_parquet(tmp_path / "projections_data.parquet")
    found = verify_against(tiny, tmp_path / "projections_data.parquet", PROTEINS)
    assert found.verdict == "differs"
    assert found.parts[0].summary.startswith("no embeddings: 2 numbers, as the coordinates")


def test_ids_that_are_there_twice(own: Own, tiny: Esm2, tmp_path: Path):
    """The first counts, and a note says how many were left out; of a FASTA with two, both count."""
    ids, block = [*IDS, IDS[0]], own.means[[0, 1, 2, 1]]
    np.savez(tmp_path / "x.npz", ids=np.array(ids), embeddings=block)
    pandas.DataFrame(block).assign(id=ids).to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "folder").mkdir()
    for number, (name, mean) in enumerate(zip(ids, block, strict=True)):
        found = {"label": name, "mean_representations": {2: torch.from_numpy(mean)}}
        torch.save(found, tmp_path / "folder" / f"{number}.pt")
    for file in ("x.npz", "x.csv", "folder"):
        found = verify_against(tiny, tmp_path / file, PROTEINS)
        assert found.passed, found.to_text()
        assert found.notes == [
            "1 record has an ID that another has before, and was left out: sp|P69905|HBA_HUMAN"
        ]
    texts = [PROTEINS[0].sequence, PROTEINS[1].sequence]
    fasta = tmp_path / "two.fasta"
    fasta.write_text("".join(f">P1 one\n{text}\n" for text in texts))
    for ids in (["P1", "P1"], ["P1 one", "P1 one"]):
        np.savez(tmp_path / "two.npz", ids=np.array(ids), embeddings=own.means[:2])
        found = verify_against(tiny, tmp_path / "two.npz", fasta)
        assert (found.passed, found.notes, len(found.to_frame())) == (True, [], 2)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_a_folder_of_fair_esm_that_was_cut(tiny: Esm2, tmp_path: Path):
    """fair-esm's own batches, truncation and network, written as its extract.py writes them."""
    esm = pytest.importorskip("esm")
    texts = [random_sequence(length, length) for length in (30, 64, 52, 80)]
    fasta = write_fasta(tmp_path / "x.fasta", {f"P{n} a/b": t for n, t in enumerate(texts)})
    data = esm.FastaBatchedDataset.from_file(fasta)
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    batches = data.get_batch_indices(200, extra_toks_per_seq=1)
    network = make_fair_esm(tiny)
    for chosen in batches:
        labels, strings, tokens = alphabet.get_batch_converter(50)([data[i] for i in chosen])
        with torch.inference_mode():
            states = network(tokens, repr_layers=[2])["representations"][2]
        for label, text, rows in zip(labels, strings, states, strict=True):
            rows = rows[1 : min(50, len(text)) + 1].clone()
            path = tmp_path / "out" / f"{label}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            found = {"label": label, "representations": {2: rows}}
            torch.save({**found, "mean_representations": {2: rows.mean(0)}}, path)
    found = verify_against(tiny, tmp_path / "out", fasta)
    means, residues = sorted(found.parts, key=lambda part: part.name)
    assert (means.name, residues.name) == (
        "mean_representations, layer 2",
        "representations, layer 2",
    )
    (cause,) = means.causes
    assert cause.what == "cut after 50 residues"
    assert sorted(cause.records) == ["P1 a/b", "P2 a/b", "P3 a/b"]
    assert "cut after 50 residues" in residues.summary
    assert [row["verdict"] for row in means.rows].count("same") == 1


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
