"""past -> each study as if it were new: what a model would be asked of it, by the others."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.evaluation.order_bias import Choice
from optuna_metallmix.evaluation.order_bias import choose_in_orders
from optuna_metallmix.explain import bearing
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import Source
from optuna_metallmix.history import check_names
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_history
from optuna_metallmix.judge import Dialogue
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import hold_dialogue
from optuna_metallmix.judge import read_answer
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import Attempt
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.pipeline import question_of
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import PromptView
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import Variant
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.space import Config


Evaluate = Callable[[str, Config], float]
"""``evaluate(study name, configuration) -> the objective's value`` in that study's own unit, from
a table, a surrogate or a training."""


@dataclass(frozen=True)
class HeldOut:
    """One past study that stands for a new task.

    Attributes:
        study: The study.
        question: What a model is asked about it; its learner has seen the other studies only.
    """

    study: PastStudy
    question: Question

    def regret(self, params: Config, evaluate: Evaluate) -> float:
        """Return (best - value) / (best - median) of the study's own trials; 0 is as good as its
        best, 1 its median, and below 0 better than any."""
        values = [one.value for one in self.study.trials if one.value is not None]
        best, median = values[0], values[len(values) // 2]  # best first, whatever the direction
        spread = (best - median) or (best - values[-1])
        return (best - float(evaluate(self.study.name, params))) / spread


def hold_out(
    history: History, names: Sequence[str] | None, variant: Variant, seed: int
) -> Iterator[HeldOut]:
    """Hold each study out once, those of ``names`` only where some are named.

    Raises:
        HistoryError: There are not two studies that can be learned from.
    """
    if len(history.studies) < 2:
        why = [f"{name!r}: {reason}" for name, reason in list(history.left_out.items())[:5]]
        raise HistoryError(
            "Models are compared on past studies, each held out from the others: at least two "
            f"are needed that can be learned from, and there are {len(history.studies)}. "
            f"{'; '.join(why)}".strip()
        )
    for study in history.studies:
        if names is None or study.name in names:
            yield _held_out(history, study, variant, seed)


def _held_out(history: History, study: PastStudy, variant: Variant, seed: int) -> HeldOut:
    others = tuple(one for one in history.studies if one is not study)
    past = replace(history, studies=others).sharing(study.space)
    options: dict[str, Any] = {"seed": seed, "prompt": variant.name}
    known = suggest(past, study.space, study.meta_features, None, **options)
    return HeldOut(study, question_of(known, variant))


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
    predicted: float | None = None
    predicted_less: float | None = None
    regret: float | None = None
    regret_more: float | None = None
    seconds: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    reason: str = ""


def row_of(held: HeldOut, model: str, talk: Dialogue, evaluate: Evaluate | None) -> ModelAnswer:
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


def _with_answers(row: ModelAnswer, held: HeldOut, talk: Dialogue) -> ModelAnswer:
    shown = prompt_view(held.question)
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
        seconds=sum(one.seconds for one in all_attempts),
        prompt_tokens=_sum(one.prompt_tokens for one in all_attempts),
        answer_tokens=_sum(one.answer_tokens for one in all_attempts),
        reason="" if talk.proposal else " ".join(talk.attempts[-1].failures),
    )


def _parsed(attempt: Attempt, shown: PromptView) -> Proposal | None:
    try:
        return read_answer(attempt.answer, shown)
    except ProposalError:
        return None


def _agreement(proposal: Proposal, shown: PromptView) -> float | None:
    known = shown.explanation.evidence if shown.explanation else ()
    cited = [one for one in known if one.id in proposal.evidence]
    speaks = [bearing(one, shown.question.space, proposal.params) > 0 for one in cited]
    return fmean(speaks) if speaks else None


def _expected(held: HeldOut, configs: Sequence[Config]) -> list[float] | None:
    learner = held.question.learner
    return None if learner is None else [float(one) for one in learner.predict(configs).mean]


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [one for one in counts if one is not None]
    return sum(known) if known else None


@dataclass(frozen=True)
class ModelAnswers:
    """A comparison that is over.

    Attributes:
        answers: A row for each model and study, the models in the order given, the first of them
            ``"llm=False"``.
        choices: By model, what it chose in other orders; no model where that was not asked.
    """

    answers: tuple[ModelAnswer, ...]
    choices: Mapping[str, tuple[Choice, ...]]


def compare_models(
    models: Sequence[LLMSpec],
    source: Source,
    *,
    studies: Sequence[str] | None = None,
    evaluate: Evaluate | None = None,
    judge: LLMSpec = None,
    prompt: str = DEFAULT_VARIANT.name,
    n_attempts: int = 2,
    n_orders: int = 3,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> ModelAnswers:
    """Ask each model about each past study, held out from the others.

    Args:
        models: As ``MetaLLMiXSampler(llm=)`` takes them: ``"ollama:qwen3:8b"``, ``"embedded"``,
            objects with ``generate``.
        source: Where the past studies are; they are only read.
        studies: The studies to hold out; all where ``None``. The past of each are all others.
        evaluate: Gives the true value of a configuration in a study, where something can.
        judge: The model that reviews; ``None`` for each model itself, ``False`` for none.
        prompt: ``"plain"``, ``"cot"`` or ``"cot+shap"``.
        n_attempts: How often a model may answer, from 1.
        n_orders: In how many other orders each question is asked, to see whether a model reads;
            0 for none.
        seed: Seeds meta-learner, candidates and orders.
        tell: Is told what is done next, in a few words.

    Raises:
        HistoryError: The past cannot be read, has not two studies, or none of a name.
        LLMError: A model is not there.
        ValueError: Two models have one name, or ``prompt`` is none of the three.
    """
    variant = variant_named(prompt)
    asked = _resolved(models)
    reviewer = None if judge is None else resolve_llm(judge).llm
    tell("learning from the past, each study held out once")
    held = list(hold_out(_read(source, studies), studies, variant, seed))
    answers = [row_of(one, WITHOUT, Dialogue(()), evaluate) for one in held]
    choices: dict[str, tuple[Choice, ...]] = {}
    for name, llm in asked.items():
        taken: list[Choice] = []
        try:
            for i, one in enumerate(held, start=1):
                tell(f"{name}: study {i} of {len(held)}, {one.study.name!r}")
                own = llm if judge is None else reviewer
                talk = hold_dialogue(one.question, llm, own, n_attempts)
                answers.append(row_of(one, name, talk, evaluate))
                rng = np.random.default_rng([seed, i])
                taken += choose_in_orders(one.study.name, one.question, llm, n_orders, rng)
        finally:
            release(llm)
            release(reviewer)
        choices[name] = tuple(taken)
    return ModelAnswers(tuple(answers), choices if n_orders else {})


def _read(source: Source, names: Sequence[str] | None) -> History:
    storage = open_source(source)
    history = read_history(storage)
    if names is not None:
        present = [*(one.name for one in history.studies), *history.left_out]
        check_names(names, present, storage, "studies")
        for name in names:
            if name in history.left_out:
                raise HistoryError(
                    f"Nothing can be learned from study {name!r}: {history.left_out[name]}. "
                    "Leave it out of studies."
                )
    return history


def _resolved(models: Sequence[LLMSpec]) -> dict[str, LLM]:
    found: dict[str, LLM] = {}
    for spec in models:
        resolved = resolve_llm(spec)
        if resolved.llm is None:
            raise LLMError(" ".join([f"{spec!r} is no language model.", *resolved.tried]))
        name = model_name(resolved.llm)
        if name in found:
            raise ValueError(f"Two models are called {name!r}: name each once.")
        found[name] = resolved.llm
    return found
