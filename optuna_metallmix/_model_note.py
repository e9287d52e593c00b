"""suggestion -> what its note says of the language model: its words, the verdict, what it took.

Words that are known to be false are never shown as if they were true: each such sentence is struck
through, with what speaks against it right behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

from optuna_metallmix._attempt import cost_of
from optuna_metallmix._claims import FalseClaim
from optuna_metallmix._markdown import code
from optuna_metallmix._markdown import plain
from optuna_metallmix._review import Review
from optuna_metallmix._search_space import label_of
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._wording import one_line


_MAX_TEXT = 1_000
"""Most characters of a reason: a server's error can be a page of HTML."""


def model_words(suggestion: Suggestion) -> str:
    """Show an accepted proposal: the model's words, its choice, what it cites."""
    proposal, verdict = suggestion.proposal, suggestion.verdict
    if proposal is None:
        return ""
    untrue = verdict.false_claims if verdict else ()
    own = "\n>\n".join(f"> {_marked(one, untrue)}" for one in (proposal.reasoning, proposal.why))
    words = f"### The model's reasoning, in its own words\n\n{own}"
    chose = f"It chose candidate {proposal.candidate} of {len(suggestion.candidates)}"
    changed = ", ".join(
        f"{name} = {label_of(suggestion.space[name], value)}"
        for name, value in proposal.changes.items()
    )
    chose += f" and changed {plain(changed)}." if changed else " and changed nothing."
    cited = [f"- {one.id}: {plain(one.sentence)}" for one in suggestion.cited]
    return "\n\n".join([words, chose, *(["It cites:\n\n" + "\n".join(cited)] if cited else [])])


def model_verdict(suggestion: Suggestion) -> str:
    """Show the verdict on the last answer that could be read."""
    verdict = suggestion.verdict
    if verdict is None:
        return ""
    lines = [f"### Verdict on the model's last answer: {verdict.summary.partition(';')[0]}", ""]
    if verdict.refused_by != "model":
        lines += [f"- {plain(one)}" for one in verdict.failures]
    if verdict.refused_by != "code":  # else they are among what it was refused for
        lines += [f"- {plain(one.sentence)}" for one in verdict.false_claims]
    lines += _review(verdict.review) if verdict.review else []
    return "\n".join(lines).strip()


def making(suggestion: Suggestion) -> str:
    """Show which steps were taken, what they took, and what went less well."""
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in suggestion.seconds.items())
    build = f" ({plain(suggestion.model_build)})" if suggestion.model_build else ""
    lines = [
        f"- source: `{suggestion.source}`, model: {code(suggestion.model or 'none')}{build}, "
        f"prompt version {suggestion.prompt_version}, answers: {len(suggestion.attempts)}",
        f"- time: {seconds}",
        *_costs(suggestion),
        *(f"- {plain(reason, _MAX_TEXT)}" for reason in suggestion.reasons),
        *_mended(suggestion),
    ]
    return "### How it was made\n\n" + "\n".join(lines)


def _marked(text: str, untrue: Iterable[FalseClaim]) -> str:
    """Show a model's words, those known to be false struck through and put right."""
    text = one_line(text)
    for claim in untrue:
        before, found, after = text.partition(claim.quote)
        if found:
            wrong = f"~~{plain(found)}~~ **(not true: {plain(claim.truth)})**"
            return f"{_marked(before, untrue)} {wrong} {_marked(after, untrue)}".strip()
    return plain(text)


def _review(review: Review) -> Iterator[str]:
    for criterion, score in review.scores.items():
        remark = _marked(review.remarks.get(criterion, ""), review.false_claims)
        yield f"- {criterion}: {score} of 5. {remark}"
    if review.note:
        yield f"- the reviewing model: {plain(review.note)}"


def _costs(suggestion: Suggestion) -> Iterator[str]:
    if suggestion.attempts:
        yield f"- the model's answers: {cost_of(suggestion.attempts)}"
    if suggestion.verdict and (review := suggestion.verdict.review):
        yield f"- the review by {code(review.reviewer)}: {cost_of(review.attempts)}"


def _mended(suggestion: Suggestion) -> Iterator[str]:
    """Name the answers that were refused before one was accepted."""
    if suggestion.proposal is None:
        return
    for i, attempt in enumerate(suggestion.attempts, start=1):
        if attempt.failures:
            yield f"- answer {i} was refused: {plain(' '.join(attempt.failures), _MAX_TEXT)}"
