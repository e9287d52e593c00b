"""Write the sections of a question: task, search space, evidence and candidates.

The best candidate and the strongest evidence come first, because the smallest models prefer what
does. Each section states how many items it leaves out.
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


def sections(view: PromptView) -> list[str]:
    """Write everything that comes before the instructions, in reading order."""
    parts = [_task(view), _space(view), _tried(view)]
    if view.explanation is not None:
        parts += [_trust(view.explanation.quality), _nearest(view)]
        if view.question.variant.evidence:
            parts += [_importance(view), evidence_section(view)]
    return [part for part in [*parts, _candidates(view)] if part]


def configuration(params: Config, space: SearchSpace, limit: int = MAX_TEXT) -> str:
    """Write a configuration on one line, in the order of the space."""
    return ", ".join(
        f"{quote_name(name, limit)}={quote_name(label_of(space[name], params[name]), limit)}"
        for name in space
        if name in params
    )


def evidence_section(view: PromptView) -> str:
    """Write which values helped and hurt in past studies."""
    evidence = view.explanation.evidence if view.explanation else ()
    if not evidence:
        return "Evidence: none."
    limit = view.caps.text
    lines = [
        f"{item.id}: {quote_name(item.parameter, limit)} "
        f"{item.values if item.choice is None else '= ' + quote_name(item.choice, limit)} "
        f"{item.outcome}"
        for item in evidence
    ]
    known = view.question.explanation.evidence if view.question.explanation else ()
    head = "Evidence (SHAP effect on the score, 0 = worst and 1 = best trial of a study):"
    return _list(head, lines, len(known) - len(lines), "that matter less")


def _task(view: PromptView) -> str:
    features = list(view.question.meta_features.items())
    if not features:
        return "Task: nothing is known about it."
    limit = view.caps.text
    shown = [
        f"{quote_name(name, limit)}="
        f"{quote(value, limit) if isinstance(value, str) else quote_name(format_number(value))}"
        for name, value in features[: view.caps.features]
    ]
    more = len(features) - len(shown)
    return "Task: " + ", ".join(shown) + (f", and {more} more" if more else "")


def _space(view: PromptView) -> str:
    lines = [f"- {quote_name(name, view.caps.text)}: {_range(view, name)}" for name in view.space]
    little = "" if view.explanation is None else "that had little effect; "
    return _list("Search space:", lines, view.left_out, f"{little}each candidate sets them")


def _range(view: PromptView, parameter: str) -> str:
    distribution = view.space[parameter]
    choices = choices_of(distribution)
    if not choices:
        return describe(distribution)
    labels = [quote(label, view.caps.text) for label in view.labels(parameter)]
    more = len(choices) - len(labels)
    return "one of " + ", ".join(labels) + (f" and {more} more" if more else "")


def _tried(view: PromptView) -> str:
    tried = view.question.tried
    latest = tried[max(len(tried) - view.caps.tried, 0) :]
    if not latest:
        return ""
    lines = [
        f"- {configuration(params, view.space, view.caps.text)}: {_outcome(value)}"
        for params, value in latest
    ]
    head = "Already tried on this task, with the objective's value:"
    return _list(head, lines, len(tried) - len(lines), "before them")


def _outcome(value: float | None) -> str:
    return "violated a constraint" if value is None else format_number(value)


def _trust(quality: float | None) -> str:
    if quality is None:
        return "Trust: unknown, since no other past study is large enough to check it."
    return (
        "Trust: on past studies held out, the order of trials was predicted with rank correlation "
        f"{quality:.2f} (1 perfect, 0 useless)."
    )


def _nearest(view: PromptView) -> str:
    if view.explanation is None:
        return ""
    shown = view.explanation.nearest
    known = view.question.explanation.nearest if view.question.explanation else ()
    if not shown:
        return ""
    lines = [_past_study(study, view) for study in shown]
    head = f"{view.explanation.ranked_by} and their best configuration:"
    which = "with fewer trials" if shown[0].distance is None else "further away"
    return _list(head, lines, len(known) - len(lines), which)


def _past_study(study: NearestStudy, view: PromptView) -> str:
    limit = view.caps.text
    distance = "" if study.distance is None else f", distance {study.distance:.2f}"
    best = configuration(study.best, view.space, limit)
    return f"- {quote(study.name, limit)} ({study.n_trials} trials{distance}): {best}"


def _importance(view: PromptView) -> str:
    """Write each parameter's mean effect, except those that would be rounded to 0.00."""
    importance = view.explanation.importance if view.explanation else {}
    effects = [
        f"{quote_name(name, view.caps.text)} {effect:.2f}"
        for name, effect in importance.items()
        if name in view.space and effect >= 0.005
    ]
    head = "What each parameter does to the score (mean SHAP effect, up or down): "
    return head + ", ".join(effects) if effects else ""


def _candidates(view: PromptView) -> str:
    lines = [_candidate(candidate, view) for candidate in view.candidates]
    more = len(view.question.candidates) - len(lines)
    return _list("Candidates:", lines, more, "not offered here")


def _candidate(candidate: Candidate, view: PromptView) -> str:
    values = configuration(candidate.params, view.space, view.caps.text)
    text = f"{candidate.number}. {values}"
    if candidate.predicted is None or candidate.spread is None:
        return text
    text += f" | expected score {candidate.predicted:.2f} +- {candidate.spread:.2f}"
    cost = candidate.cost
    return text if cost is None else f"{text} | training time {cost:.2f} (1 is usual)"


def _list(head: str, lines: Sequence[str], more: int, which: str) -> str:
    """Write lines under a head, and how many others there are."""
    return "\n".join([head, *lines, *([f"- and {more} more {which}"] if more else [])])
