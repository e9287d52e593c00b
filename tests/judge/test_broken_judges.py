"""Reviews by a second model: only a reliable reviewer can refuse a proposal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from broken import NESTED
from broken import Reply
from broken import Schema
from broken import check_inside
from broken import raises
from broken import text
from end_to_end import check_step_down
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import run
from optuna.storages import InMemoryStorage

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm import is_embedded_installed


get_note = pytest.importorskip("optuna_dashboard").get_note


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


def review(score: int, remark: str = "so it is") -> Reply:
    return lambda _, schema: json.dumps(
        {name: score if name.endswith("score") else remark for name in schema["properties"]}
    )


class Judge:
    """A third-party reviewer that gives its replies in turn."""

    name = "the judge"

    def __init__(self, *replies: Reply) -> None:
        self._replies = replies
        self.asked: list[list[str]] = []

    def generate(self, messages: Sequence[Message], *, schema: Schema) -> Any:
        reply = self._replies[len(self.asked) % len(self._replies)]
        self.asked.append(list(schema["properties"]))
        return reply(messages, schema)


JUDGES: dict[str, tuple[Reply, str]] = {
    "refuses everything": (review(1), "it also rejected a proposal known to be good"),
    "rubbish": (text("Looks good to me!"), "no usable review"),
    "empty": (text(""), "no usable review"),
    "scores off the scale": (review(9), "no usable review"),
    "NaN": (text('{"format_score": NaN}'), "no usable review"),
    "nested": (text(NESTED), "no usable review"),
    "megabytes": (text("{" * 10**7), "no usable review"),
    "returns None": (text(None), "no usable review"),
    "out of memory": (raises(MemoryError()), "no usable review"),
    "raises": (raises(KeyError("x")), "no usable review"),
    "answers the question instead": (text('{"candidate": 3}'), "no usable review"),
}


@pytest.mark.parametrize("case", JUDGES)
def test_broken_judge_refuses_nothing(past: Any, logs: Any, case: str) -> None:
    reply, note = JUDGES[case]
    judge = Judge(reply)
    study = run(MetaLLMiXSampler(llm=ScriptedLLM([choose()]), judge=judge, seed=0), past)
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert logs.warnings == []
    assert judge.asked
    assert note in get_note(study)
    check_inside(study)


def test_a_judge_that_accepts_the_control_can_refuse(past: Any, logs: Any) -> None:
    judge = Judge(review(1, "too bold"), review(5))  # the proposal, then the control
    model = ScriptedLLM([choose()] * 2)
    study = run(MetaLLMiXSampler(llm=model, judge=judge, seed=0), past)
    check_step_down(study, logs, "meta-learner", "accuracy: too bold (1 of 5)")
    assert "too bold" in model.calls[1].messages[-1]["content"]
    assert "rejected by the model" in study.trials[0].user_attrs["metallmix:verdict"]


def test_one_model_proposes_and_another_reviews(past: Any, logs: Any) -> None:
    judge, model = Judge(review(4, "it cites what is true")), ScriptedLLM([choose()])
    study = run(MetaLLMiXSampler(llm=model, judge=judge, seed=0), past)
    first = study.trials[0]
    assert (first.user_attrs["metallmix:model"], logs.warnings) == ("scripted", [])
    assert ["candidate" in call.schema["properties"] for call in model.calls] == [True]
    assert ["candidate" in asked for asked in judge.asked] == [False]
    assert first.user_attrs["metallmix:verdict"].startswith(
        "accepted; format 4, accuracy 4, completeness 4 of 5; answers: 1, "
    )
    note = get_note(study)
    assert "- accuracy: 4 of 5. it cites what is true" in note
    assert "- the review by `the judge`: " in note


@pytest.mark.model
@pytest.mark.skipif(not is_embedded_installed(), reason="the embedded model is not installed")
def test_the_embedded_model_reviews_what_another_proposes(past: Any, logs: Any) -> None:
    sampler = MetaLLMiXSampler(
        llm=ScriptedLLM([choose()]), judge="embedded", llm_timeout=None, seed=0
    )
    first = run(sampler, past).trials[0]
    assert (first.user_attrs["metallmix:source"], logs.warnings) == ("llm", [])
    record = read_record(first)
    assert record is not None
    review = record["verdict"]["review"]
    assert review["reviewer"].startswith("embedded:")
    assert set(review["scores"]) == {"format", "accuracy", "completeness"}
    assert all(a["prompt_tokens"] and a["answer_tokens"] for a in review["attempts"])
