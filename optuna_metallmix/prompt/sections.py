"""what is shown -> the sections of a question, each a text of whole lines.

Numbers are decimals. Candidates and evidence stand best first, because the smallest models take
what stands first. What there is no room for is told in a line.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.prompt.context import PromptView
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import describe
from optuna_metallmix.space import label_of
from optuna_metallmix.text import MAX_TEXT
from optuna_metallmix.text import format_number
from optuna_metallmix.text import quote
from optuna_metallmix.text import quote_name


def sections(shown: PromptView) -> list[str]:
    """Write all that comes before the question, in the order in which it is best read."""
    parts = [_task(shown), _space(shown), _tried(shown)]
    if shown.explanation is not None:
        parts += [_trust(shown.explanation.quality), _nearest(shown)]
        if shown.question.variant.evidence:
            parts += [_importance(shown), evidence_section(shown)]
    return [part for part in [*parts, _candidates(shown)] if part]


def configuration(params: Config, space: SearchSpace, limit: int = MAX_TEXT) -> str:
    """Write a configuration on one line, in the order of the space."""
    return ", ".join(
        f"{quote_name(one, limit)}={quote_name(label_of(space[one], params[one]), limit)}"
        for one in space
        if one in params
    )


def evidence_section(shown: PromptView) -> str:
    """Write what values helped and hurt, by number."""
    evidence = shown.explanation.evidence if shown.explanation else ()
    if not evidence:
        return "Evidence: none."
    limit = shown.extent.text
    lines = [
        f"{one.id}: {quote_name(one.parameter, limit)} "
        f"{one.values if one.choice is None else '= ' + quote_name(one.choice, limit)} "
        f"{one.outcome}"
        for one in evidence
    ]
    asked = shown.question.explanation
    known = asked.evidence if asked else ()
    head = "Evidence (SHAP effect on the score, 0 = worst and 1 = best trial of a study):"
    return _listed(head, lines, len(known) - len(lines), "that matter less")


def _task(shown: PromptView) -> str:
    features = list(shown.question.meta_features.items())
    if not features:
        return "Task: nothing is known about it."
    limit = shown.extent.text
    told = [
        f"{quote_name(one, limit)}="
        f"{quote(value, limit) if isinstance(value, str) else quote_name(format_number(value))}"
        for one, value in features[: shown.extent.features]
    ]
    more = len(features) - len(told)
    return "Task: " + ", ".join(told) + (f", and {more} more" if more else "")


def _space(shown: PromptView) -> str:
    lines = [
        f"- {quote_name(one, shown.extent.text)}: {_range(shown, one)}" for one in shown.space
    ]
    little = "" if shown.explanation is None else "that had little effect; "
    return _listed("Search space:", lines, shown.left_out, f"{little}each candidate sets them")


def _range(shown: PromptView, parameter: str) -> str:
    distribution = shown.space[parameter]
    choices = choices_of(distribution)
    if not choices:
        return describe(distribution)
    labels = [quote(one, shown.extent.text) for one in shown.labels(parameter)]
    more = len(choices) - len(labels)
    return "one of " + ", ".join(labels) + (f" and {more} more" if more else "")


def _tried(shown: PromptView) -> str:
    tried = shown.question.tried
    latest = tried[max(len(tried) - shown.extent.tried, 0) :]
    if not latest:
        return ""
    lines = [
        f"- {configuration(params, shown.past_space, shown.extent.text)}: {format_number(value)}"
        for params, value in latest
    ]
    head = f"Already tried on this task, with the objective's value{_part(shown)}:"
    return _listed(head, lines, len(tried) - len(lines), "before them")


def _trust(quality: float | None) -> str:
    if quality is None:
        return "Trust: one past study only, so nothing tells how far it carries over."
    return (
        "Trust: on past studies held out, the order of trials was predicted with rank correlation "
        f"{quality:.2f} (1 perfect, 0 useless)."
    )


def _nearest(shown: PromptView) -> str:
    assert shown.explanation is not None
    assert shown.question.explanation is not None
    lines = [_past(one, shown) for one in shown.explanation.nearest]
    if not lines:
        return ""
    head = f"Nearest past studies and their best configuration{_part(shown)}:"
    more = len(shown.question.explanation.nearest) - len(lines)
    return _listed(head, lines, more, "further away")


def _past(study: NearestStudy, shown: PromptView) -> str:
    limit = shown.extent.text
    away = "" if study.distance is None else f", distance {study.distance:.2f}"
    best = configuration(study.best, shown.past_space, limit)
    return f"- {quote(study.name, limit)} ({study.n_trials} trials{away}): {best}"


def _part(shown: PromptView) -> str:
    n = len(shown.past_space)
    return f" ({n} of {len(shown.space)} parameters)" if n < len(shown.space) else ""


def _importance(shown: PromptView) -> str:
    """Tell what each parameter does; what does nothing worth a number is left out."""
    assert shown.explanation is not None
    told = [
        f"{quote_name(one, shown.extent.text)} {effect:.2f}"
        for one, effect in shown.explanation.importance.items()
        if one in shown.space and effect >= 0.005
    ]
    head = "What each parameter does to the score (mean SHAP effect, up or down): "
    return head + ", ".join(told) if told else ""


def _candidates(shown: PromptView) -> str:
    lines = [_candidate(one, shown) for one in shown.candidates]
    more = len(shown.question.candidates) - len(lines)
    return _listed("Candidates:", lines, more, "not offered here")


def _candidate(candidate: Candidate, shown: PromptView) -> str:
    values = configuration(candidate.params, shown.space, shown.extent.text)
    text = f"{candidate.number}. {values}"
    if candidate.predicted is None or candidate.spread is None:
        return text
    text += f" | expected score {candidate.predicted:.2f} +- {candidate.spread:.2f}"
    cost = candidate.cost
    return text if cost is None else f"{text} | training time {cost:.2f} (1 is usual)"


def _listed(head: str, lines: Sequence[str], more: int, which: str) -> str:
    """Write lines under a head, and how many others there are."""
    return "\n".join([head, *lines, *([f"- and {more} more {which}"] if more else [])])
