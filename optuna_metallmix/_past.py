"""study + where its past is -> the past studies, without the study itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from optuna import Study

from optuna_metallmix._history import History
from optuna_metallmix._history import read_history
from optuna_metallmix._optuna_access import same_storage
from optuna_metallmix._optuna_access import storage_of
from optuna_metallmix._optuna_access import study_id_of
from optuna_metallmix._source import Source
from optuna_metallmix._source import open_source


def read_past(study: Study, source: Source | None, names: Sequence[str] | None) -> History:
    """Read the past of ``study``: from ``source``, by default from the study's own storage.

    Raises:
        HistoryError: It cannot be read, or has no study of one of ``names``.
    """
    own = storage_of(study)
    storage = own if source is None else open_source(source)
    is_own = same_storage(storage, own)
    exclude = study_id_of(study) if is_own else None
    return replace(read_history(storage, names=names, exclude=exclude), is_own_storage=is_own)
