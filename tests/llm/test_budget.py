"""All calls of language models share a budget, and a late call is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm import Usage
from optuna_metallmix.llm import budget as budget_module
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.llm.budget import TimeBudget
from optuna_metallmix.llm.deadline import DEADLINE
from optuna_metallmix.llm.deadline import time_limit


SHORT = 0.05
"""Seconds of a budget that a test waits for; a call that must finish has ``LONG``."""
LONG = 600.0


class Blocked:
    """A user's model that answers once it may, and counts its calls."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.n_calls = 0
        self.last_usage = Usage(3, 4, 0.5)

    def generate(self, messages: object, *, schema: object) -> str:
        self.n_calls += 1
        self.may_answer.wait()
        return "{}"


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    model = Blocked()
    yield model
    model.may_answer.set()


def ask(budget: TimeBudget, model: Any) -> str:
    llm = resolve_llm(model).llm
    assert llm is not None
    return budget.limit(llm).generate([], schema={})


def test_answer_in_time_is_passed_on(blocked: Blocked) -> None:
    blocked.may_answer.set()
    budget = TimeBudget(LONG)
    assert ask(budget, blocked) == "{}"
    assert not budget.is_over


def test_other_attributes_are_those_of_the_model(blocked: Blocked) -> None:
    llm = TimeBudget(LONG).limit(resolve_llm(blocked).llm)
    assert (llm.name, llm.last_usage, llm.build) == ("Blocked", blocked.last_usage, None)
    with pytest.raises(AttributeError):
        _ = llm.nonsense


@pytest.mark.parametrize("seconds", [LONG, None])
@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), KeyboardInterrupt(), LLMError("x")])
def test_exception_is_passed_on(error: BaseException, seconds: float | None) -> None:
    def fail() -> None:
        raise error

    budget = TimeBudget(seconds)
    with pytest.raises(type(error)) as raised:
        budget.run(fail, "It")
    assert raised.value is error
    assert not budget.is_over


def test_late_model_is_left_behind(blocked: Blocked) -> None:
    budget = TimeBudget(SHORT)
    with pytest.raises(LLMError, match=r"Blocked did not finish .*0\.05 seconds of `llm_timeout`"):
        ask(budget, blocked)
    assert budget.is_over
    assert blocked.n_calls == 1


def test_nothing_is_called_after_the_budget(blocked: Blocked) -> None:
    budget, other = TimeBudget(SHORT), ScriptedLLM(["{}"])
    for model in (blocked, other):
        with pytest.raises(LLMError, match="llm_timeout"):
            ask(budget, model)
    assert other.calls == []


def test_late_model_is_not_called_again_before_it_has_returned(blocked: Blocked) -> None:
    with pytest.raises(LLMError, match="did not finish"):
        ask(TimeBudget(SHORT), blocked)
    with pytest.raises(LLMError, match="Blocked has still not answered an earlier question"):
        ask(TimeBudget(LONG), blocked)
    assert blocked.n_calls == 1
    blocked.may_answer.set()
    budget_module._LATE[id(blocked)].join()
    assert ask(TimeBudget(LONG), blocked) == "{}"


def test_attribute_that_blocks_is_left_behind(blocked: Blocked) -> None:
    class Slow(Blocked):
        @property
        def n_parameters(self) -> int:
            blocked.may_answer.wait()
            return 1

    llm = TimeBudget(SHORT).limit(resolve_llm(Slow()).llm)
    with pytest.raises(LLMError, match="llm_timeout"):
        _ = llm.n_parameters


def test_no_limit_calls_in_the_same_thread() -> None:
    here = threading.get_ident()
    assert TimeBudget(None).run(threading.get_ident, "It") == here
    assert TimeBudget(LONG).run(threading.get_ident, "It") != here


def test_context_variables_are_kept() -> None:
    user = ContextVar("user", default="nobody")
    user.set("somebody")
    for seconds in (LONG, None):
        assert TimeBudget(seconds).run(user.get, "It") == "somebody"


def test_interrupted_call_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives while the main thread waits."""
    cancelled = threading.Event()
    started = threading.Event()

    def interrupt(*_: object) -> None:
        started.wait()
        raise KeyboardInterrupt

    def call() -> None:
        deadline = DEADLINE.get()
        assert deadline is not None
        started.set()
        deadline.cancelled.wait()
        cancelled.set()

    monkeypatch.setattr(budget_module, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        TimeBudget(LONG).run(call, "It")
    cancelled.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_signal_ends_the_wait(blocked: Blocked) -> None:
    def alarm(*_: object) -> None:
        raise InterruptedError("by a signal")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        with pytest.raises(InterruptedError):
            ask(TimeBudget(LONG), blocked)
    finally:
        signal.signal(signal.SIGALRM, before)


class Held(OllamaLLM):
    """A model of this package: it stops when it is cancelled, and has to be unloaded."""

    def __init__(self, *, stops: bool = True) -> None:
        super().__init__("held")
        self.events: list[str] = []
        self.closed = threading.Event()
        self.may_stop = threading.Event()
        if stops:
            self.may_stop.set()

    def generate(self, messages: object, *, schema: object) -> str:
        deadline = DEADLINE.get()
        assert deadline is not None
        deadline.cancelled.wait()
        self.may_stop.wait()
        self.events.append("stopped")
        raise LLMError("stopped")

    def close(self) -> None:
        self.events.append("closed")
        self.closed.set()


def test_late_model_of_ours_is_unloaded_when_it_has_stopped() -> None:
    budget, llm = TimeBudget(SHORT), Held()
    with pytest.raises(LLMError, match="did not finish"):
        ask(budget, llm)
    budget.release(llm)
    llm.closed.wait()
    assert llm.events == ["stopped", "closed"]


def test_model_that_does_not_stop_is_unloaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_RELEASE_SECONDS", SHORT)
    budget, llm = TimeBudget(SHORT), Held(stops=False)
    with pytest.raises(LLMError, match="did not finish"):
        ask(budget, llm)
    budget.release(llm)
    assert llm.events == []
    llm.may_stop.set()
    llm.closed.wait()
    assert llm.events == ["stopped", "closed"]


@pytest.mark.parametrize("seconds", [LONG, None])
def test_model_of_ours_is_unloaded(seconds: float | None) -> None:
    llm = Held()
    TimeBudget(seconds).release(llm)
    assert llm.events == ["closed"]
    TimeBudget(seconds).release(None)


def test_requests_take_no_longer_than_the_budget() -> None:
    assert time_limit(None) == (120.0, "timeout")
    assert time_limit(7.0) == (7.0, "timeout")
    budget = TimeBudget(40.0)
    seconds, setting = budget.run(lambda: time_limit(None), "It")
    assert 0 < seconds <= 40.0
    assert setting == "llm_timeout"
    assert budget.run(lambda: time_limit(7.0), "It") == (7.0, "timeout")
    seconds, setting = budget.run(lambda: time_limit(90.0), "It")
    assert 0 < seconds <= 40.0
    assert setting == "llm_timeout"
    assert TimeBudget(None).run(lambda: time_limit(7.0), "It") == (7.0, "timeout")
    seconds, _ = TimeBudget(None).run(lambda: time_limit(None), "It")
    assert seconds > 3600


@pytest.mark.parametrize("seconds", [40.4, 4.004])
def test_requests_take_all_of_the_budget(seconds: float) -> None:
    def spare() -> float:
        deadline = DEADLINE.get()
        assert deadline is not None
        return time_limit(None)[0] - deadline.seconds_left

    assert TimeBudget(seconds).run(spare, "It") > 0


def test_request_that_fails_when_the_budget_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error arrives before the thread that waits for it has noticed the time."""

    def fail() -> None:
        deadline = DEADLINE.get()
        assert deadline is not None
        deadline.cancelled.wait(deadline.seconds_left)
        raise LLMError("no answer")

    monkeypatch.setattr(budget_module, "wait", lambda futures, _: futures[0].exception())
    budget = TimeBudget(SHORT)
    with pytest.raises(LLMError, match="no answer"):
        budget.run(fail, "It")
    assert budget.is_over


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_request_to_a_silent_server_ends(openai_server: Any, kind: str) -> None:
    """So that the server stops working on the answer."""
    openai_server.silent = True
    llm: OllamaLLM | OpenAILLM = OllamaLLM("m")
    if kind == "openai":
        pytest.importorskip("openai")
        llm = OpenAILLM("m", f"http://{openai_server.host}/v1")
    budget = TimeBudget(0.2)
    with pytest.raises(LLMError, match="`llm_timeout`"):
        ask(budget, llm)
    for thread in budget._late:
        thread.join()


def test_blocked_model_does_not_keep_the_interpreter() -> None:
    code = """
import threading
from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.budget import TimeBudget
try:
    TimeBudget(0.05).run(threading.Event().wait, "It")
except LLMError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("It did not finish in time.")
