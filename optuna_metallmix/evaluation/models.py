"""Ask language models about each past study as if it were a new task, and grade their answers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from statistics import fmean

import numpy as np

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.evaluation.order_bias import Choice
from optuna_metallmix.evaluation.order_bias import ask_in_orders
from optuna_metallmix.explain import evidence_sign
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import Source
from optuna_metallmix.history import describe_unknown
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_history
from optuna_metallmix.judge import Dialogue
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import hold_dialogue
from optuna_metallmix.judge import read_answer
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import TimeBudget
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.pipeline import question_of
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import PromptView
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import Variant
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.prompt import question_for
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.settings import DEFAULT_TIMEOUT
from optuna_metallmix.settings import check_timeout
from optuna_metallmix.space import Config


Evaluate = Callable[[str, Config], float]
"""``evaluate(study name, configuration)`` returns the objective's value in the unit of that study,
from a table, a surrogate or a training run."""

NO_MODEL = "llm=False"
"""The baseline that every model is compared with: the meta-learner's first candidate."""


@dataclass(frozen=True)
class HeldOutStudy:
    """A past study that stands in for a new task.

    Attributes:
        study: The study.
        question: The question about it, learned from the other studies only.
    """

    study: PastStudy
    question: Question

    def regret(self, params: Config, evaluate: Evaluate) -> float:
        """Return (best - value) / (best - median) of the study's own trials.

        0 is as good as the study's best trial, 1 as its median, and less than 0 better than any.
        """
        values = [trial.value for trial in self.study.trials if trial.value is not None]
        best, median = values[0], values[len(values) // 2]  # sorted best first
        spread = (best - median) or (best - values[-1])
        return (best - float(evaluate(self.study.name, params))) / spread


@dataclass(frozen=True)
class ModelAnswer:
    """The grades of a model on a held-out study.

    Attributes:
        model: The model's name, or :data:`NO_MODEL`, which has no grades of answers.
        study: The study's name.
        prompt: The variant of the question: ``"short"`` for models with fewer than 1.5 billion
            parameters.
        answered: Whether it gave any answer, usable or not.
        valid: Whether the first answer was the requested JSON object and everything in it exists.
        accepted: Whether the judge accepted an answer.
        attempts: Number of answers.
        format, accuracy, completeness: Scores of the reviewing model for the last proposal, 1 to
            5; ``None`` without a review.
        agreement: Share of the evidence cited in the first valid answer that supports its choice,
            in [0, 1]; ``None`` if it cites none.
        predicted: Score that the meta-learner expects of the accepted proposal, else of the first
            candidate; about [0, 1], ``None`` without a meta-learner.
        predicted_less: The first candidate's expected score minus ``predicted``.
        regret: The true regret, see :meth:`HeldOutStudy.regret`; ``None`` without true values.
        regret_more: ``regret`` minus the first candidate's; negative if the model helped.
        seconds: Wall-clock seconds of answers and reviews, at least 0.
        prompt_tokens, answer_tokens: Their tokens; ``None`` if unknown.
        reason: Why the last answer was not used; empty if it was.
    """

    model: str
    study: str
    prompt: str | None = None
    answered: bool | None = None
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


@dataclass(frozen=True)
class ModelAnswers:
    """The result of :func:`compare_models`.

    Attributes:
        answers: The grades of each model on each study, :data:`NO_MODEL` first, then the models in
            the order given.
        choices: The choices of each model in other orders; empty if ``n_orders`` is 0.
    """

    answers: tuple[ModelAnswer, ...]
    choices: Mapping[str, tuple[Choice, ...]]

    @property
    def silent(self) -> dict[str, str]:
        """The models that never answered a question, each with the last reason."""
        asked = [answer for answer in self.answers if answer.attempts]
        answering = {answer.model for answer in asked if answer.answered}
        return {answer.model: answer.reason for answer in asked if answer.model not in answering}


def compare_models(
    models: Sequence[LLMSpec],
    source: Source,
    *,
    studies: Sequence[str] | None = None,
    evaluate: Evaluate | None = None,
    judge: LLMSpec = None,
    llm_timeout: float | None = DEFAULT_TIMEOUT,
    prompt: str = DEFAULT_VARIANT.name,
    n_attempts: int = 2,
    n_orders: int = 3,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> ModelAnswers:
    """Ask each model about each past study, held out from the others.

    Args:
        models: As for ``MetaLLMiXSampler(llm=)``: ``"ollama:qwen3:8b"``, ``"embedded"``, or
            objects with ``generate``.
        source: Storage of the past studies, which are only read.
        studies: Names of the studies to hold out; ``None`` for all. Those that do not exist or
            are of no use are reported, and the others are held out.
        evaluate: Returns the true value of a configuration; ``None`` if it is unknown.
        judge: The reviewing model; ``None`` for each model itself, ``False`` for no review.
        llm_timeout: Seconds, above 0, for all answers and reviews about a study; ``None`` for no
            limit. A model that needs more is not asked about that study in other orders.
        prompt: ``"plain"``, ``"cot"`` or ``"cot+shap"``.
        n_attempts: Number of answers that a model may give, at least 1.
        n_orders: Number of other orders in which each question is asked; 0 for none.
        seed: Seed of the meta-learner, the candidates and the orders.
        report: Called with a line of text before each step.

    Raises:
        HistoryError: The storage cannot be read, has fewer than two usable studies, or no usable
            study of ``studies``.
        LLMError: A model is unavailable: its server does not answer or does not have it.
        ValueError: Two models have the same name, ``prompt`` is unknown, or ``llm_timeout`` is not
            a positive number.
    """
    check_timeout(llm_timeout)
    variant = variant_named(prompt)
    resolved = _resolve(models)
    reviewer = _resolve_judge(judge, models, resolved)
    history = _read_history(source, studies, report)
    for asked in {id(llm): llm for llm in (*resolved.values(), reviewer)}.values():
        if isinstance(asked, OllamaLLM | OpenAILLM):
            asked.check_available()
    report("fitting the meta-learner with each past study held out once")
    held_out = list(_hold_out(history, studies, variant, seed))
    answers = [_grade(held, NO_MODEL, Dialogue(()), evaluate) for held in held_out]
    choices: dict[str, tuple[Choice, ...]] = {}
    for model, llm in resolved.items():
        judging = llm if judge is None else reviewer
        chosen: list[Choice] = []
        budget = TimeBudget(llm_timeout)
        try:
            for i, held in enumerate(held_out, start=1):
                report(f"{model}: study {i} of {len(held_out)}, {held.study.name!r}")
                budget = TimeBudget(llm_timeout)
                held, dialogue = _ask(held, llm, judging, budget, n_attempts)
                answers.append(_grade(held, model, dialogue, evaluate))
                if budget.is_over or not dialogue.attempts:  # a small one needs evidence
                    continue
                rng = np.random.default_rng([seed, i])
                budget = TimeBudget(llm_timeout and llm_timeout * n_orders)
                limited = budget.limit(llm)
                chosen += ask_in_orders(held.study.name, held.question, limited, n_orders, rng)
        finally:
            budget.release(llm)
            budget.release(reviewer)
        choices[model] = tuple(chosen)
    return ModelAnswers(tuple(answers), choices if n_orders else {})


def _ask(
    held: HeldOutStudy, llm: LLM, judging: LLM | None, budget: TimeBudget, n_attempts: int
) -> tuple[HeldOutStudy, Dialogue]:
    """Ask about a study with the question that suits the model; return it with the dialogue."""
    limited = budget.limit(llm)
    held = replace(held, question=question_for(limited, held.question))
    reviewing = None if judging is None else budget.limit(judging)
    return held, hold_dialogue(held.question, limited, reviewing, n_attempts)


def _resolve(models: Sequence[LLMSpec]) -> dict[str, LLM]:
    by_name: dict[str, LLM] = {}
    for spec in models:
        resolved = resolve_llm(spec)
        if resolved.llm is None:
            raise LLMError(" ".join([f"{spec!r} is not a language model.", *resolved.tried]))
        name = model_name(resolved.llm)
        if name in by_name:
            raise ValueError(f"Two models have the name {name!r}. List each model once.")
        by_name[name] = resolved.llm
    return by_name


def _resolve_judge(
    judge: LLMSpec, models: Sequence[LLMSpec], resolved: Mapping[str, LLM]
) -> LLM | None:
    if judge is None:
        return None
    if isinstance(judge, str) and judge in models:
        # A second object would reload the model at each turn, with the context that it needs.
        return list(resolved.values())[list(models).index(judge)]
    return resolve_llm(judge, "judge").llm


def _read_history(
    source: Source, names: Sequence[str] | None, report: Callable[[str], None]
) -> History:
    """Read all past studies; report those in ``names`` that cannot be held out."""
    with open_source(source) as storage:
        history = read_history(storage)
        if names is None:
            return history
        present = [*(study.name for study in history.studies), *history.left_out]
        problems = [*describe_unknown(names, present, storage, "studies")]
    problems += [
        f"Nothing can be learned from study {name!r}: {history.left_out[name]}. "
        "Leave it out of `studies`."
        for name in names
        if name in history.left_out
    ]
    if not any(study.name in names for study in history.studies):
        raise HistoryError(" ".join(problems))
    for problem in problems:
        report(problem)
    return history


def _hold_out(
    history: History, names: Sequence[str] | None, variant: Variant, seed: int
) -> Iterator[HeldOutStudy]:
    """Yield the named studies, or all, each with a question learned from the other studies."""
    if len(history.studies) < 2:
        left_out = [f"{name!r}: {why}" for name, why in list(history.left_out.items())[:5]]
        raise HistoryError(
            "Models are compared on past studies, each held out from the others. At least two "
            f"usable studies are needed, but there are {len(history.studies)}. "
            f"{'; '.join(left_out)}".strip()
        )
    for study in history.studies:
        if names is None or study.name in names:
            others = tuple(other for other in history.studies if other is not study)
            past = replace(history, studies=others).sharing(study.space)
            suggestion = suggest(
                past, study.space, study.meta_features, None, seed=seed, prompt=variant.name
            )
            yield HeldOutStudy(study, question_of(suggestion, variant))


def _grade(
    held: HeldOutStudy, model: str, dialogue: Dialogue, evaluate: Evaluate | None
) -> ModelAnswer:
    """Grade a dialogue; without an accepted proposal the first candidate is used instead."""
    first = held.question.candidates[0].params
    params = dialogue.proposal.params if dialogue.proposal else first
    row = ModelAnswer(model, held.study.name)
    if held.question.learner is not None:
        predicted, best = held.question.learner.predict_mean([params, first]).tolist()
        row = replace(row, predicted=predicted, predicted_less=best - predicted)
    if evaluate is not None:
        regret, baseline = (held.regret(config, evaluate) for config in (params, first))
        row = replace(row, regret=regret, regret_more=regret - baseline)
    return _grade_answers(row, held.question, dialogue) if dialogue.attempts else row


def _grade_answers(row: ModelAnswer, question: Question, dialogue: Dialogue) -> ModelAnswer:
    view = prompt_view(question)
    proposals = [_read_proposal(attempt.answer, view) for attempt in dialogue.attempts]
    first_valid = next((proposal for proposal in proposals if proposal is not None), None)
    scores = dialogue.verdict.scores if dialogue.verdict else {}
    review = dialogue.verdict.review if dialogue.verdict else None
    attempts = [*dialogue.attempts, *(review.attempts if review else ())]
    return replace(
        row,
        prompt=question.variant.name,
        answered=any(attempt.answer for attempt in dialogue.attempts),
        valid=proposals[0] is not None,
        accepted=dialogue.proposal is not None,
        attempts=len(dialogue.attempts),
        format=scores.get("format"),
        accuracy=scores.get("accuracy"),
        completeness=scores.get("completeness"),
        agreement=_agreement(first_valid, view) if first_valid else None,
        seconds=sum(attempt.seconds for attempt in attempts),
        prompt_tokens=_sum_known(attempt.prompt_tokens for attempt in attempts),
        answer_tokens=_sum_known(attempt.answer_tokens for attempt in attempts),
        reason="" if dialogue.proposal else " ".join(dialogue.attempts[-1].failures),
    )


def _read_proposal(answer: str, view: PromptView) -> Proposal | None:
    try:
        return read_answer(answer, view)
    except ProposalError:
        return None


def _agreement(proposal: Proposal, view: PromptView) -> float | None:
    evidence = view.explanation.evidence if view.explanation else ()
    signs = [
        evidence_sign(item, view.question.space, proposal.params)
        for item in evidence
        if item.id in proposal.evidence
    ]
    return fmean(sign > 0 for sign in signs) if signs else None


def _sum_known(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
