"""The shipped pasts as storages that are read, never written."""

from __future__ import annotations

from collections.abc import Container
from copy import deepcopy as copy_of
from functools import lru_cache
from pathlib import Path
from typing import Any
from typing import NoReturn

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.optuna_access import FrozenStudy
from optuna_metallmix.shipped.packed_studies import read_studies
from optuna_metallmix.shipped.parameters import LIBRARIES
from optuna_metallmix.shipped.parameters import PREFIX


_FOLDER = Path(__file__).parent / "data"


@lru_cache
def shipped_past(library: str) -> ShippedPast:
    """Return the past that comes with the package for a library, to learn from on the first day.

    Its studies are one for each of some 60 public data sets, with 100 trials of the library's
    parameters; the value is the area under the ROC curve, or R2 in a regression, of three folds.
    The repository's ``studies/README.md`` says what was recorded and how.

    Args:
        library: ``"lightgbm"``, ``"xgboost"``, ``"catboost"``, or of scikit-learn
            ``"random-forest"``, ``"svm"``, ``"mlp"`` or ``"logistic-regression"``.

    Returns:
        A storage to pass as ``source_storage``, the same object for the same library; so is
        ``source_storage="shipped:lightgbm"``. Copy studies from it by ``optuna.copy_study``.

    Raises:
        ValueError: There is no such past.
    """
    if library not in LIBRARIES:
        known = ", ".join(repr(name) for name in LIBRARIES)
        raise ValueError(f"There is no shipped past {library!r}. There are: {known}.")
    return ShippedPast(library)


class ShippedPast(BaseStorage):
    """A read-only storage with the studies of a library; see :func:`shipped_past`.

    Attributes:
        library: Its name in :data:`LIBRARIES`.
    """

    def __init__(self, library: str) -> None:
        self.library = library
        self._studies = tuple(read_studies(_FOLDER / f"tabular-{library}.jsonl.gz"))
        self._trials = [trial for study in self._studies for trial in study.trials]

    def __repr__(self) -> str:
        return f"{PREFIX}{self.library}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """A copy, also in another process, is that process's own object."""
        return shipped_past, (self.library,)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies in the order of the file; a study's id is its position."""
        directions = [StudyDirection.MAXIMIZE]
        return [
            FrozenStudy(study.name, None, dict(study.attributes), {}, i, directions=directions)
            for i, study in enumerate(self._studies)
        ]

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study; raise KeyError if there is none of that name."""
        for i, study in enumerate(self._studies):
            if study.name == study_name:
                return i
        raise KeyError(f"{self!r} has no study {study_name!r}.")

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return self._studies[self._check(study_id)].name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return that values are to be maximized."""
        self._check(study_id)
        return [StudyDirection.MAXIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the meta-features of the data set, its source, and how it was recorded."""
        return dict(self._studies[self._check(study_id)].attributes)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return that there are none."""
        self._check(study_id)
        return {}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a copy of a trial; raise KeyError if there is none of that id."""
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"{self!r} has no trial with id {trial_id}.")
        return copy_of(self._trials[trial_id])

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of a study in the order of their numbers."""
        trials = self._studies[self._check(study_id)].trials
        found = [trial for trial in trials if states is None or trial.state in states]
        return copy_of(found) if deepcopy else found

    def _check(self, study_id: int) -> int:
        if not 0 <= study_id < len(self._studies):
            raise KeyError(f"{self!r} has no study with id {study_id}.")
        return study_id

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        """Raise HistoryError, because the past is read-only."""
        raise HistoryError(
            f"The shipped past {self.library!r} is read-only. Pass it as `source_storage` of the "
            'sampler, and give your study a storage of its own, such as "sqlite:///hpo.db".'
        )

    create_new_study = _refuse
    delete_study = _refuse
    set_study_user_attr = _refuse
    set_study_system_attr = _refuse
    create_new_trial = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_user_attr = _refuse
    set_trial_system_attr = _refuse
