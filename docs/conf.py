"""Settings of Sphinx. Every warning is an error in CI, and the build needs no network."""

from __future__ import annotations

import optuna_metallmix


project = "optuna-metallmix"
author = "The optuna-metallmix authors"
version = release = optuna_metallmix.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxarg.ext"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3
myst_ref_domains = ["py", "std"]

nitpicky = True
# Annotations name types of other projects, whose inventories would need the network, and types
# of modules that are not public. All other links are checked.
nitpick_ignore_regex = [("py:class", ".*")]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True

html_theme = "furo"
html_title = "optuna-metallmix"
html_show_copyright = False
html_theme_options = {
    "source_repository": "https://github.com/optuna-metallmix/optuna-metallmix/",
    "source_branch": "main",
    "source_directory": "docs/",
}
