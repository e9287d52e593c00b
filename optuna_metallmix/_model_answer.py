"""one model's conversation about one study held out -> a row of the comparison."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from statistics import fmean

from optuna_metallmix._attempt import Attempt
from optuna_metallmix._claims import false_claims
from optuna_metallmix._conversation import Talk
from optuna_metallmix._conversation import read_answer
from optuna_metallmix._errors import ProposalError
from optuna_metallmix._evidence import bearing
from optuna_metallmix._held_out import Evaluate
from optuna_metallmix._held_out import HeldOut
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._prompt import show
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._question import Shown


WITHOUT = "llm=False"
"""The row of the meta-learner's first candidate, which every model is held against."""


@dataclass(frozen=True)
class ModelAnswer:
    """What one model answered about one study held out.

    Attributes:
        model: Its name, or ``"llm=False"``.
        study: The study's name.
        valid: Whether its first answer was one JSON object as asked for, every candidate,
            evidence, parameter and value in it one that exists.
        accepted: Whether an answer of it was accepted by the judge.
        attempts: How many answers it gave.
        format, accuracy, completeness: The reviewing model's scores of its last proposal, 1 to 5;
            ``None`` where there are none.
        agreement: Share of the evidence cited in its first valid answer that speaks for what it
            chose there, in [0, 1]; ``None`` where it cited none.
        untrue: How many sentences of that answer's own words the past speaks against.
        predicted: The score the meta-learner expects of what would have been trained: the accepted
            proposal, else the first candidate; about [0, 1], ``None`` without a meta-learner.
        predicted_less: By how much that is below the first candidate's.
        regret: Its true regret, see :meth:`HeldOut.regret`; ``None`` where nothing tells it.
        regret_more: By how much that is above the first candidate's; below 0 the model helped.
        seconds: Wall seconds of its answers and of the reviews, at least 0.
        prompt_tokens, answer_tokens: Read and written in these; ``None`` where it does not say.
        reason: Why its last answer was not used; empty where it was.
    """

    model: str
    study: str
    valid: bool | None = None
    accepted: bool | None = None
    attempts: int = 0
    format: int | None = None
    accuracy: int | None = None
    completeness: int | None = None
    agreement: float | None = None
    untrue: int | None = None
    predicted: float | None = None
    predicted_less: float | None = None
    regret: float | None = None
    regret_more: float | None = None
    seconds: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    reason: str = ""


def row_of(held: HeldOut, model: str, talk: Talk, evaluate: Evaluate | None) -> ModelAnswer:
    """Sum up a conversation; one with nobody is the meta-learner's first candidate."""
    first = held.question.candidates[0].params
    params = talk.proposal.params if talk.proposal else first
    expected = _expected(held, [params, first])
    regrets = None if evaluate is None else [held.regret(one, evaluate) for one in (params, first)]
    row = ModelAnswer(
        model,
        held.study.name,
        predicted=expected[0] if expected else None,
        predicted_less=expected[1] - expected[0] if expected else None,
        regret=regrets[0] if regrets else None,
        regret_more=regrets[0] - regrets[1] if regrets else None,
    )
    return row if model == WITHOUT else _with_answers(row, held, talk)


def _with_answers(row: ModelAnswer, held: HeldOut, talk: Talk) -> ModelAnswer:
    shown = show(held.question)
    parsed = [_parsed(one, shown) for one in talk.attempts]
    readable = next((one for one in parsed if one is not None), None)
    scores = talk.verdict.scores if talk.verdict else {}
    review = talk.verdict.review if talk.verdict else None
    all_attempts = [*talk.attempts, *(review.attempts if review else ())]
    return replace(
        row,
        valid=parsed[0] is not None,
        accepted=talk.proposal is not None,
        attempts=len(talk.attempts),
        format=scores.get("format"),
        accuracy=scores.get("accuracy"),
        completeness=scores.get("completeness"),
        agreement=_agreement(readable, shown) if readable else None,
        untrue=_untrue(readable, shown) if readable else None,
        seconds=sum(one.seconds for one in all_attempts),
        prompt_tokens=_sum(one.prompt_tokens for one in all_attempts),
        answer_tokens=_sum(one.answer_tokens for one in all_attempts),
        reason="" if talk.proposal else " ".join(talk.attempts[-1].failures),
    )


def _parsed(attempt: Attempt, shown: Shown) -> Proposal | None:
    try:
        return read_answer(attempt.answer, shown)
    except ProposalError:
        return None


def _agreement(proposal: Proposal, shown: Shown) -> float | None:
    known = shown.explanation.evidence if shown.explanation else ()
    cited = [one for one in known if one.id in proposal.evidence]
    speaks = [bearing(one, shown.question.space, proposal.params) > 0 for one in cited]
    return fmean(speaks) if speaks else None


def _untrue(proposal: Proposal, shown: Shown) -> int:
    question = replace(shown.question, explanation=shown.explanation)
    return len(false_claims([proposal.reasoning, proposal.why], question, proposal.params))


def _expected(held: HeldOut, configs: Sequence[Config]) -> list[float] | None:
    learner = held.question.learner
    return None if learner is None else [float(one) for one in learner.predict(configs).mean]


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [one for one in counts if one is not None]
    return sum(known) if known else None
