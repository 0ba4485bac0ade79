"""Attention compiled for the CPU at hand, where there is a C compiler.

``attention.c`` is compiled once, in a second, with the C compiler of the machine, tried in a process
of its own, and kept in esmkit's cache. It is checked against PyTorch's attention each time it is
loaded; where it cannot be compiled, or gives something else, PyTorch's attention takes its place.
"""

import contextlib
import ctypes
import hashlib
import itertools
import math
import os
import platform
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from esmkit.encoder.checkpoints.fetch import cache_folder, sha256_of_file
from esmkit.encoder.rotary import Rotary, rotate
from esmkit.errors import OptionError

__all__ = [
    "LEAVE_OUT",
    "Attend",
    "CompileError",
    "cannot_compile",
    "compile_attention",
    "compile_library",
    "is_compiled_unasked",
    "why_not_compiled",
]

LEAVE_OUT = "leave `compiled` out"
"""The remedy that always helps."""

SOURCE = Path(__file__).with_name("attention.c")

FLAGS = shlex.split("-O3 -march=native -fno-fast-math -ffp-contract=fast -fopenmp -fPIC -shared")
"""``fast`` contraction joins a product and a sum into one rounding; nothing else about floats is
loosened."""

PATIENCE = 30.0
"""Seconds until a process that does not come back is given up: a compiler takes one of them."""

LARGEST_ERROR = 1e-5
"""Largest accepted difference from PyTorch's attention, for outputs of magnitude 1."""

Attend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, list[int], float, Rotary | None], torch.Tensor
]
"""Takes query, key, value (H, T, K), where sequences begin and the last ends, the scale of the scores,
and rotary positions if query and key are not turned by them yet; returns (T, H, K)."""


class CompileError(OptionError):
    """Attention that cannot be compiled here, or was compiled to something else.

    Attributes
    ----------
    fault : str
        What is wrong, without the remedies.
    """

    fault = ""


def cannot_compile(reason: str, remedy: str) -> CompileError:
    """Return the error for those who have asked for compiled attention."""
    error = CompileError(f"`compiled=True`: {reason}; {remedy}")
    error.fault = reason
    return error


@cache
def compile_attention() -> Attend:
    """Compile and load the attention, or find it in the cache.

    Returns
    -------
    callable
        For float32 tensors of a CPU, the last axis contiguous. Runs in PyTorch's threads.

    Raises
    ------
    OptionError
        If there is no C compiler with OpenMP, the cache cannot be written or is another user's, or
        the result does not agree with PyTorch's.
    """
    compiler, library = compile_library(SOURCE, trial=f"{__name__}:try_library")
    attend = _load(library)
    error = _difference(attend)
    if not error <= LARGEST_ERROR:
        raise cannot_compile(
            f"the attention that {compiler} compiled differs from PyTorch's by {error:.1e}",
            f"{LEAVE_OUT}, or choose another compiler with the environment variable CC",
        )
    return attend


def compile_library(
    source: Path, *, trial: str, flags: Sequence[str] = (), needs: tuple[str, str] | None = None
) -> tuple[str, Path]:
    """Compile a source for the CPU at hand, or find it in the cache.

    Parameters
    ----------
    source : Path
        In C.
    trial : str
        ``module:function`` that loads the library of a path and computes with it, which is done in
        a process of its own before it is kept.
    flags : sequence of str
        Of the compiler, beside :data:`FLAGS`.
    needs : (str, str), optional
        A macro that the compiler defines if the CPU has what the source needs, and what that is.

    Returns
    -------
    (str, Path)
        The compiler and the library.

    Raises
    ------
    OptionError
        As of :func:`compile_attention`, and if the CPU lacks what is needed.
    """
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
        library = cache_folder("compiled")
    except (ValueError, RuntimeError) as error:  # a quote without its other; a user without a home
        remedy = f"mend the environment variables CC and ESMKIT_CACHE, or {LEAVE_OUT}"
        raise cannot_compile(str(error), remedy) from None
    wide = ["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []
    every = [*FLAGS, *wide, *flags]
    # What the compiler takes this CPU and itself for: a cache may be shared by unlike machines
    macros = _run([*compiler, *every, "-dM", "-E", str(source)])
    if needs is not None and f"#define {needs[0]} ".encode() not in macros:
        raise cannot_compile(f"this processor, or {compiler[0]!r}, has no {needs[1]}", LEAVE_OUT)
    key = hashlib.sha256(macros + source.read_bytes() + repr(every).encode()).hexdigest()[:16]
    library /= f"{source.stem}-{key}.so"
    _make_folder(library.parent)
    if not _is_whole(library):
        _compile([*compiler, *every], source, library, trial)
    return compiler[0], library


def is_compiled_unasked() -> bool:
    """Say whether attention is compiled if nobody says anything about it.

    On Linux, or where the environment variable CC names a compiler: elsewhere ``cc`` has no OpenMP,
    or is a program that offers to install one.
    """
    return sys.platform.startswith("linux") or bool(os.environ.get("CC"))


@cache
def why_not_compiled() -> str | None:
    """Compile the attention unasked, once in a process, and say why that failed, if it did."""
    try:
        compile_attention()
    except CompileError as error:
        return error.fault  # the remedies are for those who have asked for it
    return None


def _run(command: list[str]) -> bytes:
    """Run the compiler and return what it prints."""
    remedy = "install a C compiler with OpenMP (gcc), name it in the environment variable CC, or "
    remedy += LEAVE_OUT
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        reason = f"{command[0]!r} did not come back in {PATIENCE:g} seconds"
        raise cannot_compile(reason, remedy) from None
    except OSError as error:
        raise cannot_compile(f"cannot run {command[0]!r} ({error.strerror})", remedy) from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        said = next(
            (line for line in lines if "error" in line), lines[-1] if lines else "no message"
        )
        raise cannot_compile(f"{command[0]!r} failed: {said.strip()}", remedy) from None
    return done.stdout


def _make_folder(folder: Path) -> None:
    """Make the folder of compiled libraries if there is none, and refuse one of somebody else."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if not _is_private(folder):
        raise cannot_compile(
            f"it runs what is in {str(folder)!r}, which another user owns or can write to",
            f"set ESMKIT_CACHE to a folder of your own, or {LEAVE_OUT}",
        )


def _unwritable(folder: Path, error: OSError) -> CompileError:
    return cannot_compile(
        f"cannot write to {str(folder)!r} ({error.strerror})",
        f"make room, set ESMKIT_CACHE to a folder that can be written, or {LEAVE_OUT}",
    )


def _is_private(path: Path) -> bool:
    """Say whether nobody but this user and root owns a file or folder or can write to it."""
    if os.name != "posix":
        return True
    status = path.stat()
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in (0, os.getuid()) and not others


def _is_whole(library: Path) -> bool:
    """Say whether a library is as it was compiled: to load one that is cut off ends the process."""
    try:
        digest = library.with_suffix(".sha256").read_text(encoding="ascii")
        return _is_private(library) and sha256_of_file(library) == digest
    except (OSError, ValueError):
        return False


def _compile(command: list[str], source: Path, library: Path, trial: str) -> None:
    """Compile into a temporary file, try it, and rename it: what is in the cache is whole and works."""
    try:
        handle, name = tempfile.mkstemp(dir=library.parent, suffix=".so")
    except OSError as error:
        raise _unwritable(library.parent, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        _run([*command, str(source), "-o", name, "-lm"])
        temporary.chmod(0o700)  # the linker goes by the umask
        _try(temporary, command[0], trial)
        digest = sha256_of_file(temporary)
        temporary.replace(library)
        library.with_suffix(".sha256").write_text(digest, encoding="ascii")
    except OSError as error:
        raise _unwritable(library.parent, error) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _try(library: Path, compiler: str, trial: str) -> None:
    """Load a library and compute with it in another process, which it may end."""
    module, function = trial.split(":")
    code = f"import sys; from {module} import {function} as trial; trial(sys.argv[1])"
    command = [sys.executable or "python3", "-c", code, str(library)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    how = {"stdin": subprocess.DEVNULL, "capture_output": True, "env": environment}
    try:
        subprocess.run(command, check=True, timeout=4 * PATIENCE, **how)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        lines = said.decode(errors="replace").strip().splitlines()
        raise cannot_compile(
            f"what {compiler!r} compiled does not run ({lines[-1] if lines else error})",
            f"name another compiler in the environment variable CC, or {LEAVE_OUT}",
        ) from None


def try_library(library: str) -> None:
    """Load a compiled library and compute with it; :func:`_try` calls this in a process of its own."""
    _difference(_load(Path(library)))


class _Tensors(ctypes.Structure):
    """The struct of the same name in ``attention.c``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "cosines", "sines")),
        *(
            (f"{name}_{axis}", ctypes.c_int64)
            for name in ("q", "k", "v", "out")
            for axis in ("head", "token")
        ),
    ]


def _load(library: Path) -> Attend:
    """Return the function of a compiled library."""
    # PyTorch has loaded its OpenMP already, and this finds the same: one pool of threads for both
    try:
        function = ctypes.CDLL(str(library)).esmkit_attention
    # No OpenMP at run time, a folder that nothing is run from, or no function of that name
    except (OSError, AttributeError) as error:
        raise cannot_compile(
            f"cannot load what it compiled ({error})",
            "name another compiler in the environment variable CC, set ESMKIT_CACHE to a folder that "
            f"programs run from, or {LEAVE_OUT}",
        ) from None
    function.restype = ctypes.c_int
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [pointer, pointer, whole, whole, whole, ctypes.c_float, whole]

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        starts: list[int],
        scaling: float,
        rotary: Rotary | None,
    ) -> torch.Tensor:
        heads, tokens, width = query.shape
        mixed = query.new_empty(tokens, heads, width)
        pointers = [x.data_ptr() for x in (query, key, value, mixed)]
        # Contiguous copies, if they are any, have to live until the function returns
        turns = [x.contiguous() for x in rotary] if rotary is not None else []
        pointers += [x.data_ptr() for x in turns] or [None, None]
        strides = [x.stride()[:2] for x in (query, key, value)]
        strides.append((mixed.stride(1), mixed.stride(0)))
        given = _Tensors(*pointers, *(step for pair in strides for step in pair))
        cuts = np.asarray(starts, np.int64)
        threads = torch.get_num_threads()
        if function(
            ctypes.byref(given), cuts.ctypes.data, len(cuts) - 1, heads, width, scaling, threads
        ):
            raise RuntimeError("attention could not allocate its scratch memory")
        return mixed

    return attend


def _difference(attend: Attend) -> float:
    """Return the largest difference from PyTorch's attention, infinite if NaN does not spread.

    On sequences of several lengths, with and without rotary positions, in the layout that
    transformers gives: a head's rows are not neighbours in memory.
    """
    starts, heads = [0, 1, 8, 41, 106, 235], 3
    differences = []
    with torch.device("cpu"), torch.autocast("cpu", enabled=False):
        random = torch.Generator().manual_seed(0)
        for width, turns in ((16, True), (16, False), (24, True), (64, False)):
            shape = (3, starts[-1], heads, width)
            drawn = torch.randn(shape, generator=random, dtype=torch.float32)
            query, key, value = drawn.transpose(1, 2)
            query = 3 * query
            angles = torch.rand(starts[-1], width // 2, generator=random, dtype=torch.float32)
            rotary = ((6 * angles).cos().repeat(1, 2), (6 * angles).sin().repeat(1, 2))
            mixed = attend(query, key, value, starts, width**-0.5, rotary if turns else None)
            if turns:
                query, key = rotate(query, *rotary), rotate(key, *rotary)
            for start, stop in itertools.pairwise(starts):
                q, k, v = (x[None, :, start:stop] for x in (query, key, value))
                wanted = scaled_dot_product_attention(q, k, v, scale=width**-0.5)[0]
                differences.append((mixed[start:stop] - wanted.transpose(0, 1)).abs().max())
            key[0, 50, 3] = torch.nan  # of the sequence from 41 to 106, in its first head
            spread = attend(query, key, value, starts, width**-0.5, None).isnan()
            if not spread[41:106, 0].all() or spread.sum() != 65 * width:
                return math.inf
        worst = float(torch.stack(differences).max())
    return math.inf if math.isnan(worst) else worst
