"""Optuna's own sampler suite: with nothing to suggest, and with a model that always answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.llm import Message


pytest.register_assert_rewrite("optuna.testing.pytest_samplers")

from optuna.testing.pytest_samplers import BasicSamplerTestCase  # noqa: E402
from optuna.testing.pytest_samplers import MultiObjectiveSamplerTestCase  # noqa: E402
from optuna.testing.pytest_samplers import RelativeSamplerTestCase  # noqa: E402


# The suite's own business, not ours: on Optuna 4.8 TPESampler's options are experimental.
pytestmark = pytest.mark.filterwarnings("default")


class AlwaysAnswers:
    """Chooses the last candidate: one that the base sampler would not come to by chance."""

    name = "always-answers"

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        properties = schema["properties"]
        if "candidate" not in properties:
            return json.dumps({name: _review(one) for name, one in properties.items()})
        answer = {
            "reasoning": "it was asked for",
            "candidate": properties["candidate"]["enum"][-1],
            "why": "it differs",
        }
        return json.dumps(answer)


def _review(schema: Mapping[str, Any]) -> object:
    return 5 if schema["type"] == "integer" else "good"


class _Suite(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """All 126 cases; ``n_startup_trials=0`` since the suite asks for relative values at once."""


class TestWithoutModel(_Suite):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MetaLLMiXSampler(base_sampler=_base(), llm=False)


class TestWithModel(_Suite):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MetaLLMiXSampler(base_sampler=_base(), llm=AlwaysAnswers())


def _base() -> BaseSampler:
    return TPESampler(n_startup_trials=0, seed=0)
