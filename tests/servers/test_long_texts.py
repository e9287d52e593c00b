"""Texts of any length fit the columns of MySQL, which are the shortest: 65,535 bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from end_to_end import choose
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import LLMError
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import Message


pytestmark = [pytest.mark.servers, pytest.mark.slow]
N_PARAMETERS = 40
LETTERS = {"ascii": "x", "astral": "\N{ROCKET}"}  # one byte, and four (twelve in JSON)
SHORT = ["small", "large"]


class NamedLLM:
    """Answers with a text, or fails with it; its name has 70,000 characters."""

    def __init__(self, letter: str, answer: str | LLMError | None) -> None:
        self.name = letter * 70_000
        self._answer = answer

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        if isinstance(self._answer, LLMError):
            raise self._answer
        return choose()(messages, schema) if self._answer is None else self._answer


def choices(letter: str, length: int) -> list[str]:
    return [letter * (length - len(end)) + end for end in SHORT]


def objective(trial: optuna.Trial, letter: str, length: int) -> float:
    params = [
        trial.suggest_categorical(f"p{i}", choices(letter, length)) for i in range(N_PARAMETERS)
    ]
    return float(sum(value.endswith("large") for value in params))


def prepare(url: str, letter: str, length: int, sampler: MetaLLMiXSampler) -> optuna.Study:
    """Create three past studies, with names, attributes and choices that are long."""
    storage = optuna.storages.get_storage(url)
    for i in range(3):
        past = optuna.create_study(
            study_name=letter * 500 + str(i),  # Optuna allows 512 characters
            storage=storage,
            direction="maximize",
            sampler=RandomSampler(seed=i),
        )
        past.set_user_attr("dataset", letter * 5_000 + str(i))
        past.optimize(lambda trial: objective(trial, letter, length), n_trials=6)
    return optuna.create_study(storage=storage, direction="maximize", sampler=sampler)


def check(study: optuna.Study) -> FrozenTrial:
    """Check that all trials finished, and return the suggested one."""
    first, *others = study.trials
    assert [t.state for t in (first, *others)] == [TrialState.COMPLETE] * 3
    assert first.user_attrs["metallmix:source"] in ("llm", "meta-learner")
    assert read_record(first) is not None
    attributes = {**first.user_attrs, **first.system_attrs}
    assert len(json.dumps(attributes, ensure_ascii=False).encode()) < 150_000
    return first


@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
@pytest.mark.parametrize("length", [1_000, 2_500])
def test_long_choices_and_names(mariadb_url: str, letter: str, length: int) -> None:
    sampler = MetaLLMiXSampler(llm=NamedLLM(letter, None), judge=False, seed=0)
    study = prepare(mariadb_url, letter, length, sampler)
    study.optimize(lambda trial: objective(trial, letter, length), n_trials=3)
    check(study)


@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
@pytest.mark.parametrize("is_error", [True, False], ids=["error", "answer"])
def test_long_answers_and_errors(mariadb_url: str, letter: str, is_error: bool, logs: Any) -> None:
    text = letter * 2_000_000
    answer = LLMError(text) if is_error else text
    sampler = MetaLLMiXSampler(llm=NamedLLM(letter, answer), judge=False, seed=0)
    study = prepare(mariadb_url, letter, 10, sampler)
    study.optimize(lambda trial: objective(trial, letter, 10), n_trials=3)
    first = check(study)
    assert first.user_attrs["metallmix:source"] == "meta-learner"
    assert logs.warnings
