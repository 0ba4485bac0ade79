"""Attention compiled for the CPU at hand, on request: ``esmkit embed --compile``.

``attention.c`` is compiled once, in a second or two, with the C compiler of the machine, and kept
in esmkit's cache. It is checked against PyTorch's attention each time it is loaded. Without the
option nothing is compiled.
"""

import contextlib
import ctypes
import hashlib
import itertools
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from esmkit.checkpoints.fetch import cache_folder, sha256_of_file
from esmkit.errors import OptionError

__all__ = ["Attend", "compile_attention"]

SOURCE = Path(__file__).with_name("attention.c")

FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared"]
"""``fast`` contraction joins a product and a sum into one rounding; nothing else about floats is
loosened."""

LARGEST_ERROR = 1e-5
"""Of outputs of size 1, between two ways to compute them in float32."""

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the rotary positions, (T, K) each."""

Attend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, list[int], float, Rotary | None], torch.Tensor
]
"""Takes query, key, value (H, T, K), where sequences begin and the last ends, the scale of the scores,
and rotary positions if query and key are not turned by them yet; returns (T, H, K)."""


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
        If there is no C compiler with OpenMP, the cache cannot be written, or the result does not
        agree with PyTorch's.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = [*FLAGS, *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else [])]
    # What the compiler takes this CPU and itself for: a cache may be shared by unlike machines
    macros = _run([*compiler, *flags, "-dM", "-E", str(SOURCE)])
    key = hashlib.sha256(macros + SOURCE.read_bytes() + repr(flags).encode()).hexdigest()[:16]
    library = cache_folder("compiled") / f"attention-{key}.so"
    if not _is_whole(library):
        _compile([*compiler, *flags], library)
    attend = _load(library)
    error = _difference(attend)
    if not error <= LARGEST_ERROR:
        raise OptionError(
            f"the attention that {compiler[0]} compiled differs from PyTorch's by {error:.1e}; leave "
            "--compile out, or choose another compiler with the environment variable CC"
        )
    return attend


def _run(command: list[str]) -> bytes:
    """Run the compiler and return what it prints."""
    remedy = "install a C compiler with OpenMP (gcc), name it in the environment variable CC, or "
    remedy += "leave --compile out"
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except OSError as error:
        raise OptionError(
            f"--compile cannot run {command[0]!r} ({error.strerror}); {remedy}"
        ) from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        said = next(
            (line for line in lines if "error" in line), lines[-1] if lines else "no message"
        )
        raise OptionError(f"--compile: {command[0]!r} failed: {said.strip()}; {remedy}") from None
    return done.stdout


def _is_whole(library: Path) -> bool:
    """Say whether a library is as it was compiled: to load one that is cut off ends the process."""
    try:
        digest = library.with_suffix(".sha256").read_text(encoding="ascii")
        return sha256_of_file(library) == digest
    except (OSError, ValueError):
        return False


def _compile(command: list[str], library: Path) -> None:
    """Compile into a temporary file and rename it, so that what is in the cache is whole."""
    try:
        library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=library.parent, suffix=".so")
    except OSError as error:
        raise OptionError(
            f"--compile cannot write to {str(library.parent)!r} ({error.strerror}); set ESMKIT_CACHE "
            "to a folder that can be written, or leave --compile out"
        ) from None
    os.close(handle)
    try:
        _run([*command, str(SOURCE), "-o", temporary, "-lm"])
        digest = sha256_of_file(Path(temporary))
        Path(temporary).replace(library)
        library.with_suffix(".sha256").write_text(digest, encoding="ascii")
    except OSError as error:
        raise OptionError(
            f"--compile cannot write to {str(library.parent)!r} ({error.strerror}); make room, or "
            "leave --compile out"
        ) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()


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
    function = ctypes.CDLL(str(library)).esmkit_attention
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
    """Return the largest difference from PyTorch's attention, on sequences of several lengths."""
    random = torch.Generator().manual_seed(0)
    starts = [0, 1, 8, 41, 106, 235]
    worst = 0.0
    for width in (16, 24, 64):
        query, key, value = torch.randn(3, 3, starts[-1], width, generator=random)
        mixed = attend(3 * query, key, value, starts, width**-0.5, None)
        for start, stop in itertools.pairwise(starts):
            q, k, v = (x[None, :, start:stop] for x in (3 * query, key, value))
            wanted = scaled_dot_product_attention(q, k, v, scale=width**-0.5)[0].transpose(0, 1)
            worst = max(worst, float((mixed[start:stop] - wanted).abs().max()))
    return worst
