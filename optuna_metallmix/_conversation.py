"""what is known + language model -> its attempts, and the proposal that was accepted, if any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix._errors import LLMError
from optuna_metallmix._errors import ProposalError
from optuna_metallmix._judge import Verdict
from optuna_metallmix._judge import judge
from optuna_metallmix._prompt import refusal
from optuna_metallmix._prompt import show
from optuna_metallmix._prompt import suggestion_messages
from optuna_metallmix._prompt import suggestion_schema
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._proposal import parse_proposal
from optuna_metallmix._question import Question
from optuna_metallmix._question import Shown
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import Usage


@dataclass(frozen=True)
class Attempt:
    """One answer of the language model.

    Attributes:
        answer: Its text; empty where there was none.
        failures: Why it was not used; empty where it was.
        seconds: Wall seconds from the question to its answer, without the judge's.
        prompt_tokens, answer_tokens: What it read and wrote; ``None`` where it does not say.
    """

    answer: str
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


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
    shown = show(question)
    asked = suggestion_messages(shown)
    messages, talk = asked, Talk(())
    for _ in range(n_attempts):
        attempt = _hear(shown, llm, messages, first=not talk.attempts)
        talk = replace(talk, attempts=(*talk.attempts, attempt))
        if attempt.failures:  # no answer at all: asking again would wait as long again
            break
        talk = _weigh(shown, talk, reviewer)
        if talk.proposal is not None:
            break
        last = talk.attempts[-1]
        messages = [*asked, *refusal(last.answer, last.failures)]
    return talk


def model_name(llm: LLM) -> str:
    """Return what trials and notes call a language model."""
    return str(getattr(llm, "name", type(llm).__name__))


def _hear(shown: Shown, llm: LLM, messages: Sequence[Message], *, first: bool) -> Attempt:
    schema = suggestion_schema(shown, may_change=first)
    start = time.perf_counter()
    try:
        answer = llm.generate(messages, schema=schema)
    except LLMError as error:
        return Attempt("", (str(error),), time.perf_counter() - start)
    seconds, usage = time.perf_counter() - start, getattr(llm, "last_usage", None)
    if not isinstance(usage, Usage):
        return Attempt(answer, (), seconds)
    return Attempt(answer, (), seconds, usage.prompt_tokens, usage.answer_tokens)


def _weigh(shown: Shown, talk: Talk, reviewer: LLM | None) -> Talk:
    """Check and judge the last answer, by what the model was shown."""
    *before, last = talk.attempts
    question = shown.question
    try:
        proposal = parse_proposal(
            last.answer,
            question.space,
            shown.candidates,
            shown.explanation,
            reasoned=question.variant.reasons,
        )
    except ProposalError as error:
        return replace(talk, attempts=(*before, replace(last, failures=(str(error),))))
    verdict = judge(
        proposal,
        question.space,
        question.candidates,
        question.learner,
        shown.explanation,
        reviewer,
    )
    judged = (*before, replace(last, failures=verdict.failures))
    return Talk(judged, proposal if verdict.accepted else None, verdict)
