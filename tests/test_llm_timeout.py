"""After ``llm_timeout`` seconds the meta-learner's candidate is used, whatever the model does."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from end_to_end import check_step_down
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import run
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM


HERE = Path(__file__).resolve().parent
SHORT = 0.2
"""A budget that a test waits for, in seconds; a model that answers has the default, 60."""


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


@pytest.fixture
def may_answer() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Slow:
    """A user's model that blocks in the answer of a number, and gives ``choose()`` otherwise."""

    def __init__(self, may_answer: threading.Event, blocks_in: int = 1) -> None:
        self._may_answer = may_answer
        self._blocks_in = blocks_in
        self.n_calls = 0

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        self.n_calls += 1
        if self.n_calls == self._blocks_in:
            self._may_answer.wait()
        return choose()(messages, schema)


def test_model_that_blocks(past, logs, may_answer):
    slow = Slow(may_answer)
    study = run(MetaLLMiXSampler(llm=slow, llm_timeout=SHORT), past)
    check_step_down(study, logs, "meta-learner", "The 0.2 seconds of `llm_timeout`")
    record = read_record(study.trials[0])
    assert record is not None
    (attempt,) = record["attempts"]
    assert (attempt["answer"], record["model"]) == ("", "Slow")
    assert "Slow did not finish in time" in attempt["failures"][0]
    assert record["seconds"]["model"] > 0
    assert record["params"] == record["candidates"][0]["params"]
    assert slow.n_calls == 1


def test_size_that_blocks(past, logs, may_answer):
    class Blocked(Slow):
        @property
        def n_parameters(self) -> int:
            may_answer.wait()
            return 1

    study = run(MetaLLMiXSampler(llm=Blocked(may_answer, 0), llm_timeout=1.0), past)
    check_step_down(study, logs, "meta-learner", "Blocked has still not answered")
    record = read_record(study.trials[0])
    assert record is not None
    assert record["seconds"]["model"] > SHORT  # less than 1: finding the model counts, too


def test_second_answer_that_blocks(past, logs, may_answer):
    def rubbish_first(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        may_answer.wait()
        return "{}"

    llm = ScriptedLLM(["rubbish", rubbish_first])
    study = run(MetaLLMiXSampler(llm=llm, llm_timeout=2.0), past)
    check_step_down(study, logs, "meta-learner", "llm_timeout")
    record = read_record(study.trials[0])
    assert record is not None
    assert [attempt["answer"] for attempt in record["attempts"]] == ["rubbish", ""]


def test_review_that_blocks(past, logs, may_answer):
    study = run(MetaLLMiXSampler(llm=Slow(may_answer, blocks_in=2), llm_timeout=2.0), past)
    check_step_down(study, logs, "meta-learner", "Its review did not finish in time.")
    assert study.trials[0].user_attrs["metallmix:verdict"].startswith("rejected by the time limit")
    record = read_record(study.trials[0])
    assert record is not None
    assert record["proposal"] is None
    assert record["params"] == record["candidates"][0]["params"]


def test_other_judge_that_blocks(past, logs, may_answer):
    sampler = MetaLLMiXSampler(
        llm=ScriptedLLM([choose()]), judge=Slow(may_answer), llm_timeout=2.0
    )
    check_step_down(run(sampler, past), logs, "meta-learner", "llm_timeout")


def test_search_for_a_model_that_blocks(past, logs, may_answer, monkeypatch):
    def search(spec: LLMSpec) -> None:
        may_answer.wait()

    monkeypatch.setattr("optuna_metallmix.pipeline.resolve_llm", search)
    study = run(MetaLLMiXSampler(llm_timeout=SHORT), past)
    check_step_down(study, logs, "meta-learner", "The search for a language model did not finish")
    assert "metallmix:model" not in study.trials[0].user_attrs


def test_model_that_blocks_without_a_past(logs, may_answer):
    study = run(MetaLLMiXSampler(llm=Slow(may_answer), llm_timeout=SHORT))
    assert "llm_timeout" in study.trials[1].user_attrs["metallmix:reason"]
    assert study.trials[1].user_attrs["metallmix:source"] == "base-sampler"


def test_late_model_is_not_asked_by_the_next_study(past, logs, may_answer):
    sampler = MetaLLMiXSampler(llm=(slow := Slow(may_answer)), llm_timeout=SHORT)
    run(sampler, past)
    second = new_study(sampler, past, study_name="second")
    second.optimize(objective, n_trials=1)
    assert "has still not answered" in second.trials[0].user_attrs["metallmix:reason"]
    assert slow.n_calls == 1


def test_no_limit(past):
    here: list[int] = []

    def answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        here.append(threading.get_ident())
        return choose()(messages, schema)

    study = run(MetaLLMiXSampler(llm=ScriptedLLM([answer] * 2), llm_timeout=None), past)
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert here == [threading.get_ident()] * 2


def test_several_threads(past, may_answer):
    sampler = MetaLLMiXSampler(llm=Slow(may_answer), llm_timeout=SHORT)
    study = new_study(sampler, past)
    study.optimize(objective, n_trials=6, n_jobs=3)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len([trial for trial in study.trials if read_record(trial)]) == 1


def test_used_sampler_is_pickled(past, may_answer):
    sampler = MetaLLMiXSampler(source_storage=past, llm="ollama:m", llm_timeout=7)
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy._settings.llm_timeout == 7


def test_interrupted_wait_ends_the_study(past, may_answer, monkeypatch):
    """Ctrl-C fails the trial, as Optuna does, and the model does not keep the process."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("optuna_metallmix.llm.budget.wait", interrupt)
    study = new_study(MetaLLMiXSampler(llm=Slow(may_answer)), past)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=1)


SCRIPT = """
import sys, threading
sys.path.insert(0, {here!r})
from end_to_end import memory_past, new_study, objective
from optuna_metallmix import MetaLLMiXSampler
class Slow:
    def generate(self, messages, *, schema):
        threading.Event().wait()
study = new_study(MetaLLMiXSampler(llm=Slow(), llm_timeout=0.1), memory_past())
study.optimize(objective, n_trials=1)
print(study.trials[0].user_attrs["metallmix:source"])
"""


def test_late_model_does_not_keep_the_interpreter():
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "meta-learner\n"


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 10**400, True, "60", [60]])
def test_invalid(value: Any):
    with pytest.raises(ValueError, match=r"llm_timeout=.* must be a number of seconds"):
        MetaLLMiXSampler(llm_timeout=value)
