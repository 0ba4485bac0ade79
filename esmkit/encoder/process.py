"""Two settings of the whole process that a CPU is faster with, or needs less memory."""

import contextlib
import ctypes
import os

__all__ = ["tune_process"]


def tune_process() -> None:
    """Bound what oneDNN keeps, and let the C library keep what PyTorch frees.

    Called when a model is loaded onto a CPU, unless ``load(tune=False)`` or the environment
    variable ``ESMKIT_TUNE_PROCESS=0`` refuse it; a setting of the user's own stays as it is.

    oneDNN keeps a compiled primitive, with scratch memory, for each of the last 1,024 shapes it has
    seen. Packs have ever new shapes: on a proteome of 2,100 proteins that cost 0.7 GB, growing from
    start to end, for GELU alone. It now keeps 128 (``ONEDNN_PRIMITIVE_CACHE_CAPACITY``, read when
    the first primitive is made).

    Activations take a megabyte each. glibc gives so much back to the system at once, which hands it
    out again in pages filled with zeros: an eighth of the time of an embedding. It now keeps up to
    256 MiB. Other C libraries have no such setting.
    """
    if os.environ.get("ESMKIT_TUNE_PROCESS") == "0":
        return
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    if {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-3, 32 * 2**20)  # M_MMAP_THRESHOLD: the most that it allows
        set_option(-1, 256 * 2**20)  # M_TRIM_THRESHOLD
