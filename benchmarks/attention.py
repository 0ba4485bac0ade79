"""Attention maps to a file: esmkit beside ``output_attentions=True`` and h5py.

    python -m benchmarks attention

All 120 heads of every protein go to an HDF5 file. The proteins are real: the demo proteins up to
1,022 residues, or the first residues of the longest of them for the rows with one length.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import run_in_turn, table
from esmkit.data import demo_proteins
from esmkit.sequences.proteins import Protein

LENGTHS = (100, 300, 1000)


def proteins(residues: int | None) -> list[Protein]:
    """Return the demo proteins, or pieces of one length, some 2,000 residues in all."""
    found = demo_proteins()
    if residues is None:
        return [protein for protein in found if len(protein) <= 1022]
    longest = max(found, key=len).sequence
    count = max(1, 2000 // residues)
    step = max(1, (len(longest) - residues) // count)
    pieces = [longest[i * step : i * step + residues] for i in range(count)]
    return [Protein(id=f"p{i}", header=f"p{i}", sequence=piece) for i, piece in enumerate(pieces)]


def esmkit_attention(folder: Path, residues: int | None) -> Callable[[], None]:
    """``esmkit attention``: float16, compressed."""
    import esmkit

    chosen = proteins(residues)
    fasta = folder / "in.fasta"
    fasta.write_text("".join(f">{p.id}\n{p.sequence}\n" for p in chosen))
    model = esmkit.load()
    model.embed(chosen[0])  # the first pass of a process is slow, whatever it is
    return lambda: esmkit.attention_file(model, fasta, folder / "out.h5")


def hugging_face(folder: Path, residues: int | None, **storage: object) -> Callable[[], None]:
    """Eager attention, one protein at a time, all maps, then h5py."""
    import h5py
    import torch
    from transformers import EsmModel, EsmTokenizer

    from esmkit.encoder.checkpoints import resolve

    chosen = proteins(residues)
    weights = resolve("auto").folder
    network = EsmModel.from_pretrained(
        weights, add_pooling_layer=False, attn_implementation="eager"
    ).eval()
    tokenizer = EsmTokenizer.from_pretrained(weights)

    def extract(protein: Protein) -> "torch.Tensor":
        with torch.no_grad():
            tokens = tokenizer(protein.sequence, return_tensors="pt")
            output = network(**tokens, output_attentions=True)
        return torch.stack(output.attentions, dim=1)[0, :, :, 1:-1, 1:-1]

    def work() -> None:
        with h5py.File(folder / "out.h5", "w") as handle:
            for protein in chosen:
                handle.create_dataset(protein.id, data=extract(protein).numpy(), **storage)  # type: ignore[arg-type]

    with torch.no_grad():
        network(**tokenizer(chosen[0].sequence, return_tensors="pt"))
    return work


def hugging_face_gzip(folder: Path, residues: int | None) -> Callable[[], None]:
    """The same, compressed as h5py does it."""
    return hugging_face(folder, residues, compression="gzip", dtype="float16")


PROGRAMS = {
    "esmkit (float16, compressed)": esmkit_attention,
    "output_attentions, h5py (float32)": hugging_face,
    "output_attentions, h5py (float16, gzip)": hugging_face_gzip,
}


def report(rounds: int) -> list[str]:
    """Run everything and return a table for each set of proteins."""
    lines = []
    for residues in (None, *LENGTHS):
        count, total = len(proteins(residues)), sum(map(len, proteins(residues)))
        what = "demo proteins" if residues is None else f"proteins of {residues:,} residues"
        lines += ["", f"{count} {what}, {total:,} residues:", ""]
        results = run_in_turn(
            "benchmarks.attention", list(PROGRAMS), {"residues": residues}, rounds
        )
        lines += table(results, next(iter(PROGRAMS)))
    return lines
