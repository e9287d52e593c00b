"""suggestion -> attributes of its trial: short user attributes for people, one record for
machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from optuna_metallmix._attempt import cost_of
from optuna_metallmix._judge import Verdict
from optuna_metallmix._suggested import SOURCE_BASE_SAMPLER
from optuna_metallmix._suggested import Suggestion


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


def record(storage: BaseStorage, trial_id: int, suggestion: Suggestion) -> None:
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
