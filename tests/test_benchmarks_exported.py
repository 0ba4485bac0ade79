"""The programs of ``benchmarks`` that embed with something else agree with esmkit."""

import logging
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import exported, others
from benchmarks.exported import largest_difference, padded, proteins, read_means, save_means
from esmkit.esm2 import Esm2
from esmkit.sequences.tokens import encode
from oracles.commands import write_fasta

RECORDS = {"first one": "MKTVRQERLKSIVRILXGH", "second": "MSGDEWYFTACNP"}

# float32 of another implementation, means over residues of values up to 5
TOLERANCE = 1e-4

# The tools warn of what they do; that is no business of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def fasta(tmp_path: Path) -> str:
    return str(write_fasta(tmp_path / "in.fasta", RECORDS))


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "package"), [("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino")]
)
def test_exported_models_agree_with_esmkit(
    program: str, package: str, fasta: str, tmp_path: Path, real: Esm2
):
    pytest.importorskip(package, reason=f"{package} is not installed (extra bench)")
    for needed in ("onnx", "onnxscript"):
        pytest.importorskip(needed, reason=f"{needed} is not installed (extra bench)")
    difference = largest_difference(exported.PROGRAMS[program], fasta, tmp_path)
    assert 0 < difference < TOLERANCE  # another program's arithmetic is never quite the same


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "package"), [("protembedder", "protembedder"), ("PEPE", "pepe")]
)
def test_other_tools_agree_with_esmkit(
    program: str,
    package: str,
    fasta: str,
    tmp_path: Path,
    real: Esm2,
    monkeypatch: pytest.MonkeyPatch,
):
    pytest.importorskip(package, reason=f"{package} is not installed (extra bench)")
    import torch

    monkeypatch.chdir(tmp_path)  # PEPE changes the folder; this changes it back
    hub = torch.hub.get_dir()
    handlers = logging.root.handlers[:]
    try:
        difference = largest_difference(
            others.PROGRAMS[program], fasta, tmp_path, others.READERS[program]
        )
    finally:
        torch.hub.set_dir(hub)
        logging.root.handlers[:] = handlers
    assert difference < TOLERANCE


@pytest.mark.weights
@pytest.mark.slow
def test_esm_cpp_agrees_with_esmkit(
    fasta: str, tmp_path: Path, real: Esm2, monkeypatch: pytest.MonkeyPatch
):
    """It computes the rotary frequencies that the file has rounded, hence the wider tolerance."""
    if not others.esm_cpp_folder().exists():
        pytest.skip("esm-cpp is not here; fetch it with python -m benchmarks.others --fetch")
    for name in ("ESM_NUM_THREADS", "ESM_FORCE_ISA"):
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.setattr(sys, "path", sys.path[:])
    difference = largest_difference(others.esm_cpp, fasta, tmp_path)
    assert difference < 1e-3
    assert os.environ["ESM_NUM_THREADS"] == "2"


def test_batches_hold_every_sequence_once_within_the_budget():
    lengths = [5, 90, 30, 30, 101, 7]
    found = list(exported.batches(lengths, budget=100))
    assert found == [[4], [1], [2, 3, 5], [0]]  # 101; 90; 3 x 30, a fourth would be 120
    assert list(exported.batches([])) == []


def test_padding_is_pad_tokens_under_a_zero_mask():
    tokens, mask = padded([encode("MKT"), encode("A")])
    assert tokens.tolist() == [[0, 20, 15, 11, 2], [0, 5, 2, 1, 1]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_means_come_back_under_their_ids(tmp_path: Path):
    means = [np.ones(2, np.float32), np.zeros(2, np.float32)]
    save_means(tmp_path, ["a", "b"], means)
    assert {name: mean.tolist() for name, mean in read_means(tmp_path).items()} == {
        "a": [1, 1],
        "b": [0, 0],
    }


def test_proteins_that_others_would_cut_are_refused(tmp_path: Path):
    path = write_fasta(tmp_path / "long.fasta", {"long": "M" * 1023})
    with pytest.raises(ValueError, match=r"'long' has over 1,022 residues; leave such"):
        proteins(path)


@pytest.mark.weights
def test_a_difference_of_nan_is_not_lost(fasta: str, tmp_path: Path, real: Esm2):
    def broken(folder: Path, fasta: str):
        def work() -> None:
            width = np.zeros(real.width, np.float32)
            save_means(folder, ["first", "second"], [width, width * np.nan])

        return work

    assert math.isnan(largest_difference(broken, fasta, tmp_path))
