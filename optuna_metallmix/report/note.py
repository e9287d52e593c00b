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

from optuna.distributions import BaseDistribution

from optuna_metallmix.candidates import PAST_BEST
from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.explain import MIN_EFFECT
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import NearestStudy
from optuna_metallmix.history import BY_FEATURES
from optuna_metallmix.history import BY_RESULTS
from optuna_metallmix.history import History
from optuna_metallmix.llm import format_usage
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import middle
from optuna_metallmix.space import value_key
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import SOURCE_META_LEARNER
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.suggestion import join_names
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import join_words
from optuna_metallmix.text import markdown_code
from optuna_metallmix.text import markdown_link
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import raw_markdown_table
from optuna_metallmix.text import sanitize
from optuna_metallmix.text import shorten


MAX_NOTE = 60_000
"""Maximum number of characters of a note. Every storage can hold more, in pieces of 2,045
characters, but the whole note is read each time that the study is."""
_MAX_ROWS = 20
_MAX_TEXT = 1_000
_MAX_NAME = 26
_MAX_VALUE = 20
"""Maximum length of names and values: Markdown does not break words, so that long ones would push
columns out of sight at a width of 1,280 pixels."""
_MAX_TITLE = 60
_MAX_VALUES = 3
_MAX_BEST = 5
_SHORT = (
    " The model was asked a short question: it cites evidence and chooses, and gives no reasons "
    "in its own words."
)


def render_note(
    suggestion: Suggestion,
    trial_number: int | None,
    pictures: Mapping[str, str] | None = None,
    *,
    is_linked: bool = True,
) -> str:
    """Render a suggestion as Markdown.

    Args:
        suggestion: The suggestion, as its trial ran it if it has one.
        trial_number: The number of the trial made from it; ``None`` without one.
        pictures: Addresses of pictures by title.
        is_linked: Whether to link past studies to their pages in optuna-dashboard.
    """
    title = "Suggestion from past studies"
    if trial_number is not None:
        title = f"How trial {trial_number} was chosen"
    shown = _pictures(pictures or {})
    parts = [
        f"## {title}",
        _headline(suggestion, trial_number),
        _cost(suggestion.trade),
        _parameters(suggestion),
        _changes(suggestion),
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


def _headline(suggestion: Suggestion, number: int | None) -> str:
    """Say what ran, what was expected of it and why, and who chose it from what."""
    past, model = describe_past(suggestion.history), markdown_code(suggestion.model)
    alone = f", no answer of {model} was used" if suggestion.attempts else ""
    who = {
        SOURCE_LLM: f"Chosen by the language model {model} from {past}",
        SOURCE_META_LEARNER: f"Chosen by the meta-learner from {past}{alone}",
    }.get(suggestion.source, "Sampled by the base sampler, because no suggestion could be made.")
    if not suggestion.params and suggestion.explanation:
        return (
            "Not chosen from past studies, because the objective asked for none of the suggested "
            "parameters that they have."
        )
    if not suggestion.params:
        return who
    candidate = f"candidate {suggestion.chosen.number} of {len(suggestion.candidates)}"
    return f"{_sentence(suggestion, number)}\n\n{who}: {candidate}."


def _sentence(suggestion: Suggestion, number: int | None) -> str:
    """Say which configuration it is, what is expected of it, and why."""
    effects, params = suggestion.effects, suggestion.params
    names = sorted(params, key=lambda name: -abs(effects.get(name, 0.0)))
    values = [
        f"{_short(name)} = {escape_markdown(_value(suggestion, name))}"
        for name in names[:_MAX_VALUES]
    ]
    if more := len(names) - len(values):
        values.append(f"{more} more value{'s' * (more > 1)}")
    trial = "The suggestion has" if number is None else f"Trial {number} was given"
    expected = ""
    if suggestion.predicted is not None:
        expected = (
            f", with an expected score of **{suggestion.predicted:.2f}** (0 = worst, 1 = best "
            "trial of a study)"
        )
    return (
        f"{trial} {join_words(values)}{expected}{_because(suggestion)}{_main_effects(suggestion)}"
    )


def _because(suggestion: Suggestion) -> str:
    """Say why the configuration was chosen, or which part of it is from past studies."""
    origin = escape_markdown(suggestion.origin, _MAX_TEXT)
    if names := [_short(name) for name in suggestion.part_from_past]:
        values, verb = ("value", "is") if len(names) == 1 else ("values", "are")
        return (
            f". Only the {values} of {join_names(names)} {verb} from past studies, as in a "
            f"configuration that is {origin}."
        )
    article = "the " * origin.startswith("middle")
    return f", because the configuration is {article}{origin}."


def _main_effects(suggestion: Suggestion) -> str:
    """Name the values that raise and lower the expected score most."""
    effects = {n: e for n, e in suggestion.effects.items() if n in suggestion.params}
    parts = []
    for sign, verb in ((1, "raised"), (-1, "lowered")):
        names = sorted(effects, key=lambda name: -sign * effects[name])[:2]
        named = [_short(name) for name in names if sign * effects[name] >= MIN_EFFECT]
        parts += [f"{verb} most by {join_words(named)}"] if named else []
    return f" The expected score is {', and '.join(parts)}." if parts else ""


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


def _parameters(suggestion: Suggestion) -> str:
    """Show each parameter that is active, the largest effect first."""
    effects, params = suggestion.effects, suggestion.params
    if not params:
        return ""
    names = sorted(params, key=lambda name: -abs(effects.get(name, 0.0)))
    rows = [_parameter(suggestion, name) for name in names[:_MAX_ROWS]]
    head = ("parameter", "value", "origin", "SHAP effect on the score", "helped in the past")
    parts = ["### Suggested values", markdown_table((*head, "hurt in the past"), rows)]
    if len(names) > _MAX_ROWS:
        parts.append(f"and {len(names) - _MAX_ROWS} more parameters")
    if suggestion.explanation:
        inactive = [effect for name, effect in effects.items() if name not in params]
        rest = f" ({sum(inactive):+.3f} of them from other parameters)"
        parts.append(
            f"The average of past trials, {suggestion.explanation.base:.3f}, and all effects"
            f"{rest * any(inactive)} add up to the expected score, {suggestion.predicted:.3f}."
        )
    return "\n\n".join(parts)


def _parameter(suggestion: Suggestion, name: str) -> tuple[str, ...]:
    effect = suggestion.effects.get(name)
    explanation = suggestion.explanation
    evidence = (explanation.parts or explanation.evidence) if explanation else ()
    related = sorted((e for e in evidence if e.parameter == name), key=lambda e: -abs(e.effect))
    # A range of numbers is broken between its words; a long choice may be a single word.
    limit = _MAX_VALUE if choices_of(suggestion.space[name]) else _MAX_TEXT
    short = shorten((e.values.removeprefix("= ") for e in related), limit)
    helped, hurt = (
        "; ".join(
            f"{short[e.values.removeprefix('= ')]} ({e.effect:+.2f})"
            for e in [e for e in related if sign * e.effect > 0][:2]
        )
        for sign in (1, -1)
    )
    shown = "" if effect is None else f"{effect:+.3f}"
    values = (sanitize(name, _MAX_NAME), _value(suggestion, name), _origin(suggestion, name))
    return *values, shown, helped, hurt


def _value(suggestion: Suggestion, name: str) -> str:
    return label_value(suggestion.space[name], suggestion.params[name])


def label_value(distribution: BaseDistribution, value: Any) -> str:
    """Write a value, shortened if it is long, but unlike any choice of its parameter."""
    label = label_of(distribution, value)
    return shorten([*labels_of(distribution, choices_of(distribution)), label], _MAX_VALUE)[label]


def _origin(suggestion: Suggestion, name: str) -> str:
    """Name the past study, candidate or model that a value comes from."""
    proposal, candidates = suggestion.proposal, suggestion.candidates
    if name in suggestion.moved:
        return f"moved from {label_value(suggestion.space[name], suggestion.moved[name][0])}"
    if proposal and name in proposal.changes:
        return "changed by the model"
    chosen = [suggestion.chosen] if candidates else []
    for candidate in (*chosen, *candidates):
        if name in candidate.params:
            if name in suggestion.new:
                return f"no past study has it: {_invented(suggestion, name, candidate)}"
            if candidate.origin.startswith(PAST_BEST):
                study = candidate.origin.removeprefix(PAST_BEST)
                return f"past study {sanitize(study, _MAX_NAME)}"
            return f"candidate {candidate.number}"
    return "base sampler"


def _invented(suggestion: Suggestion, name: str, candidate: Candidate) -> str:
    """Say where a candidate has a value from that no past study has."""
    distribution, value = suggestion.space[name], candidate.params[name]
    if value_key(value) != value_key(middle(distribution)):
        return f"candidate {candidate.number}"
    return "first choice" if choices_of(distribution) else "middle of the range"


def _changes(suggestion: Suggestion) -> str:
    """Say how what ran differs from the suggestion; the table has the values."""
    if not suggestion.params:
        return ""
    n, lines = len(suggestion.moved), []
    unused = [name for name in suggestion.suggested if name not in suggestion.params]
    if n:
        values, moved = ("value is", "was") if n == 1 else ("values are", "were")
        lines.append(f"{n} suggested {values} not allowed by the objective, and {moved} moved.")
    if unused:
        names = [_short(name) for name in unused[:_MAX_ROWS]]
        more = len(unused) - len(names)
        names += [f"{more} more"] if more else []
        lines.append(f"The objective did not ask for {join_words(names)}.")
    expected = suggestion.chosen.predicted if lines else None
    if expected is not None and not (suggestion.proposal and suggestion.proposal.changes):
        lines.append(f"As suggested, the expected score was {expected:.2f}.")
    return f"### Changes by the objective\n\n{' '.join(lines)}" if lines else ""


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
    holding = suggestion.citations
    cited = [
        f"- {escape_markdown(item.id)}: "
        + escape_markdown(holding.get(item.id, f"{item.sentence}, but that value did not run"))
        for item in suggestion.cited
    ]
    if cited:
        yield "It cited:\n\n" + "\n".join(cited)


def _past_studies(suggestion: Suggestion, is_linked: bool) -> str:
    explanation, history = suggestion.explanation, suggestion.history
    parts = []
    if explanation is not None:
        n_past = sum(not study.is_target for study in history.studies)
        parts = [*_nearest(explanation, n_past, is_linked), explanation.trust]
        names = [_short(study.name) for study in history.studies]
        if len(names) > len(explanation.nearest):
            more = f" and {len(names) - _MAX_ROWS} more" if len(names) > _MAX_ROWS else ""
            parts.append(f"All studies used: {', '.join(names[:_MAX_ROWS])}{more}.")
    if history.left_out:
        reasons = [f"{_short(n)}: {escape_markdown(why)}" for n, why in history.left_out.items()]
        parts += ["Left out:", _list(reasons, "studies")]
    return "\n\n".join(["### Past studies", *parts]) if parts else ""


_DISTANCE = {BY_FEATURES: "0 = identical", BY_RESULTS: "0 = same order, 0.5 = unrelated"}


def _nearest(explanation: Explanation, n_past: int, is_linked: bool) -> Iterator[str]:
    """List the nearest studies, each with the parameters that its best configuration has.

    Without distances there is an order only if there are more studies.
    """
    nearest = explanation.nearest
    is_known = any(study.distance is not None for study in nearest)
    names = [name for name in explanation.importance if name in explanation.space]
    head = ["study", "trials", "best configuration"]
    rows = []
    for study in nearest:
        link = f"/dashboard/studies/{study.study_id}" if study.study_id is not None else None
        name = markdown_link(study.name, link) if is_linked and link else _short(study.name)
        distance = "unknown" if study.distance is None else f"{study.distance:.2f}"
        row = [name, str(study.n_trials), _best(study, names, explanation.space)]
        rows.append([*row[:2], distance, *row[2:]] if is_known else row)
    if is_known:
        head.insert(2, f"distance ({_DISTANCE[explanation.distance_basis]})")
    if not is_known and len(nearest) == n_past:
        yield "All past studies:"
    else:
        unknown = " (which are similar is not known: the studies share no meta-features)"
        yield f"{explanation.ranked_by}{unknown * (not is_known)}:"
    yield raw_markdown_table(head, rows)


def _best(study: NearestStudy, names: Sequence[str], space: SearchSpace) -> str:
    """Write the most important of the parameters that a configuration has."""
    active = [name for name in names if name in study.best]
    shown = [
        f"{_short(name)} = {escape_markdown(label_value(space[name], study.best[name]))}"
        for name in active[:_MAX_BEST]
    ]
    more = len(study.best) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


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
    if aliases := suggestion.history.aliases:
        renamed = ", ".join(f"{old} as {new}" for old, new in aliases.items())
        lines.append(f"past parameters under their present names: {escape_markdown(renamed)}")
    if names := suggestion.other_names:
        shown = ", ".join(f"{name} as {past}" for name, past in names.items())
        lines.append(f"parameters under their names in the past: {escape_markdown(shown)}")
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


def _short(name: str) -> str:
    return escape_markdown(sanitize(name, _MAX_TITLE))
