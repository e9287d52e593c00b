"""Write a suggestion's note, figures and pictures where optuna-dashboard shows them.

The note is a section between two markers in the study's own note. The markers are Markdown link
definitions, which are not displayed; text outside them is never changed. Failures of the
dashboard, the storage or the artifact store are returned as sentences, since a note is not worth
a training.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from optuna import Study

from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.optuna_access import real_study
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.report.figures import PictureError
from optuna_metallmix.report.note import render_note
from optuna_metallmix.report.plotly_figures import interactive_figures
from optuna_metallmix.report.png_figures import draw_pictures
from optuna_metallmix.suggestion import Suggestion


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from optuna_metallmix.optuna_access import ArtifactStore

BEGIN = "[//]: # (optuna-metallmix begin: written again by the sampler)"
END = "[//]: # (optuna-metallmix end)"

_ARTIFACTS = "artifacts:"
"""Prefix of the attributes in which Optuna (4.8 to 5.0) lists a study's artifacts."""


class _WriteError(MetaLLMiXError):
    """The dashboard is missing, or it, the storage, the artifact store or the disk failed."""


@dataclass
class StudyReport:
    """The report of a suggestion on its study's pages; it can be written again.

    Attributes:
        study: The study.
        number: The number of the trial made from the suggestion.
        suggestion: The suggestion.
        projected: The values outside the objective's own space: (suggested, used) by name.
        addresses: Where the dashboard serves the pictures, by title.
    """

    study: Study
    number: int
    suggestion: Suggestion
    projected: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def write(self, store: ArtifactStore | None) -> list[str]:
        """Write the pictures, the note and the figures.

        Args:
            store: Where to put the pictures; ``None`` for no pictures.

        Returns:
            What could not be written and why, in sentences.
        """
        problems = []
        try:
            if store is not None:
                self._write_pictures(store)
        except (PictureError, _WriteError) as error:
            problems.append(str(error))
        if problem := self.write_note():
            return [*problems, problem]  # the figures would fail for the same reason
        try:
            write_figures(self.study, interactive_figures(self.suggestion))
        except (PictureError, _WriteError) as error:
            problems.append(str(error))
        return problems

    def write_note(self) -> str | None:
        """Write only the note; return why it could not be written, or ``None``."""
        note = render_note(self.suggestion, self.number, self.projected, self.addresses)
        try:
            write_note(self.study, note)
        except _WriteError as error:
            return str(error)
        return None

    def _write_pictures(self, store: ArtifactStore) -> None:
        """Upload the pictures as artifacts of the study, which the dashboard serves."""
        study = real_study(self.study)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for picture in draw_pictures(self.suggestion):
                path = Path(folder, f"metallmix-{picture.name}.png")
                _call("pictures", path.write_bytes, picture.png)
                artifact = _upload(study, path, store)
                self.addresses[picture.title] = f"/artifacts/{study_id_of(study)}/{artifact}"


def write_note(study: Study, text: str) -> None:
    """Write ``text`` between this package's markers in the study's note."""
    dashboard = _dashboard()
    study = real_study(study)
    note = _call("note", dashboard.get_note, study)
    _call("note", dashboard.save_note, study, merge_note(note, text))


def write_figures(study: Study, figures: Mapping[str, Figure]) -> None:
    """Write figures by id to the study's page; a figure with the same id is replaced."""
    save = _dashboard().save_plotly_graph_object
    for name, figure in figures.items():
        _call("figures", save, real_study(study), figure, graph_object_id=name)


def _dashboard() -> Any:
    try:
        import optuna_dashboard
    except ImportError as error:
        raise _WriteError(
            "The study's note and figures were not written, because optuna-dashboard is not "
            "installed. Run: pip install optuna-dashboard"
        ) from error
    return optuna_dashboard


def merge_note(note: str, text: str) -> str:
    """Replace this package's section of a note, or add it at the end."""
    section = f"{BEGIN}\n\n{text}\n\n{END}"
    start = note.rfind(BEGIN)  # the last: a marker that a user pasted comes before ours
    end = note.find(END, max(start, 0))
    if 0 <= start < end:
        return note[:start] + section + note[end + len(END) :]
    return f"{note}\n\n{section}" if note else section


def _upload(study: Study, path: Path, store: ArtifactStore) -> str:
    """Upload a file; remove its entry in the study if that fails.

    Optuna lists an artifact before it writes it, and the dashboard shows a missing file as broken.
    """
    from optuna.artifacts import upload_artifact

    options = {"artifact_store": store, "study_or_trial": study, "file_path": str(path)}
    before = _call("pictures", _listed_artifacts, study)
    try:
        return str(_call("pictures", upload_artifact, **options))
    except _WriteError:
        storage, key = storage_of(study), study_id_of(study)
        for entry in _call("pictures", _listed_artifacts, study) - before:
            _call("pictures", storage.set_study_system_attr, key, entry, json.dumps(None))
        raise


def _listed_artifacts(study: Study) -> set[str]:
    attributes = storage_of(study).get_study_system_attrs(study_id_of(study))
    return {name for name in attributes if name.startswith(_ARTIFACTS)}


def _call(what: str, function: Callable[..., Any], *args: object, **options: object) -> Any:
    """Call a function that is not ours, so that only its exceptions become a sentence.

    Raises:
        _WriteError: The function raised an exception.
    """
    try:
        return function(*args, **options)
    except Exception as error:  # any: it depends on the storage and the artifact store
        package = (function.__module__ or "the disk").partition(".")[0].replace("_", "-")
        raise _WriteError(
            f"The study's {what} could not be written, because {package} raised "
            f"{type(error).__name__} ({error}). Check that the storage, the artifact store and "
            "the disk are writable, or run: pip install --upgrade optuna-dashboard"
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
    paths: list[Path] = []
    for picture in draw_pictures(suggestion):
        paths.append(directory / f"{picture.name}.png")
        paths[-1].write_bytes(picture.png)
    for name, figure in interactive_figures(suggestion).items():
        paths.append(directory / f"{name}.html")
        figure.write_html(paths[-1], include_plotlyjs="directory")
    return tuple(paths)
