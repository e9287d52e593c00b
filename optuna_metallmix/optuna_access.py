"""study, trial -> storage and ids: every private name of Optuna that this package touches.

A sampler is handed a study whose storage and ids are private attributes, and under
``HyperbandPruner`` that study is a stand-in with little else
(``optuna/pruners/_hyperband.py``, ``_BracketStudy``, 4.8 to 5.0). The methods called on the
storage are public (:class:`optuna.storages.BaseStorage`).
"""

from __future__ import annotations

from pathlib import Path

from optuna import Study
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy as FrozenStudy
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


PREFERENTIAL_ATTR = "preference:is_preferential"
"""System attribute by which optuna-dashboard (0.21) marks a preferential study."""


def storage_of(study: Study) -> BaseStorage:
    """Return the storage that ``study`` lives in."""
    return study._storage


def study_id_of(study: Study) -> int:
    """Return the id of ``study`` in its storage."""
    return study._study_id


def frozen_id(study: FrozenStudy) -> int:
    """Return the id of one of ``storage.get_all_studies()``."""
    return study._study_id


def study_key(study: Study) -> tuple[str, str, int]:
    """Return what tells ``study`` apart from the others one sampler object serves.

    Names and ids begin anew in each storage; and in memory only the object tells storages apart.
    """
    place = _place(storage_of(study)) or f"in memory {id(storage_of(study))}"
    return place, study.study_name, study._study_id


def trial_id_of(trial: FrozenTrial) -> int:
    """Return the id of ``trial`` in its storage."""
    return trial._trial_id


def trial_key(study: Study, trial: FrozenTrial) -> tuple[str, str, int, int]:
    """Return what tells ``trial`` apart from all others one sampler object serves."""
    return (*study_key(study), trial._trial_id)


def real_study(study: Study) -> Study:
    """Return an ordinary study also where Hyperband hands over a stand-in."""
    return Study(study_name=study.study_name, storage=study._storage)


def is_single_objective(study: Study) -> bool:
    """Tell whether ``study`` has exactly one direction, maximise or minimise."""
    directions = study.directions
    return len(directions) == 1 and directions[0] is not StudyDirection.NOT_SET


def all_trials(study: Study) -> list[FrozenTrial]:
    """Return all trials of ``study``, not copied: they are read, never changed."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Tell whether a person fixed the trial's values with ``enqueue_trial``."""
    return trial.state is TrialState.WAITING or "fixed_params" in trial.system_attrs


def same_storage(first: BaseStorage, second: BaseStorage) -> bool:
    """Tell whether two storage objects hold the same studies."""
    place = _place(first)
    return first is second or (place is not None and place == _place(second))


def _place(storage: BaseStorage) -> str | None:
    """Return what is the same for all objects of one storage; ``None`` where nothing is."""
    backend = getattr(storage, "_backend", storage)
    file = getattr(backend, "_file_path", None)
    if isinstance(backend, RDBStorage):
        url = backend.engine.url
        if url.get_backend_name() != "sqlite":
            return url.render_as_string(hide_password=False)
        file = None if url.database in (None, "", ":memory:") else url.database
    return None if file is None else str(Path(file).resolve())


def describe_storage(storage: BaseStorage) -> str:
    """Return what a person calls ``storage``: its kind, and its place where it has one."""
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        return repr(backend.engine.url)
    if isinstance(storage, JournalStorage):
        return str(getattr(backend, "_file_path", type(backend).__name__))
    return type(storage).__name__


def is_feasible(trial: FrozenTrial) -> bool:
    """Tell whether no constraint of the trial is violated: each at most 0 (Optuna 4 and 5)."""
    constraints = trial.system_attrs.get("constraints") or ()
    named = [v for k, v in trial.system_attrs.items() if k.startswith("constraints:")]
    return all(value <= 0 for value in [*constraints, *named])
