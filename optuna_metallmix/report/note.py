"""Render a suggestion as Markdown, for optuna-dashboard's note and for reports.

optuna-dashboard (0.21) renders tables, code and its own images, but no HTML and no formulas. The
note stays a few pages long for any number of parameters and past studies: it shows what matters
most and counts the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna_metallmix.candidates import PAST_BEST
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.history import History
from optuna_metallmix.llm import format_usage
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import label_of
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import SOURCE_META_LEARNER
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import MAX_CELL
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import format_number
from optuna_metallmix.text import format_value
from optuna_metallmix.text import markdown_code
from optuna_metallmix.text import markdown_link
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import raw_markdown_table


MAX_NOTE = 60_000
"""Maximum number of characters of a note. Every storage can hold more, in pieces of 2,045
characters, but the whole note is read each time that the study is."""
_MAX_ROWS = 20
_MAX_TEXT = 1_000
_SHORT = (
    " The model was asked a short question: it cites evidence and chooses, and gives no reasons "
    "in its own words."
)

Projected = Mapping[str, tuple[Any, Any]]
"""Suggested values outside the objective's own space, by name: (suggested, used)."""


def render_note(
    suggestion: Suggestion,
    trial_number: int | None,
    projected: Projected,
    pictures: Mapping[str, str] | None = None,
    *,
    is_linked: bool = True,
) -> str:
    """Render a suggestion as Markdown.

    Args:
        suggestion: The suggestion.
        trial_number: The number of the trial made from it; ``None`` without one.
        projected: The values outside the objective's own space.
        pictures: Addresses of pictures by title.
        is_linked: Whether to link past studies to their pages in optuna-dashboard.
    """
    title = "Suggestion from past studies"
    if trial_number is not None:
        title = f"How trial {trial_number} was chosen"
    shown = _pictures(pictures or {})
    parts = [
        f"## {title}",
        _headline(suggestion),
        _cost(suggestion.trade),
        _parameters(suggestion, projected),
        _moved(projected),
        shown,
        *_model_answer(suggestion),
        _past_studies(suggestion, is_linked),
        _verdict(suggestion),
        _details(suggestion),
    ]
    note = "\n\n".join(part for part in parts if part)
    limit = MAX_NOTE + len(shown)
    if len(note) <= limit:
        return note
    kept = note[: limit - 100].rpartition("\n")[0]  # only names and messages can be that long
    return f"{kept}\n\n(The rest was left out because the note is too long.)"


def describe_past(history: History) -> str:
    """Count past studies and their trials, such as ``"3 past studies with 90 trials"``."""
    n_studies, n_trials = len(history.studies), history.n_trials
    if not n_studies:
        return "no past studies"
    studies = "study" if n_studies == 1 else "studies"
    return f"{n_studies} past {studies} with {n_trials} trial{'s' * (n_trials > 1)}"


def _headline(suggestion: Suggestion) -> str:
    past, model = describe_past(suggestion.history), markdown_code(suggestion.model)
    alone = f"no answer of {model} was used" if suggestion.attempts else "without a language model"
    who = {
        SOURCE_LLM: f"Chosen by the language model {model} from {past}.",
        SOURCE_META_LEARNER: f"Chosen by the meta-learner from {past}, {alone}.",
    }.get(suggestion.source, "Sampled by the base sampler, because no suggestion could be made.")
    if suggestion.predicted is not None:
        expected = f"Expected score: **{suggestion.predicted:.2f}**"
        who += f" {expected} (0 = worst, 1 = best trial of a study)."
    return f"{who}\n\n> {escape_markdown(suggestion.why, _MAX_TEXT)}"


def _cost(trade: CostTradeoff | None) -> str:
    if trade is None:
        return ""
    cost = f"Cost: about **{trade.cost:.2f}** times the median past training time."
    if trade.given_up <= 0:
        return f"{cost} No other candidate is expected to score higher."
    relation = "within" if trade.given_up <= trade.uncertainty else "beyond"
    return (
        f"{cost} The candidate with the best predicted score would cost {trade.best_cost:.2f} and "
        f"is expected to score {trade.given_up:.3f} more, {relation} the uncertainty of "
        f"{trade.uncertainty:.3f}."
    )


def _parameters(suggestion: Suggestion, projected: Projected) -> str:
    """Show each active parameter, and each inactive one that has an effect, largest first."""
    if not suggestion.params:
        return ""
    effects = suggestion.effects
    absent = [name for name, effect in effects.items() if effect and name not in suggestion.params]
    names = sorted([*suggestion.params, *absent], key=lambda name: -abs(effects.get(name, 0.0)))
    rows = [_parameter(suggestion, name, projected) for name in names[:_MAX_ROWS]]
    head = ("parameter", "value", "origin", "SHAP effect on the score", "helped in the past")
    parts = ["### Suggested values", markdown_table((*head, "hurt in the past"), rows)]
    if len(names) > _MAX_ROWS:
        parts.append(f"and {len(names) - _MAX_ROWS} more parameters")
    if suggestion.explanation:
        parts.append(
            f"The average of past trials, {suggestion.explanation.base:.3f}, and all effects add "
            f"up to the expected score, {suggestion.predicted:.3f}, in score units (0 = worst, "
            "1 = best trial of a study)."
        )
    return "\n\n".join(parts)


def _parameter(suggestion: Suggestion, name: str, projected: Projected) -> tuple[str, ...]:
    value, origin = ABSENT, ""
    if name in suggestion.params:
        value = label_of(suggestion.space[name], suggestion.params[name])
        origin = _origin(suggestion, name)
        if name in projected:
            value += f", moved to {_text(projected[name][1])}"
            origin += ", projected"
    effect = suggestion.effects.get(name)
    explanation = suggestion.explanation
    evidence = (explanation.parts or explanation.evidence) if explanation else ()
    related = sorted((e for e in evidence if e.parameter == name), key=lambda e: -abs(e.effect))
    helped, hurt = ([e for e in related if sign * e.effect > 0] for sign in (1, -1))
    shown = "" if effect is None else f"{effect:+.3f}"
    return name, value, origin, shown, _effects(helped), _effects(hurt)


def _origin(suggestion: Suggestion, name: str) -> str:
    """Name the past study, candidate or model that a value comes from."""
    proposal = suggestion.proposal
    if proposal and name in proposal.changes:
        return "changed by the model"
    number = proposal.candidate if proposal else 1
    source = suggestion.candidates[number - 1].origin if suggestion.candidates else ""
    if source.startswith(PAST_BEST):
        return f"past study {source.removeprefix(PAST_BEST)}"
    return f"candidate {number}"


def _effects(evidence: Sequence[Evidence]) -> str:
    return "; ".join(f"{e.values.removeprefix('= ')} ({e.effect:+.2f})" for e in evidence[:2])


def _moved(projected: Projected) -> str:
    """List the values outside the objective's own space."""
    if not projected:
        return ""
    items = [
        f"{_cell(name)}: {_cell(_text(suggested))} is not allowed by the objective; "
        f"{_cell(_text(used))} was used"
        for name, (suggested, used) in projected.items()
    ]
    return f"### Values moved into the objective's space\n\n{_list(items, 'values')}"


def _list(items: Sequence[str], what: str) -> str:
    lines = [f"- {item}" for item in items[:_MAX_ROWS]]
    more = len(items) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more {what}"] if more else [])])


def _pictures(pictures: Mapping[str, str]) -> str:
    if not pictures:
        return ""
    titles = {escape_markdown(title): address for title, address in pictures.items()}
    shown = [f"**{title}**\n\n![{title}]({address})" for title, address in titles.items()]
    return "\n\n".join(["### Figures", *shown])


def _model_answer(suggestion: Suggestion) -> Iterator[str]:
    """Show an accepted proposal: the model's words, its choice and what it cites."""
    proposal = suggestion.proposal
    if proposal is None:
        return
    words = [f"> {escape_markdown(text)}" for text in (proposal.reasoning, proposal.why) if text]
    if words:
        yield "### The model's own words, unverified\n\n" + "\n>\n".join(words)
    changed = ", ".join(
        f"{name} = {label_of(suggestion.space[name], value)}"
        for name, value in proposal.changes.items()
    )
    choice = f"Candidate {proposal.candidate} of {len(suggestion.candidates)}"
    changes = f"with {escape_markdown(changed)}" if changed else "unchanged"
    yield f"### The model's choice\n\n{choice}, {changes}.{_SHORT * suggestion.is_short}"
    if cited := [f"- {id_}: {escape_markdown(s)}" for id_, s in suggestion.citations.items()]:
        yield "It cited:\n\n" + "\n".join(cited)


def _past_studies(suggestion: Suggestion, is_linked: bool) -> str:
    explanation, history = suggestion.explanation, suggestion.history
    parts = []
    if explanation is not None:
        head = ("study", "trials", "distance (0 = identical)")
        rows = [_nearest(study, is_linked) for study in explanation.nearest]
        names = [_cell(study.name) for study in history.studies]
        more = f" and {len(names) - _MAX_ROWS} more" if len(names) > _MAX_ROWS else ""
        parts = [
            "The most similar studies:",
            raw_markdown_table(head, rows),
            f"All studies used: {', '.join(names[:_MAX_ROWS])}{more}.",
            f"{explanation.trust} The meta-learner was fitted on {describe_past(history)}.",
        ]
    if history.left_out:
        reasons = [f"{_cell(n)}: {escape_markdown(why)}" for n, why in history.left_out.items()]
        parts += ["Left out:", _list(reasons, "studies")]
    return "\n\n".join(["### Past studies", *parts]) if parts else ""


def _nearest(study: NearestStudy, is_linked: bool) -> tuple[str, str, str]:
    name = _cell(study.name)
    if is_linked and study.study_id is not None:
        name = markdown_link(study.name, f"/dashboard/studies/{study.study_id}")
    distance = "unknown" if study.distance is None else f"{study.distance:.2f}"
    return name, str(study.n_trials), distance


def _verdict(suggestion: Suggestion) -> str:
    """Show the verdict on the last answer that could be parsed."""
    verdict = suggestion.verdict
    if verdict is None:
        return ""
    summary = verdict.summary.partition(";")[0]
    lines = [f"### Verdict on the model's last answer: {summary}", ""]
    if verdict.refused_by != "model":  # the model's reasons are in its review
        lines += [f"- {escape_markdown(failure)}" for failure in verdict.failures]
    if (review := verdict.review) and review.note:  # then nothing else of it is reliable
        lines.append(f"- the reviewing model: {escape_markdown(review.note)}")
    elif review:
        for criterion, score in review.scores.items():
            remark = escape_markdown(review.remarks.get(criterion, ""))
            lines.append(f"- {criterion}: {score} of 5. {remark}".rstrip())
    return "\n".join(lines).strip()


def _details(suggestion: Suggestion) -> str:
    """Show the steps, their cost and what went wrong."""
    build = f" ({escape_markdown(suggestion.model_build)})" if suggestion.model_build else ""
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in suggestion.seconds.items())
    asked = "no language model was asked"
    if suggestion.attempts:
        asked = (
            f"model: {markdown_code(suggestion.model or 'none')}{build}, "
            f"prompt version {suggestion.prompt_version}, answers: {len(suggestion.attempts)}"
        )
    lines = [f"source: `{suggestion.source}`, {asked}", f"time: {seconds}"]
    if suggestion.attempts:
        lines.append(f"the model's answers: {format_usage(suggestion.attempts)}")
    if suggestion.verdict and (review := suggestion.verdict.review):
        name = markdown_code(review.reviewer)
        lines.append(f"the review by {name}: {format_usage(review.attempts)}")
    lines += [escape_markdown(reason, _MAX_TEXT) for reason in suggestion.reasons]
    if suggestion.proposal is not None:  # else the reasons name the rejected answers
        lines += [
            f"answer {i} was rejected: {escape_markdown(' '.join(attempt.failures), _MAX_TEXT)}"
            for i, attempt in enumerate(suggestion.attempts, start=1)
            if attempt.failures
        ]
    return "### How the suggestion was made\n\n" + "\n".join(f"- {line}" for line in lines)


def _text(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else format_value(value)


def _cell(text: str) -> str:
    return escape_markdown(text, MAX_CELL)
