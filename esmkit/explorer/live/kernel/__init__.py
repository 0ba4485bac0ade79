"""The kernel of the engine: `kernel.c`, its polynomial from `fit`, compiled by `build`."""
