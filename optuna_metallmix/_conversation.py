"""what is known + language model -> its attempts, and the proposal that was accepted, if any."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix._attempt import Attempt
from optuna_metallmix._attempt import ask
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
    for left in reversed(range(n_attempts)):
        schema = suggestion_schema(shown, may_change=not talk.attempts)
        attempt = ask(llm, messages, schema)
        talk = replace(talk, attempts=(*talk.attempts, attempt))
        if attempt.failures:  # no answer at all: asking again would wait as long again
            break
        talk = _weigh(shown, talk, reviewer, last=left == 0)
        if talk.proposal is not None:
            break
        latest = talk.attempts[-1]
        messages = [*asked, *refusal(latest.answer, latest.failures)]
    return talk


def read_answer(answer: str, shown: Shown) -> Proposal:
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


def _weigh(shown: Shown, talk: Talk, reviewer: LLM | None, *, last: bool) -> Talk:
    """Check and judge the latest answer, by what the model was shown."""
    *before, latest = talk.attempts
    question = replace(shown.question, explanation=shown.explanation)
    try:
        proposal = read_answer(latest.answer, shown)
    except ProposalError as error:
        return replace(talk, attempts=(*before, replace(latest, failures=(str(error),))))
    verdict = judge(proposal, question, reviewer, last=last)
    judged = (*before, replace(latest, failures=verdict.failures))
    return Talk(judged, proposal if verdict.accepted else None, verdict)
