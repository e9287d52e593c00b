"""Settings of Sphinx. Every warning is an error in CI, and the build needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import optuna_metallmix
from optuna_metallmix.cli import make_parser


if TYPE_CHECKING:
    from sphinx.application import Sphinx


project = "optuna-metallmix"
author = "The optuna-metallmix authors"
version = release = optuna_metallmix.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "figures"]

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
myst_ref_domains = ["py", "std"]
smartquotes = False  # they turn --option into a dash

nitpicky = True
# Annotations name types of other projects, whose inventories would need the network, and types
# of modules that are not public. All other links are checked.
nitpick_ignore_regex = [("py:(class|exc)", ".*")]

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


def setup(app: Sphinx) -> None:
    """Have the page of the command line end with what its parser knows."""
    app.connect("source-read", _add_commands)


def _add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "reference/cli":
        source[0] += "\n".join(_commands())


def _commands() -> Iterator[str]:
    """Yield Markdown: a heading, usage and options of each command."""
    (commands,) = (action for action in make_parser()._actions if action.choices)
    for name, parser in commands.choices.items():
        parser.color = False  # Python 3.14 colors help on a terminal
        yield f"\n## {name}\n\n{parser.description}\n"
        yield f"```text\n{parser.format_usage()}```\n"
        formatter = parser._get_formatter()
        for action in parser._actions:
            option = formatter._format_action_invocation(action)
            yield f"`{option}`\n: {formatter._expand_help(action)}\n"
