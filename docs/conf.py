"""Sphinx settings of the site; ``.ci/docs`` builds it from what ``docs/_make`` lays out.

Texts lie in ``docs``, by what a reader wants: ``start.md``, ``tutorials`` (the notebooks of the
project's root), ``how-to``, ``explain`` and ``reference``. ``_make/assemble.py`` copies them to
``_build/source`` beside the notebooks and the pages that are generated from code, because links
that lead to files of the repository lead to pages of the site here.
"""
