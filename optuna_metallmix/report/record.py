"""Store a suggestion in its trial's attributes, and restore it from there.

People read the user attributes, which optuna-dashboard shows. The full record is JSON in system
attributes, which it does not show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.explain import explain
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.history import BY_FEATURES
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import PastTrial
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_past
from optuna_metallmix.history import with_own_trials
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import Verdict
from optuna_metallmix.llm import Attempt
from optuna_metallmix.llm import format_usage
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.report.dashboard import StudyReport
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import from_record
from optuna_metallmix.space import has_json_choices
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import to_record
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import format_value
from optuna_metallmix.trial_claim import suggested_number


SOURCE_ATTR = "metallmix:source"
REASON_ATTR = "metallmix:reason"
RECORD_ATTR = "metallmix:record"

_CHUNK = 2045
"""Maximum length of system attributes in Optuna (``optuna/samplers/_tpe/sampler.py``)."""
_LATER_KEYS: dict[str, Any] = {
    "aliases": {},
    "distance_basis": BY_FEATURES,
    "model_build": None,
    "moved": {},
    "new": [],
}
"""Keys that older versions did not write."""
_WHOLE = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of trials that have asked for all of their parameters."""
_TOLERANCE = 1e-6
"""Maximum difference between two predictions of the same meta-learner, in score units."""


def write_record(storage: BaseStorage, trial_id: int, suggestion: Suggestion) -> None:
    """Store a suggestion in its trial's attributes; one stored before is replaced."""
    attributes = {
        SOURCE_ATTR: suggestion.source,
        "metallmix:model": suggestion.model,
        "metallmix:why": suggestion.why,
        "metallmix:verdict": _verdict(suggestion) if suggestion.attempts else None,
        REASON_ATTR: " ".join(suggestion.reasons) or None,
        "metallmix:projected": {
            name: f"{_quoted(wanted)} -> {_quoted(used)}"
            for name, (wanted, used) in suggestion.moved.items()
        }
        or None,
    }
    for name, value in attributes.items():
        if value is not None:
            storage.set_trial_user_attr(trial_id, name, value)
    text = as_json(suggestion)
    chunks = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]
    before = storage.get_trial(trial_id).system_attrs
    while f"{RECORD_ATTR}:{len(chunks)}" in before:  # attributes cannot be deleted
        chunks.append("")
    for i, chunk in enumerate(chunks):
        storage.set_trial_system_attr(trial_id, f"{RECORD_ATTR}:{i}", chunk)


def record_missing(storage: BaseStorage, trial_id: int, reason: str) -> None:
    """Record on a trial why it has no suggestion."""
    storage.set_trial_user_attr(trial_id, SOURCE_ATTR, SOURCE_BASE_SAMPLER)
    storage.set_trial_user_attr(trial_id, REASON_ATTR, reason)


def record_missing_note(storage: BaseStorage, trial_id: int, reason: str) -> None:
    """Record on a trial why its study's note or figures are missing or incomplete."""
    storage.set_trial_user_attr(trial_id, "metallmix:note", reason)


def _quoted(value: Any) -> str:
    return repr(value) if isinstance(value, str) else format_value(value)


def _verdict(suggestion: Suggestion) -> str:
    """Summarize the verdict on the model's answers and their cost, including the review."""
    verdict, attempts = suggestion.verdict, suggestion.attempts
    summary = verdict.summary if verdict else "no answer could be read"
    reviews = verdict.review.attempts if verdict and verdict.review else ()
    return f"{summary}; answers: {len(attempts)}, {format_usage([*attempts, *reviews])}"


def as_json(suggestion: Suggestion) -> str:
    """Return :func:`as_record` as JSON: NumPy scalars as numbers, other objects by their name."""

    def convert(value: object) -> object:
        return value.item() if isinstance(value, np.generic) else format_value(value)

    return json.dumps(as_record(suggestion), default=convert, ensure_ascii=False)


def as_record(suggestion: Suggestion) -> dict[str, Any]:
    """Return a suggestion and what it is based on, without past trials and models.

    Choices that JSON cannot hold are written as their labels, see :func:`read_record`.
    """
    explanation, verdict, space = suggestion.explanation, suggestion.verdict, suggestion.space
    record = {
        "source": suggestion.source,
        "params": suggestion.params,
        "moved": {name: list(values) for name, values in suggestion.moved.items()},
        "new": list(suggestion.new),
        "space": {name: _distribution_json(space[name]) for name in space},
        "labels": [name for name in space if not has_json_choices(space[name])],
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
        "past_studies": _trial_counts(suggestion.history),
        "left_out": dict(suggestion.history.left_out),
        "aliases": dict(suggestion.history.aliases),
        # `asdict` would copy the objects among the choices
        "candidates": [vars(candidate) for candidate in suggestion.candidates],
        "evidence": [asdict(item) for item in explanation.evidence] if explanation else [],
        "importance": dict(explanation.importance) if explanation else {},
        "nearest": [vars(study) for study in explanation.nearest] if explanation else [],
        "distance_basis": explanation.distance_basis if explanation else None,
        "quality": explanation.quality if explanation else None,
        "seed": suggestion.learner.seed if suggestion.learner else None,
        "attempts": [asdict(attempt) for attempt in suggestion.attempts],
        "proposal": vars(suggestion.proposal) if suggestion.proposal else None,
        "verdict": {"summary": verdict.summary, "scores": dict(verdict.scores), **asdict(verdict)}
        if verdict
        else None,
    }
    return _map_configs(
        record, lambda config: {name: to_record(space.get(name), config[name]) for name in config}
    )


def _map_configs(record: Mapping[str, Any], convert: Callable[[Config], Config]) -> dict[str, Any]:
    """Convert every configuration of a record."""
    proposal = record["proposal"]
    if proposal is not None:
        proposal = {**proposal, **{key: convert(proposal[key]) for key in ("changes", "params")}}
    moved = {
        name: [convert({name: value})[name] for value in values]
        for name, values in record["moved"].items()
    }
    return {
        **record,
        "params": convert(record["params"]),
        "moved": moved,
        "candidates": [{**one, "params": convert(one["params"])} for one in record["candidates"]],
        "nearest": [{**study, "best": convert(study["best"])} for study in record["nearest"]],
        "proposal": proposal,
    }


def _distribution_json(distribution: BaseDistribution) -> str:
    """Return a distribution as Optuna writes it, with labels of what JSON cannot hold."""
    if not (choices := choices_of(distribution)):
        return distribution_to_json(distribution)
    attributes = {"choices": [to_record(distribution, choice) for choice in choices]}
    return json.dumps({"name": type(distribution).__name__, "attributes": attributes})


def read_record(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the record of the suggestion that a trial was made from; ``None`` without one.

    Values are as JSON gives them back, so that tuples are lists. ``record["labels"]`` names the
    parameters whose choices JSON cannot hold, such as classes and functions: their choices and
    values are labels, such as ``"ReLU"``.
    """
    chunks: list[str] = []
    while (chunk := trial.system_attrs.get(f"{RECORD_ATTR}:{len(chunks)}")) is not None:
        chunks.append(str(chunk))
    record: dict[str, Any] | None = json.loads("".join(chunks)) if chunks else None
    return record and {**_LATER_KEYS, **record}


def restore_suggestion(study: Study, source: Source | None = None) -> StudyReport | None:
    """Restore the suggestion of a study, or else that of the first trial copied with its record.

    Args:
        study: The study.
        source: The storage of its past studies; ``None`` for the study's own storage.

    Returns:
        The suggestion, with its meta-learner unless the past studies have changed since;
        ``None`` if no trial has a record.

    Raises:
        HistoryError: The past studies cannot be read.
    """
    own = suggested_number(study)
    for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number != own):
        if (record := read_record(trial)) is not None and "space" in record:
            past = _unchanged_past(record, study, trial, source)
            suggestion = _from_record(_with_choices(record, trial, past))
            if past is not None and record["seed"] is not None:
                suggestion = _with_meta_learner(suggestion, past, record["seed"])
            if suggestion.learner is not None and trial.params:  # the process may have been killed
                suggestion = suggestion.as_run(trial, is_whole=trial.state in _WHOLE)
            return StudyReport(study, trial.number, suggestion)
    return None


def _with_choices(
    record: Mapping[str, Any], trial: FrozenTrial, past: History | None
) -> dict[str, Any]:
    """Return a record with its distributions and choices, as objects if they are in memory."""
    spaces: list[SearchSpace] = [trial.distributions]
    if past is not None:
        studies = [study.space for study in past.studies if not study.is_target]
        spaces += [past.target_space, merge_spaces(studies)]
    space = {name: _distribution(name, text, spaces) for name, text in record["space"].items()}

    def convert(config: Config) -> Config:
        return {n: from_record(space[n], raw) if n in space else raw for n, raw in config.items()}

    return {**_map_configs(record, convert), "space": space}


def _distribution(name: str, text: str, spaces: Sequence[SearchSpace]) -> BaseDistribution:
    """Return the distribution in ``spaces`` that was recorded as ``text``, else a new one."""
    for space in spaces:
        if name in space and _distribution_json(space[name]) == text:
            return space[name]
    return json_to_distribution(text)


def _from_record(record: Mapping[str, Any]) -> Suggestion:
    """Return the recorded suggestion, without past trials and models."""
    space = record["space"]
    unread = (PastTrial({}, 0.0, None, None),)
    counts = record["past_studies"]
    studies = tuple(PastStudy(name, {}, unread * n, {}) for name, n in counts.items())
    explanation = None
    if record["base"] is not None:
        explanation = Explanation(
            base=record["base"],
            values=np.zeros((0, len(space))),
            configs=(),
            space=space,
            importance=record["importance"],
            evidence=_parse(tuple[Evidence, ...], record["evidence"]),
            nearest=_parse(tuple[NearestStudy, ...], record["nearest"]),
            quality=record["quality"],
            distance_basis=record["distance_basis"],
        )
    unchanged = ("source", "params", "meta_features", "model", "predicted", "effects", "seconds")
    return Suggestion(
        **{name: record[name] for name in (*unchanged, "prompt_version")},
        space=space,
        moved={name: (wanted, used) for name, (wanted, used) in record["moved"].items()},
        history=History(studies, record["left_out"], aliases=record["aliases"]),
        candidates=_parse(tuple[Candidate, ...], record["candidates"]),
        explanation=explanation,
        model_build=record["model_build"],
        proposal=_parse(Proposal | None, record["proposal"]),
        verdict=_parse(Verdict | None, record["verdict"]),
        attempts=_parse(tuple[Attempt, ...], record["attempts"]),
        trade=_parse(CostTradeoff | None, record["trade"]),
        new=tuple(record["new"]),
        reasons=tuple(record["reasons"]),
    )


def _parse(kind: Any, value: Any) -> Any:
    """Convert JSON to dataclasses; keys that older versions wrote are ignored."""
    with NO_FORK:
        from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(value)


def _unchanged_past(
    record: Mapping[str, Any], study: Study, trial: FrozenTrial, source: Source | None
) -> History | None:
    """Read the recorded past studies; ``None`` if their trial counts have changed."""
    counts = record["past_studies"]
    past = read_past(study, source, None, record["aliases"])
    past = replace(past, studies=tuple(kept for kept in past.studies if kept.name in counts))
    past = with_own_trials(past, study, before=trial.number)
    return replace(past, left_out=record["left_out"]) if _trial_counts(past) == counts else None


def _trial_counts(history: History) -> dict[str, int]:
    return {study.name: len(study.trials) for study in history.studies}


def _with_meta_learner(recorded: Suggestion, past: History, seed: int) -> Suggestion:
    """Refit the meta-learner, and add it if it makes the recorded prediction."""
    if recorded.explanation is None:
        return recorded
    fitted = recorded.effects or recorded.space  # without effects nothing of the space was used
    known = {name: d for name, d in recorded.space.items() if name in fitted}
    try:
        learner = fit_meta_learner(past, known, seed)
    except HistoryError:
        return recorded
    refitted = replace(recorded, learner=learner).with_effects()
    if abs((refitted.predicted or 0.0) - (recorded.predicted or 0.0)) > _TOLERANCE:
        return recorded
    new = explain(learner, recorded.candidates, past, recorded.meta_features)
    explanation = replace(
        recorded.explanation, values=new.values, configs=new.configs, parts=new.parts
    )
    return replace(recorded, learner=learner, explanation=explanation, history=past)
