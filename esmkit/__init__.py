"""esmkit: look inside a protein language model."""

from esmkit._version import __version__

__all__ = ["__version__"]
