"""The larger models: embeddings, attention maps and contacts at 35M, 150M and 650M parameters.

    python -m benchmarks sizes

Their weights are not here, so that networks of their shapes get weights drawn from a seed, which take as
long as any others. They are written once, below esmkit's cache (2.6 GB for the largest).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.attention import proteins as of_length
from benchmarks.embed import by_length, save
from benchmarks.exported import benchmark_cache
from benchmarks.harness import run_in_turn, table
from benchmarks.proteome import proteome
from esmkit.encoder.checkpoints.convert import esm2_config
from esmkit.sequences.proteins import Protein

SHAPES = {"35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20)}
"""Layers, width and heads of ``facebook/esm2_t12_35M_UR50D`` and its larger siblings."""

PROTEINS = {"35M": 40, "150M": 16, "650M": 5}
"""How many are embedded: some seconds' work."""

Work = Callable[[], None]


def checkpoint(size: str) -> Path:
    """Write a checkpoint of a model's shape, unless that has been done, and return its folder."""
    import torch
    from transformers import EsmConfig, EsmModel

    folder = benchmark_cache() / f"seeded-{size}"
    if (folder / "model.safetensors").exists():
        return folder
    layers, width, heads = SHAPES[size]
    torch.manual_seed(0)
    config = EsmConfig.from_dict(esm2_config(layers, heads, width))
    EsmModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def few(residues: int, total: int) -> list[Protein]:
    """Return real pieces of one length, of so many residues in all."""
    return of_length(residues)[: max(1, total // residues)]


def esmkit_embed(folder: Path, size: str) -> Work:
    """``Esm2.embed``, means."""
    import esmkit

    model, chosen = esmkit.load(str(checkpoint(size))), proteome(PROTEINS[size])
    model.embed("MKTVRQERLKSIVRILERSKEPVSGAQ")

    def work() -> None:
        save(folder, {found.id: found.mean for found in model.embed(chosen, residues=False)})

    return work


def with_passes_of(tokens: int) -> Callable[[Path, str], Work]:
    """``Esm2.embed`` with other passes than those of 1,024 tokens for each thread."""

    def program(folder: Path, size: str) -> Work:
        from esmkit.encoder import packing

        packing.PASS_TOKENS = tokens
        return esmkit_embed(folder, size)

    return program


def _hugging_face(size: str, attention: str) -> Any:
    from transformers import EsmModel, EsmTokenizer

    from esmkit.encoder.checkpoints import resolve

    network = EsmModel.from_pretrained(
        checkpoint(size), add_pooling_layer=False, attn_implementation=attention
    ).eval()
    return network, EsmTokenizer.from_pretrained(resolve("auto").folder)


def sorted_sdpa(folder: Path, size: str) -> Work:
    """transformers with SDPA, sorted by length, 4,096 tokens a batch, padded."""
    import torch

    network, tokenizer = _hugging_face(size, "sdpa")
    chosen = proteome(PROTEINS[size])

    @torch.no_grad()
    def means(batch: list[Protein]) -> Iterator[tuple[str, Any]]:
        tokens = tokenizer([p.sequence for p in batch], return_tensors="pt", padding=True)
        states = network(**tokens).last_hidden_state
        for place, protein in enumerate(batch):
            yield protein.id, states[place, 1 : len(protein) + 1].mean(0).numpy()

    def work() -> None:
        save(folder, dict(pair for batch in by_length(chosen) for pair in means(batch)))

    list(means([Protein(id="p", sequence="MKTVRQERLKSIVRILERSKEPVSGAQ")]))
    return work


def esmkit_attention(folder: Path, size: str) -> Work:
    """``esmkit attention``: all heads of proteins of 300 residues to a file, float16, compressed."""
    import esmkit

    model, fasta = esmkit.load(str(checkpoint(size))), folder / "in.fasta"
    fasta.write_text("".join(f">{p.id}\n{p.sequence}\n" for p in few(300, 600)))
    model.embed("MKTVRQERLKSIVRILERSKEPVSGAQ")
    return lambda: esmkit.attention_file(model, fasta, folder / "out.h5")


def output_attentions(folder: Path, size: str) -> Work:
    """Eager attention, ``output_attentions=True``, and h5py (float32)."""
    import h5py
    import torch

    network, tokenizer = _hugging_face(size, "eager")

    @torch.no_grad()
    def extract(sequence: str) -> Any:
        output = network(**tokenizer(sequence, return_tensors="pt"), output_attentions=True)
        return torch.stack(output.attentions, dim=1)[0, :, :, 1:-1, 1:-1].numpy()

    def work() -> None:
        with h5py.File(folder / "out.h5", "w") as handle:
            for protein in few(300, 600):
                handle.create_dataset(protein.id, data=extract(protein.sequence))

    extract("MKTVRQERLKSIVRILERSKEPVSGAQ")
    return work


def esmkit_contacts(folder: Path, size: str) -> Work:
    """``Esm2.contacts`` of proteins of 300 residues."""
    import esmkit

    model = esmkit.load(str(checkpoint(size)))
    model.contacts("MKTVRQERLKSIVRILERSKEPVSGAQ")

    def work() -> None:
        for found in model.contacts(few(300, 600)):
            assert found.probability.shape == (300, 300)

    return work


def predict_contacts(folder: Path, size: str) -> Work:
    """``EsmModel.predict_contacts`` of transformers, one protein at a time."""
    import torch

    network, tokenizer = _hugging_face(size, "eager")

    @torch.no_grad()
    def predict(sequence: str) -> Any:
        tokens = tokenizer(sequence, return_tensors="pt")
        return network.predict_contacts(tokens["input_ids"], tokens["attention_mask"]).numpy()

    def work() -> None:
        for protein in few(300, 600):
            assert predict(protein.sequence).shape == (1, 300, 300)

    predict("MKTVRQERLKSIVRILERSKEPVSGAQ")
    return work


PASSES = {f"embed: esmkit, {n:,} tokens a pass": with_passes_of(n) for n in (512, 2_048)}

PROGRAMS: dict[str, Callable[..., Work]] = {
    "embed: esmkit": esmkit_embed,
    **PASSES,
    "embed: Hugging Face, SDPA, sorted, 4,096 tokens a batch": sorted_sdpa,
    "attention: esmkit (float16, compressed)": esmkit_attention,
    "attention: output_attentions, h5py (float32)": output_attentions,
    "contacts: esmkit": esmkit_contacts,
    "contacts: Hugging Face, one at a time": predict_contacts,
}


def report(rounds: int) -> list[str]:
    """Run everything for each shape and return its tables."""
    lines = ["Weights drawn from a seed, in the shapes of the published models."]
    for size, (layers, width, heads) in SHAPES.items():
        residues = sum(map(len, proteome(PROTEINS[size])))
        lines += ["", f"{size}, {layers} layers of {heads} heads, width {width:,}. "]
        lines[-1] += (
            f"Means of {PROTEINS[size]} proteins, {residues:,} residues, in passes of 1,024 tokens where "
            f"nothing else is said; maps and contacts of {len(few(300, 600))} proteins of 300 residues:"
        )
        for task in ("embed", "attention", "contacts"):
            chosen = [name for name in PROGRAMS if name.startswith(task)]
            results = run_in_turn("benchmarks.sizes", chosen, {"size": size}, rounds)
            lines += ["", *table(results, chosen[0])]
    return lines
