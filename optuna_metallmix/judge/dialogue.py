"""what is known + language model -> its attempts, and the proposal that was accepted, if any."""

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
from optuna_metallmix.prompt import refusal
from optuna_metallmix.prompt import suggestion_messages
from optuna_metallmix.prompt import suggestion_schema


@dataclass(frozen=True)
class Dialogue:
    """A conversation that is over.

    Attributes:
        attempts: All answers, in order.
        proposal: The accepted proposal; ``None`` where none was.
        verdict: The judge's on the last answer that could be read; ``None`` where none could.
    """

    attempts: tuple[Attempt, ...]
    proposal: Proposal | None = None
    verdict: Verdict | None = None


def hold_dialogue(question: Question, llm: LLM, reviewer: LLM | None, n_attempts: int) -> Dialogue:
    """Ask, check, judge; quote a refusal back; stop at the first accepted answer.

    Args:
        question: What is asked about.
        llm: The language model.
        reviewer: The language model that judges; ``None`` to judge by code and meta-learner.
        n_attempts: How often the model may answer, from 1.
    """
    shown = prompt_view(question)
    asked = suggestion_messages(shown)
    messages, talk = asked, Dialogue(())
    for _ in range(n_attempts):
        schema = suggestion_schema(shown, may_change=not talk.attempts)
        attempt = ask(llm, messages, schema)
        talk = replace(talk, attempts=(*talk.attempts, attempt))
        if attempt.failures:  # no answer at all: asking again would wait as long again
            break
        talk = _weigh(shown, talk, reviewer)
        if talk.proposal is not None:
            break
        latest = talk.attempts[-1]
        messages = [*asked, *refusal(latest.answer, latest.failures)]
    return talk


def read_answer(answer: str, shown: PromptView) -> Proposal:
    """Read an answer by what the model was shown.

    Raises:
        ProposalError: It is none that was asked for.
    """
    return parse_proposal(
        answer,
        shown.question.space,
        shown.candidates,
        shown.explanation,
        reasoned=shown.question.variant.reasons,
    )


def _weigh(shown: PromptView, talk: Dialogue, reviewer: LLM | None) -> Dialogue:
    """Check and judge the latest answer, by what the model was shown."""
    *before, latest = talk.attempts
    question = replace(shown.question, explanation=shown.explanation)
    try:
        proposal = read_answer(latest.answer, shown)
    except ProposalError as error:
        return replace(talk, attempts=(*before, replace(latest, failures=(str(error),))))
    verdict = judge_proposal(proposal, question, reviewer)
    judged = (*before, replace(latest, failures=verdict.failures))
    return Dialogue(judged, proposal if verdict.accepted else None, verdict)
