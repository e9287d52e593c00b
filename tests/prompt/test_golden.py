"""The exact words of a few representative questions, to be read in `tests/prompt/golden`.

After a change of the wording that is meant, count up `PROMPT_VERSION` and write them anew:
`METALLMIX_WRITE_GOLDEN=1 python -m pytest tests/prompt/test_golden.py`; then read the difference.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest
from asked import make_question

from optuna_metallmix.judge.llm_judge import review_messages
from optuna_metallmix.judge.llm_judge import review_schema
from optuna_metallmix.llm import Message
from optuna_metallmix.prompt.context import SHORT
from optuna_metallmix.prompt.context import VARIANTS
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import rejection
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema


if TYPE_CHECKING:
    from conftest import Handmade

GOLDEN = Path(__file__).with_name("golden")
FEATURES = {"n_instances": 1000, "imbalance_ratio": 1.2345678, "modality": "chest CT"}


def _written(messages: Sequence[Message], schema: dict[str, Any]) -> str:
    parts = [f"=== {m['role']} ===\n{m['content']}" for m in messages]
    return "\n\n".join([*parts, f"=== schema ===\n{json.dumps(schema, indent=2)}"]) + "\n"


def _check(case: str, messages: Sequence[Message], schema: dict[str, Any]) -> None:
    path, written = GOLDEN / f"{case}.txt", _written(messages, schema)
    if os.environ.get("METALLMIX_WRITE_GOLDEN"):
        path.write_text(written, encoding="utf-8", newline="\n")
    assert written == path.read_text(encoding="utf-8")


def _check_question(case: str, question: Question) -> None:
    shown = prompt_view(question)
    _check(case, suggestion_messages(shown), suggestion_schema(shown))


@pytest.fixture
def question(handmade: Handmade) -> Question:
    return Question(handmade.space, FEATURES, handmade.candidates, handmade.explanation)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_with_a_past(question: Question, variant: Any) -> None:
    _check_question(f"past-{variant.name}", replace(question, variant=variant))


def test_short(question: Question) -> None:
    _check_question("short", replace(question, variant=SHORT))


def test_short_with_thirty_parameters() -> None:
    _check_question("short-wide", make_question(variant=SHORT))


def test_without_a_past(question: Question) -> None:
    candidates = [replace(c, predicted=None, spread=None) for c in question.candidates]
    tried = [({"lr": 0.05, "optimizer": "sgd", "momentum": 0.9}, 0.8123456)]
    _check_question(
        "no-past", replace(question, candidates=candidates, explanation=None, tried=tried)
    )


def test_cost_aware(question: Question) -> None:
    costs = zip(question.candidates, (0.31, 1.24, 0.98), strict=True)
    candidates = [replace(candidate, cost=cost) for candidate, cost in costs]
    _check_question("cost-aware", replace(question, candidates=candidates))


def test_thirty_parameters_and_fifty_studies() -> None:
    _check_question("wide", make_question(n_features=30, n_tried=7))


def test_refused(question: Question) -> None:
    shown = prompt_view(question)
    answer = '{"evidence":["E3"],"reasoning":"It helps.","candidate":1,"changes":{},"why":"So."}'
    failures = ["E3 is about momentum, which the chosen configuration does not have."]
    messages = [*suggestion_messages(shown), *rejection(answer, failures)]
    _check("refused", messages[-2:], suggestion_schema(shown, may_change=False))


def test_review(question: Question) -> None:
    params = question.candidates[0].params
    asked = review_messages(params, "E1 says adam helped.", question)
    _check("review", asked, review_schema())
