"""past + language models -> what each answers about each past study: the paper's comparison.

Each study is held out once and stands for a new task; all models are asked the same questions, and
judged as they would be in a study. Beside the paper's columns (arXiv 2509.09387: format, accuracy,
completeness, response time) stands the control that it lacks: whether a model reads.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optuna_metallmix._attempt import model_name
from optuna_metallmix._conversation import Talk
from optuna_metallmix._conversation import converse
from optuna_metallmix._errors import HistoryError
from optuna_metallmix._errors import LLMError
from optuna_metallmix._held_out import Evaluate
from optuna_metallmix._held_out import hold_out
from optuna_metallmix._history import History
from optuna_metallmix._history import check_names
from optuna_metallmix._history import read_history
from optuna_metallmix._model_answer import WITHOUT
from optuna_metallmix._model_answer import ModelAnswer
from optuna_metallmix._model_answer import row_of
from optuna_metallmix._model_reading import Choice
from optuna_metallmix._model_reading import choose_in_orders
from optuna_metallmix._source import Source
from optuna_metallmix._source import open_source
from optuna_metallmix._variant import DEFAULT_VARIANT
from optuna_metallmix._variant import variant_named
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm


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
    answers = [row_of(one, WITHOUT, Talk(()), evaluate) for one in held]
    choices: dict[str, tuple[Choice, ...]] = {}
    for name, llm in asked.items():
        taken: list[Choice] = []
        try:
            for i, one in enumerate(held, start=1):
                tell(f"{name}: study {i} of {len(held)}, {one.study.name!r}")
                own = llm if judge is None else reviewer
                talk = converse(one.question, llm, own, n_attempts)
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
