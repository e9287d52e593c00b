"""trial that was suggested + the storage as it is now -> its suggestion, told again.

The trial keeps every number that people were shown, but not the trees. They are fitted again, on
the same past: where that gives the same expectation, it is the same suggestion, pictures and all.
Where the past has changed since, the numbers of then stand alone, and the pictures of the past are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial

from optuna_metallmix._attempt import Attempt
from optuna_metallmix._candidates import Candidate
from optuna_metallmix._errors import HistoryError
from optuna_metallmix._evidence import Evidence
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._explanation import NearestStudy
from optuna_metallmix._explanation import explain
from optuna_metallmix._first_trial import with_own_trials
from optuna_metallmix._history import History
from optuna_metallmix._history import PastStudy
from optuna_metallmix._history import PastTrial
from optuna_metallmix._judge import Verdict
from optuna_metallmix._learned import learned_scores
from optuna_metallmix._past import read_past
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._provenance import PROJECTED_ATTR
from optuna_metallmix._provenance import read_record
from optuna_metallmix._report import Projected
from optuna_metallmix._source import Source
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._trade import Trade


_UNREAD = PastTrial({}, 0.0, None, None)
"""Stands for each trial of a past that is counted and not looked at."""
_NEAR = 1e-6
"""How much two expectations may differ that come from the same trees, in score units."""


@dataclass(frozen=True)
class Retold:
    """A suggestion as it was made.

    Attributes:
        suggestion: The suggestion.
        number: The trial that was made from it; ``None`` where none was.
        projected: The values that the objective did not allow: (suggested, used) by name.
        is_whole: Whether its past is as it was, so that the meta-learner is there, too.
    """

    suggestion: Suggestion
    number: int | None
    projected: Projected
    is_whole: bool


def retell(study: Study, source: Source | None = None) -> Retold | None:
    """Tell again what the study's first suggested trial was made from; ``None`` without one.

    Args:
        study: The study.
        source: Where its past is; ``None`` for its own storage.

    Raises:
        HistoryError: The past cannot be read.
    """
    for trial in study.get_trials(deepcopy=False):
        if (record := read_record(trial)) is not None and "space" in record:
            told = _told(record)
            learned = _learned(told, record, study, trial, source)
            return Retold(learned or told, trial.number, _projected(told, trial), bool(learned))
    return None


def _told(record: Mapping[str, Any]) -> Suggestion:
    """Return the suggestion that a record is of, without what is not on the trial."""
    space = {name: json_to_distribution(one) for name, one in record["space"].items()}
    studies = tuple(
        PastStudy(name, {}, (_UNREAD,) * n, {}) for name, n in record["past_studies"].items()
    )
    return Suggestion(
        source=record["source"],
        params=record["params"],
        space=space,
        meta_features=record["meta_features"],
        history=History(studies, record["left_out"]),
        candidates=_as(tuple[Candidate, ...], record["candidates"]),
        explanation=_explanation(record, space),
        model=record["model"],
        model_build=record.get("model_build"),
        prompt_version=record["prompt_version"],
        proposal=_as(Proposal | None, record["proposal"]),
        verdict=_as(Verdict | None, record["verdict"]),
        attempts=_as(tuple[Attempt, ...], record["attempts"]),
        predicted=record["predicted"],
        effects=record["effects"],
        trade=_as(Trade | None, record["trade"]),
        reasons=tuple(record["reasons"]),
        seconds=record["seconds"],
    )


def _explanation(record: Mapping[str, Any], space: Mapping[str, Any]) -> Explanation | None:
    if record["base"] is None:
        return None
    return Explanation(
        base=record["base"],
        values=np.zeros((0, len(space))),
        configs=(),
        space=space,
        importance=record["importance"],
        evidence=_as(tuple[Evidence, ...], record["evidence"]),
        nearest=_as(tuple[NearestStudy, ...], record["nearest"]),
        quality=record["quality"],
    )


def _as(kind: Any, written: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(written)


def _learned(
    told: Suggestion,
    record: Mapping[str, Any],
    study: Study,
    trial: FrozenTrial,
    source: Source | None,
) -> Suggestion | None:
    """Fit the trees again; ``None`` where they do not expect what they did."""
    history = _same_past(record["past_studies"], study, trial, source)
    if history is None or told.explanation is None or record["seed"] is None:
        return None
    try:
        learner = learned_scores(history, told.space, record["seed"])
    except HistoryError:
        return None
    values, base = learner.shap_values([told.params])
    if abs(base + values.sum() - told.predicted) > _NEAR:
        return None
    found = explain(learner, told.candidates, history, told.meta_features)
    kept = replace(told.explanation, values=found.values, configs=found.configs, parts=found.parts)
    return replace(
        told,
        learner=learner,
        explanation=kept,
        history=replace(history, left_out=told.history.left_out),
    )


def _same_past(
    counts: Mapping[str, int], study: Study, trial: FrozenTrial, source: Source | None
) -> History | None:
    past = read_past(study, source, None)
    past = replace(past, studies=tuple(one for one in past.studies if one.name in counts))
    past = with_own_trials(past, study, before=trial.number)
    now = {one.name: len(one.trials) for one in past.studies}
    return past if now == counts else None


def _projected(told: Suggestion, trial: FrozenTrial) -> Projected:
    projected = {}
    for name in trial.user_attrs.get(PROJECTED_ATTR, {}):
        if found := told.value_for(name, trial.distributions[name]):
            projected[name] = (found[1], trial.params[name])
    return projected
