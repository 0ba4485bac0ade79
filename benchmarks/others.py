"""Embeddings from other tools: protembedder, PEPE and esm-cpp, beside ``esmkit embed``.

    python -m benchmarks.others --fetch           # esm-cpp, into esmkit's cache
    python -m benchmarks.others seqs.fasta        # how far the results are from esmkit's

All get the weights of the default checkpoint, two threads, and the input that
:mod:`benchmarks.exported` describes. How each gets them:

- **protembedder** 0.4.0 loads ESM-2 8M with fair-esm, by name, from PyTorch's hub folder. The
  weights are put there in fair-esm's format. Run as its command runs: batches of 8 in file order.
- **PEPE** (``pepe-cli`` 1.5.0) takes a local folder for a pickled model of its own making, not for
  Hugging Face's format. Asked for ``esm2_t6_8M_UR50D``, it loads ``facebook/esm2_t6_8M_UR50D``
  through transformers, which looks below the working folder first: there is a link there. Run
  with its defaults: 1,024 tokens a batch, everything padded to the longest protein of the file.
  Its tokenisation belongs to its set-up, and so is not in the time measured.
- **esm-cpp** 0.2.1 reads safetensors and wants a language-model head, which the offline checkpoint
  lacks; it gets one of zeros, which the hidden states do not depend on. It asks for NumPy < 2 but
  runs with NumPy 2, so that it is installed without its requirements into a folder of its own,
  outside the environment. Hidden states come from ``forward_with_hidden_states``, one protein at
  a time; its batches (``forward_scheduled``) return logits alone, and were no faster when tried.
  On x86 it has kernels for AVX-512, for 8-bit integers too (VNNI, AMX), and otherwise plain loops: its
  ``avx2`` is these loops, and as fast. With the AVX-512 kernels hidden states of these weights become
  NaN, from the third or fourth on (8 proteins of 8), so the right results are those of the plain loops.
  8-bit integers (``quantize_weights``) are slower in plain loops than float32, and leave a mean
  embedding with a cosine of 0.9997 to it. It computes the frequencies of the
  rotary embedding instead of taking the rounded ones in the file: single residues differ by 1e-3.
"""

import importlib
import logging
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.exported import (
    benchmark_cache,
    largest_difference,
    proteins,
    read_means,
    save_means,
)
from benchmarks.harness import THREADS
from esmkit.encoder.checkpoints import resolve
from esmkit.sequences.tokens import encode

ESM_CPP = "esm-cpp==0.2.1"

WARM_UP = "MKTVRQERLKSIVRIL"
"""The first pass of a process is slow, whatever it is."""

NAME = "esm2_t6_8M_UR50D"
"""Both tools know the model by this name only."""


def protembedder(folder: Path, fasta: str) -> Callable[[], None]:
    """``ProteinEmbedder.embed_fasta`` and ``save_embeddings``, as in its command."""
    import torch

    module = importlib.import_module("protembedder")
    save = importlib.import_module("protembedder.io").save_embeddings
    hub = folder / "hub"
    fair_esm_files(hub / "checkpoints")
    torch.hub.set_dir(hub)
    embedder = module.ProteinEmbedder("esm2_t6_8M", device="cpu")

    def work() -> None:
        embeddings = embedder.embed_fasta(fasta, per_residue=False)
        save(embeddings, str(folder / "means.h5"), fmt="h5")

    embedder.embed_sequences([("warm-up", WARM_UP)])
    return work


def fair_esm_files(folder: Path) -> None:
    """Write the weights as the two files that fair-esm downloads."""
    import torch
    from esm.model.esm2 import ESM2

    from benchmarks.weights import fair_esm_state

    (layers, width, heads), state = fair_esm_state()
    network = ESM2(layers, width, heads)
    network.load_state_dict(state, strict=False)  # there is no head for masked residues
    tensors = dict(network.state_dict())
    regression = {
        name: tensors.pop(name) for name in list(tensors) if name.startswith("contact_head.")
    }
    config = Namespace(
        encoder_layers=layers,
        encoder_embed_dim=width,
        encoder_attention_heads=heads,
        token_dropout=True,
    )
    folder.mkdir(parents=True)
    torch.save({"cfg": {"model": config}, "model": tensors}, folder / f"{NAME}.pt")
    torch.save({"model": regression}, folder / f"{NAME}-contact-regression.pt")


def read_protembedder(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return what protembedder wrote: a dataset for each header, ``/`` written as ``|``."""
    import h5py

    with h5py.File(folder / "means.h5") as written:
        headers = [header.decode() for header in np.asarray(written["headers"])]
        return {
            header.split()[0]: np.asarray(written[f"embeddings/{header.replace('/', '|')}"])
            for header in headers
        }


def pepe(folder: Path, fasta: str) -> Callable[[], None]:
    """The class that ``pepe --model_name esm2_t6_8M_UR50D`` chooses; changes the folder."""
    fasta = str(Path(fasta).resolve())
    link = folder / "facebook" / NAME
    link.parent.mkdir()
    link.symlink_to(resolve("auto").folder.resolve())
    os.chdir(folder)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it says a good deal
    try:
        warm_up = folder / "warm-up.fasta"
        warm_up.write_text(f">warm-up\n{WARM_UP}\n")
        pepe_embedder(str(warm_up), "warm-up").run()
        return pepe_embedder(fasta, "output").run
    finally:
        logging.disable(level)


def pepe_embedder(fasta: str, output: str) -> Any:
    """Return an embedder of PEPE, with the defaults of its command."""
    select = importlib.import_module("pepe.model_selecter").select_model
    options = SimpleNamespace(
        model_name=NAME,
        fasta_path=fasta,
        output_path=output,
        experiment_name="means",
        tokenizer_from=None,
        extract_embeddings=["mean_pooled"],
        layers=[[-1]],
        batch_size=1024,
        max_input_length="max_length",
        device="cpu",
        precision="32",
        streaming_output=True,
        discard_padding=False,
        substring_path=None,
        context=0,
        num_workers=8,
        flush_batches_after=128,
        disable_special_tokens=False,
        flatten=False,
    )
    return select(NAME)(options)


def read_pepe(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return what PEPE wrote: a table of headers, and one array."""
    (table,) = (folder / "output").rglob("*_idx.csv")
    (array,) = (folder / "output").rglob("*.npy")
    rows = table.read_text().splitlines()[1:]
    headers = [row.split(",", 1)[1] for row in rows]
    return {h.split()[0]: mean for h, mean in zip(headers, np.load(array), strict=True)}


def esm_cpp_folder() -> Path:
    """Return where esm-cpp is, or is to be: outside the environment."""
    return benchmark_cache() / ESM_CPP.replace("==", "-")


def fetch_esm_cpp() -> Path:
    """Install esm-cpp, unless that has been done, and return the folder."""
    folder = esm_cpp_folder()
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = Path(scratch) / folder.name
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*command, "--target", str(whole), ESM_CPP], check=True)
            whole.replace(folder)
    return folder


def load_esm_cpp(folder: Path, kernels: str) -> Any:
    """Return esm-cpp's model with the weights of the default checkpoint."""
    from safetensors.numpy import load_file, save_file

    # Both are read once, when the first model is loaded.
    os.environ["ESM_NUM_THREADS"] = str(THREADS)
    os.environ["ESM_FORCE_ISA"] = kernels
    installed = str(fetch_esm_cpp())
    if installed not in sys.path:
        sys.path.append(installed)
    tensors = load_file(resolve("auto").folder / "model.safetensors")
    words = tensors["esm.embeddings.word_embeddings.weight"]
    vocabulary, width = words.shape
    shapes = {
        "dense.weight": (width, width),
        "dense.bias": (width,),
        "layer_norm.weight": (width,),
        "layer_norm.bias": (width,),
        "bias": (vocabulary,),
    }
    for name, shape in shapes.items():
        tensors.setdefault(f"lm_head.{name}", np.zeros(shape, np.float32))
    tensors.setdefault("lm_head.decoder.weight", words.copy())
    path = folder / "model.safetensors"
    save_file(tensors, path)
    module = importlib.import_module("esm_cpp")
    model = module.Model.load_from_safetensors(str(path))
    if module.current_isa() != kernels:
        raise RuntimeError(f"esm-cpp uses {module.current_isa()} kernels, not {kernels}")
    if model.num_threads != THREADS:
        raise RuntimeError(f"esm-cpp uses {model.num_threads} threads, not {THREADS}")
    return model


def esm_cpp(
    folder: Path, fasta: str, kernels: str = "ref", *, quantized: bool = False
) -> Callable[[], None]:
    """``forward_with_hidden_states``, protein by protein."""
    model = load_esm_cpp(folder, kernels)
    if quantized:
        model.quantize_weights()

    def mean(sequence: str) -> NDArray[np.float32]:
        _, states = model.forward_with_hidden_states(encode(sequence).astype(np.int32))
        return states[-1][1:-1].mean(axis=0)

    def work() -> None:
        chosen = proteins(fasta)
        save_means(folder, [p.id for p in chosen], [mean(p.sequence) for p in chosen])

    mean(WARM_UP)
    return work


def esm_cpp_avx512(folder: Path, fasta: str) -> Callable[[], None]:
    """The same with the kernels that return NaN; refused by a machine that lacks AVX-512."""
    return esm_cpp(folder, fasta, "avx512")


def esm_cpp_int8(folder: Path, fasta: str) -> Callable[[], None]:
    """The same with weights and activations in 8 bits."""
    return esm_cpp(folder, fasta, quantized=True)


LOOPS = "esm-cpp, plain loops"

PROGRAMS = {
    "protembedder": protembedder,
    "PEPE": pepe,
    LOOPS: esm_cpp,
    "esm-cpp, plain loops, int8": esm_cpp_int8,
    "esm-cpp, AVX-512 (returns NaN)": esm_cpp_avx512,
}

READERS = {"protembedder": read_protembedder, "PEPE": read_pepe, LOOPS: read_means}
"""How to read what a program wrote, where that can be compared."""


def main() -> None:
    """Fetch esm-cpp, or print the largest difference of each program."""
    (argument,) = sys.argv[1:]
    if argument == "--fetch":
        print(fetch_esm_cpp())
        return
    fasta = str(Path(argument).resolve())
    here = Path.cwd()
    for name, read in READERS.items():
        with tempfile.TemporaryDirectory() as scratch:
            difference = largest_difference(PROGRAMS[name], fasta, Path(scratch), read)
            os.chdir(here)
            print(f"{name}: {difference:.1e}")


if __name__ == "__main__":
    main()
