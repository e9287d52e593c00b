"""The command ``compare``: best values of studies, and the trials and seconds a side saves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from optuna_metallmix.cli.common import print_message
from optuna_metallmix.comparison import Comparison
from optuna_metallmix.comparison import compare
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.history import open_source
from optuna_metallmix.history import study_names
from optuna_metallmix.history import unknown_names
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import html_page


if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MAX_NAMES = 20


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compare`` to the commands."""
    parser = parsers.add_parser(
        "compare",
        help="compare studies by best value, and by trials and seconds saved",
        description="Compares finished or running studies of the same task. Studies are only "
        "read. The exit code is 1 if they cannot be compared.",
    )
    parser.add_argument(
        "--storage", metavar="URL-or-file", required=True, help="storage of the studies"
    )
    parser.add_argument(
        "--studies", metavar="A,B,...", action="append", default=[],
        help="studies to compare individually; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--side", metavar="NAME=A,B,...", action="append", default=[], type=_side,
        help="several studies as one side, such as one sampler's under several seeds; patterns "
        'work, as in "tpe=digits-tpe-*"; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FILE", type=_out, help="write a page (.html), Markdown (.md) or .csv"
    )
    parser.set_defaults(run=_run)


def _side(text: str) -> tuple[str, str]:
    name, _, studies = text.partition("=")
    if not (name and studies):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=STUDY,STUDY,...")
    return name, studies


def _out(text: str) -> Path:
    if Path(text).suffix not in (".html", ".md", ".csv"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .html, .md or .csv")
    return Path(text)


def _run(arguments: argparse.Namespace) -> int:
    with open_source(arguments.storage, "--storage") as storage:
        names = study_names(storage)
        singles = [name for text in arguments.studies for name in _find(text, names)]
        sides = [
            {side: [optuna.load_study(study_name=n, storage=storage) for n in _find(text, names)]}
            for side, text in [*zip(singles, singles, strict=True), *arguments.side]
        ]
        try:
            comparison = compare(*sides)
        except ValueError as error:
            print_message(str(error))
            return 1
    if arguments.out is None:
        print(comparison.to_markdown())
    else:
        arguments.out.write_text(_render(comparison, arguments.out.suffix), encoding="utf-8")
        print(f"Wrote {arguments.out}.")
    return 0


def _find(text: str, names: Sequence[str]) -> list[str]:
    """Return the studies that a list of names and patterns refers to; a name may have a comma."""
    found: list[str] = []
    for part in [text] if text in names else text.split(","):
        studies = [part] if part in names else [n for n in names if fnmatchcase(n, part)]
        if not studies:
            listed = ", ".join(map(repr, names[:_MAX_NAMES])) or "none"
            missing = unknown_names([part], names)
            raise HistoryError(f"There is no study {missing}. Studies in --storage: {listed}.")
        found += studies
    return found


def _render(comparison: Comparison, suffix: str) -> str:
    """Return the text of a file; the HTML page is self-contained."""
    if suffix == ".csv":
        return comparison.to_csv()
    if suffix == ".md":
        return comparison.to_markdown() + "\n"
    title = " and ".join(side.name for side in comparison.sides)
    tables = replace(comparison, dashboard_path=None).to_markdown()
    page = html_page(title, f"# {escape_markdown(title)}\n\n{tables}")
    try:
        figure = comparison.plot().to_html(full_html=False)
    except MetaLLMiXError as error:
        figure = f"<p>{escape(str(error))}</p>"
    return page.replace("</body>", f"{figure}</body>")
