"""`optuna-metallmix explain`: a study -> a page on what was suggested and why, with pictures."""

from __future__ import annotations

import argparse
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optuna import Study

from optuna_metallmix.cli.common import add_study_options
from optuna_metallmix.cli.common import load
from optuna_metallmix.cli.common import run_told
from optuna_metallmix.cli.common import settings_of
from optuna_metallmix.cli.common import tell
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import open_source
from optuna_metallmix.pipeline import suggest_for_study
from optuna_metallmix.report import Picture
from optuna_metallmix.report import PictureError
from optuna_metallmix.report import RestoredSuggestion
from optuna_metallmix.report import draw_pictures
from optuna_metallmix.report import render_note
from optuna_metallmix.report import restore_suggestion
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import html_page


if TYPE_CHECKING:
    from argparse import _SubParsersAction

_NEVER = "No trial of this study was suggested by this package. This is what its past says now."
_CHANGED = (
    "The past of this study has changed since: above stand the numbers of then, below what it "
    "says now."
)


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``explain`` to the commands."""
    parser = parsers.add_parser(
        "explain",
        help="write a page on what the past says about a study, and what was suggested",
        description="Writes one page that needs no other file: suggestion, reasons, past, "
        "pictures; also for a study that was made without this package. Nothing is stored.",
    )
    add_study_options(parser)
    parser.add_argument("--format", choices=("html", "md"), default="html", help="by default html")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to; by default to the screen. Markdown's pictures are put into a folder "
        "beside it, and left out on the screen",
    )
    parser.set_defaults(run=partial(run_told, _run))


def _run(arguments: argparse.Namespace) -> int:
    storage = open_source(arguments.storage)
    study = load(storage, arguments.study)
    text = _report(study, arguments)
    if arguments.format == "html":
        text = html_page(f"{study.study_name}: what the past says", text)
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
        tell(f"wrote {arguments.out}")
    return 0


def _report(study: Study, arguments: argparse.Namespace) -> str:
    told = restore_suggestion(study, arguments.past)
    parts = [f"# {escape_markdown(study.study_name)}"]
    if told is not None:
        parts.append(_section(told, arguments, "then"))
    if told is None or not told.is_whole:
        parts.append(_NEVER if told is None else _CHANGED)
        try:
            now = suggest_for_study(study, {}, settings_of(arguments, False))
            parts.append(_section(RestoredSuggestion(now, None, {}, True), arguments, "now"))
        except HistoryError as error:
            if told is None:
                raise
            parts.append(escape_markdown(str(error)))
    return "\n\n".join(parts) + "\n"


def _section(told: RestoredSuggestion, arguments: argparse.Namespace, which: str) -> str:
    pictures = _drawn(told.suggestion)
    if arguments.format == "html":
        addresses = {one.title: _inline(one) for one in pictures}
    elif arguments.out is not None:
        addresses = _beside(arguments.out, pictures, which)
    else:
        addresses = {}
    return render_note(told.suggestion, told.number, told.projected, addresses, is_linked=False)


def _drawn(suggestion: Suggestion) -> tuple[Picture, ...]:
    try:
        return draw_pictures(suggestion)
    except PictureError as error:
        tell(str(error))
        return ()


def _inline(picture: Picture) -> str:
    return f"data:image/png;base64,{b64encode(picture.png).decode()}"


def _beside(out: Path, pictures: tuple[Picture, ...], which: str) -> dict[str, str]:
    folder = out.with_name("metallmix-pictures")
    folder.mkdir(exist_ok=True)
    addresses = {}
    for picture in pictures:
        path = folder / f"{which}-{picture.name}.png"
        path.write_bytes(picture.png)
        addresses[picture.title] = f"{folder.name}/{path.name}"
    return addresses
