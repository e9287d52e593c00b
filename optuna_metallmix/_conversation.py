"""what is known + language model -> its attempts, and the proposal that was accepted, if any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix._attempt import Attempt
from optuna_metallmix._attempt import ask
from optuna_metallmix._errors import ProposalError
from optuna_metallmix._judge import Verdict
from optuna_metallmix._judge import judge
from optuna_metallmix._prompt import refusal
from optuna_metallmix._prompt import suggestion_messages
from optuna_metallmix._prompt import suggestion_schema
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._proposal import parse_proposal
from optuna_metallmix._question import Question
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import Message


@dataclass(frozen=True)
class Talk:
    """A conversation that is over.

    Attributes:
        attempts: All answers, in order.
        proposal: The accepted proposal; ``None`` where none was.
        verdict: The judge's on the last answer that could be read; ``None`` where none could.
    """

    attempts: tuple[Attempt, ...]
    proposal: Proposal | None = None
    verdict: Verdict | None = None


def converse(question: Question, llm: LLM, reviewer: LLM | None, n_attempts: int) -> Talk:
    """Ask, check, judge; quote a refusal back; stop at the first accepted answer.

    Args:
        question: What is asked about.
        llm: The language model.
        reviewer: The language model that judges; ``None`` to judge by code and meta-learner.
        n_attempts: How often the model may answer, from 1.
    """
    asked = suggestion_messages(
        question.space,
        question.meta_features,
        question.candidates,
        question.explanation,
        question.tried,
    )
    messages, talk = asked, Talk(())
    for left in reversed(range(n_attempts)):
        attempt = _hear(question, llm, messages, first=not talk.attempts)
        talk = replace(talk, attempts=(*talk.attempts, attempt))
        if attempt.failures:  # no answer at all: asking again would wait as long again
            break
        talk = _weigh(question, talk, reviewer, last=left == 0)
        if talk.proposal is not None:
            break
        latest = talk.attempts[-1]
        messages = [*asked, *refusal(latest.answer, latest.failures)]
    return talk


def _hear(question: Question, llm: LLM, messages: Sequence[Message], *, first: bool) -> Attempt:
    schema = suggestion_schema(
        question.space, question.candidates, question.explanation, may_change=first
    )
    return ask(llm, messages, schema)


def _weigh(question: Question, talk: Talk, reviewer: LLM | None, *, last: bool) -> Talk:
    """Check and judge the latest answer."""
    *before, latest = talk.attempts
    try:
        proposal = parse_proposal(
            latest.answer, question.space, question.candidates, question.explanation
        )
    except ProposalError as error:
        return replace(talk, attempts=(*before, replace(latest, failures=(str(error),))))
    verdict = judge(proposal, question, reviewer, last=last)
    judged = (*before, replace(latest, failures=verdict.failures))
    return Talk(judged, proposal if verdict.accepted else None, verdict)
