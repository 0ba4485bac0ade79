"""Sphinx settings of the site; ``.ci/docs`` builds it from what ``docs/_make`` lays out.

Texts lie in ``docs``, by what a reader wants: ``start.md``, ``tutorials`` (the notebooks of the
project's root), ``how-to``, ``explain`` and ``reference``. ``_make/assemble.py`` copies them to
``_build/source`` beside the notebooks and the pages that are generated from code, because links
that lead to files of the repository lead to pages of the site here.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from esmkit import __version__  # noqa: E402

project = "esmkit"
author = "The esmkit developers"
copyright = "The esmkit developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "_make.code_links",
    "_make.equations",
    "_make.references",
    "_make.sources",
    "_make.summaries",
]
exclude_patterns = ["_build"]

# Texts and notebooks: shown as they were kept, never run
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "html_image"]
myst_heading_anchors = 6
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "image/svg+xml", 5), ("html", "image/png", 6)]

# Docstrings: types stand in their sections, with shapes and units, so signatures leave them out
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False
python_use_unqualified_type_names = True
nitpicky = True
default_role = "code"  # `maps` in a docstring is a parameter or a function beside it

html_theme = "pydata_sphinx_theme"
html_title = "esmkit"
html_static_path = [str(HERE / "_static")]
templates_path = [str(HERE / "_templates")]
html_css_files = ["esmkit.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which a browser refuses to local files
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "esmkit"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "show_nav_level": 1,
    "navigation_depth": 3,
    "collapse_navigation": True,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_remove_prompts = True
