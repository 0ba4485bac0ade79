"""What identifies a run and what its output says of its making: the same in every task."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import esmkit
from esmkit.data import ts50
from esmkit.embeddings.cluster.cluster import WorkerPool
from esmkit.embeddings.cluster.pipeline import _facts, _identity
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.esm2 import Esm2
from esmkit.files.run_options import Run
from esmkit.files.work_folder import WorkFolder
from oracles.commands import write_fasta

OPTIONS = ["format", "layers", "per", "pool", "dtype_stored", "batch-tokens", "long"]

# Keys in the order in which files have had them since 1.0: their readers, and equal bytes, need it.
PROVENANCE = [
    *("task", "esmkit", "checkpoint", "model_shape", *OPTIONS, "max_residues", "dtype_model"),
    *("device", "compiled", "inputs", "input_report", "command", "versions"),
]
IDENTITY = {
    *("task", "esmkit", "input", "checkpoint", "format", "layers", "per", "pool", "dtype_stored"),
    *("batch-tokens", "long", "on-invalid", "dtype", "device"),
}


class _Stop(Exception):
    """Stands for a kill."""


def identity_of(output: Path) -> dict:
    return json.loads((output.with_name(output.name + ".work") / "fingerprint.json").read_text())


def test_embeddings(tiny: Esm2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fasta = write_fasta(tmp_path / "x.fasta", {"p": "MKTV"})
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", lambda *_, **__: (_ for _ in ()).throw(_Stop))
        with pytest.raises(_Stop):
            embed_file(tiny, fasta, tmp_path / "o.h5")
    identity = identity_of(tmp_path / "o.h5")
    assert set(identity) == IDENTITY
    assert identity["dtype"] == "torch.float32"
    assert identity["checkpoint"] == tiny.checkpoint.sha256
    embed_file(tiny, fasta, tmp_path / "o.h5", run=Run(command="esmkit embed x.fasta"))
    with esmkit.read(tmp_path / "o.h5") as found:
        facts = found.provenance
    assert list(facts) == PROVENANCE
    assert facts["model_shape"] == {
        "layers": tiny.layers,
        "heads": tiny.heads,
        "width": tiny.width,
    }
    assert facts["dtype_model"] == "float32"
    assert facts["command"] == "esmkit embed x.fasta"
    assert list(facts["versions"]) == ["torch", "transformers", "numpy", "h5py"]
    for name, version in facts["versions"].items():
        assert version == str(__import__(name).__version__)


def test_a_cluster(tiny: Esm2, tiny_folder: Path):
    pytest.importorskip("ray")
    from esmkit.encoder.checkpoints import read_config

    given = (tiny.checkpoint, [1], EmbedOptions(), WorkerPool(1, 1, 0.0, "cpu"))
    checkpoint, layers, options, pool = given
    identity = _identity(checkpoint, layers, options, pool, "float32")
    assert set(identity) == IDENTITY - {"input", "format", "dtype_stored"}
    assert identity["dtype"] == "float32"
    config = read_config(tiny_folder)
    facts = _facts(checkpoint, config, layers, options, pool, "float32", True, "esmkit embed x")
    expected = [key for key in PROVENANCE if key not in ("inputs", "input_report")]
    expected.insert(expected.index("command"), "engine")
    assert list(facts) == expected
    assert facts["engine"] == "ray"
    assert facts["compiled"] is True


def test_heads(tiny: Esm2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from esmkit.heads.to_folder import profile_to_folder

    monkeypatch.setattr(
        "esmkit.heads.measure_all.Measuring.profiled",
        lambda *_, **__: (_ for _ in ()).throw(_Stop),
    )
    with pytest.raises(_Stop):
        profile_to_folder(lambda: tiny, lambda: ts50()[:2], tmp_path / "out")
    identity = identity_of(tmp_path / "out")
    assert set(identity) == {
        *("task", "esmkit", "chains", "checkpoint", "dtype", "device"),
    }
    assert [name.split()[0] for name in identity["chains"]] == [c.id for c in ts50()[:2]]


def test_no_torch():
    code = "import sys, esmkit.files.provenance; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
