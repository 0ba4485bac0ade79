"""Traces on disk: what stands in the file, going on after a stop, and what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import esmkit
from esmkit.errors import OptionError, OutputError, ResumeError
from esmkit.esm2 import Esm2
from esmkit.files.run_options import Run
from esmkit.inside import mean_of
from esmkit.inside.options import TraceOptions
from esmkit.inside.to_file import TraceTask, trace_file
from oracles.checkpoints import random_sequence
from oracles.commands import fails

KEEP = ("embedding", "L1.residual", "L0.query", "L1H3.weights", "L1H2.output", "final")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "seqs.fasta"
    path.write_text(f">A/1 one\n{random_sequence(30, 1)}\n>B\nMKTV\n>C\nMKTV\n>D\n{'MK' * 515}\n")
    return path


@pytest.mark.parametrize("long", ["window", "truncate"])
def test_a_file_has_what_a_trace_in_memory_has(tiny: Esm2, fasta: Path, tmp_path: Path, long: Any):
    out = tmp_path / "x.h5"
    edit = {"L0H1.output[2]": "zero"}
    trace_file(tiny, fasta, out, TraceOptions(KEEP, edit, long=long))
    with esmkit.read(out) as found:
        assert list(found) == ["A/1", "B", "C", "D"]
        assert set(found.names) == set(KEEP)
        assert found.provenance["edit"] == ["L0H1.output[2]=0.0"]
        assert found.provenance["checkpoint"]["sha256"] == tiny.checkpoint.sha256
        for one in tiny.trace(fasta, keep=KEEP, edit=edit, long=long):
            stored = found[one.id]
            assert stored.sequence == one.sequence
            for name in KEEP:
                np.testing.assert_array_equal(stored[name], one[name])
                assert stored[name].dtype == np.float32
            np.testing.assert_array_equal(stored["L0H2.query"], one["L0.query"][2])
            np.testing.assert_array_equal(stored.bos("L1.residual"), one.bos("L1.residual"))
            np.testing.assert_array_equal(stored.eos("L0H1.query"), one.eos("L0H1.query"))
        with pytest.raises(OptionError, match=r"L0.residual is not in this file"):
            found["B"]["L0.residual"]
        with pytest.raises(OptionError, match=r"did you mean L1.residual"):
            found["B"]["L1.residul"]
        with pytest.raises(OptionError, match="of the residues alone"):
            found["B"].bos("L1H3.weights")
    plain: Any
    with h5py.File(out) as plain:  # any HDF5 library reads it
        assert plain["B/L1.residual"].shape == (4, 32)
        assert plain["B/bos/L0.query"].shape == (4, 8)


def test_half_precision(tiny: Esm2, fasta: Path, tmp_path: Path):
    trace_file(tiny, fasta, tmp_path / "x.h5", TraceOptions(("L0.residual",), dtype="float16"))
    plain: Any
    with h5py.File(tmp_path / "x.h5") as plain:
        assert plain["B/L0.residual"].dtype == np.float16


def test_a_run_that_was_stopped_goes_on(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch: Any):
    whole, part = tmp_path / "whole.h5", tmp_path / "part.h5"
    options = TraceOptions(KEEP, batch_tokens=40)
    trace_file(tiny, fasta, whole, options)
    plain = TraceTask.compute

    def stopped(self: Any, *rest: Any) -> Any:
        yield next(plain(self, *rest))
        raise KeyboardInterrupt

    monkeypatch.setattr(TraceTask, "compute", stopped)
    with pytest.raises(KeyboardInterrupt):
        trace_file(tiny, fasta, part, options)
    assert not part.exists()
    monkeypatch.setattr(TraceTask, "compute", plain)
    with pytest.raises(ResumeError, match="keep"):
        trace_file(tiny, fasta, part, TraceOptions(("L0.residual",), batch_tokens=40))
    said: list[str] = []
    trace_file(tiny, fasta, part, options, run=Run(say=said.append))
    assert any("going on after 2 of 3 sequences" in line for line in said), said
    with esmkit.read(whole) as a, esmkit.read(part) as b:
        for name in a:
            for key in KEEP:
                np.testing.assert_array_equal(a[name][key], b[name][key])
    with pytest.raises(OutputError, match="exists"):
        trace_file(tiny, fasta, part, options)


def test_too_large_is_refused_with_its_size_before_anything_is_computed(
    tiny: Esm2, fasta: Path, tmp_path: Path
):
    said: list[str] = []
    options = TraceOptions(("L1.weights",))
    with pytest.raises(OptionError, match=r"17\.\d MB .*longest protein 1,030 .* over `max_bytes`"):
        trace_file(
            tiny, fasta, tmp_path / "x.h5", options, max_bytes=10**6, run=Run(say=said.append)
        )
    assert any("1 activation(s) of 4 protein(s): 17." in line for line in said)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": ()}, "names what is kept"),
        ({"keep": ("L5.residul",)}, r"'L5.residul'; did you mean L5.residual"),
        ({"keep": ("L5H4.outptu",)}, r"did you mean L5H4.output"),
        ({"keep": ("L*.residul",)}, r"did you mean L\*.residual"),
        ({"keep": ("nonsense",)}, "names are"),
        ({"keep": ("final",), "edit": {"L1.residul[3]": 0}}, r"did you mean L1.residual"),
        ({"keep": ("final",), "dtype": "int8"}, "dtype is"),
        ({"keep": ("final",), "long": "no"}, "long is"),
    ],
)
def test_options_that_are_refused_without_a_model(options: Any, said: str):
    with pytest.raises(OptionError, match=said):
        TraceOptions(**options)


def test_edits_of_a_file_are_recorded_or_refused(tiny: Esm2, fasta: Path, tmp_path: Path):
    usual = mean_of(tiny, ["MKTV", "AKT"], "L0.head_output")
    out = tmp_path / "x.h5"
    edit = {"L0H1.output": usual, "L1.residual[1]": np.zeros(32)}
    trace_file(tiny, fasta, out, TraceOptions(("final",), edit))
    recorded = esmkit.read(out).provenance["edit"]
    assert recorded[0].startswith("L0H1.output=array (8,) sha256 ")
    for value in (lambda x: x, tiny.trace("MKTV", keep="L0.residual")):
        with pytest.raises(OptionError, match="a file can record nothing"):
            trace_file(
                tiny, fasta, tmp_path / "y.h5", TraceOptions(("final",), {"L0.residual": value})
            )


def test_the_command(run: Any, tiny_folder: Path, fasta: Path, tmp_path: Path):
    model = ("--model", tiny_folder, "-q")
    edit = ("--edit", "L0H1.output=zero", "--edit", "L0.residual[1:3]=0.5")
    done = run(
        "trace", fasta.name, "--keep", "L*.residual,L1H2.output", *edit, *model, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = esmkit.read(tmp_path / "seqs.trace.h5")
    assert found.names == ("L0.residual", "L1.residual", "L1H2.output")
    assert (found["B"]["L0.residual"][1:3] == 0.5).all()
    message = fails(
        run("trace", fasta.name, "--keep", "L9.residual", "-o", "y.h5", *model, cwd=tmp_path)
    )
    assert "layers 0 to 1" in message
    words = ("trace", fasta.name, "--keep", "all", "--max-bytes", "1kB", "-o", "y.h5", *model)
    message = fails(run(*words, cwd=tmp_path))
    assert "--max-bytes" in message
    assert "--force" in message
    done = run(
        "trace", fasta.name, "--keep", "final", "--edit", "L0.residual", *model, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "NAME=zero" in done.stderr
