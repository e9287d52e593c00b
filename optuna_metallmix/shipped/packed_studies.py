"""Pack studies into a file that is small and quick to read.

A journal repeats the names and ranges of all parameters in every trial. A packed file has a line
of JSON for each study, with a list for each parameter and attribute. Numbers are rounded to six
digits. All studies have one objective, which is maximized.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


@dataclass(frozen=True)
class PackedStudy:
    """A study of a packed file.

    Attributes:
        name: Its name.
        attributes: Its user attributes.
        trials: Its trials in the order of their numbers; ids are unique in the file.
    """

    name: str
    attributes: Mapping[str, Any]
    trials: Sequence[FrozenTrial]


def pack_study(study: Study) -> str:
    """Return a study as a line of JSON, which :func:`read_studies` reads.

    Its user attribute ``recorded`` is its date, such as ``"2026-11-27"``.
    """
    trials = study.get_trials(deepcopy=False)
    ranges = {name: kind for trial in trials for name, kind in trial.distributions.items()}
    attributes = dict.fromkeys(name for trial in trials for name in trial.user_attrs)
    packed = {
        "name": study.study_name,
        "attributes": {name: _rounded(value) for name, value in study.user_attrs.items()},
        "distributions": {name: distribution_to_json(kind) for name, kind in ranges.items()},
        "values": [_rounded(trial.value) for trial in trials],
        "params": {name: [_param(trial, name) for trial in trials] for name in ranges},
        "trial_attributes": {
            name: [_rounded(trial.user_attrs.get(name)) for trial in trials] for name in attributes
        },
    }
    return json.dumps(packed, separators=(",", ":"))


def _param(trial: FrozenTrial, name: str) -> Any:
    """Return a number, or the index of a choice, because ``None`` may be one."""
    if name not in trial.params:
        return None
    kind, value = trial.distributions[name], trial.params[name]
    if isinstance(kind, CategoricalDistribution):
        return int(kind.to_internal_repr(value))
    return _rounded(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_studies(path: Path) -> Iterator[PackedStudy]:
    """Yield the studies of a packed file.

    A trial without a value has failed. It took as long as its attribute ``seconds`` says; that it
    began with the day is not true.
    """
    n_trials = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            packed = json.loads(line)
            trials = _trials(packed, n_trials)
            n_trials += len(trials)
            yield PackedStudy(packed["name"], packed["attributes"], trials)


def _trials(packed: Mapping[str, Any], first_id: int) -> list[FrozenTrial]:
    ranges = {name: json_to_distribution(kind) for name, kind in packed["distributions"].items()}
    params = _rows(packed["params"], len(packed["values"]))
    attributes = _rows(packed["trial_attributes"], len(packed["values"]))
    recorded = datetime.fromisoformat(packed["attributes"]["recorded"])
    return [
        FrozenTrial(
            number=number,
            trial_id=first_id + number,
            state=TrialState.FAIL if value is None else TrialState.COMPLETE,
            value=value,
            datetime_start=recorded,
            datetime_complete=recorded + timedelta(seconds=attributes[number].get("seconds", 0)),
            params={name: _value(ranges[name], entry) for name, entry in params[number].items()},
            distributions={name: ranges[name] for name in params[number]},
            user_attrs=attributes[number],
            system_attrs={},
            intermediate_values={},
        )
        for number, value in enumerate(packed["values"])
    ]


def _rows(columns: Mapping[str, Sequence[Any]], n: int) -> list[dict[str, Any]]:
    """Return what each trial has of the columns."""
    return [
        {name: column[i] for name, column in columns.items() if column[i] is not None}
        for i in range(n)
    ]


def _value(kind: BaseDistribution, entry: Any) -> Any:
    return kind.choices[entry] if isinstance(kind, CategoricalDistribution) else entry
