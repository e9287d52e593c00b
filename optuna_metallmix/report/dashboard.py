"""note, figures and pictures -> a study, where optuna-dashboard shows them.

The one room that knows optuna-dashboard. Its notes render no HTML (0.21), so the markers are link
definitions, which Markdown does not show. What stands outside of them is a person's, and is kept
byte for byte. All is other people's code and other people's disks: what cannot be written is told
in a sentence.
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
from optuna_metallmix.report.note import render_note
from optuna_metallmix.report.plotly_figures import interactive_figures
from optuna_metallmix.report.png_figures import Picture
from optuna_metallmix.report.png_figures import PictureError
from optuna_metallmix.report.png_figures import draw_pictures
from optuna_metallmix.suggestion import Suggestion


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore
    from plotly.graph_objects import Figure

BEGIN = "[//]: # (optuna-metallmix begin: written again by the sampler)"
END = "[//]: # (optuna-metallmix end)"

_ARTIFACTS = "artifacts:"
"""How Optuna (4.8 to 5.0) and the dashboard begin the names of artifacts' attributes."""
_ABSENT = (
    "The study's note and figures were not written, because optuna-dashboard is not installed: "
    "pip install optuna-dashboard."
)


class _WritingError(MetaLLMiXError):
    """Something of other people's could not read or write."""


def write_note(study: Study, text: str) -> str | None:
    """Put ``text`` between this package's markers in the study's note.

    Returns:
        Why the note could not be written, as a sentence; ``None`` where it was.
    """
    try:
        from optuna_dashboard import get_note
        from optuna_dashboard import save_note
    except ImportError:
        return _ABSENT
    study = real_study(study)
    try:
        note = _ask("note", get_note, study)
        _ask("note", save_note, study, merge_note(note, text))
    except _WritingError as error:
        return str(error)
    return None


def write_figures(study: Study, figures: Mapping[str, Figure]) -> str | None:
    """Put figures on the study's page, by id; one with the same id is replaced.

    Returns:
        Why one could not be written, as a sentence; ``None`` where all were.
    """
    try:
        from optuna_dashboard import save_plotly_graph_object
    except ImportError:
        return _ABSENT
    study = real_study(study)
    try:
        for name, figure in figures.items():
            _ask("figures", save_plotly_graph_object, study, figure, graph_object_id=name)
    except _WritingError as error:
        return str(error)
    return None


def write_pictures(
    study: Study, pictures: tuple[Picture, ...], store: ArtifactStore
) -> tuple[dict[str, str], str | None]:
    """Put pictures into an artifact store, as artifacts of the study.

    Returns:
        The addresses by title at which the dashboard serves those that were written; and why one
        could not be, as a sentence, or ``None``.
    """
    study = real_study(study)
    addresses: dict[str, str] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for picture in pictures:
                path = Path(folder, f"metallmix-{picture.name}.png")
                _ask("pictures", path.write_bytes, picture.png)
                found = _upload(study, path, store)
                addresses[picture.title] = f"/artifacts/{study_id_of(study)}/{found}"
        except _WritingError as error:
            return addresses, str(error)
    return addresses, None


def _upload(study: Study, path: Path, store: ArtifactStore) -> str:
    """Upload a file, and take back what Optuna announces before it writes: where that fails, the
    dashboard would show it as broken."""
    from optuna.artifacts import upload_artifact

    options = {"artifact_store": store, "study_or_trial": study, "file_path": str(path)}
    before = _ask("pictures", _artifacts, study)
    try:
        return str(_ask("pictures", upload_artifact, **options))
    except _WritingError:
        storage, key = storage_of(study), study_id_of(study)
        for announced in _ask("pictures", _artifacts, study) - before:
            _ask("pictures", storage.set_study_system_attr, key, announced, json.dumps(None))
        raise


def merge_note(note: str, text: str) -> str:
    """Replace this package's section of a note, or add one at the end."""
    section = f"{BEGIN}\n\n{text}\n\n{END}"
    start = note.rfind(BEGIN)  # a marker that a person pasted or left over stands before ours
    end = note.find(END, max(start, 0))
    if 0 <= start < end:
        return note[:start] + section + note[end + len(END) :]
    return f"{note}\n\n{section}" if note else section


def _ask(what: str, call: Callable[..., Any], *args: object, **options: object) -> Any:
    """Call one function of other people's, and nothing of ours: a bug here is to show."""
    try:
        return call(*args, **options)
    except Exception as error:  # Other people's code: a note is not worth a training.
        who = (call.__module__ or "the disk").partition(".")[0].replace("_", "-")
        raise _WritingError(
            f"The study's {what} could not be written, because {who} raised "
            f"{type(error).__name__} ({error}): check that the storage, the artifact store and "
            "the disk can be written, and pip install --upgrade optuna-dashboard."
        ) from error


def _artifacts(study: Study) -> set[str]:
    """Return the names of the attributes that tell of a study's artifacts."""
    attributes = storage_of(study).get_study_system_attrs(study_id_of(study))
    return {one for one in attributes if one.startswith(_ARTIFACTS)}


_NO_PLOTLY = (
    "The study's figures were not drawn, because plotly is not installed: "
    'pip install "optuna-metallmix[dashboard]".'
)


@dataclass
class StudyReport:
    """One suggestion on its study's pages; it may be written again.

    Attributes:
        study: The study.
        number: The trial that is made from the suggestion.
        suggestion: The suggestion.
        projected: The values that the objective did not allow: (suggested, used) by name.
        addresses: Where the dashboard serves the pictures, by title.
    """

    study: Study
    number: int
    suggestion: Suggestion
    projected: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)

    def write(self, store: ArtifactStore | None) -> list[str]:
        """Write pictures, note and figures.

        Returns:
            What could not be written and why, in sentences.
        """
        problems = [] if store is None else self._write_pictures(store)
        if problem := self.write_note():
            return [*problems, problem]  # the figures go the same way
        try:
            figures = interactive_figures(self.suggestion)
        except ImportError:
            return [*problems, _NO_PLOTLY]
        problem = write_figures(self.study, figures)
        return [*problems, problem] if problem else problems

    def write_note(self) -> str | None:
        """Write the note alone, or again; returns why it could not be."""
        note = render_note(self.suggestion, self.number, self.projected, self.addresses)
        return write_note(self.study, note)

    def _write_pictures(self, store: ArtifactStore) -> list[str]:
        try:
            pictures = draw_pictures(self.suggestion)
        except PictureError as error:
            return [str(error)]
        self.addresses, problem = write_pictures(self.study, pictures, store)
        return [problem] if problem else []


def save_figures(suggestion: Suggestion, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Save a suggestion's figures as files.

    Each as a picture (``effects.png``, ``suggestion.png``, ``dependence.png``, ``studies.png``)
    and to look into with a browser (``metallmix-effects.html``, ...), which needs no network: the
    library it uses is put beside it (``plotly.min.js``, 4 MB).

    Args:
        suggestion: The suggestion. Without a past it has no figures.
        folder: Where to; it is made, and files of the same names are replaced.

    Returns:
        The files' paths.

    Raises:
        MetaLLMiXError: shap, matplotlib or plotly is not installed.
        OSError: The folder or a file cannot be written.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for picture in draw_pictures(suggestion):
        written.append(place / f"{picture.name}.png")
        written[-1].write_bytes(picture.png)
    try:
        figures = interactive_figures(suggestion)
    except ImportError as error:
        raise PictureError(_NO_PLOTLY) from error
    for name, figure in figures.items():
        written.append(place / f"{name}.html")
        figure.write_html(written[-1], include_plotlyjs="directory")
    return tuple(written)
