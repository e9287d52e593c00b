"""suggestion -> a note on the study that optuna-dashboard shows.

The one room that knows optuna-dashboard. Its notes render tables and code but no HTML (0.21), so
the markers are link definitions, which Markdown does not show. What stands outside of them is a
person's, and is kept byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna import Study

from optuna_metallmix._errors import MetaLLMiXError
from optuna_metallmix._evidence import Evidence
from optuna_metallmix._markdown import code
from optuna_metallmix._markdown import plain
from optuna_metallmix._markdown import table
from optuna_metallmix._meta_learner import LEAST_TRUST
from optuna_metallmix._model_note import making
from optuna_metallmix._model_note import model_verdict
from optuna_metallmix._model_note import model_words
from optuna_metallmix._numbers import format_number
from optuna_metallmix._optuna_access import real_study
from optuna_metallmix._search_space import label_of
from optuna_metallmix._suggested import SOURCE_LLM
from optuna_metallmix._suggested import SOURCE_META_LEARNER
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._trade import Trade


BEGIN = "[//]: # (optuna-metallmix begin: written again by the sampler)"
END = "[//]: # (optuna-metallmix end)"

_MAX_ROWS = 20

Projected = Mapping[str, tuple[Any, Any]]
"""Suggested values that the objective did not allow, by name: (suggested, used)."""


class _DashboardError(MetaLLMiXError):
    """optuna-dashboard could not read or write a note."""


def render_note(suggestion: Suggestion, trial_number: int, projected: Projected) -> str:
    """Write a suggestion as Markdown that optuna-dashboard renders."""
    parts = [
        f"## Where trial {trial_number} comes from",
        _headline(suggestion),
        _cost(suggestion.trade),
        _parameters(suggestion, projected),
        model_words(suggestion),
        _past(suggestion),
        model_verdict(suggestion),
        making(suggestion),
    ]
    return "\n\n".join(part for part in parts if part)


def write_note(study: Study, text: str) -> str | None:
    """Put ``text`` between this package's markers in the study's note.

    Returns:
        Why the note could not be written, as a sentence; ``None`` where it was.
    """
    try:
        from optuna_dashboard import get_note
        from optuna_dashboard import save_note
    except ImportError:
        return (
            "The study's note was not written, because optuna-dashboard is not installed: "
            "pip install optuna-dashboard."
        )
    study = real_study(study)
    try:
        note = _ask(get_note, study)
        _ask(save_note, study, merge_note(note, text))
    except _DashboardError as error:
        return str(error)
    return None


def _ask(call: Callable[..., Any], *args: object) -> Any:
    """Call one function of optuna-dashboard, and nothing of ours: a bug here is to show."""
    try:
        return call(*args)
    except Exception as error:  # Other people's code: a note is not worth a training.
        raise _DashboardError(
            "The study's note was not written, because optuna-dashboard raised "
            f"{type(error).__name__} ({error}): pip install --upgrade optuna-dashboard."
        ) from error


def merge_note(note: str, text: str) -> str:
    """Replace this package's section of a note, or add one at the end."""
    section = f"{BEGIN}\n\n{text}\n\n{END}"
    start = note.rfind(BEGIN)  # a marker that a person pasted or left over stands before ours
    end = note.find(END, max(start, 0))
    if 0 <= start < end:
        return note[:start] + section + note[end + len(END) :]
    return f"{note}\n\n{section}" if note else section


def _headline(suggestion: Suggestion) -> str:
    n = len(suggestion.history.studies)
    past = f"{n} past studies with {suggestion.history.n_trials} trials" if n else "no past study"
    who = {
        SOURCE_LLM: f"The language model {code(suggestion.model)} chose it from {past}.",
        SOURCE_META_LEARNER: f"The meta-learner chose it from {past}, without a language model.",
    }.get(suggestion.source, "The base sampler made it: nothing could be suggested.")
    expected = (
        ""
        if suggestion.predicted is None
        else f" Expected score: **{suggestion.predicted:.2f}** (0 = worst, 1 = best trial of a "
        "study)."
    )
    return f"{who}{expected}\n\n> {plain(suggestion.why)}"


def _cost(trade: Trade | None) -> str:
    if trade is None:
        return ""
    cost = f"Cost: about **{trade.cost:.2f}** of a middling past training."
    if trade.given_up <= 0:
        return f"{cost} Nothing more is expected of any other candidate."
    where = "within" if trade.given_up <= trade.uncertainty else "beyond"
    return (
        f"{cost} The best predicted candidate would take {trade.best_cost:.2f} and is expected to "
        f"score {trade.given_up:.3f} more, {where} the uncertainty of {trade.uncertainty:.3f}."
    )


def _parameters(suggestion: Suggestion, projected: Projected) -> str:
    if not suggestion.params:
        return ""
    rows = [_parameter(suggestion, name, projected) for name in _by_effect(suggestion)]
    head = ("parameter", "value", "SHAP effect on the score", "helped in the past", "hurt")
    return "### Values, and why\n\n" + table(head, rows)


def _by_effect(suggestion: Suggestion) -> list[str]:
    return sorted(suggestion.params, key=lambda name: -abs(suggestion.effects.get(name, 0.0)))[
        :_MAX_ROWS
    ]


def _parameter(suggestion: Suggestion, name: str, projected: Projected) -> tuple[str, ...]:
    value = label_of(suggestion.space[name], suggestion.params[name])
    if name in projected:
        value = f"{value}, moved to {_shown(projected[name][1])}"
    effect = suggestion.effects.get(name)
    evidence = suggestion.explanation.evidence if suggestion.explanation else ()
    about = [one for one in evidence if one.parameter == name]
    return (
        name,
        value,
        "" if effect is None else f"{effect:+.3f}",
        _values(one for one in about if one.effect > 0),
        _values(one for one in about if one.effect < 0),
    )


def _values(evidence: Iterable[Evidence]) -> str:
    return "; ".join(
        f"{one.values.removeprefix('= ')} ({one.effect:+.2f})" for one in list(evidence)[:2]
    )


def _past(suggestion: Suggestion) -> str:
    explanation, history = suggestion.explanation, suggestion.history
    parts = []
    if explanation is not None:
        rows = [
            (
                one.name,
                str(one.n_trials),
                "unknown" if one.distance is None else f"{one.distance:.2f}",
            )
            for one in explanation.nearest
        ]
        parts += ["Nearest first:\n\n" + table(("study", "trials", "distance"), rows)]
        parts += [_used([one.name for one in history.studies])]
        parts += [_trust(explanation.quality)]
    if history.left_out:
        left_out = list(history.left_out.items())
        lines = [f"- {plain(name)}: {plain(why)}" for name, why in left_out[:_MAX_ROWS]]
        more = len(left_out) - len(lines)
        lines += [f"- and {more} more"] if more else []
        parts += ["Left out:\n\n" + "\n".join(lines)]
    return "### The past\n\n" + "\n\n".join(parts) if parts else ""


def _used(names: Sequence[str]) -> str:
    more = len(names) - _MAX_ROWS
    shown = ", ".join(plain(name) for name in names[:_MAX_ROWS])
    return f"All that were used: {shown}" + (f" and {more} more." if more > 0 else ".")


def _trust(quality: float | None) -> str:
    if quality is None:
        return "How far to trust it: unknown, since there is only one past study."
    kept = " So only what was best in a past study was offered." * (quality <= LEAST_TRUST)
    return (
        f"How far to trust it: on past studies held out, predicted and true order of the trials "
        f"agree with a rank correlation of **{quality:.2f}** (1 perfect, 0 useless).{kept}"
    )


def _shown(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else str(value)
