"""Devices and data types that a model can compute on. PyTorch is imported when it is asked."""

from typing import TYPE_CHECKING

from esmkit.errors import OptionError

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "can_be_compiled", "choose_device", "choose_dtype", "refuse_to_compile"]

DTYPES = ("float32", "bfloat16", "float16")
"""Data types of weights and activations."""


def choose_device(device: str) -> "torch.device":
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that is there.

    Raises
    ------
    OptionError
        If PyTorch sees no such device.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise OptionError(f"device is auto, cpu, cuda or mps, not {device!r}") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(chosen.type, False):
        raise OptionError(f'PyTorch sees no {device!r} device here; use `device="cpu"`, or auto')
    return chosen


def choose_dtype(dtype: str) -> "torch.dtype":
    """Turn the name of a data type into PyTorch's.

    Raises
    ------
    OptionError
        If it is none of :data:`DTYPES`.
    """
    import torch

    if dtype not in DTYPES:
        raise OptionError(f"dtype is {', '.join(DTYPES)}, not {dtype!r}")
    return getattr(torch, dtype)


def can_be_compiled(device: str, dtype: str) -> bool:
    """Say whether there are compiled operations for a device and a dtype."""
    return device == "cpu" and dtype in ("float32", "bfloat16")


def refuse_to_compile(device: str, dtype: str) -> None:
    """Refuse to compile attention for what it is not written for.

    Raises
    ------
    OptionError
        If it is to be compiled for anything but float32 and bfloat16 on a CPU.
    """
    if not can_be_compiled(device, dtype):
        raise OptionError(
            f"attention is compiled for float32 and bfloat16 on a CPU, not for {dtype} on {device}; leave "
            '`compiled` out, or give `device="cpu"`'
        )
