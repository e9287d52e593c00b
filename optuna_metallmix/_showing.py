"""suggestion -> what people see of it: note and figures on the study, files in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from optuna import Study

from optuna_metallmix._dashboard import write_figures
from optuna_metallmix._dashboard import write_note
from optuna_metallmix._dashboard import write_pictures
from optuna_metallmix._interactive import interactive_figures
from optuna_metallmix._pictures import PictureError
from optuna_metallmix._pictures import draw_pictures
from optuna_metallmix._report import render_note
from optuna_metallmix._suggested import Suggestion


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

_NO_PLOTLY = (
    "The study's figures were not drawn, because plotly is not installed: "
    'pip install "optuna-metallmix[dashboard]".'
)


@dataclass
class Showing:
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
