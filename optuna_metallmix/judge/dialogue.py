"""Ask a language model for a proposal until the judge accepts one."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix.errors import ProposalError
from optuna_metallmix.judge.judge import Verdict
from optuna_metallmix.judge.judge import judge_proposal
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.judge.proposal import parse_proposal
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import Attempt
from optuna_metallmix.llm import ask
from optuna_metallmix.prompt import PromptView
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.prompt import rejection
from optuna_metallmix.prompt import suggestion_messages
from optuna_metallmix.prompt import suggestion_schema


@dataclass(frozen=True)
class Dialogue:
    """A finished conversation with a language model.

    Attributes:
        attempts: All answers, in order; empty if there was nothing to ask.
        proposal: The accepted proposal; ``None`` if no answer was accepted.
        verdict: The verdict on the last answer that could be parsed; ``None`` if none could.
    """

    attempts: tuple[Attempt, ...]
    proposal: Proposal | None = None
    verdict: Verdict | None = None


def hold_dialogue(question: Question, llm: LLM, reviewer: LLM | None, n_attempts: int) -> Dialogue:
    """Ask until an answer is accepted; each further question quotes the reasons for the rejection.

    The short question is asked once, if there is evidence to cite, and its answer is checked by
    code alone.

    Args:
        question: The question.
        llm: The language model that proposes.
        reviewer: The language model that reviews; ``None`` for no review.
        n_attempts: Maximum number of answers, at least 1.
    """
    view = prompt_view(question)
    if question.variant.is_short:
        reviewer, n_attempts = None, 1 if view.explanation and view.explanation.evidence else 0
    asked = suggestion_messages(view)
    messages, dialogue = asked, Dialogue(())
    for _ in range(n_attempts):
        schema = suggestion_schema(view, may_change=not dialogue.attempts)
        attempt = ask(llm, messages, schema)
        dialogue = replace(dialogue, attempts=(*dialogue.attempts, attempt))
        if attempt.failures:  # without an answer, asking again would wait just as long
            break
        dialogue = _judge_latest(dialogue, view, reviewer)
        if dialogue.proposal is not None:
            break
        latest = dialogue.attempts[-1]
        messages = [*asked, *rejection(latest.answer, latest.failures)]
    return dialogue


def read_answer(answer: str, view: PromptView) -> Proposal:
    """Parse an answer, and check it against the shown part of the question.

    Raises:
        ProposalError: The answer does not fit the question.
    """
    return parse_proposal(
        answer,
        view.question.space,
        view.candidates,
        view.explanation,
        with_reasoning=view.question.variant.with_reasoning,
        is_short=view.question.variant.is_short,
        prompt="\n".join(message["content"] for message in suggestion_messages(view)),
    )


def _judge_latest(dialogue: Dialogue, view: PromptView, reviewer: LLM | None) -> Dialogue:
    *before, latest = dialogue.attempts
    try:
        proposal = read_answer(latest.answer, view)
    except ProposalError as error:
        failed = replace(latest, failures=(str(error),))
        return replace(dialogue, attempts=(*before, failed))
    question = replace(view.question, explanation=view.explanation)  # what could be cited
    verdict = judge_proposal(proposal, question, reviewer)
    attempts = (*before, replace(latest, failures=verdict.failures))
    return Dialogue(attempts, proposal if verdict.accepted else None, verdict)
