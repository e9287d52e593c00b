"""The command ``explain``: write a page on what was suggested for a study, and why."""

from __future__ import annotations

import argparse
from base64 import b64encode
from pathlib import Path

from optuna import Study

from optuna_metallmix.cli.common import add_study_options
from optuna_metallmix.cli.common import check_single_objective
from optuna_metallmix.cli.common import load_study
from optuna_metallmix.cli.common import make_settings
from optuna_metallmix.cli.common import open_storage
from optuna_metallmix.cli.common import print_message
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.pipeline import suggest_for_study
from optuna_metallmix.report import FigureSpec
from optuna_metallmix.report import StudyReport
from optuna_metallmix.report import describe_figures
from optuna_metallmix.report import render_note
from optuna_metallmix.report import restore_suggestion
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import html_page


_NO_SUGGESTION = (
    "No trial of this study was suggested by this package. From its past studies, it would now "
    "suggest:"
)
_NOT_READABLE = "From its past studies, this package would now suggest:"
_PAST_CHANGED = (
    "The past studies have changed since then, or the record of the suggestion was too long to be "
    "kept whole. The section above has the original numbers, the section below the current ones."
)
_MAX_PROBLEMS = 5
_MAX_TITLE = 200


def add_command(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``explain`` to the commands."""
    parser = parsers.add_parser(
        "explain",
        help="write a page on what was suggested for a study, and why",
        description="Writes a self-contained page with the suggestion, its reasons, the past "
        "studies and pictures; also for a study that never used this package. Stores nothing.",
    )
    add_study_options(parser)
    parser.add_argument("--format", choices=("html", "md"), default="html", help="default: html")
    parser.add_argument(
        "--out", metavar="FILE", type=Path,
        help="output file (default: standard output). With `--format md` the pictures go to a "
        "folder next to it, and are left out on standard output",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with open_storage(arguments) as storage:
        study = load_study(storage, arguments.study)
        check_single_objective(study)
        text = _report(study, arguments)
    if arguments.format == "html":
        text = html_page(f"{arguments.study}: suggestion from past studies", text)
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
        print_message(f"wrote {arguments.out}")
    return 0


def _report(study: Study, arguments: argparse.Namespace) -> str:
    problems: list[str] = []
    restored = restore_suggestion(study, arguments.past, problems)
    for problem in problems[:_MAX_PROBLEMS]:
        print_message(problem)
    shown = "\n".join(f"- {escape_markdown(problem)}" for problem in problems[:_MAX_PROBLEMS])
    parts = [f"# {escape_markdown(study.study_name, _MAX_TITLE)}", *([shown] if problems else [])]
    if restored is not None:
        parts.append(_section(restored, arguments, "then"))
    if restored is None or restored.suggestion.learner is None:
        none = _NOT_READABLE if problems else _NO_SUGGESTION
        parts.append(none if restored is None else _PAST_CHANGED)
        try:
            now = suggest_for_study(study, {}, make_settings(arguments, llm=False))
            parts.append(_section(StudyReport(study, None, now), arguments, "now"))
        except HistoryError as error:
            if restored is None:
                raise
            parts.append(escape_markdown(str(error)))
    return "\n\n".join(parts) + "\n"


def _section(report: StudyReport, arguments: argparse.Namespace, prefix: str) -> str:
    figures = describe_figures(report.suggestion)
    addresses: dict[str, str] = {}
    try:
        if arguments.format == "html":
            for figure in figures:
                encoded = b64encode(figure.to_png()).decode()
                addresses[figure.title] = f"data:image/png;base64,{encoded}"
        elif arguments.out is not None:
            addresses = _write_pictures(arguments.out, figures, prefix)
    except MetaLLMiXError as error:
        print_message(str(error))
    return render_note(report.suggestion, report.number, addresses, is_linked=False)


def _write_pictures(out: Path, figures: tuple[FigureSpec, ...], prefix: str) -> dict[str, str]:
    folder = out.with_name("metallmix-pictures")
    addresses = {}
    for figure in figures:
        picture, path = figure.to_png(), folder / f"{prefix}-{figure.name}.png"
        folder.mkdir(exist_ok=True)
        path.write_bytes(picture)
        addresses[figure.title] = f"{folder.name}/{path.name}"
    return addresses
