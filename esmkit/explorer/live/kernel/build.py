"""Build the kernel: C to WebAssembly, byte for byte the same wherever it is done.

    python -m esmkit.explorer.live.kernel.build

The compiler is Clang as the package ``ziglang`` brings it, of one version; esmkit itself does not
need it, for the kernel is in the repository.
"""

import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from esmkit.errors import MissingDependencyError

__all__ = ["COMPILER", "KERNEL", "compile_kernel"]

COMPILER = "0.13.0"
"""Version of ``ziglang``; another one may write other bytes."""

SOURCE = Path(__file__).parent / "kernel.c"
KERNEL = Path(__file__).parents[1] / "static" / "kernel.wasm"

EXPORTS = ("linear", "pack", "norm", "gelu", "turn", "attend", "__heap_base")

STACK_BYTES = 16_384

FLAGS = (
    *("-target", "wasm32-freestanding", "-mcpu=generic+simd128+bulk_memory"),
    # No fast-math: sums keep their order, so that every browser gives the same numbers
    *("-O3", "-nostdlib", "-fvisibility=hidden", "-fno-builtin", "-g0", "-s"),
    *("-Wl,--no-entry", "-Wl,--strip-all", f"-Wl,-z,stack-size={STACK_BYTES}"),
    *(f"-Wl,--export={name}" for name in EXPORTS),
)


def compile_kernel() -> bytes:
    """Compile ``kernel.c`` and return the WebAssembly.

    Raises
    ------
    MissingDependencyError
        If ``ziglang`` is not installed, or in another version.
    """
    try:
        found = metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != COMPILER:
        raise MissingDependencyError(
            f"the kernel is built with ziglang {COMPILER}, and here is {found}; "
            f"pip install ziglang=={COMPILER}"
        )
    with tempfile.TemporaryDirectory() as folder:
        # A copy, so that no path of this machine can get into the result
        (Path(folder) / "kernel.c").write_bytes(SOURCE.read_bytes())
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", "kernel.wasm", "kernel.c"]
        subprocess.run(command, cwd=folder, check=True)
        return (Path(folder) / "kernel.wasm").read_bytes()


if __name__ == "__main__":
    KERNEL.write_bytes(compile_kernel())
    print(f"{KERNEL.name}: {KERNEL.stat().st_size:,} bytes")
