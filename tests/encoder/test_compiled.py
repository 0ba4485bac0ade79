"""Attention compiled for this CPU: the numbers of float64, the model's results, and what can go wrong."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.esm.modeling_esm import apply_rotary_pos_emb

import esmkit
from esmkit.encoder import compiled
from esmkit.encoder.packing import pack
from esmkit.encoder.rotary import rotate
from esmkit.errors import OptionError
from esmkit.esm2 import load
from oracles.checkpoints import has_compiler, random_sequence
from oracles.commands import fails, write_fasta

pytestmark = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler here")


def forget() -> None:
    compiled.compile_attention.cache_clear()
    compiled.why_not_compiled.cache_clear()


@pytest.fixture
def fresh(monkeypatch, tmp_path: Path):
    """An empty cache, and nothing remembered before or after; without the trial, of some seconds."""
    forget()
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "_try", lambda library, compiler, trial: None)
    yield tmp_path
    forget()


def truth(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: list[int], scaling: float):
    """PyTorch's attention in float64, a sequence at a time: (T, H, K)."""
    parts = []
    for start, stop in itertools.pairwise(starts):
        one, two, three = (x[None, :, start:stop].double() for x in (q, k, v))
        parts.append(scaled_dot_product_attention(one, two, three, scale=scaling)[0])
    return torch.cat(parts, dim=1).transpose(0, 1).numpy()


@pytest.mark.parametrize("width", [8, 16, 20, 24, 32, 64])
@pytest.mark.parametrize("lengths", [(3,), (16, 17, 5), (6, 12, 31, 33, 200), (1, 1, 1024)])
def test_attention_is_that_of_float64(width: int, lengths: tuple[int, ...]):
    attend = compiled.compile_attention()
    torch.manual_seed(width)
    starts = [0, *np.cumsum(lengths).tolist()]
    q, k = 2 * torch.randn(2, 5, starts[-1], width)
    v = torch.randn(starts[-1], 5, width).transpose(0, 1)  # a view, as transformers gives it
    found = attend(q, k, v, starts, width**-0.5, None).numpy()
    assert found.shape == (starts[-1], 5, width)
    np.testing.assert_allclose(found, truth(q, k, v, starts, width**-0.5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [8, 16, 24, 64])
def test_rotary_positions_are_those_of_transformers(width: int):
    """They are turned in the compiled attention, or before it: the same."""
    attend = compiled.compile_attention()
    starts = [0, 7, 57, 120]
    q, k = 2 * torch.randn(2, 3, 120, width)
    v = torch.randn(3, 120, width)
    angles = torch.randn(120, width // 2).repeat(1, 2)
    cosines, sines = angles.cos(), angles.sin()
    turned = apply_rotary_pos_emb(q[None], k[None], cosines[None], sines[None])
    found = attend(q, k, v, starts, width**-0.5, (cosines, sines)).numpy()
    wanted = truth(turned[0][0], turned[1][0], v, starts, width**-0.5)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    for plain, other in zip((q, k), turned, strict=True):
        here = rotate(plain[None], cosines[None], sines[None])
        np.testing.assert_allclose(here, other, rtol=0, atol=1e-6)


def test_scores_of_any_size():
    """The softmax neither overflows nor loses the largest; equal scores give the mean."""
    attend = compiled.compile_attention()
    q, k, v = torch.randn(3, 2, 50, 16)
    for size in (0.0, 1e-6, 1e3, 1e6):
        found = attend(size * q, k, v, [0, 50], 0.25, None).numpy()
        wanted = truth(size * q, k, v, [0, 50], 0.25)
        # At 1e6 two scores that differ by less than their rounding may change places
        assert np.quantile(np.abs(found - wanted), 0.98) < 1e-5


def test_not_a_number_goes_where_it_belongs():
    attend = compiled.compile_attention()
    plain = torch.randn(2, 30, 16)
    odd = plain.clone()
    odd[0, 20, 3] = torch.nan
    starts = [0, 10, 30]
    in_query = torch.isnan(attend(odd, plain, plain, starts, 0.25, None))  # (T, H, K)
    assert in_query[20, 0].all()
    assert in_query.sum() == 16
    in_key = torch.isnan(attend(plain, odd, plain, starts, 0.25, None))
    assert in_key[10:, 0].all()
    assert in_key.sum() == 20 * 16
    in_value = torch.isnan(attend(plain, plain, odd, starts, 0.25, None))
    assert in_value[10:, 0, 3].all()
    assert in_value.sum() == 20


def test_a_sequence_does_not_depend_on_its_neighbours_or_the_threads():
    attend = compiled.compile_attention()
    q, k, v = torch.randn(3, 4, 300, 16)
    together = attend(q, k, v, [0, 70, 210, 300], 0.25, None)
    alone = attend(q[:, 70:210], k[:, 70:210], v[:, 70:210], [0, 140], 0.25, None)
    assert torch.equal(together[70:210], alone)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert torch.equal(attend(q, k, v, [0, 70, 210, 300], 0.25, None), together)
    finally:
        torch.set_num_threads(threads)


def test_the_model_gives_the_same(tiny_folder: Path):
    plain, faster = (load(tiny_folder, "cpu", compiled=compiles) for compiles in (False, True))
    assert [plain.compiled, faster.compiled] == [False, True]
    ids = [np.array([0, *row, 2]) for row in ([5, 6, 7, 8], [9] * 40, [4])]
    states = faster.forward(pack(ids), [0, 1, 2])
    maps = []
    faster.forward(pack(ids), [2], sink=lambda *given: maps.append(given))
    wanted = []
    np.testing.assert_allclose(states, plain.forward(pack(ids), [0, 1, 2]), rtol=0, atol=1e-5)
    plain.forward(pack(ids), [2], sink=lambda *given: wanted.append(given))
    assert [m[:3] for m in maps] == [m[:3] for m in wanted]
    for (*_, found), (*_, other) in zip(maps, wanted, strict=True):
        np.testing.assert_allclose(found, other, rtol=0, atol=2e-6)


def test_command(run, tiny_folder: Path, fresh: Path, tmp_path: Path):
    """It is compiled unless it must not be, or cannot be; results agree; the file says what it was."""
    write_fasta(tmp_path / "a.fasta", {"a": random_sequence(40, 1), "b": random_sequence(27, 2)})
    ways = {
        "by default": ((), {}, True),
        "asked for": (("--compile",), {}, True),
        "not asked for": (("--no-compile",), {}, False),
        "without a compiler": ((), {"CC": "no-such-compiler"}, False),
    }
    results = {}
    for name, (option, environment, compiles) in ways.items():
        forget()
        command = ("embed", "a.fasta", "-m", tiny_folder, "-o", f"{name}.h5", *option)
        done = run(*command, cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        assert ("on cpu, compiled" in done.stderr) == compiles, name
        said = (
            "attention is PyTorch's, not compiled for this CPU: cannot run 'no-such-compiler' (No"
        )
        assert (said in done.stderr) == (name == "without a compiler")
        with esmkit.read(tmp_path / f"{name}.h5") as result:
            assert result.provenance["compiled"] == compiles, name
            results[name] = np.stack([result[protein] for protein in ("a", "b")])
    assert np.array_equal(results["by default"], results["asked for"])
    assert np.array_equal(results["not asked for"], results["without a compiler"])
    np.testing.assert_allclose(results["by default"], results["not asked for"], rtol=0, atol=1e-5)
    assert not np.array_equal(results["by default"], results["not asked for"])
    forget()
    command = ("embed", "a.fasta", "-m", tiny_folder, "-o", "d.h5", "--compile")
    assert "cannot run 'no-such-compiler'" in fails(
        run(*command, cwd=tmp_path, CC="no-such-compiler")
    )
    done = run(
        *("embed", "a.fasta", "-m", tiny_folder, "--compile", "--dtype", "float16", "-o", "c.h5"),
        cwd=tmp_path,
    )
    assert "compiled for float32 and bfloat16 on a CPU, not for float16 on cpu" in fails(done)


def test_compiled_once(fresh: Path, monkeypatch):
    commands = []
    real = compiled._run
    monkeypatch.setattr(compiled, "_run", lambda command: commands.append(command) or real(command))
    compiled.compile_attention()
    compiled.compile_attention.cache_clear()
    compiled.compile_attention()
    assert ["-E" in command for command in commands] == [True, False, True]
    assert len(list((fresh / "compiled").iterdir())) == 2  # with its checksum; nothing temporary


def test_a_damaged_library_is_compiled_anew(fresh: Path):
    # In another process: what this one has loaded, it does not load again
    command = "from esmkit.encoder import compiled; compiled.compile_attention()"
    subprocess.run([sys.executable, "-c", command], check=True)
    (library,) = (fresh / "compiled").glob("*.so")
    library.write_bytes(library.read_bytes()[:1000])
    compiled.compile_attention()
    assert len(library.read_bytes()) > 1000


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("no-such-compiler", "cannot run 'no-such-compiler' .* leave `compiled` out"),
        ("false", "'false' failed: no message; install a C compiler"),
        ("{python} -c 1/0", "failed: ZeroDivisionError"),
    ],
)
def test_without_a_compiler(fresh: Path, monkeypatch, compiler: str, message: str):
    monkeypatch.setenv("CC", compiler.format(python=sys.executable))
    with pytest.raises(OptionError, match=message):
        compiled.compile_attention()


def test_a_cache_that_cannot_be_written(fresh: Path, monkeypatch):
    (fresh / "file").write_text("")
    monkeypatch.setenv("ESMKIT_CACHE", str(fresh / "file"))
    with pytest.raises(OptionError, match=r"cannot write to .* set ESMKIT_CACHE"):
        compiled.compile_attention()


def test_a_compiler_that_hangs_is_given_up(fresh: Path, monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -c 'import time; time.sleep(60)'")
    monkeypatch.setattr(compiled, "PATIENCE", 0.2)
    with pytest.raises(OptionError, match=r"did not come back in 0\.2 seconds; install"):
        compiled.compile_attention()
    assert compiled.why_not_compiled() == f"{sys.executable!r} did not come back in 0.2 seconds"


def test_what_others_can_write_is_not_run(fresh: Path, monkeypatch):
    refused = "another user owns or can write to; set ESMKIT_CACHE"
    compiled.compile_attention()
    (library,) = (fresh / "compiled").glob("*.so")
    forget()
    (fresh / "compiled").chmod(0o777)
    with pytest.raises(OptionError, match=refused):
        compiled.compile_attention()
    (fresh / "compiled").chmod(0o700)
    compiled.compile_attention()
    forget()
    library.chmod(0o722)  # compiled anew
    before = library.stat().st_ino
    compiled.compile_attention()
    assert library.stat().st_ino != before
    assert not library.stat().st_mode & 0o022
    forget()
    os.chown(fresh / "compiled", 4321, -1) if os.getuid() == 0 else monkeypatch.setattr(
        os, "getuid", lambda: 4321
    )
    with pytest.raises(OptionError, match=refused):
        compiled.compile_attention()


def test_a_library_that_cannot_be_loaded(fresh: Path, monkeypatch):
    def refuse(name: str) -> None:
        raise OSError(f"{name}: failed to map segment from shared object")

    monkeypatch.setattr(compiled.ctypes, "CDLL", refuse)
    with pytest.raises(OptionError, match=r"cannot load what it compiled \(.* failed to map"):
        compiled.compile_attention()
    assert compiled.why_not_compiled() is not None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CC", "gcc 'x", "No closing quotation"),
        ("CC", "cc -fvisibility=hidden", "undefined symbol"),
    ],
)
def test_whatever_is_wrong_is_an_error_with_a_remedy(
    fresh: Path, monkeypatch, variable: str, value: str, message: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(OptionError, match=f"{message}.*leave `compiled` out"):
        compiled.compile_attention()


def test_a_user_without_a_home(fresh: Path, monkeypatch):
    def homeless() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compiled, "cache_folder", lambda name: homeless())
    with pytest.raises(
        OptionError, match=r"home directory.; mend .* CC and ESMKIT_CACHE, or leave"
    ):
        compiled.compile_attention()


def test_what_ends_the_process_ends_another(tmp_path: Path, monkeypatch):
    """The library is tried before this process loads it."""
    forget()
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path))
    source = compiled.SOURCE.read_text()
    broken = tmp_path / "attention.c"
    broken.write_text(source.replace("int failed = 0;", "int failed = *(volatile int *)0;"))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "SOURCE", broken)
            with pytest.raises(OptionError, match=r"does not run \(.* name another compiler in"):
                compiled.compile_attention()
        assert list((tmp_path / "compiled").iterdir()) == []
        assert compiled.compile_attention()
    finally:
        forget()


def test_where_nobody_says_anything(monkeypatch):
    """On a Mac ``cc`` may be what asks to install a compiler, on Windows anything."""
    monkeypatch.delenv("CC", raising=False)
    for platform, unasked in (("linux", True), ("darwin", False), ("win32", False)):
        monkeypatch.setattr(sys, "platform", platform)
        assert compiled.is_compiled_unasked() == unasked
    monkeypatch.setenv("CC", "gcc-14")
    assert compiled.is_compiled_unasked()


@pytest.mark.parametrize("change", ["bfloat16", "autocast", "autocast, no oneDNN"])
def test_a_network_that_somebody_changes(tiny_folder: Path, monkeypatch, change: str):
    """What is not float32 goes to PyTorch's attention, not to code that is written for float32."""
    if "no oneDNN" in change:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain, faster = (load(tiny_folder, "cpu", compiled=compiles) for compiles in (False, True))
    results = []
    for model in (plain, faster):
        if change == "bfloat16":
            model.network.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in change):
            results.append(model.embed("MKTAYIAKQRQISFVKSHFSRQ").mean)
    # Under autocast products are in float32, compiled attention too, and only PyTorch's is not
    exact = "autocast" not in change
    if not exact:
        whole = faster.embed("MKTAYIAKQRQISFVKSHFSRQ").mean
        np.testing.assert_array_equal(results[1], whole)
    np.testing.assert_allclose(*results, rtol=0, atol=1e-5 if exact else 0.02)


def test_other_defaults_of_pytorch(tiny_folder: Path):
    compiled.compile_attention.cache_clear()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert load(tiny_folder, "cpu").compiled
    finally:
        torch.set_default_dtype(torch.float32)
        compiled.compile_attention.cache_clear()


SLIPS = {
    "an exponential": ("* inverse[r]", ""),
    "a key too few": ("j < n", "j < n - 1"),
    "a sign": ("- x[d + half] * sines[d]", "+ x[d + half] * sines[d]"),
    "nothing but NaN": ("return 1.0f / total(sum)", "return 0.0f / (total(sum) * 0.0f)"),
    "NaN is lost": ("low = x < -87.0f", "low = ~(x >= -87.0f)"),
    "half, twice": ("+ 127", "+ 126"),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_wrong_results_are_refused(fresh: Path, monkeypatch, slip: tuple[str, str]):
    source = compiled.SOURCE.read_text()
    assert slip[0] in source
    broken = fresh / "attention.c"
    broken.write_text(source.replace(*slip))
    monkeypatch.setattr(compiled, "SOURCE", broken)
    if slip[0] == "+ 127":  # half of every exponential, which dividing by their sum undoes
        compiled.compile_attention()
    else:
        with pytest.raises(OptionError, match="differs from PyTorch's by"):
            compiled.compile_attention()


def test_a_full_disk_ends_in_one_sentence(fresh: Path, monkeypatch):
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OptionError, match=r"\(No space left on device\); make room, set"):
            compiled.compile_attention()
    assert compiled.compile_attention()  # a library without its checksum is compiled anew
    assert [path.suffix for path in sorted((fresh / "compiled").iterdir())] == [".sha256", ".so"]


def test_want_of_memory_is_told_from_a_result(fresh: Path):
    """The scratch memory of a sequence of 10^16 tokens, none of which is touched."""
    attend = compiled.compile_attention()
    q = torch.randn(1, 4, 16)
    with pytest.raises(RuntimeError, match="could not allocate its scratch memory"):
        attend(q, q, q, [0, 10**16], 0.25, None)
