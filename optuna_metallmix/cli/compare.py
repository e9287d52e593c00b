"""`optuna-metallmix compare`: storage and studies -> what each saves, on screen or in a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from optuna_metallmix.comparison import Comparison
from optuna_metallmix.comparison import compare
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_storage
from optuna_metallmix.optuna_access import describe_storage


if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MOST_NAMES = 20


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compare`` to the commands."""
    parser = parsers.add_parser(
        "compare",
        help="tell which study had the better value after n trials, and what that saves",
        description="Compares finished or running studies of one task; writes nothing to the "
        "storage. The exit code is 1 where they cannot be compared.",
    )
    parser.add_argument(
        "--storage", metavar="URL-or-file", required=True, help="where they are, as for Optuna"
    )
    parser.add_argument(
        "--studies",
        metavar="A,B,...",
        action="append",
        default=[],
        help="studies, each a side of its own; once more for names with a comma in them",
    )
    parser.add_argument(
        "--side",
        metavar="NAME=A,B,...",
        action="append",
        default=[],
        type=_side,
        help="several studies as one side, such as one sampler's under several seeds; patterns "
        'are names, too: "tpe=digits-tpe-*"',
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=_file,
        help="write a page with the figure (.html), Markdown (.md) or all numbers (.csv)",
    )
    parser.set_defaults(run=_run)


def _side(text: str) -> tuple[str, str]:
    name, separator, studies = text.partition("=")
    if not (name and separator and studies):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=STUDY,STUDY,...")
    return name, studies


def _file(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _WRITERS:
        raise argparse.ArgumentTypeError(f"{text!r} ends in none of {', '.join(_WRITERS)}")
    return path


def _run(arguments: argparse.Namespace) -> int:
    try:
        comparison = compare(*_sides(arguments))
        text = _WRITERS[arguments.out.suffix](comparison) if arguments.out else None
        if text is not None:
            arguments.out.write_text(text, encoding="utf-8")
    except (MetaLLMiXError, ValueError, OSError) as error:
        print(f"optuna-metallmix compare: {error}", file=sys.stderr)
        return 1
    print(comparison.to_markdown() if text is None else f"Written to {arguments.out}.")
    return 0


def _sides(arguments: argparse.Namespace) -> list[Mapping[str, Sequence[optuna.Study]]]:
    storage = open_source(arguments.storage)
    present = [one.study_name for one in read_storage(storage, storage.get_all_studies)]
    alone = [name for text in arguments.studies for name in _named(text, present, storage)]
    named = [(name, [name]) for name in alone]
    named += [(name, _named(text, present, storage)) for name, text in arguments.side]
    return [
        {name: [optuna.load_study(study_name=one, storage=storage) for one in some]}
        for name, some in named
    ]


def _named(text: str, present: Sequence[str], storage: BaseStorage) -> list[str]:
    """Return the studies that a text names; a name is taken as it is before it is split."""
    found: list[str] = []
    for part in [text] if text in present else text.split(","):
        matching = [part] if part in present else [n for n in present if fnmatchcase(n, part)]
        if not matching:
            there = ", ".join(map(repr, present[:_MOST_NAMES])) or "no study at all"
            raise HistoryError(
                f"{describe_storage(storage)} has no study {part!r}. It has: {there}. Mend "
                "--studies or --side."
            )
        found += matching
    return found


def _page(comparison: Comparison) -> str:
    """Write one file that needs no other, and no network; without plotly it has no figure."""
    try:
        figure = comparison.plot().to_html(full_html=False, include_plotlyjs=True)
    except MetaLLMiXError as error:
        figure = f"<p>{escape(str(error))}</p>"
    title = escape(" and ".join(one.name for one in comparison.sides))
    return _PAGE.format(title=title, tables=comparison._repr_html_(), figure=figure)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #808080; padding: .3rem .6rem; text-align: left }}
</style>
</head>
<body>
<h1>{title}</h1>
{tables}
{figure}
</body>
</html>
"""

_WRITERS: dict[str, Callable[[Comparison], str]] = {
    ".html": _page,
    ".md": lambda comparison: comparison.to_markdown() + "\n",
    ".csv": lambda comparison: comparison.to_csv(),
}
"""By the ending of a file, what it holds."""
