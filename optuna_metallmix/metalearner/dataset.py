"""Build the table of past trials that the meta-learner is fitted on.

It has one row per past trial and one column per parameter of the search space. Meta-features are
not among the columns: with few past studies they merely identify a study (mean regret of the first
pick on Quick-Tune: .27 with them, .18 without; measured 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.fork_lock import cached_property
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import PastTrial
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of


if TYPE_CHECKING:
    import pandas as pd


SCORE_POWER = 3
"""Power of a trial's rank that is used as its score, to weight differences among the best trials.
(Regret of the first pick with cubed ranks, and with their mean with scaled regrets: LCBench .43
and .43, with pasts made by TPE .19 and .30; XGBoost .36 and .46, with pasts made by TPE .33 and
.31. With cubed ranks, and with ranks or scaled regrets as chosen by held-out studies: HPOLib .19
and .18, Quick-Tune .06 and .07, MedMNIST+ 1.3 and 1.5, HPOBench, NAS-Bench-201, LCBench and
XGBoost the same within .01; measured 2026-11.)"""
MAX_STUDIES = 150
"""Maximum number of studies. (Regret with 3, 10 and 25 past studies on LCBench: .47, .35 and .35;
measured 2026-11.)"""
MAX_TRIALS = 300
"""Maximum number of trials of a study, evenly spaced from the best to the worst. (Regret of the
best of five picks on Quick-Tune with 100 and 300: .05 and .03; measured 2026-11.)"""
MAX_VALUES = 1_000_000
"""Maximum number of values, rows times columns, unless studies get fewer than 20 rows each."""
MIN_TRIALS = 20
"""Number of trials of a study that are kept however many values there are."""
FULL_WEIGHT = 10
"""Number of trials from which a study has its full weight. Three trials have a best and a worst,
too, but tell little: the weight grows like the number of comparisons between trials."""

NO_PAST = (
    "There are no past studies to learn from. Run a few related studies first, or pass a storage "
    "that has some as `source_storage`."
)

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class MetaDataset:
    """Past trials as training data for a meta-learner.

    Attributes:
        space: Search space; its order is the order of the columns.
        configs: Past configurations, shape (n_rows,).
        scores: Cubed ranks within each study, shape (n_rows,): 1 for the best trial of a study,
            1/8 for the median, 0 for the worst.
        groups: Index of each row's study in ``studies``, shape (n_rows,).
        studies: Study names, shape (n_studies,).
        seconds: Training times in seconds, shape (n_rows,); NaN if unknown.
    """

    space: SearchSpace
    configs: tuple[Config, ...]
    scores: NDArray[np.float64]
    groups: NDArray[np.int64]
    studies: tuple[str, ...]
    seconds: NDArray[np.float64]

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each study, shape (n_studies,), in [0, 1]; 0 without rows."""
        n_rows = np.bincount(self.groups, minlength=len(self.studies))
        return np.minimum(n_rows / FULL_WEIGHT, 1.0) ** 2

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The configurations as a data frame, see :func:`to_frame`."""
        return to_frame(self.space, self.configs)

    @cached_property
    def is_active(self) -> NDArray[np.bool_]:
        """Whether a row has a parameter, shape (n_rows, len(space))."""
        return np.array([[name in config for name in self.space] for config in self.configs])

    @property
    def n_studies(self) -> int:
        """Number of studies with at least one row."""
        return len(np.unique(self.groups))

    def restricted(self, names: Sequence[str]) -> MetaDataset:
        """Keep only the columns ``names``."""
        return replace(self, space={name: self.space[name] for name in names})

    def thinned(self, n_max: int) -> MetaDataset:
        """Keep evenly spaced rows, about ``n_max`` in total and at least 20 of each study.

        With up to :data:`MAX_STUDIES` studies, these are at most 3,000 rows.
        """
        n_rows = max(MIN_TRIALS, n_max // self.n_studies)
        by_study = [np.flatnonzero(self.groups == study) for study in np.unique(self.groups)]
        kept = np.concatenate([rows[evenly_spaced(len(rows), n_rows)] for rows in by_study])
        return replace(
            self,
            configs=tuple(self.configs[i] for i in kept),
            scores=self.scores[kept],
            groups=self.groups[kept],
            seconds=self.seconds[kept],
        )


def limit_studies(history: History, space: SearchSpace) -> History:
    """Keep the :data:`MAX_STUDIES` studies to learn from, and say how many others are left out.

    The target study comes first, then those with a parameter of ``space``, then those with at
    least :data:`FULL_WEIGHT` trials, then the latest.
    """
    n_excess = len(history.studies) - MAX_STUDIES
    if n_excess <= 0:
        return history

    def key(item: tuple[int, PastStudy]) -> tuple[bool, bool, bool, int]:
        i, study = item
        is_related = not space.keys().isdisjoint(study.space)
        return study.is_target, is_related, len(study.trials) >= FULL_WEIGHT, i

    kept = sorted(sorted(enumerate(history.studies), key=key)[n_excess:])
    reason = (
        f"a suggestion learns from at most {MAX_STUDIES} studies: those with {FULL_WEIGHT} trials "
        "or more first, and of these the latest"
    )
    return replace(
        history,
        studies=tuple(study for _, study in kept),
        left_out={**history.left_out, f"{n_excess:,} more studies": reason},
    )


def max_trials(n_studies: int, space: SearchSpace) -> int:
    """Return the maximum number of trials of each of ``n_studies`` studies."""
    n_values = max(n_studies * len(space), 1)
    return min(MAX_TRIALS, max(MIN_TRIALS, MAX_VALUES // n_values))


def build_meta_dataset(history: History, space: SearchSpace) -> MetaDataset:
    """Build the training data for ``space`` from past trials.

    Parameters that are not in ``space`` are dropped, and so are non-numeric values of ordered
    parameters. The rows of a study are consecutive, best first. The size is limited, see
    :func:`limit_studies` and :func:`max_trials`.

    Raises:
        HistoryError: There are no past studies, or none has a parameter of ``space``.
    """
    if not history.studies:
        raise HistoryError(NO_PAST)
    studies = limit_studies(history, space).studies
    n_max = max_trials(len(studies), space)
    rows = [
        (config, trial.rank**SCORE_POWER, group, trial.seconds)
        for group, study in enumerate(studies)
        for config, trial in _usable_trials(study, space, n_max)
    ]
    if not rows:
        raise HistoryError(
            "There is no past trial with a parameter of this search space. Run a few related "
            "studies first, or pass a storage that has some as `source_storage`."
        )
    configs, scores, groups, seconds = zip(*rows, strict=True)
    return MetaDataset(
        space=space,
        configs=configs,
        scores=np.array(scores, float),
        groups=np.array(groups, np.int64),
        studies=tuple(study.name for study in studies),
        seconds=np.array(seconds, float),  # None becomes NaN
    )


def to_frame(space: SearchSpace, configs: Sequence[Config]) -> pd.DataFrame:
    """Encode configurations as a data frame, shape (len(configs), len(space)).

    Ordered parameters become floats in single precision, as in CatBoost, NaN if inactive; all
    others become strings, :data:`ABSENT` if inactive. CatBoost handles choices that it has not
    seen in training.
    """
    import pandas as pd

    return pd.DataFrame({_column_name(name): _column(space, name, configs) for name in space})


def to_rows(space: SearchSpace, configs: Sequence[Config]) -> list[tuple[float | str, ...]]:
    """Encode configurations as the rows of :func:`to_frame`.

    For a few dozen rows, CatBoost reads them in a hundredth of the time of a data frame.
    """
    columns = (_column(space, name, configs) for name in space)
    return list(zip(*(c if isinstance(c, list) else c.tolist() for c in columns), strict=True))


def _column(
    space: SearchSpace, name: str, configs: Sequence[Config]
) -> NDArray[np.float32] | list[str]:
    if not is_ordered(space[name]):
        return labels_of(space[name], [config.get(name, ABSENT) for config in configs])
    values = [config.get(name) for config in configs]
    numbers = np.array([v if is_number(v) else np.nan for v in values], float)
    with np.errstate(all="ignore"):  # the smallest numbers become 0
        return numbers.clip(-_LARGEST, _LARGEST).astype(np.float32)


def categorical_columns(space: SearchSpace) -> list[str]:
    """Return the names of the columns that :func:`to_frame` encodes as strings."""
    return [_column_name(name) for name, dist in space.items() if not is_ordered(dist)]


def _column_name(name: str) -> str:
    """Return a name that UTF-8 can hold, as data frames need: one may have a lone surrogate."""
    return name if name.isascii() or name.encode(errors="ignore").decode() == name else ascii(name)


def evenly_spaced(n_items: int, n_max: int) -> NDArray[np.int64]:
    """Return up to ``n_max`` evenly spaced indices of ``n_items``, from the first to the last."""
    return np.linspace(0, n_items - 1, min(n_items, n_max)).round().astype(np.int64)


def _usable_trials(
    study: PastStudy, space: SearchSpace, n_max: int
) -> list[tuple[Config, PastTrial]]:
    """Return evenly spaced trials that have a parameter of ``space``, with their parameters."""
    ordered = {name: is_ordered(distribution) for name, distribution in space.items()}
    usable = [t for t in study.trials if any(True for _ in _usable_names(t.params, ordered))]
    kept = [usable[i] for i in evenly_spaced(len(usable), n_max)]
    return [(_usable_params(trial.params, ordered), trial) for trial in kept]


def _usable_params(params: Config, ordered: Mapping[str, bool]) -> Config:
    names = list(_usable_names(params, ordered))
    if len(names) == len(params):
        return params  # equal ones need no more memory
    return {name: params[name] for name in names}


def _usable_names(params: Config, ordered: Mapping[str, bool]) -> Iterator[str]:
    for name, value in params.items():
        if name in ordered and (not ordered[name] or is_number(value)):
            yield name
