"""Write a suggestion's note, figures and pictures to its study, for optuna-dashboard.

The note is a section between two markers in the study's own note. The markers are Markdown link
definitions, which are not displayed; text outside them is never changed. Failures of the
dashboard, the storage or the artifact store are returned as sentences, because failing to write a
note must not abort a training run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from optuna import Study

from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.errors import requires
from optuna_metallmix.optuna_access import real_study
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.report.drawing import FigureSpec
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.report.note import render_note
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import describe_error


if TYPE_CHECKING:
    from optuna_metallmix.optuna_access import ArtifactStore

_MARKER = "[//]: # (optuna-metallmix"
BEGIN = f"{_MARKER} begin: written again by the sampler)"
END = f"{_MARKER} end)"


@dataclass
class StudyReport:
    """The report of a suggestion on its study's pages; it can be rewritten.

    Attributes:
        study: The study.
        number: The number of the trial made from the suggestion; ``None`` without one.
        suggestion: The suggestion.
        pictures: The pictures by title: their PNG files, and the ids of their artifacts.
        drawn: The names of the figures on the study's pages.
    """

    study: Study
    number: int | None
    suggestion: Suggestion
    pictures: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)

    def write(self, store: ArtifactStore | None) -> list[str]:
        """Write the pictures, the note and the figures; those written before are replaced.

        Args:
            store: Artifact store for the pictures; ``None`` for no pictures.

        Returns:
            Sentences that state what could not be written, and why.
        """
        problems: list[str] = []
        with _collecting(problems):
            study = _call("note", real_study, self.study)
        if problems:
            return problems
        figures = describe_figures(self.suggestion)
        if store is not None:
            with _collecting(problems):
                for figure in figures:
                    self._write_picture(study, figure, store)
        if failures := self._write_note():
            return problems + failures  # the figures would fail for the same reason
        with _collecting(problems):
            save = _dashboard().save_plotly_graph_object
            for figure in figures:
                options = {"graph_object_id": f"metallmix-{figure.name}"}
                _call("figures", save, study, figure.to_plotly(), **options)
            for name in self.drawn - {figure.name for figure in figures}:
                _call("figures", save, study, _no_figure(), graph_object_id=f"metallmix-{name}")
            self.drawn = {figure.name for figure in figures}
        return problems

    def _write_picture(self, study: Study, figure: FigureSpec, store: ArtifactStore) -> None:
        png = figure.to_png()
        old, outdated = self.pictures.get(figure.title, (b"", ""))
        if png == old:
            return
        artifact = _call("pictures", _upload, study, figure.name, png, store)
        self.pictures[figure.title] = png, artifact
        if outdated:
            _call("pictures", _remove, study, outdated, store)

    def _write_note(self) -> list[str]:
        problems: list[str] = []
        folder = f"/artifacts/{study_id_of(self.study)}"
        addresses = {title: f"{folder}/{id_}" for title, (_, id_) in self.pictures.items()}
        with _collecting(problems):
            write_note(self.study, render_note(self.suggestion, self.number, addresses))
        return problems


def _no_figure() -> Any:
    """Return an empty figure to replace one that no longer holds: none can be removed."""
    import plotly.graph_objects as go

    return go.Figure(layout={"title": "The suggested values of this figure did not run"})


@contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    """Append the message of a deliberate error to ``problems``."""
    try:
        yield
    except MetaLLMiXError as error:
        problems.append(str(error))


def write_note(study: Study, text: str) -> None:
    """Write ``text`` between this package's markers in the study's note.

    Raises:
        MetaLLMiXError: The dashboard is not installed, or the storage failed.
    """
    dashboard = _dashboard()
    study = _call("note", real_study, study)
    note = _call("note", dashboard.get_note, study)
    _call("note", dashboard.save_note, study, merge_note(note, text))


def _dashboard() -> Any:
    failure = "The study's note and figures cannot be written"
    with requires("optuna-dashboard", "plotly", failure=failure):
        import optuna_dashboard

    return optuna_dashboard


def merge_note(note: str, text: str) -> str:
    """Replace this package's section of a note, or add it at the end."""
    # A model or a study may be named like a marker, which then would end the section.
    section = f"{BEGIN}\n\n{text.replace(_MARKER, '[//]: (optuna-metallmix')}\n\n{END}"
    start = note.rfind(BEGIN)  # the last: a marker that a user pasted comes before ours
    end = note.find(END, max(start, 0))
    if 0 <= start < end:
        return note[:start] + section + note[end + len(END) :]
    return f"{note}\n\n{section}" if note else section


def _upload(study: Study, name: str, png: bytes, store: ArtifactStore) -> str:
    """Upload a picture and return its id; remove its entry in the study if that fails.

    Optuna lists an artifact before it writes it, and the dashboard shows a missing file as broken.
    """
    from optuna.artifacts import upload_artifact

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"metallmix-{name}.png")
        path.write_bytes(png)
        listed_before = _listed_artifacts(study)
        try:
            return upload_artifact(artifact_store=store, study_or_trial=study, file_path=str(path))
        except Exception:
            for entry in _listed_artifacts(study) - listed_before:
                storage_of(study).set_study_system_attr(study_id_of(study), entry, "null")
            raise


def _remove(study: Study, artifact: str, store: ArtifactStore) -> None:
    """Remove a picture and its entry in the study."""
    from optuna.artifacts.exceptions import ArtifactNotFound

    storage_of(study).set_study_system_attr(study_id_of(study), f"artifacts:{artifact}", "null")
    with suppress(ArtifactNotFound):
        store.remove(artifact)


def _listed_artifacts(study: Study) -> set[str]:
    """Return the names of the attributes in which Optuna (4.8 to 5.0) lists artifacts."""
    attributes = storage_of(study).get_study_system_attrs(study_id_of(study))
    return {name for name in attributes if name.startswith("artifacts:")}


def _call(what: str, function: Callable[..., Any], *args: object, **options: object) -> Any:
    """Call a function that uses the storage, the artifact store or the disk.

    Raises:
        MetaLLMiXError: The function raised an exception.
    """
    try:
        return function(*args, **options)
    except Exception as error:  # any: it depends on the storage and the artifact store
        raise MetaLLMiXError(
            f"The study's {what} could not be written, because of {describe_error(error)}. "
            "Check that the storage, the artifact store and the disk are writable, or "
            "run: pip install --upgrade optuna-dashboard"
        ) from error


def save_figures(suggestion: Suggestion, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Save a suggestion's figures as PNG and HTML files.

    The PNG files are ``effects.png``, ``suggestion.png``, ``dependence.png`` and ``studies.png``.
    The HTML files (``metallmix-effects.html``, ...) are interactive and need no network: they
    share a copy of plotly (``plotly.min.js``, 4 MB) in the same folder.

    Args:
        suggestion: The suggestion. It has no figures without past studies.
        folder: The folder, created if missing; files of the same names are replaced.

    Returns:
        The paths of the figures.

    Raises:
        MetaLLMiXError: matplotlib or plotly is not installed.
        OSError: The folder or a file cannot be written.
    """
    directory = Path(folder)
    directory.mkdir(parents=True, exist_ok=True)
    figures = describe_figures(suggestion)
    pictures = [directory / f"{figure.name}.png" for figure in figures]
    for figure, path in zip(figures, pictures, strict=True):
        path.write_bytes(figure.to_png())
    pages = [directory / f"metallmix-{figure.name}.html" for figure in figures]
    for figure, path in zip(figures, pages, strict=True):
        figure.to_plotly().write_html(path, include_plotlyjs="directory")
    return (*pictures, *pages)
