"""The scripts of the engine, and its kernel for WebAssembly."""

from importlib import resources

from esmkit.explorer.offline import static_text

__all__ = ["ENGINE_SCRIPTS", "engine_text", "kernel_bytes"]

PACKAGE = "esmkit.explorer.live"
"""Package of its static files."""

ENGINE_SCRIPTS = (
    "plain.js",
    "heap.js",
    "model.js",
    "compute.js",
    "single.js",
    "engine.js",
    "worker.js",
)
"""Scripts in the order in which they run: the arithmetic, memory, weights, one layer, one token, the
forward pass, the worker."""


def engine_text() -> str:
    """Return all scripts of the engine as one text.

    A page puts it into a ``<script>`` of its own: the engine reads that text again, for the worker is
    made of it.

    Examples
    --------
    >>> "createEngine" in engine_text()
    True
    """
    return "\n".join(static_text(name, PACKAGE) for name in ENGINE_SCRIPTS)


def kernel_bytes() -> bytes:
    r"""Return the kernel, compiled to WebAssembly.

    Examples
    --------
    >>> kernel_bytes()[:4]
    b'\x00asm'
    """
    return (resources.files(PACKAGE) / "static" / "kernel.wasm").read_bytes()
