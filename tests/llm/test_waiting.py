"""A long wait is told, a short one and a quiet log are not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import optuna
import pytest

from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm.ollama import client
from optuna_metallmix.progress import MOMENTS
from optuna_metallmix.progress import waiting


if TYPE_CHECKING:
    from conftest import FakeOllama


class Told(logging.Handler):
    """Keeps what is told, and lets a test wait for it."""

    def __init__(self, n_expected: int) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.all = threading.Event()
        self._n_expected = n_expected

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if len(self.lines) == self._n_expected:
            self.all.set()


@pytest.fixture
def told() -> Iterator[Told]:
    handler, logger = Told(2), logging.getLogger("optuna.metallmix")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    optuna.logging.set_verbosity(before)


def test_long_wait_is_told_again_and_again(told: Told) -> None:
    with waiting("m (loading)", (0.0, 0.001)):
        assert told.all.wait(60)
    assert told.lines == ["Waiting for m (loading) ... 0 s", "Waiting for m (loading) ... 0.001 s"]


def test_short_wait_is_silent_and_leaves_no_thread(told: Told) -> None:
    before = threading.active_count()
    with waiting("m"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert told.lines == []


def test_quiet_log_starts_no_thread(told: Told) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    before = threading.active_count()
    with waiting("m", (0.0,)):
        assert threading.active_count() == before
    assert told.lines == []


def test_failure_passes_through_and_ends_the_wait(told: Told) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), waiting("m"):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_moments_grow_rare() -> None:
    pauses = [later - earlier for earlier, later in pairwise(MOMENTS)]
    assert MOMENTS[0] == 2
    assert pauses == sorted(pauses)


def test_loading_is_told_until_the_first_answer(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = client.waiting
    monkeypatch.setattr(client, "waiting", lambda what: asked.append(what) or real(what))
    ollama_server.reply(
        "/api/chat",
        {
            "message": {"role": "assistant", "content": "{}"},
            "done": True,
            "load_duration": 25 * 10**8,
        },
    )
    llm = OllamaLLM("m:1b")
    for _ in range(2):
        llm.generate([{"role": "user", "content": "Hm?"}], schema={})
    assert asked == ["ollama:m:1b (loading into memory)", "ollama:m:1b"]
    assert llm.last_usage is not None
    assert llm.last_usage.load_seconds == 2.5
