"""Store a suggestion in its trial's attributes, and restore it from there.

People read the user attributes, which optuna-dashboard shows. The full record is JSON in system
attributes, which it does not show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from math import isfinite
from typing import Any
from typing import Literal

import numpy as np
import optuna
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
from optuna_metallmix.report.record_limits import cut_attribute
from optuna_metallmix.report.record_limits import map_configs
from optuna_metallmix.report.record_limits import shorten_distribution
from optuna_metallmix.report.record_limits import shorten_record
from optuna_metallmix.report.record_storage import DamagedRecordError
from optuna_metallmix.report.record_storage import load_object
from optuna_metallmix.report.record_storage import store_text
from optuna_metallmix.report.record_storage import withdraw_text
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import from_record
from optuna_metallmix.space import has_json_choices
from optuna_metallmix.space import label_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import to_record
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import describe_error
from optuna_metallmix.text import format_value
from optuna_metallmix.text import shorten
from optuna_metallmix.trial_claim import suggested_number


_logger = optuna.logging.get_logger("optuna.metallmix")

SOURCE_ATTR = "metallmix:source"
REASON_ATTR = "metallmix:reason"

_WHOLE_RECORD: dict[str, Any] = {
    "is_cut": False,
    "max_choice": None,
    "n_omitted": 0,
    "n_omitted_studies": 0,
    "n_omitted_trials": 0,
}
"""What :func:`shorten_record` sets."""
_LATER_KEYS: dict[str, Any] = {
    "aliases": {},
    "distance_basis": BY_FEATURES,
    "model_build": None,
    "moved": {},
    "new": [],
    "other_names": {},
    **_WHOLE_RECORD,
}
"""Keys that older versions did not write."""
_MAX_MOVED, _MAX_SHOWN = 20, 60
"""Maximum number of values in the attribute of those that were moved, and their length."""
_WHOLE = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of trials that have asked for all of their parameters."""
_MAX_PAST = 10**6
"""Maximum number of past trials of a record that is not damaged."""
_CUT = "The record of this suggestion was cut to 64 kB: long texts and lists are not whole."
_TOLERANCE = 1e-6
"""Maximum difference between two predictions of the same meta-learner, in score units."""


def write_record(storage: BaseStorage, trial_id: int, suggestion: Suggestion) -> None:
    """Store a suggestion in its trial's attributes; one stored before is replaced."""
    attributes = {
        SOURCE_ATTR: suggestion.source,
        "metallmix:model": suggestion.model and cut_attribute([suggestion.model]),
        "metallmix:why": cut_attribute([suggestion.why]),
        "metallmix:verdict": cut_attribute([_verdict(suggestion)])
        if suggestion.attempts
        else None,
        REASON_ATTR: cut_attribute(suggestion.reasons) or None,
        "metallmix:projected": _moved(suggestion) or None,
    }
    for name, value in attributes.items():
        if value is not None:
            storage.set_trial_user_attr(trial_id, name, value)
    record = shorten_record(json.loads(as_json(suggestion)))
    store_text(storage, trial_id, json.dumps(record, ensure_ascii=False))


def record_missing(storage: BaseStorage, trial_id: int, reason: str) -> None:
    """Record on a trial why it has no suggestion, or why it did not use the one that it had."""
    withdraw_text(storage, trial_id)
    storage.set_trial_user_attr(trial_id, SOURCE_ATTR, SOURCE_BASE_SAMPLER)
    storage.set_trial_user_attr(trial_id, REASON_ATTR, cut_attribute([reason]))


def record_passed(storage: BaseStorage, trial_id: int, reason: str) -> None:
    """Record on a trial that another one has the suggestion; it has no source then."""
    storage.set_trial_user_attr(trial_id, REASON_ATTR, cut_attribute([reason]))


def record_missing_note(storage: BaseStorage, trial_id: int, reason: str) -> None:
    """Record on a trial why its study's note or figures are missing or incomplete."""
    storage.set_trial_user_attr(trial_id, "metallmix:note", cut_attribute([reason]))


def _moved(suggestion: Suggestion) -> dict[str, str]:
    """Describe how values were moved into the objective's space, by parameter."""
    names = shorten(list(suggestion.moved)[:_MAX_MOVED], _MAX_SHOWN)
    shown = {}
    for name, short in names.items():
        wanted, used = map(_quoted, suggestion.moved[name])
        texts = shorten((wanted, used), _MAX_SHOWN)
        shown[short] = f"{texts[wanted]} -> {texts[used]}"
    if more := len(suggestion.moved) - len(names):
        shown[f"{more} more"] = "see read_record(trial)"
    return shown


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
        "other_names": dict(suggestion.other_names),
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
        **_WHOLE_RECORD,
    }
    return map_configs(record, lambda name, value: to_record(space.get(name), value))


def _distribution_json(distribution: BaseDistribution) -> str:
    """Return a distribution as Optuna writes it, with labels of what JSON cannot hold."""
    if not (choices := choices_of(distribution)):
        return distribution_to_json(distribution)
    attributes = {"choices": [to_record(distribution, choice) for choice in choices]}
    return json.dumps({"name": type(distribution).__name__, "attributes": attributes})


def read_record(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the record of the suggestion that a trial was made from; ``None`` without one.

    Values are as JSON gives them back, so that tuples are lists. ``record["labels"]`` names the
    parameters whose choices are written as labels: those that JSON cannot hold, such as classes
    and functions (``"ReLU"``), and long ones. A record is at most 64 kB long. If it would be
    longer, ``record["is_cut"]`` is true: long texts, lists and choices are cut, and if that is not
    enough, only the parameters with the largest effects are kept, and ``record["n_omitted"]`` is
    the number of the others. A damaged record is ``None``, with a warning.
    """
    try:
        return load_record(trial)
    except DamagedRecordError as error:
        _logger.warning(str(error))
        return None


def load_record(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return a record as :func:`read_record` does.

    Raises:
        DamagedRecordError: The record is damaged.
    """
    stored = load_object(trial)
    if stored is None:
        return None
    record = {**_LATER_KEYS, **stored}
    if problem := _wrong_type(record):
        raise DamagedRecordError(trial, problem)
    return record


def record_problem(trial: FrozenTrial) -> str | None:
    """Return why a trial's record cannot be read, in a sentence; ``None`` if that is not so."""
    try:
        record = load_record(trial)
        if record is not None:
            _recorded(record, trial, None)
    except DamagedRecordError as error:
        return str(error)
    return None


def _wrong_type(record: Mapping[str, Any]) -> str | None:
    """Return which part of a record has a wrong type; ``None`` if all are right."""
    from pydantic import ValidationError

    try:
        _parse(_Stored, record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(cut_middle(str(part), _MAX_SHOWN) for part in first["loc"])
        return f"{where}: {first['msg']}"
    return None


@dataclass(frozen=True)
class _Stored:
    """The types in a record."""

    source: str
    params: dict[str, Any]
    moved: dict[str, tuple[Any, Any]]
    new: list[str]
    space: dict[str, str]
    labels: list[str]
    predicted: float | None
    base: float | None
    effects: dict[str, float]
    trade: CostTradeoff | None
    model: str | None
    model_build: str | None
    prompt_version: str
    reasons: list[str]
    seconds: dict[str, float]
    meta_features: dict[str, Any]
    past_studies: dict[str, int]
    n_omitted_studies: int
    n_omitted_trials: int
    n_omitted: int
    is_cut: bool
    max_choice: int | None
    left_out: dict[str, str]
    aliases: dict[str, str]
    other_names: dict[str, str]
    candidates: list[Candidate]
    evidence: list[Evidence]
    importance: dict[str, float]
    nearest: list[NearestStudy]
    distance_basis: Literal["meta-features", "results"] | None
    quality: float | None
    seed: int | None
    attempts: list[Attempt]
    proposal: Proposal | None
    verdict: Verdict | None


def restore_suggestion(
    study: Study, source: Source | None = None, problems: list[str] | None = None
) -> StudyReport | None:
    """Restore the suggestion of a study, or else that of the first trial copied with its record.

    Args:
        study: The study.
        source: The storage of its past studies; ``None`` for the study's own storage.
        problems: A sentence is appended for each damaged record, which is passed over.

    Returns:
        The suggestion, with its meta-learner unless the past studies have changed since, or the
        record was cut; ``None`` if no trial has a record.

    Raises:
        HistoryError: The past studies cannot be read.
    """
    own = suggested_number(study)
    for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number != own):
        try:
            record = load_record(trial)
            if record is not None:
                recorded = _recorded(record, trial, None)
                restored = _restore(record, recorded, study, trial, source)
                return StudyReport(study, trial.number, restored)
        except DamagedRecordError as error:
            (problems if problems is not None else []).append(str(error))
    return None


def _restore(
    record: Mapping[str, Any],
    suggestion: Suggestion,
    study: Study,
    trial: FrozenTrial,
    source: Source | None,
) -> Suggestion:
    """Add the meta-learner to a recorded suggestion, if it can be fitted as it was."""
    past = _unchanged_past(record, study, trial, source)
    if past is None or record["seed"] is None or record["n_omitted"]:
        return suggestion
    suggestion = _with_meta_learner(_recorded(record, trial, past), past, record["seed"])
    if suggestion.learner is not None and trial.params:  # the process may have been killed
        suggestion = suggestion.as_run(trial, is_whole=trial.state in _WHOLE)
    return suggestion


def _recorded(record: Mapping[str, Any], trial: FrozenTrial, past: History | None) -> Suggestion:
    """Return the suggestion of a record.

    Raises:
        DamagedRecordError: The record contradicts itself.
    """
    try:
        with_choices = _with_choices(record, trial, past)
        _check(with_choices)
        return _from_record(with_choices)
    except (KeyError, TypeError, ValueError) as error:  # what Optuna and Python make of any JSON
        raise DamagedRecordError(trial, describe_error(error)) from error


def _check(record: Mapping[str, Any]) -> None:
    """Check that the parts of a record belong together.

    Raises:
        ValueError: They do not.
    """
    space, proposal, n_candidates = record["space"], record["proposal"], len(record["candidates"])
    chosen = proposal["candidate"] if proposal else 1
    n_past = sum(record["past_studies"].values()) + record["n_omitted_trials"]
    used = {**record["params"], **record["moved"]}
    if proposal:
        used.update(proposal["changes"])
    problems = {
        "a value has no distribution": not used.keys() <= space.keys(),
        "the chosen candidate is missing": bool(used) and not 1 <= chosen <= n_candidates,
        "a number of trials is wrong": min(0, n_past, *record["past_studies"].values()) < 0,
        "it has too many past trials": n_past > _MAX_PAST or record["n_omitted_studies"] > n_past,
        "a meta-feature is not finite": not all(
            map(isfinite, [v for v in record["meta_features"].values() if isinstance(v, float)])
        ),
        "it does not say what distances are": bool(record["nearest"])
        and record["distance_basis"] is None,
        "the expected score is missing": None in (record["base"], record["predicted"])
        and bool(record["effects"]),
    }
    if found := [problem for problem, is_found in problems.items() if is_found]:
        raise ValueError(found[0])


def _with_choices(
    record: Mapping[str, Any], trial: FrozenTrial, past: History | None
) -> dict[str, Any]:
    """Return a record with its distributions and choices, as objects if they are in memory."""
    spaces: list[SearchSpace] = [trial.distributions]
    if past is not None:
        studies = [study.space for study in past.studies if not study.is_target]
        spaces += [past.target_space, merge_spaces(studies)]
    limit, labels, texts = record["max_choice"], set(record["labels"]), record["space"]
    space = {name: _distribution(name, text, spaces, limit) for name, text in texts.items()}
    written = {n: json.loads(texts[n])["attributes"]["choices"] for n in labels if n in texts}

    def convert(name: str, raw: Any) -> Any:
        if name in written and raw in written[name]:
            return choices_of(space[name])[written[name].index(raw)]
        return from_record(space[name], raw) if name in space else raw

    evidence = [
        {**item, "choice": label, "values": f"= {label}"}
        if (label := _whole_label(item, written, space)) is not None
        else item
        for item in record["evidence"]
    ]
    return {**map_configs(record, convert), "space": space, "evidence": evidence}


def _whole_label(
    item: Mapping[str, Any], written: Mapping[str, list[Any]], space: SearchSpace
) -> str | None:
    """Return the label of the choice that evidence is about; ``None`` without a written one."""
    name, choice = item["parameter"], item["choice"]
    if choice not in written.get(name, ()):
        return None
    return label_of(space[name], choices_of(space[name])[written[name].index(choice)])


def _distribution(
    name: str, text: str, spaces: Sequence[SearchSpace], limit: int | None
) -> BaseDistribution:
    """Return the distribution in ``spaces`` that was recorded as ``text``, else a new one."""
    for space in spaces:
        if name in space and shorten_distribution(_distribution_json(space[name]), limit) == text:
            return space[name]
    return json_to_distribution(text)


def _from_record(record: Mapping[str, Any]) -> Suggestion:
    """Return the recorded suggestion, without past trials and models."""
    space = record["space"]
    unread = (PastTrial({}, 0.0, None, None),)
    counts = record["past_studies"]
    studies = tuple(PastStudy(name, {}, unread * n, {}) for name, n in counts.items())
    if more := record["n_omitted_studies"]:
        n_trials = [record["n_omitted_trials"] - more + 1, *[1] * (more - 1)]
        studies += tuple(PastStudy("...", {}, unread * n, {}) for n in n_trials)
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
        **{name: record[name] for name in (*unchanged, "prompt_version", "other_names")},
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
        reasons=(*record["reasons"], *([_CUT] if record["is_cut"] else [])),
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
    if record["n_omitted_studies"]:
        return None
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
