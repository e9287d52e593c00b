"""suggestion -> attributes of its trial: short user attributes for people, one record for
machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import distribution_to_json
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.explain import explain
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import PastTrial
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_past
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import Verdict
from optuna_metallmix.llm import Attempt
from optuna_metallmix.llm import cost_of
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.pipeline import with_own_trials
from optuna_metallmix.report.note import Projected
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import Suggestion


SOURCE_ATTR = "metallmix:source"
MODEL_ATTR = "metallmix:model"
WHY_ATTR = "metallmix:why"
VERDICT_ATTR = "metallmix:verdict"
REASON_ATTR = "metallmix:reason"
PROJECTED_ATTR = "metallmix:projected"
NOTE_ATTR = "metallmix:note"
"""User attributes: optuna-dashboard shows these, and no system attributes."""
RECORD_ATTR = "metallmix:record"

_CHUNK = 2045
"""Longest system attribute Optuna itself writes (``optuna/samplers/_tpe/sampler.py``)."""


def write_record(storage: BaseStorage, trial_id: int, suggestion: Suggestion) -> None:
    """Write where a trial's values come from onto the trial."""
    storage.set_trial_user_attr(trial_id, SOURCE_ATTR, suggestion.source)
    if suggestion.model is not None:
        storage.set_trial_user_attr(trial_id, MODEL_ATTR, suggestion.model)
    storage.set_trial_user_attr(trial_id, WHY_ATTR, suggestion.why)
    if suggestion.attempts:
        storage.set_trial_user_attr(trial_id, VERDICT_ATTR, _verdict(suggestion))
    if suggestion.reasons:
        storage.set_trial_user_attr(trial_id, REASON_ATTR, " ".join(suggestion.reasons))
    text = as_json(suggestion)
    for i in range(0, len(text), _CHUNK):
        chunk = text[i : i + _CHUNK]
        storage.set_trial_system_attr(trial_id, f"{RECORD_ATTR}:{i // _CHUNK}", chunk)


def record_missing(
    storage: BaseStorage, trial_id: int, reason: str, *, what: str = "suggestion"
) -> None:
    """Write why a trial has no suggestion, or the study no ``what="note"``."""
    if what == "note":
        storage.set_trial_user_attr(trial_id, NOTE_ATTR, reason)
        return
    storage.set_trial_user_attr(trial_id, SOURCE_ATTR, SOURCE_BASE_SAMPLER)
    storage.set_trial_user_attr(trial_id, REASON_ATTR, reason)


def record_projected(
    storage: BaseStorage, trial_id: int, projected: Mapping[str, tuple[Any, Any]]
) -> None:
    """Write which suggested values the objective's own ranges and choices did not allow."""
    shown = {name: f"{wanted!r} -> {used!r}" for name, (wanted, used) in projected.items()}
    storage.set_trial_user_attr(trial_id, PROJECTED_ATTR, shown)


def read_record(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the record of the suggestion a trial was made from; ``None`` where it has none."""
    chunks: list[str] = []
    while (chunk := trial.system_attrs.get(f"{RECORD_ATTR}:{len(chunks)}")) is not None:
        chunks.append(str(chunk))
    loaded: dict[str, Any] | None = json.loads("".join(chunks)) if chunks else None
    return loaded


def _verdict(suggestion: Suggestion) -> str:
    """Say in one line what became of the model's answers, and what they took, the review too."""
    verdict, attempts = suggestion.verdict, suggestion.attempts
    told = verdict.summary if verdict else "no answer could be read"
    reviews = verdict.review.attempts if verdict and verdict.review else ()
    return f"{told}; answers: {len(attempts)}, {cost_of([*attempts, *reviews])}"


def _written(value: object) -> object:
    """Return what JSON can hold: the number for a NumPy scalar, else the text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def as_json(suggestion: Suggestion) -> str:
    """Return :func:`as_record` as JSON."""
    return json.dumps(as_record(suggestion), default=_written, ensure_ascii=False)


def as_record(suggestion: Suggestion) -> dict[str, Any]:
    """Return everything a machine may want to know, as plain JSON types."""
    explanation = suggestion.explanation
    return {
        "source": suggestion.source,
        "params": dict(suggestion.params),
        "space": {n: distribution_to_json(one) for n, one in suggestion.space.items()},
        "predicted": suggestion.predicted,
        "base": explanation.base if explanation else None,
        "effects": dict(suggestion.effects),
        "trade": asdict(suggestion.trade) if suggestion.trade else None,
        "model": suggestion.model,
        "model_build": suggestion.model_build,
        "prompt_version": suggestion.prompt_version,
        "reasons": list(suggestion.reasons),
        "seconds": dict(suggestion.seconds),
        "meta_features": dict(suggestion.meta_features),
        "past_studies": {study.name: len(study.trials) for study in suggestion.history.studies},
        "left_out": dict(suggestion.history.left_out),
        "candidates": [asdict(one) for one in suggestion.candidates],
        "evidence": [asdict(one) for one in explanation.evidence] if explanation else [],
        "importance": dict(explanation.importance) if explanation else {},
        "nearest": [asdict(one) for one in explanation.nearest] if explanation else [],
        "quality": explanation.quality if explanation else None,
        "seed": suggestion.learner.seed if suggestion.learner else None,
        "attempts": [asdict(one) for one in suggestion.attempts],
        "proposal": asdict(suggestion.proposal) if suggestion.proposal else None,
        "verdict": _with_summary(suggestion.verdict) if suggestion.verdict else None,
    }


def _with_summary(verdict: Verdict) -> dict[str, Any]:
    return {"summary": verdict.summary, "scores": dict(verdict.scores), **asdict(verdict)}


_UNREAD = PastTrial({}, 0.0, None, None)
"""Stands for each trial of a past that is counted and not looked at."""
_NEAR = 1e-6
"""How much two expectations may differ that come from the same trees, in score units."""


@dataclass(frozen=True)
class RestoredSuggestion:
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


def restore_suggestion(study: Study, source: Source | None = None) -> RestoredSuggestion | None:
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
            return RestoredSuggestion(
                learned or told, trial.number, _projected(told, trial), bool(learned)
            )
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
        trade=_as(CostTradeoff | None, record["trade"]),
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
        learner = fit_meta_learner(history, told.space, record["seed"])
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
