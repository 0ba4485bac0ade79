"""``python -m esmkit`` is the ``esmkit`` command."""

from esmkit.cli import main

main()
