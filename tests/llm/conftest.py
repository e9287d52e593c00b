"""Fixtures for tests of language models: a fake server, and recordings of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_ollama import RECORDINGS
from fake_ollama import RELEASES
from fake_ollama import FakeOllama
from fake_ollama import ollama_server
from fake_ollama import openai_server
from fake_ollama import play
from fake_ollama import release

from optuna_metallmix.llm import http
from optuna_metallmix.llm.ollama import ranking
from optuna_metallmix.llm.ollama import server


__all__ = ["FakeOllama", "ollama_server", "openai_server", "play", "release"]


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if request.node.get_closest_marker("ollama"):
        return
    monkeypatch.setattr(ranking, "free_memory", lambda: None)
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY", "OPTUNA_METALLMIX_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[float]:
    """The seconds that a test would have waited for a server to come to itself."""
    waited: list[float] = []
    if not request.node.get_closest_marker("ollama"):
        monkeypatch.setattr(http, "sleep", waited.append)
        monkeypatch.setattr(server, "sleep", waited.append)
    return waited


def chats(pattern: str) -> dict[str, dict[str, Any]]:
    """Read the recorded chats of the matching files, by their case."""
    found = {}
    for path in sorted(RECORDINGS.glob(pattern)):
        for exchange in json.loads(path.read_text(encoding="utf-8")).get("exchanges", [])[-1:]:
            if exchange["request"]["path"] == "/api/chat":
                found[path.stem] = exchange
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chat_case" in metafunc.fixturenames:
        metafunc.parametrize("chat_case", sorted(chats("v*/*.json")))


@pytest.fixture
def recorded_chats(release: str) -> list[dict[str, Any]]:
    return list(chats(f"{release}/*.json").values())


@pytest.fixture
def recorded() -> Callable[[str], dict[str, Any]]:
    """Read what was noted of a case that is more than an exchange, of the newer release."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings of Ollama at {RECORDINGS}")

    def read(case: str) -> dict[str, Any]:
        text = (RECORDINGS / RELEASES[0] / f"{case}.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    return read
