"""Embeddings: esmkit beside what people use, on the same weights, proteins and threads.

    python -m benchmarks embed

Each program reads a FASTA file and writes the mean of each protein's last hidden state to a file.
Loading the model and one warm-up are not counted. ``agreement`` compares what they wrote.
"""

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import exported, others
from esmkit.sequences.proteins import Protein, read_fasta

OUTPUT = "out.npz"

Work = Callable[[], None]


def save(folder: Path, means: dict[str, Any]) -> None:
    """Write the means of all proteins, as every program here does but esmkit."""
    np.savez(folder / OUTPUT, **means)


def esmkit_embed(folder: Path, fasta: str) -> Work:
    """``esmkit embed``, to HDF5, with its checks, shards and checksums.

    Compiling attention, a second once, is not counted.
    """
    import esmkit

    model = esmkit.load()
    model.embed("MKTVRQERLKSIVRILERSKEPVSGAQ")
    return lambda: esmkit.embed_file(model, fasta, folder / "out.h5")


def esmkit_plain(folder: Path, fasta: str) -> Work:
    """``esmkit embed --no-compile``: PyTorch's attention, as where there is no C compiler."""
    import esmkit

    model = esmkit.load(compiled=False)
    model.embed("MKTVRQERLKSIVRILERSKEPVSGAQ")
    return lambda: esmkit.embed_file(model, fasta, folder / "out.h5")


def usual_script(folder: Path, fasta: str) -> Work:
    """The script of many a tutorial: eager attention, batches of 8 in file order, padding."""
    return _padded(folder, fasta, "eager", _in_file_order)


def sorted_sdpa(folder: Path, fasta: str) -> Work:
    """The best one does with transformers alone: sorted by length, 4,096 tokens a batch, SDPA."""
    return _padded(folder, fasta, "sdpa", by_length)


def _in_file_order(proteins: list[Protein]) -> list[list[Protein]]:
    return [proteins[i : i + 8] for i in range(0, len(proteins), 8)]


def by_length(proteins: list[Protein], budget: int = 4096) -> list[list[Protein]]:
    """Cut proteins, longest first, into batches of at most that many tokens, padding included."""
    batches: list[list[Protein]] = []
    for protein in sorted(proteins, key=len, reverse=True):
        longest = len(batches[-1][0]) + 2 if batches else 0
        if not batches or (len(batches[-1]) + 1) * longest > budget:
            batches.append([])
        batches[-1].append(protein)
    return batches


def _padded(
    folder: Path, fasta: str, attention: str, cut: Callable[[list[Protein]], list[list[Protein]]]
) -> Work:
    import torch
    from transformers import EsmModel, EsmTokenizer

    from esmkit.encoder.checkpoints import resolve

    weights = resolve("auto").folder
    network = EsmModel.from_pretrained(
        weights, add_pooling_layer=False, attn_implementation=attention
    ).eval()
    tokenizer = EsmTokenizer.from_pretrained(weights)

    def run(batch: list[Protein]) -> dict[str, Any]:
        tokens = tokenizer([p.sequence for p in batch], return_tensors="pt", padding=True)
        with torch.no_grad():
            states = network(**tokens).last_hidden_state
        return {
            protein.id: states[place, 1 : len(protein) + 1].mean(0).numpy()
            for place, protein in enumerate(batch)
        }

    def work() -> None:
        means: dict[str, Any] = {}
        for batch in cut(list(read_fasta(fasta))):
            means |= run(batch)
        save(folder, means)

    run([Protein(id="p", header="p", sequence="MKTVRQERLKSIVRILERSKEPVSGAQ")])
    return work


def fair_esm(folder: Path, fasta: str) -> Work:
    """The loop of fair-esm's ``extract.py``: sorted, 4,096 tokens a batch, the mean of residues."""
    import torch
    from esm import Alphabet, FastaBatchedDataset
    from esm.model.esm2 import ESM2

    from benchmarks.weights import fair_esm_state

    shape, state = fair_esm_state()
    network = ESM2(*shape).eval()
    network.load_state_dict(state, strict=False)
    alphabet = Alphabet.from_architecture("ESM-1b")
    last = shape[0]

    def work() -> None:
        dataset = FastaBatchedDataset.from_file(fasta)
        loader = torch.utils.data.DataLoader(
            dataset,  # type: ignore[arg-type] - fair-esm has no types
            collate_fn=alphabet.get_batch_converter(1022),
            batch_sampler=dataset.get_batch_indices(4096, extra_toks_per_seq=1),
        )
        means: dict[str, Any] = {}
        with torch.no_grad():
            for labels, strings, tokens in loader:
                states = network(tokens, repr_layers=[last])["representations"][last]
                for place, (label, letters) in enumerate(zip(labels, strings, strict=True)):
                    residues = states[place, 1 : min(len(letters), 1022) + 1]
                    means[label.split()[0]] = residues.mean(0).numpy()
        save(folder, means)

    with torch.no_grad():
        network(torch.tensor([[0, 5, 6, 7, 2]]))
    return work


def floor(folder: Path, fasta: str) -> Work:
    """The matrix products and attention calls alone, on nothing: the same shapes as esmkit's."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    import esmkit
    from esmkit.embeddings.options import EmbedOptions
    from esmkit.encoder.onednn import FastOperations, in_blocks, onednn_product
    from esmkit.encoder.packing import Pack, batches_by_tokens, look_ahead, pack, pass_tokens
    from esmkit.encoder.threads import side_by_side
    from esmkit.sequences.tokens import encode

    model = esmkit.load()
    budget = EmbedOptions().batch_tokens
    layers = model.parts().layers
    width, heads = model.width, model.heads
    operations = model.operations
    fast = isinstance(operations, FastOperations) and operations.products
    onednn: Any = onednn_product() if fast else None

    def product(dense: Any, x: Any) -> None:
        if onednn is None:
            dense(x)
        else:
            in_blocks(lambda rows: onednn(rows, dense.weight, dense.bias, "none", [], ""), x)

    ids = [encode(protein.sequence.rstrip("*")) for protein in read_fasta(fasta)]
    packs = []
    for window in look_ahead(((len(x), x) for x in ids), 32 * budget):
        for batch in batches_by_tokens([len(x) for x in window], pass_tokens()):
            packs.append(pack([window[i] for i in batch]))

    @torch.inference_mode()
    def one(batch: Pack) -> None:
        tokens = batch.ids.shape[1]
        x, wide = torch.zeros(tokens, width), torch.zeros(tokens, layers[0].expand.out_features)
        query = torch.zeros(1, heads, tokens, width // heads)
        for layer in layers:
            for dense in (layer.query, layer.key, layer.value, layer.output, layer.expand):
                product(dense, x)
            product(layer.contract, wide)
            for group in batch.groups:
                part = query[0, :, group.tokens].unflatten(1, (group.count, group.length))
                part = part.transpose(0, 1)
                scaled_dot_product_attention(part, part, part, scale=1.0)

    def work() -> None:
        with side_by_side(model.device) as run:
            for _ in run(one, packs):
                pass

    return work


PROGRAMS: dict[str, Callable[..., Work]] = {
    "esmkit embed": esmkit_embed,
    "esmkit embed --no-compile": esmkit_plain,
    "Hugging Face, eager, batches of 8 in file order": usual_script,
    "Hugging Face, SDPA, sorted, 4,096 tokens a batch": sorted_sdpa,
    "fair-esm, extract.py's loop": fair_esm,
    **exported.PROGRAMS,
    **{name: program for name, program in others.PROGRAMS.items() if "esm-cpp" not in name},
}


FLOOR: dict[str, Callable[..., Work]] = {
    "esmkit embed": esmkit_embed,
    "esmkit embed --no-compile": esmkit_plain,
    "the floor: products and attention alone": floor,
}

SLOW: dict[str, Callable[..., Work]] = {
    name: program for name, program in others.PROGRAMS.items() if "plain loops" in name
}
"""Without AVX-512 kernels that work (they return NaN) it takes minutes for what others do in one."""


def how(name: str) -> str:
    """Say how a program was run: versions, what computes its products, threads."""
    from esmkit.encoder.onednn import onednn_is_faster

    torch = f"PyTorch {version('torch')}"
    with_torch = f"products of {torch} (MKL)"
    ways = {
        "esmkit embed": f"products of {'oneDNN' if onednn_is_faster() else 'MKL'} in {torch}, attention compiled "
        "here, a pass in each thread",
        "esmkit embed --no-compile": f"the same with attention of {torch}",
        "fair-esm": f"fair-esm {_version('fair-esm')}, {with_torch}, both threads on a batch",
        "Hugging Face": f"transformers {_version('transformers')}, {with_torch}, both threads on a batch",
        "ONNX Runtime": f"onnxruntime {_version('onnxruntime')}, its own products, both threads on a batch",
        "OpenVINO": f"openvino {_version('openvino')}, oneDNN's products, two batches at a time",
        "protembedder": f"protembedder {_version('protembedder')} with fair-esm, {with_torch}",
        "PEPE": f"pepe-cli {_version('pepe-cli')} with transformers, {with_torch}",
        "esm-cpp, plain loops": "esm-cpp 0.2.1, loops without AVX instructions of its own; its AVX-512 "
        "kernels return NaN here, and it has none for AVX2; a protein at a time, two threads",
        "esm-cpp, plain loops, int8": "the same with weights and activations in 8 bits",
    }
    if name in ways:
        return ways[name]
    return next(way for start, way in ways.items() if name.startswith(start))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def written(name: str, folder: Path) -> dict[str, Any]:
    """Return the means that a program wrote."""
    if name in exported.PROGRAMS:
        return exported.read_means(folder)
    if name in others.READERS:
        return others.READERS[name](folder)
    if (folder / "out.h5").exists():
        import esmkit

        with esmkit.read(folder / "out.h5") as found:
            return {name: found[name] for name in found}
    with np.load(folder / OUTPUT) as found:
        return {name: found[name] for name in found.files}


def agreement(fasta: str, scratch: Path) -> dict[str, float]:
    """Return the largest difference of each program's means from esmkit's."""
    results = {}
    here = Path.cwd()
    for name, prepare in PROGRAMS.items():
        folder = scratch / str(len(results))
        folder.mkdir()
        prepare(folder, fasta=fasta)()
        os.chdir(here)  # PEPE goes elsewhere
        results[name] = written(name, folder)
    ours = results["esmkit embed"]
    return {
        name: max(float(np.abs(means[each] - ours[each]).max()) for each in ours)
        for name, means in results.items()
    }
