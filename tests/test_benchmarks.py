"""Every benchmark once, as small as it gets, so that none rots. No time is asserted."""

import platform
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import (
    attention,
    contacts,
    cores,
    embed,
    exported,
    gpu,
    harness,
    inside,
    others,
    peak,
    precision,
    scaling,
    score,
    sizes,
)
from benchmarks.harness import Result, ratios, table
from benchmarks.proteome import MOST_RESIDUES, proteome, write_fasta
from esmkit.encoder import compiled, halves, onednn, packing, threads
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import has_compiler

needs_proteome = pytest.mark.skipif(find_spec("pyhmmer") is None, reason="pyhmmer is not installed")
OF_OTHERS = {*exported.PROGRAMS, *others.PROGRAMS}  # tests/test_benchmarks_exported.py has these


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@needs_proteome
def test_proteome():
    every = proteome()
    assert len(every) == 2_072
    assert max(map(len, every)) <= MOST_RESIDUES
    some = proteome(20)
    assert [p.id for p in some] == [p.id for p in every if p.id in {q.id for q in some}]
    assert len(some) == 20
    assert len(scaling.pieces(100)) == len({p.sequence for p in scaling.pieces(100)}) == 100
    assert all(8 <= len(p) < 16 for p in scaling.pieces(100))


def test_tables_compare_round_by_round():
    assert ratios([1, 2, 4], [2, 2, 2]) == "1 (0.5 to 2)"
    results = {"a": [Result(1.0, 10**6)] * 2, "b": [Result(2.0, 3 * 10**6)] * 2}
    assert table(results, "a")[2:] == [
        "| a | 1.00 | 1 | 1 MB | 1 |",
        "| b | 2.00 | 2 (2 to 2) | 3 MB | 3 (3 to 3) |",
    ]


@pytest.mark.weights
@pytest.mark.slow
@needs_proteome
@pytest.mark.filterwarnings("ignore")
def test_programs_that_hide_every_site_agree(tmp_path: Path, monkeypatch):
    assert [len(score.sequences(which)[0]) for which in score.SETS] == [300, 100, 20]
    assert [len(x) for x in score.sequences(score.SETS[2])] == list(range(20, 60))
    monkeypatch.setattr(score, "sequences", lambda which: ["MKTVRQERLK", "MQIFVKTLTGKTI"])
    score.write_checkpoint(tmp_path)
    apart = score.agreement(score.SETS[0], str(tmp_path))
    assert len(apart) == len(score.PROGRAMS) == 7
    assert max(apart.values()) < 1e-4
    assert apart["fair-esm, predict.py's loop"] > 0


@pytest.mark.weights
@pytest.mark.slow
@needs_proteome
@pytest.mark.filterwarnings("ignore")
def test_programs_that_embed_agree(tmp_path: Path, monkeypatch):
    fasta = str(write_fasta(proteome(3), tmp_path / "in.fasta"))
    ours = [name for name in embed.PROGRAMS if name not in OF_OTHERS]
    assert len(ours) == 5
    monkeypatch.setattr(embed, "PROGRAMS", {name: embed.PROGRAMS[name] for name in ours})
    apart = embed.agreement(fasta, tmp_path)
    assert len(apart) == 5
    assert max(apart.values()) < 1e-5
    assert apart["fair-esm, extract.py's loop"] > 0
    embed.floor(tmp_path, fasta)()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "arguments"),
    [(attention, {"residues": 1000}), (contacts, {"which": "TS50"}), (scaling, {"residues": 40})],
    ids=["attention", "contacts", "length"],
)
def test_programs_run(module, arguments: dict[str, object], tmp_path: Path, monkeypatch, real):
    if module is not scaling:
        few = real_proteins()
        monkeypatch.setattr(module, "proteins", lambda *_: few)
    else:
        pytest.importorskip("pyhmmer", reason="pyhmmer is not installed")
    for number, prepare in enumerate(module.PROGRAMS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = harness.measure(prepare(folder, **arguments))
        assert outcome.seconds > 0


def real_proteins():
    from esmkit.data import demo_proteins

    return sorted(demo_proteins(), key=len)[:2]


@pytest.mark.weights
@pytest.mark.slow
@needs_proteome
def test_the_command_writes_its_sections_and_keeps_others(tmp_path: Path, monkeypatch, real):
    """Through processes of their own, as in a real run."""
    monkeypatch.setattr(scaling, "COUNTS", (5,))
    monkeypatch.setattr(scaling, "threads", lambda rounds: ["threads, instead"])
    output = tmp_path / "RESULTS.md"
    output.write_text("# old\n\n## GPU\n\nkept\n\n## No such part\n\ngone\n")
    done = CliRunner().invoke(
        command.main, ["startup", "memory", "threads", "--rounds", "1", "-o", str(output)]
    )
    assert done.exit_code == 0, done.output
    found = command.sections(output.read_text())
    assert list(found) == ["Start-up", "Memory and the number of sequences", "Threads", "GPU"]
    assert "| `esmkit --help` |" in found["Start-up"]
    assert "| its first word on a terminal |" in found["Start-up"]
    assert re.search(r"PyTorch \d+\.\d\d s", found["Start-up"])
    assert "\n| 5 | " in found["Memory and the number of sequences"]
    assert found["GPU"] == "kept"
    assert "; 1 round." in found["Threads"]


def test_gpu_says_why_it_did_not_run(monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.gpu(1) == ["Not run: there is no CUDA device."]


def test_operations_of_the_gpu_benchmark():
    """Against PyTorch's own counter, on a small encoder of Hugging Face's."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=33,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        position_embedding_type="rotary",
        pad_token_id=1,
        mask_token_id=32,
    )
    config._attn_implementation = "eager"
    network = EsmModel(config, add_pooling_layer=False).eval()

    class Model:
        layers, width = 2, 32

    Model.network = network  # type: ignore[attr-defined]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.full((1, 50), 5))
    np.testing.assert_allclose(
        gpu.operations(Model, np.array([50.0])), counter.get_total_flops(), rtol=0.01
    )


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_reading_the_inside(monkeypatch):
    monkeypatch.setattr(inside, "SECONDS", 0.0)
    monkeypatch.setattr(inside, "chosen", lambda: inside.demo_proteins()[:1])
    assert len(inside.report(1)) == 5


def test_every_program_says_how_it_was_run():
    for name in (*embed.PROGRAMS, *embed.SLOW):
        assert len(embed.how(name)) > 20
    assert embed.how("Hugging Face, eager, batches of 8 in file order").startswith("transformers ")


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore")
def test_the_peak_is_that_of_the_processor(monkeypatch: pytest.MonkeyPatch, real):
    monkeypatch.setattr(peak, "SECONDS", 0.01)
    found = peak.peaks(1)
    if not has_compiler():
        assert found == {}
        return
    assert set(found) <= set(peak.KINDS)
    assert 1e9 < found["float32"] < 1e12
    assert peak.in_words({"float32": 2e9, "int8": 1e13}) == "float32 2, int8 10,000"
    words = command.of_the_peak([Protein("p", "MKT" * 50)], [1.0], {"float32": 1e18, **found})
    assert "float32" in words
    assert "made 2 of products" in words
    monkeypatch.setenv("CC", "no-such-compiler")
    assert peak.peaks(1) == {}


def test_the_peak_of_wider_processors_compiles(tmp_path: Path):
    """bfloat16 and 8-bit integers are loops of their own, which only some processors can run."""
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("there is no gcc for x86-64 here")
    source = tmp_path / "peak.c"
    source.write_text(peak.SOURCE)
    made = subprocess.run(
        ["gcc", "-march=sapphirerapids", "-O2", "-fopenmp", "-S", "-o", "-", str(source)],
        capture_output=True,
        text=True,
    )
    if "bad value" in made.stderr:
        pytest.skip("this gcc knows no processor with bfloat16")
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("vdpbf16ps") >= 12
    assert made.stdout.count("vpdpbusd") >= 12


@pytest.mark.weights
@pytest.mark.slow
@needs_proteome
@pytest.mark.filterwarnings("ignore")
def test_many_cores_are_modelled_by_what_was_measured(monkeypatch: pytest.MonkeyPatch, real):
    """The very code of a run, in which operations sleep for as long as they took."""
    monkeypatch.setattr(cores, "CORES", (1, 2, 20))
    for name, passes in {"TIMED": 1, "LEAST": 4, "EACH": 1, "REAL": 2}.items():
        monkeypatch.setattr(cores, name, passes)
    lines = cores.report(1)
    if lines[0].startswith("Not run"):
        pytest.skip(lines[0])
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| 2")]
    assert float(rows[0][1]) > 0
    assert rows[1][2].split() == ["10,", "2"]  # passes at once, threads of each
    for module in (onednn, compiled, threads):
        assert "Clock" not in repr(vars(module))
    assert threads.MOST_PASSES == 16


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_precision_is_compared_with_float32(monkeypatch: pytest.MonkeyPatch, real):
    if not has_compiler():
        pytest.skip("there is no C compiler here")
    monkeypatch.setattr(halves, "FLAGS", halves.FLAGS)  # put back afterwards
    shortest = min(precision.ts50(), key=len)
    monkeypatch.setattr(precision, "ts50", lambda: [shortest])
    monkeypatch.setattr(precision, "WAYS", precision.WAYS[::3])  # the two that are made here
    try:
        rows = [line.split("|")[1:-1] for line in precision.report() if line.startswith("| ")][1:]
    finally:
        halves.halves_library.cache_clear()
    assert [row[0].split(",")[0].split("(")[0].strip() for row in rows] == [
        *("float32", "bfloat16", "int8")
    ]
    for row in rows[1:]:
        assert 0.99 < float(row[1]) <= 1
        assert float(row[4]) > 0  # attention is not the very same
        assert float(row[7]) > 0


@pytest.mark.slow
@needs_proteome
@pytest.mark.filterwarnings("ignore")
def test_larger_models_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real):
    """Every program of every size, of a shape that is none of theirs."""
    monkeypatch.setattr(sizes, "SHAPES", {"tiny": (2, 32, 4)})
    monkeypatch.setattr(sizes, "PROTEINS", {"tiny": 2})
    monkeypatch.setattr(sizes, "benchmark_cache", lambda: tmp_path)
    monkeypatch.setattr(packing, "PASS_TOKENS", packing.PASS_TOKENS)  # which some programs change
    made = {}
    for number, (name, prepare) in enumerate(sizes.PROGRAMS.items()):
        made[name] = tmp_path / str(number)
        made[name].mkdir()
        prepare(made[name], size="tiny")()
    sorted_sdpa = next(name for name in made if "Hugging Face, SDPA" in name)
    ours, theirs = (np.load(made[n] / embed.OUTPUT) for n in ("embed: esmkit", sorted_sdpa))
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-5)
