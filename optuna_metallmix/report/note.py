"""suggestion -> Markdown: what was suggested and why, as dashboard and report show it.

optuna-dashboard renders tables, code and images of its own, but no HTML and no formulas (0.21).
However many parameters and past studies there are, it stays a few pages: what matters most is
shown, and how much more there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna_metallmix.candidates import PAST_BEST
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.judge import Review
from optuna_metallmix.llm import cost_of
from optuna_metallmix.space import label_of
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import SOURCE_META_LEARNER
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import MAX_CELL
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import format_number
from optuna_metallmix.text import markdown_code
from optuna_metallmix.text import markdown_link
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import raw_markdown_table


MAX_NOTE = 60_000
"""Most characters of a note. It is stored in pieces of 2,045 characters, which fit every storage
(the least is MySQL's TEXT, 65,535 bytes); but all of it is read with the study each time."""
_MAX_ROWS = 20
_MAX_TEXT = 1_000

Projected = Mapping[str, tuple[Any, Any]]
"""Suggested values that the objective did not allow, by name: (suggested, used)."""


def render_note(
    suggestion: Suggestion,
    trial_number: int | None,
    projected: Projected,
    pictures: Mapping[str, str] | None = None,
    *,
    is_linked: bool = True,
) -> str:
    """Write a suggestion as Markdown that optuna-dashboard renders.

    Args:
        suggestion: What is told.
        trial_number: The trial that was made from it; ``None`` where none was.
        projected: The values that the objective did not allow.
        pictures: Addresses of pictures by title.
        is_linked: Whether it stands in the dashboard, whose pages it may lead to.
    """
    shown = _pictures(pictures or {})
    parts = [
        "## What the past suggests"
        if trial_number is None
        else f"## Where trial {trial_number} comes from",
        _headline(suggestion),
        _cost(suggestion.trade),
        _parameters(suggestion, projected),
        _moved(suggestion, projected),
        shown,
        model_words(suggestion),
        _past(suggestion, is_linked),
        model_verdict(suggestion),
        making(suggestion),
    ]
    return _bounded("\n\n".join(part for part in parts if part), MAX_NOTE + len(shown))


def _bounded(note: str, limit: int) -> str:
    """Cut a note at the end of a line; only texts of other people can make one so long."""
    if len(note) <= limit:
        return note
    return note[: limit - 100].rpartition("\n")[0] + "\n\n(The rest is left out: too long.)"


def _headline(suggestion: Suggestion) -> str:
    n = len(suggestion.history.studies)
    past = f"{n} past studies with {suggestion.history.n_trials} trials" if n else "no past study"
    who = {
        SOURCE_LLM: f"The language model {markdown_code(suggestion.model)} chose it from {past}.",
        SOURCE_META_LEARNER: f"The meta-learner chose it from {past}, without a language model.",
    }.get(suggestion.source, "The base sampler made it: nothing could be suggested.")
    expected = (
        ""
        if suggestion.predicted is None
        else f" Expected score: **{suggestion.predicted:.2f}** (0 = worst, 1 = best trial of a "
        "study)."
    )
    return f"{who}{expected}\n\n> {escape_markdown(suggestion.why, _MAX_TEXT)}"


def _cost(trade: CostTradeoff | None) -> str:
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
    names = _by_effect(suggestion)
    rows = [_parameter(suggestion, name, projected) for name in names[:_MAX_ROWS]]
    head = ("parameter", "value", "from", "SHAP effect on the score", "helped in the past", "hurt")
    base = suggestion.explanation and (
        f"The average of the past, {suggestion.explanation.base:.3f}, and all effects add up to "
        f"the expected score, {suggestion.predicted:.3f}; unit: 0 worst, 1 best trial of a study."
    )
    shown = ["### Values, and why", markdown_table(head, rows), _more(names, "parameters"), base]
    return "\n\n".join(part for part in shown if part)


def _by_effect(suggestion: Suggestion) -> list[str]:
    """Return the active parameters, and those whose absence has an effect, largest first."""
    absent = [n for n, e in suggestion.effects.items() if e and n not in suggestion.params]
    names = [*suggestion.params, *absent]
    return sorted(names, key=lambda name: -abs(suggestion.effects.get(name, 0.0)))


def _parameter(suggestion: Suggestion, name: str, projected: Projected) -> tuple[str, ...]:
    effect = suggestion.effects.get(name)
    explanation = suggestion.explanation
    evidence = (explanation.parts or explanation.evidence) if explanation else ()
    about = sorted((o for o in evidence if o.parameter == name), key=lambda o: -abs(o.effect))
    return (
        name,
        _value(suggestion, name, projected),
        _origin(suggestion, name, projected),
        "" if effect is None else f"{effect:+.3f}",
        _values(one for one in about if one.effect > 0),
        _values(one for one in about if one.effect < 0),
    )


def _value(suggestion: Suggestion, name: str, projected: Projected) -> str:
    if name not in suggestion.params:
        return "(not active)"
    value = label_of(suggestion.space[name], suggestion.params[name])
    return f"{value}, moved to {_shown(projected[name][1])}" if name in projected else value


def _origin(suggestion: Suggestion, name: str, projected: Projected) -> str:
    """Say where a value comes from."""
    proposal, number = suggestion.proposal, 1
    if name not in suggestion.params:
        return ""
    if proposal is not None:
        number = proposal.candidate
    origin = suggestion.candidates[number - 1].origin if suggestion.candidates else ""
    is_past = origin.startswith(PAST_BEST)
    told = f"past study {origin.removeprefix(PAST_BEST)}" if is_past else f"candidate {number}"
    if proposal is not None and name in proposal.changes:
        told = "changed by the model"
    return f"{told}, projected" if name in projected else told


def _moved(suggestion: Suggestion, projected: Projected) -> str:
    """Show what the objective did not allow."""
    if not projected:
        return ""
    lines = [
        f"- {escape_markdown(name, MAX_CELL)}: {escape_markdown(_shown(wanted), MAX_CELL)} is not "
        f"what the objective allows; {escape_markdown(_shown(used), MAX_CELL)} was used"
        for name, (wanted, used) in projected.items()
    ]
    more = _more(lines, "values")
    return "### What was projected\n\n" + "\n".join(
        [*lines[:_MAX_ROWS], *([more] if more else [])]
    )


def _pictures(pictures: Mapping[str, str]) -> str:
    shown = [
        f"**{escape_markdown(title)}**\n\n![{escape_markdown(title)}]({address})"
        for title, address in pictures.items()
    ]
    return "### Pictures\n\n" + "\n\n".join(shown) if shown else ""


def _more(listed: Sequence[object], what: str) -> str:
    more = len(listed) - _MAX_ROWS
    return f"and {more} more {what}" if more > 0 else ""


def _values(evidence: Iterable[Evidence]) -> str:
    return "; ".join(
        f"{one.values.removeprefix('= ')} ({one.effect:+.2f})" for one in list(evidence)[:2]
    )


def _past(suggestion: Suggestion, is_linked: bool) -> str:
    explanation, history = suggestion.explanation, suggestion.history
    parts = []
    if explanation is not None:
        rows = [_near(one, is_linked) for one in explanation.nearest]
        head = ("study", "trials", "distance (0 is alike)")
        parts += ["Nearest first:\n\n" + raw_markdown_table(head, rows)]
        parts += [_used([one.name for one in history.studies])]
        count = f"{len(history.studies)} studies, {history.n_trials} trials"
        parts += [f"{explanation.trust} It was learned from {count}."]
    if history.left_out:
        left_out = list(history.left_out.items())
        lines = [
            f"- {escape_markdown(n, MAX_CELL)}: {escape_markdown(why)}"
            for n, why in left_out[:_MAX_ROWS]
        ]
        more = len(left_out) - len(lines)
        lines += [f"- and {more} more"] if more else []
        parts += ["Left out:\n\n" + "\n".join(lines)]
    return "### The past\n\n" + "\n\n".join(parts) if parts else ""


def _near(study: NearestStudy, is_linked: bool) -> tuple[str, str, str]:
    """Return a row; a study in the same storage is linked to its page, as the dashboard has it."""
    name = escape_markdown(study.name, MAX_CELL)
    if is_linked and study.study_id is not None:
        name = markdown_link(study.name, f"/dashboard/studies/{study.study_id}")
    away = "unknown" if study.distance is None else f"{study.distance:.2f}"
    return name, str(study.n_trials), away


def _used(names: Sequence[str]) -> str:
    more = len(names) - _MAX_ROWS
    shown = ", ".join(escape_markdown(name, MAX_CELL) for name in names[:_MAX_ROWS])
    return f"All that were used: {shown}" + (f" and {more} more." if more > 0 else ".")


def _shown(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def model_words(suggestion: Suggestion) -> str:
    """Show an accepted proposal: the model's words, its choice, what it cites."""
    proposal = suggestion.proposal
    if proposal is None:
        return ""
    own = "\n>\n".join(
        f"> {escape_markdown(one)}" for one in (proposal.reasoning, proposal.why) if one
    )
    words = f"### The model's own words, unverified\n\n{own}"
    chose = f"It chose candidate {proposal.candidate} of {len(suggestion.candidates)}"
    changed = ", ".join(
        f"{name} = {label_of(suggestion.space[name], value)}"
        for name, value in proposal.changes.items()
    )
    chose += f" and changed {escape_markdown(changed)}." if changed else " and changed nothing."
    cited = [f"- {one.id}: {escape_markdown(one.sentence)}" for one in suggestion.cited]
    return "\n\n".join([words, chose, *(["It cites:\n\n" + "\n".join(cited)] if cited else [])])


def model_verdict(suggestion: Suggestion) -> str:
    """Show the verdict on the last answer that could be read."""
    verdict = suggestion.verdict
    if verdict is None:
        return ""
    lines = [f"### Verdict on the model's last answer: {verdict.summary.partition(';')[0]}", ""]
    if verdict.refused_by != "model":
        lines += [f"- {escape_markdown(one)}" for one in verdict.failures]
    lines += _review(verdict.review) if verdict.review else []
    return "\n".join(lines).strip()


def making(suggestion: Suggestion) -> str:
    """Show which steps were taken, what they took, and what went less well."""
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in suggestion.seconds.items())
    build = f" ({escape_markdown(suggestion.model_build)})" if suggestion.model_build else ""
    lines = [
        f"- source: `{suggestion.source}`, "
        f"model: {markdown_code(suggestion.model or 'none')}{build}, "
        f"prompt version {suggestion.prompt_version}, answers: {len(suggestion.attempts)}",
        f"- time: {seconds}",
        *_costs(suggestion),
        *(f"- {escape_markdown(reason, _MAX_TEXT)}" for reason in suggestion.reasons),
        *_mended(suggestion),
    ]
    return "### How it was made\n\n" + "\n".join(lines)


def _review(review: Review) -> Iterator[str]:
    for criterion, score in review.scores.items():
        yield f"- {criterion}: {score} of 5. {escape_markdown(review.remarks.get(criterion, ''))}"
    if review.note:
        yield f"- the reviewing model: {escape_markdown(review.note)}"


def _costs(suggestion: Suggestion) -> Iterator[str]:
    if suggestion.attempts:
        yield f"- the model's answers: {cost_of(suggestion.attempts)}"
    if suggestion.verdict and (review := suggestion.verdict.review):
        yield f"- the review by {markdown_code(review.reviewer)}: {cost_of(review.attempts)}"


def _mended(suggestion: Suggestion) -> Iterator[str]:
    """Name the answers that were refused before one was accepted."""
    if suggestion.proposal is None:
        return
    for i, attempt in enumerate(suggestion.attempts, start=1):
        if attempt.failures:
            failures = escape_markdown(" ".join(attempt.failures), _MAX_TEXT)
            yield f"- answer {i} was refused: {failures}"
