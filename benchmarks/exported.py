"""Embeddings from an exported model: ONNX Runtime and OpenVINO, beside ``esmkit embed``.

    python -m benchmarks.exported seqs.fasta      # how far the results are from esmkit's

One export serves both: Hugging Face's ``EsmModel`` through ``torch.onnx.export``, batch and length
free. Batches are sorted by length and padded, within a budget of padded tokens; padding is masked;
means are taken over residues. All of it is float32 with two threads. The export is kept in
esmkit's cache, since it takes longer than a run.

The input is a FASTA file that every program reads alike: upper-case residues, no ``*``, each ID
once, at most 1,022 residues a protein (longer ones go through esmkit in windows, which the others
do not have).

What was tried on two cores with AVX-512, and is not used because it is slower: opset 18, where
attention is separate products and a softmax; 4,096 tokens a batch, which pad more and leave the
cache; OpenVINO's ``LATENCY`` (both threads on one batch) instead of ``THROUGHPUT`` (two batches at
a time, a thread each). ``onnxruntime.transformers.optimizer`` finds none of the 6 attention blocks.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import THREADS
from esmkit.encoder.checkpoints import resolve
from esmkit.encoder.checkpoints.fetch import cache_folder
from esmkit.sequences.proteins import Protein, read_fasta
from esmkit.sequences.tokens import encode

BATCH_TOKENS = 1024
"""Padded tokens in a batch."""

LONGEST = 1022
"""Residues; longer proteins are not treated alike by all programs."""

OPSET = 23
"""Version of ONNX's operators. From 23 on, attention and rotary embedding are operators of their own: faster."""

Batch = tuple[list[int], NDArray[np.int64], NDArray[np.int64]]
"""Numbers of the sequences, token ids (B, T), mask (B, T)."""

Take = Callable[[list[int], NDArray[np.float32]], None]
"""Told the numbers of a batch and its last hidden state (B, T, D)."""


def proteins(fasta: str | Path) -> list[Protein]:
    """Read the input and refuse what the programs would not treat alike."""
    found = list(read_fasta(fasta))
    long = [protein.id for protein in found if len(protein) > LONGEST]
    if long:
        raise ValueError(f"{long[0]!r} has over {LONGEST:,} residues; leave such proteins out")
    return found


def benchmark_cache() -> Path:
    """Return the folder for what is made once and used by every run."""
    folder = cache_folder().parent / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def onnx_file() -> Path:
    """Export the default checkpoint, unless that has been done, and return the file."""
    weights = resolve("auto")
    packages = f"torch{version('torch')}-transformers{version('transformers')}".replace("+", "_")
    path = benchmark_cache() / f"{weights.sha256[:12]}-opset{OPSET}-{packages}.onnx"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            whole = Path(scratch) / path.name
            export(weights.folder, whole)
            whole.replace(path)
    return path


def export(weights: Path, path: Path) -> None:
    """Write ``EsmModel`` as ONNX: ``input_ids`` and ``attention_mask`` to ``states``."""
    import torch
    from torch.export import Dim
    from transformers import EsmModel

    network = EsmModel.from_pretrained(
        weights, add_pooling_layer=False, attn_implementation="sdpa"
    ).eval()

    class LastHiddenState(torch.nn.Module):
        """The only output wanted, and positions for every row.

        By default they have a batch axis of 1, which ONNX Runtime's RotaryEmbedding refuses.
        """

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            batch, tokens = input_ids.shape
            positions = torch.arange(tokens).expand(batch, -1)
            return self.network(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=positions
            ).last_hidden_state

    # An example with padding; any axis of 1 would be taken for a constant.
    ids = torch.tensor([encode("MKTVRQERLK"), [*encode("MKTVR"), 1, 1, 1, 1, 1]])
    axes = {0: Dim("batch", min=1, max=65_536), 1: Dim("tokens", min=3, max=65_536)}
    program = torch.onnx.export(
        LastHiddenState(),
        (ids, (ids != 1).long()),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        input_names=["input_ids", "attention_mask"],
        output_names=["states"],
        verbose=False,
    )
    assert program is not None  # only the exporter of old returns nothing
    program.save(path)


def batches(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Yield the numbers of the sequences of each batch, longest first, within the budget."""
    part: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if part and lengths[part[0]] * (len(part) + 1) > budget:
            yield part
            part = []
        part.append(number)
    if part:
        yield part


def padded(ids: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids (B, T), padded with ``<pad>`` (1), and the mask (B, T)."""
    shape = (len(ids), max(map(len, ids)))
    tokens, mask = np.ones(shape, np.int64), np.zeros(shape, np.int64)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return tokens, mask


def save_means(folder: Path, ids: Sequence[str], means: Sequence[NDArray[np.float32]]) -> None:
    """Write the result of a program: IDs and means (B, D)."""
    np.savez(folder / "means.npz", headers=np.array(ids), embeddings=np.stack(means))


def means_work(
    folder: Path, fasta: str, run: Callable[[Iterable[Batch], Take], None], tokens: int
) -> Callable[[], None]:
    """Return the work of an exported model: read, batch, run, take means, write."""

    def embed(ids: list[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        means: list[Any] = [None] * len(ids)

        def take(part: list[int], states: NDArray[np.float32]) -> None:
            for row, number in enumerate(part):
                means[number] = states[row, 1 : len(ids[number]) - 1].mean(axis=0)

        parts = batches([len(one) for one in ids], tokens)
        run(((part, *padded([ids[n] for n in part])) for part in parts), take)
        return means

    def work() -> None:
        chosen = proteins(fasta)
        means = embed([encode(protein.sequence) for protein in chosen])
        save_means(folder, [protein.id for protein in chosen], means)

    embed([encode("MKTVRQERLKSIVRIL"), encode("MKTVR")])  # the first pass is slow
    return work


def onnx_runtime(folder: Path, fasta: str, tokens: int = BATCH_TOKENS) -> Callable[[], None]:
    """ONNX Runtime on the CPU, every graph optimisation on."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(
        str(onnx_file()), options, providers=["CPUExecutionProvider"]
    )

    def run(parts: Iterable[Batch], take: Take) -> None:
        for part, ids, mask in parts:
            take(part, session.run(None, {"input_ids": ids, "attention_mask": mask})[0])

    return means_work(folder, fasta, run, tokens)


def openvino(folder: Path, fasta: str, tokens: int = BATCH_TOKENS) -> Callable[[], None]:
    """OpenVINO on the CPU, a batch at a time on each thread."""
    runtime = importlib.import_module("openvino")
    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": THREADS,
        "INFERENCE_PRECISION_HINT": "f32",  # the CPU's own choice may be bfloat16
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    compiled = runtime.Core().compile_model(str(onnx_file()), "CPU", settings)
    queue = runtime.AsyncInferQueue(compiled, THREADS)

    def run(parts: Iterable[Batch], take: Take) -> None:
        queue.set_callback(lambda request, part: take(part, request.get_output_tensor(0).data))
        for part, ids, mask in parts:
            queue.start_async([ids, mask], part)
        queue.wait_all()

    return means_work(folder, fasta, run, tokens)


PROGRAMS = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


def read_means(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return what a program wrote to ``means.npz``: the ID (first word of the header) to a mean."""
    with np.load(folder / "means.npz") as written:
        return {
            str(header).split()[0]: mean
            for header, mean in zip(written["headers"], written["embeddings"], strict=True)
        }


def largest_difference(
    program: Callable[[Path, str], Callable[[], None]],
    fasta: str,
    folder: Path,
    read: Callable[[Path], dict[str, NDArray[np.float32]]] = read_means,
) -> float:
    """Run a program once and return how far any value is from esmkit's."""
    import esmkit

    program(folder, fasta)()
    theirs = read(folder)
    ours = {one.id: one.mean for one in esmkit.load(device="cpu").embed(proteins(fasta))}
    if theirs.keys() != ours.keys():
        raise ValueError(f"{len(theirs)} means for {len(ours)} proteins, or other IDs")
    return float(np.max([np.abs(theirs[name] - mean) for name, mean in ours.items()]))


def main() -> None:
    """Print the largest difference of each program."""
    (fasta,) = sys.argv[1:]
    for name, program in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{name}: {largest_difference(program, fasta, Path(scratch)):.1e}")


if __name__ == "__main__":
    main()
