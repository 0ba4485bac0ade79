"""What results do not depend on, on real proteins and the real weights, and what is never written.

Measured differences are 0 but for contacts on two threads (benchmarks/RELIABILITY.md); the bounds
are rounding in float32, for processors and libraries that add in another order.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from esmkit.esm2 import Esm2
from esmkit.files.shards import read_shard
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import make_checkpoint
from oracles.commands import fails, write_fasta

PROTEINS = int(os.environ.get("ESMKIT_NUMBERS", "6"))
"""Real proteins that are compared; the long form has more."""

# Largest absolute differences: hidden states of residues (up to 5 after the final norm), their
# means, attention weights (0 to 1) and contact probabilities (0 to 1), float32
BOUNDS = {"residues": 3e-5, "mean": 4e-6, "attention": 1e-5, "contacts": 5e-5}

Results = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def proteins() -> list[Protein]:
    pytest.importorskip("pyhmmer", reason="the proteome is in its wheel")
    from benchmarks.proteome import proteome

    return proteome(PROTEINS)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def results(model: Esm2, proteins: list[Protein], batch_tokens: int) -> Results:
    """Everything that is computed of each protein."""
    found: Results = {}
    for embedding in model.embed(proteins, batch_tokens=batch_tokens):
        found[embedding.id] = {"residues": embedding.residues, "mean": embedding.mean}
    for maps in model.attention(proteins, heads=["L0", "L5"], batch_tokens=batch_tokens):
        found[maps.id]["attention"] = maps.maps
    for contacts in model.contacts(proteins, batch_tokens=batch_tokens):
        found[contacts.id]["contacts"] = contacts.probability
    return found


def largest(a: Results, b: Results) -> dict[str, float]:
    """The largest difference of each kind of result."""
    assert set(a) == set(b)
    return {
        kind: max(float(np.abs(a[name][kind] - b[name][kind]).max()) for name in a)
        for kind in BOUNDS
    }


CHANGES = {
    "the same again": lambda proteins: (proteins, 4096, 1),
    "batches of 600 tokens": lambda proteins: (proteins, 600, 1),
    "batches of 20,000 tokens": lambda proteins: (proteins, 20_000, 1),
    "one at a time": lambda proteins: (proteins, 1, 1),
    "reversed": lambda proteins: (proteins[::-1], 4096, 1),
    "two threads": lambda proteins: (proteins, 4096, 2),
}


@pytest.mark.weights
@pytest.mark.slow
def test_results_depend_on_the_protein_alone(real: Esm2, proteins, threads, capsys):
    torch.set_num_threads(1)
    whole = results(real, proteins, 4096)
    lines, over = [], []
    for name, change in CHANGES.items():
        given, batch_tokens, count = change(proteins)
        torch.set_num_threads(count)
        found = largest(whole, results(real, given, batch_tokens))
        lines.append(f"{name}: " + ", ".join(f"{k} {v:.1e}" for k, v in found.items()))
        over += [f"{name}, {k}: {v:.1e}" for k, v in found.items() if not v <= BOUNDS[k]]
        if name == "the same again":
            assert set(found.values()) == {0.0}
    torch.set_num_threads(1)
    alone = {}
    for number, protein in enumerate(proteins):  # among other neighbours
        neighbours = [protein, *proteins[number - 3 : number]]
        of_both = results(real, neighbours, 4096)
        alone[protein.id] = of_both[protein.id]
    found = largest(whole, alone)
    lines.append("other neighbours: " + ", ".join(f"{k} {v:.1e}" for k, v in found.items()))
    over += [f"neighbours, {k}: {v:.1e}" for k, v in found.items() if not v <= BOUNDS[k]]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert not over


COMMANDS = {
    "embed.h5": ["embed", "-o", "out.h5", "--per", "residue"],
    "embed.csv": ["embed", "-o", "out.csv"],
    "embed.parquet": ["embed", "-o", "out.parquet"],
    "embed.npz": ["embed", "-o", "out.npz"],
    "attention": ["attention", "-o", "out.h5"],
    "attention numbers": ["attention", "--reduce", "all", "-o", "out.parquet"],
    "contacts.h5": ["contacts", "-o", "out.h5"],
    "contacts.tsv": ["contacts", "-o", "out.tsv"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_run_twice_the_bytes_are_the_same(name, run, tiny_folder, proteins, tmp_path):
    command, made = COMMANDS[name], []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_fasta(folder / "seqs.fasta", {p.id: p.sequence[:120] for p in proteins})
        words = [command[0], "seqs.fasta", *command[1:], "--model", tiny_folder, "-q"]
        assert run(*words, cwd=folder).returncode == 0
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) > 1


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for which proteins with a tryptophan, and they alone, come out as NaN.

    A weight that is NaN is refused when the model is loaded; this one overflows on its way.
    """
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path_factory.mktemp("broken") / "broken", (2, 4, 32))
    path = folder / "model.safetensors"
    tensors = load_file(path)
    from esmkit.sequences.tokens import encode

    [tryptophan] = encode("W")[1:-1]
    tensors["esm.embeddings.word_embeddings.weight"][int(tryptophan)] = 3e38
    save_file(tensors, path, {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_finite_is_never_written(name, run, broken, tmp_path):
    """The protein is named; the output appears once it has been left out, without a NaN."""
    records = {"good": "MKTVRQERLKSIVRILE", "bad": "MKTVWQERLKSIV", "also": "MKVILLERLKSIVRAC"}
    write_fasta(tmp_path / "seqs.fasta", records)
    command = COMMANDS[name]
    words = [command[0], "seqs.fasta", *command[1:], "--model", broken, "--batch-tokens", "20"]
    message = fails(run(*words, "-q", cwd=tmp_path))
    assert "'bad'" in message
    assert "NaN or infinit" in message
    output = tmp_path / command[2] if command[1] == "-o" else tmp_path / command[-1]
    assert not output.exists()
    for path in tmp_path.glob("*.work/*.safetensors"):
        for array in read_shard(path).values():
            if array.dtype.kind == "f":
                assert np.isfinite(array).all()
    write_fasta(tmp_path / "seqs.fasta", {k: v for k, v in records.items() if k != "bad"})
    done = run(*words, "--restart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"nan" not in output.read_bytes().lower() or output.suffix != ".csv"
