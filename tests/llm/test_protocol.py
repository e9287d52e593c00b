"""What the package asks of a language model object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.llm.protocol import is_small


class Own:
    """A user's own model."""

    def __init__(self, n_parameters: Any) -> None:
        self.n_parameters = n_parameters

    def generate(self, messages: object, *, schema: object) -> str:
        raise NotImplementedError


class Unreachable(Own):
    @property
    def n_parameters(self) -> int:
        raise LLMError("The server does not answer.")

    @n_parameters.setter
    def n_parameters(self, value: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("n_parameters", "small"),
    [
        (135_000_000, True),
        (1.4e9, True),
        (np.int64(270_000_000), True),
        (1_500_000_000, False),
        (8e9, False),
        (0, False),
        (float("nan"), False),
        pytest.param(10**400, False, id="beyond floats"),
        (None, False),
        ("270M", False),
        (lambda: 135_000_000, False),
    ],
)
def test_a_model_is_small_if_its_parameters_are_known_to_be_few(
    n_parameters: Any, small: bool
) -> None:
    assert is_small(Own(n_parameters)) is small
    resolved = resolve_llm(Own(n_parameters)).llm
    assert resolved is not None
    assert is_small(resolved) is small


def test_a_model_of_unknown_size_is_not_small() -> None:
    assert not is_small(Unreachable(1))
    llm = ScriptedLLM([])
    assert not is_small(llm)
    llm.n_parameters = 135_000_000
    assert is_small(llm)
