"""Make a past study of runs that were recorded elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_history
from optuna_metallmix.importer.outcomes import States
from optuna_metallmix.importer.outcomes import Times
from optuna_metallmix.importer.outcomes import find_value_column
from optuna_metallmix.importer.outcomes import read_states
from optuna_metallmix.importer.outcomes import read_times
from optuna_metallmix.importer.outcomes import read_values
from optuna_metallmix.importer.parameters import Parameters
from optuna_metallmix.importer.parameters import find_parameters
from optuna_metallmix.importer.parameters import read_parameters
from optuna_metallmix.importer.table import MISSING
from optuna_metallmix.importer.table import Table
from optuna_metallmix.importer.table import read_table
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.progress import status_line
from optuna_metallmix.settings import check_features
from optuna_metallmix.space import describe
from optuna_metallmix.space import label_of
from optuna_metallmix.space import middle
from optuna_metallmix.space import value_key
from optuna_metallmix.text import format_number
from optuna_metallmix.text import hide_passwords


if TYPE_CHECKING:
    from pandas import DataFrame

_logger = optuna.logging.get_logger("optuna.metallmix")

_RUN_IDS = ("run_id", "run_uuid", "trial_id")
"""Columns of MLflow and Ray Tune that identify a run."""
_STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_MEANINGS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned if there is a value",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "left out",
    None: "complete if there is a value",
}
_SQLITE, _JOURNAL = (".db", ".sqlite", ".sqlite3"), (".jsonl", ".journal", ".log")


@dataclass(frozen=True)
class ImportedRuns:
    """Runs as they were understood.

    Attributes:
        trials: A finished trial for each run, in the order in which they started.
        direction: Whether larger or smaller values are better.
        value: The column of the objective value.
        parameters: The parameters.
        states: How the runs ended.
        times: When they took place.
        n_rows: The number of rows in the table.
        left_out: The number of rows that are not imported, by the reason.
        n_without_value: The number of failed trials whose runs finished without a finite value.
    """

    trials: list[FrozenTrial]
    direction: StudyDirection
    value: str
    parameters: Parameters
    states: States
    times: Times
    n_rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    n_without_value: int = 0

    def summarize(self) -> str:
        """Return one sentence: how many runs were imported."""
        counts = Counter(_STATE_NAMES[trial.state] for trial in self.trials)
        without = f" ({self.n_without_value} finished without {self.value})"
        details = {"failed": without} if self.n_without_value else {}
        parts = [f"{n} {state}{details.get(state, '')}" for state, n in counts.most_common()]
        parts += [f"{n} left out ({reason})" for reason, n in self.left_out.items()]
        return f"{len(self.trials)} of {self.n_rows} runs: {', '.join(parts)}."

    def describe(self) -> str:
        """Return what was understood, one line for each column that is used."""
        lines = [
            ("value", f"{self.value} ({self.direction.name.lower()})"),
            ("state", self._describe_states()),
            ("duration", self._describe_times()),
            *(("parameter", line) for line in self._describe_parameters()),
            *(("left out", f"{n}: {why}") for n, why in self.parameters.left_out.items()),
            ("runs", self.summarize()),
        ]
        return "\n".join(f"{label:<10} {text}" for label, text in lines)

    def _describe_states(self) -> str:
        if self.states.column is None:
            return "no column; runs without a finite value failed"
        words = [f"{word} -> {_MEANINGS[state]}" for word, state in self.states.by_word.items()]
        return f"{self.states.column}: {', '.join(words)}"

    def _describe_times(self) -> str:
        durations = [trial.duration for trial in self.trials if trial.duration]
        seconds = sorted(duration.total_seconds() for duration in durations)
        if not seconds:
            return "unknown"
        shown = [format_number(s) for s in (seconds[0], median(seconds), seconds[-1])]
        return f"{self.times.source}: {shown[0]} to {shown[2]} seconds, median {shown[1]}"

    def _describe_parameters(self) -> Iterator[str]:
        for name, distribution in self.parameters.space.items():
            n_runs = sum(name in trial.params for trial in self.trials)
            sometimes = f", in {n_runs} runs" if n_runs < len(self.trials) else ""
            columns = ", ".join(self.parameters.columns[name])
            yield f"{name} ({columns}): {_describe(distribution)}{sometimes}"


def _describe(distribution: BaseDistribution) -> str:
    if distribution.single():
        return f"always {label_of(distribution, middle(distribution))}"
    return describe(distribution)


def study_from_dataframe(
    frame: DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    params: str | Iterable[str] | None = None,
    value: str | None = None,
    direction: str | StudyDirection | None = None,
    storage: Source | None = None,
    name: str | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    meta_features: MetaFeatures | None = None,
    aliases: Mapping[str, str] | None = None,
    state: str | None = None,
    duration: str | None = None,
    skip_without_value: bool = False,
) -> Study:
    """Create a past study from runs that were recorded elsewhere.

    Each row of ``frame`` is a run, as MLflow's ``search_runs()``, exports of W&B, Ray Tune's
    ``get_dataframe()``, scikit-learn's ``cv_results_`` and Optuna's ``trials_dataframe()`` have
    it. Numbers may be text. An empty cell is a parameter that the run does not have. Runs that
    have not finished, exact copies of a row, and rows without parameters are left out.

    A run that failed, or has no finite value, becomes a failed trial; one that was killed or
    stopped becomes a pruned trial if it has a value.

    Args:
        frame: The table, or what :class:`pandas.DataFrame` accepts. Cells may be dictionaries:
            their entries are the columns ``column.entry``.
        params: The prefix of the parameters' columns, such as ``"params."``, ``"config/"`` or
            ``"param_"``, or a list of columns. By default, the usual prefixes are tried.
        value: The column of the objective value. By default, ``mean_test_score``, ``value``, or
            the only column that begins with ``metrics.``.
        direction: ``"maximize"`` or ``"minimize"``.
        storage: Where the study is created: a URL, a storage object, or a file that ends in
            ``.db`` (SQLite) or ``.jsonl`` (journal). It is created if it does not exist. By
            default, the study is in memory.
        name: The name of the study.
        distributions: Optuna's distributions by parameter, after renaming. Others are inferred:
            the range of the numbers, on a log scale if they are positive and spread over decades,
            else the choices.
        meta_features: Facts about the task, stored as user attributes of the study; see
            :class:`MetaLLMiXSampler`.
        aliases: Present names of renamed parameters by their past names, such as
            ``{"lr": "learning_rate"}``.
        state: The column that says how a run ended. By default, ``status`` or ``state``.
        duration: The column with the duration: seconds, unless its name ends in a unit such as
            ``_ms`` or ``_min``, or its cells are time differences. By default, columns such as
            ``start_time`` and ``end_time``, ``Runtime``, ``time_total_s`` or ``mean_fit_time``.
        skip_without_value: Whether to leave out runs that finished without a finite value,
            instead of importing them as failed trials.

    Returns:
        The study.

    Raises:
        ValueError: A column does not exist, or an argument does not fit the table. The message
            says what to pass.
        TypeError: ``frame`` is no table.
        DuplicatedStudyError: The storage has a study of this name.
        HistoryError: The storage cannot be opened.
    """
    runs = read_runs(
        frame, params=params, value=value, direction=direction, distributions=distributions,
        aliases=aliases, state=state, duration=duration, skip_without_value=skip_without_value,
    )  # fmt: skip
    study = create_study(runs, storage, name, meta_features)
    _logger.info(f"Imported {runs.summarize()}")
    return study


def read_runs(
    frame: Any,
    *,
    params: str | Iterable[str] | None = None,
    value: str | None = None,
    direction: str | StudyDirection | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    aliases: Mapping[str, str] | None = None,
    state: str | None = None,
    duration: str | None = None,
    skip_without_value: bool = False,
) -> ImportedRuns:
    """Understand a table as :func:`study_from_dataframe` does, without writing anything."""
    table = read_table(frame)
    n_rows = len(next(iter(table.values())))
    names = find_parameters(table, params)
    value = find_value_column(table, value, names.__contains__)
    if value in names:
        raise ValueError(f"value={value!r} is among the parameters. Name them without it.")
    checked = _check_direction(direction, value)
    values = read_values(table, value)
    states = read_states(table, state, n_rows)
    times = read_times(table, duration, names.__contains__, n_rows)
    rows, left_out = _select_rows(table, names, states)
    ends = (TrialState.COMPLETE, None)
    without = {row for row in rows if values[row] is None and states.of_rows[row] in ends}
    if skip_without_value and without:
        rows = [row for row in rows if row not in without]
        left_out[f"without {value}"] = len(without)
    rows = _in_order(rows, times)
    parameters = read_parameters(table, names, rows, aliases or {}, distributions or {})
    if not parameters.space:
        reasons = "; ".join(f"{name}: {why}" for name, why in parameters.left_out.items())
        raise ValueError(f"There is no run with parameters. {reasons}")
    trials = [
        _trial(config, parameters.space, values[row], states.of_rows[row], times, row)
        for config, row in zip(parameters.configs, rows, strict=True)
    ]
    n_without = len(without.intersection(rows))
    return ImportedRuns(
        trials, checked, value, parameters, states, times, n_rows, left_out, n_without
    )


def _check_direction(direction: str | StudyDirection | None, value: str) -> StudyDirection:
    name = direction.name if isinstance(direction, StudyDirection) else str(direction).upper()
    if name not in ("MAXIMIZE", "MINIMIZE"):
        raise ValueError(
            f'direction={direction!r} must be "maximize" or "minimize": are larger or smaller '
            f"values of {value!r} better?"
        )
    return StudyDirection[name]


def _select_rows(
    table: Table, names: Collection[str], states: States
) -> tuple[list[int], dict[str, int]]:
    """Return the rows to import, and how many others there are by the reason."""
    every = range(len(states.of_rows))
    finished = [i for i in every if states.of_rows[i] is not TrialState.RUNNING]
    filled = [i for i in finished if any(table[n][i] is not MISSING for n in names)]
    latest = list({_identity(table, i): i for i in filled}.values())
    steps = {"not finished": every, "without parameters": finished, "repeated": filled}
    numbers = map(len, (*steps.values(), latest))
    counts = {
        why: before - after for why, (before, after) in zip(steps, pairwise(numbers), strict=True)
    }
    return sorted(latest), {why: n for why, n in counts.items() if n}


def _in_order(rows: list[int], times: Times) -> list[int]:
    """Sort rows by their start, if all are known: trackers list the latest run first."""
    starts = {row: start for row in rows if (start := times.starts[row]) is not None}
    return sorted(starts, key=starts.__getitem__) if len(starts) == len(rows) else rows


def _identity(table: Table, row: int) -> Hashable:
    """Return what is equal for rows of the same run: its id, else all cells."""
    for column in _RUN_IDS:
        if column in table and table[column][row] is not MISSING:
            return value_key(table[column][row])
    return tuple([value_key(cells[row]) for cells in table.values()])


def _trial(
    config: dict[str, Any],
    space: Mapping[str, BaseDistribution],
    value: float | None,
    state: TrialState | None,
    times: Times,
    row: int,
) -> FrozenTrial:
    if value is None or state is TrialState.FAIL:
        value, state = None, TrialState.FAIL
    trial = create_trial(
        params=config,
        distributions={name: space[name] for name in config},
        value=value,
        state=state or TrialState.COMPLETE,
    )
    seconds = timedelta(seconds=times.seconds[row] or 0.0)
    start = times.starts[row] or datetime.now() - seconds
    trial.datetime_start, trial.datetime_complete = start, start + seconds
    return trial


def create_study(
    runs: ImportedRuns,
    storage: Source | None,
    name: str | None = None,
    meta_features: MetaFeatures | None = None,
) -> Study:
    """Write runs to a new study; see :func:`study_from_dataframe`."""
    features = check_features(meta_features)
    opened = _open_storage(storage)
    try:
        study = optuna.create_study(storage=opened, study_name=name, direction=runs.direction)
    except DuplicatedStudyError as error:
        raise DuplicatedStudyError(
            f"{describe_storage(opened)} has a study {name!r} already. Choose another name, or "
            "delete that study first (`optuna delete-study`)."
        ) from error
    for key, fact in features.items():
        study.set_user_attr(key, fact)
    with status_line(f"Writing {len(runs.trials)} trials"):
        study.add_trials(runs.trials)
    left_out = read_history(storage_of(study), names=[study.study_name]).left_out
    for reason in left_out.values():
        _logger.warning(f"Nothing can be learned from study {study.study_name!r}: {reason}.")
    return study


def _open_storage(storage: Source | None) -> BaseStorage:
    """Open a storage, and create it if it does not exist."""
    if storage is None or isinstance(storage, BaseStorage):
        return get_storage(storage)
    text = os.fspath(storage)
    if "://" in text:
        return _open_url(text)
    path = Path(text).expanduser()
    if path.suffix.lower() in _SQLITE:
        from sqlalchemy import URL

        return _open_url(URL.create("sqlite", database=str(path)).render_as_string())
    if path.suffix.lower() in _JOURNAL:
        return JournalStorage(JournalFileBackend(str(path)))
    raise ValueError(
        f"storage={text!r} must be a URL, such as 'sqlite:///past.db', or a file that ends in "
        ".db (SQLite) or .jsonl (journal)."
    )


def _open_url(url: str) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return get_storage(url)
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError, LookupError) as error:
        raise HistoryError(
            f"The storage cannot be opened ({hide_passwords(str(error))}). Check the URL, its "
            "driver and its folder."
        ) from error
