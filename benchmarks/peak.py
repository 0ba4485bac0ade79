"""What the processor can do at most, measured: multiplications and additions of its widest registers.

    python -m benchmarks.peak

A loop of fused multiplications and additions that needs nothing from memory, in twelve independent
chains, compiled for the processor as esmkit's attention is. Where the processor multiplies
bfloat16 (AVX512-BF16) or 8-bit integers (VNNI), these are measured too.
"""

import ctypes
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = r"""
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
#define CHAINS 12
#define EACH _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++)

/* Operations of `rounds` rounds, in each of `threads` threads; `sink` takes what comes out. */
double float32(int64_t rounds, int threads, float *sink)
{
#pragma omp parallel num_threads(threads)
    {
        vec sum[CHAINS], a = *sink - (vec){0}, b = a + 1e-9f;
        EACH sum[c] = a + (float)c;
        for (int64_t i = 0; i < rounds; i++) EACH sum[c] = sum[c] * a + b;
        vec all = sum[0];
        EACH all += sum[c];
        if (all[0] == 12345.0f) *sink = all[1];
    }
    return 2.0 * CHAINS * LANES * (double)rounds * threads;
}

#if defined(__AVX512BF16__)
double bfloat16(int64_t rounds, int threads, float *sink)
{
#pragma omp parallel num_threads(threads)
    {
        __m512 sum[CHAINS];
        __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(*sink), _mm512_set1_ps(*sink));
        EACH sum[c] = _mm512_set1_ps(*sink + (float)c);
        for (int64_t i = 0; i < rounds; i++) EACH sum[c] = _mm512_dpbf16_ps(sum[c], a, a);
        float all = 0;
        EACH all += _mm512_reduce_add_ps(sum[c]);
        if (all == 12345.0f) *sink = all;
    }
    return 4.0 * CHAINS * 16 * (double)rounds * threads;
}
#endif

#if defined(__AVX512VNNI__)
double int8(int64_t rounds, int threads, float *sink)
{
#pragma omp parallel num_threads(threads)
    {
        __m512i sum[CHAINS], a = _mm512_set1_epi8((char)(*sink * 3));
        EACH sum[c] = _mm512_set1_epi32(c);
        for (int64_t i = 0; i < rounds; i++) EACH sum[c] = _mm512_dpbusd_epi32(sum[c], a, a);
        int all = 0;
        EACH all += _mm512_reduce_add_epi32(sum[c]);
        if (all == 12345) *sink = (float)all;
    }
    return 8.0 * CHAINS * 16 * (double)rounds * threads;
}
#endif
"""

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared")

KINDS = ("float32", "bfloat16", "int8")

SECONDS = 0.2
"""How long each loop runs, three times."""


def peaks(threads: int) -> dict[str, float]:
    """Return operations a second, multiplications and additions, of each kind the processor has.

    Empty where there is no C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.c", Path(folder) / "peak.so"
        source.write_text(SOURCE)
        compiler = shlex.split(os.environ.get("CC") or "cc")
        # On x86-64 a compiler prefers half of the register
        wide = ["-mprefer-vector-width=512"] if "x86" in os.uname().machine else []
        try:
            command = [*compiler, *FLAGS, *wide, str(source), "-o", str(library)]
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
        loaded = ctypes.CDLL(str(library))
        return {
            kind: _rate(getattr(loaded, kind), threads) for kind in KINDS if hasattr(loaded, kind)
        }


def _rate(function: Any, threads: int) -> float:
    """Return the best of three rates."""
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_int64, ctypes.c_int, ctypes.c_void_p]
    sink = np.full(1, 0.999, np.float32)
    rounds, best = 1 << 16, 0.0
    done = 0
    while done < 3:
        begun = time.perf_counter()
        operations = function(rounds, threads, sink.ctypes.data)
        seconds = time.perf_counter() - begun
        if seconds < SECONDS:
            rounds *= 2
            continue
        best = max(best, operations / seconds)
        done += 1
    return best


def in_words(found: dict[str, float]) -> str:
    """Return peaks as a sentence reads them."""
    return ", ".join(f"{kind} {rate / 1e9:,.0f}" for kind, rate in found.items())


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else len(os.sched_getaffinity(0))
    print(f"{count} thread(s), 10^9 operations a second: {in_words(peaks(count))}")
