"""What makes the site: pages from code, links that stay inside it, equations, and a check of all.

``python -m _make`` with ``docs`` on the path builds it (``.ci/docs`` does so with an environment of
its own). ``names`` finds every public name and ``tasks`` sorts them; ``python_pages``,
``command_pages`` and ``activation_page`` write the reference; ``assemble`` lays texts, notebooks and
these pages into one folder, with ``links`` for what leads elsewhere and ``named`` for what code names. ``equations``, ``references``,
``code_links``, ``sources`` and ``summaries`` are extensions of Sphinx; ``check`` looks at what was
built.
"""
