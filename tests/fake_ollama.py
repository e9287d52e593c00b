"""A local server that plays back what real Ollama servers answered, as fixtures."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


RECORDINGS = Path(
    os.environ.get("METALLMIX_RECORDINGS")
    or Path(__file__).parents[1].with_name("shared") / "ollama-recordings"
)
RELEASES = ("v0.32.15", "v0.24.0")


Reply = tuple[int, str] | None
"""Status and body; None for a connection that is dropped."""


# Seconds for which a server waits until its clients have closed their connections.
PATIENCE = 20.0


class FakeOllama:
    """Answers each path with its replies in turn, the last for ever, and keeps every request.

    It fails at its end if a client has left a connection open.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.on_request: Callable[[str], None] = lambda path: None
        self.silence = threading.Event()
        self.silent = False
        self.location: str | None = None
        self.connections: list[threading.Thread] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def reply(self, path: str, body: object, status: int = 200) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.replies[path] = [(status, text)]

    def reply_in_turn(self, path: str, *replies: tuple[int, object] | None) -> None:
        self.replies[path] = []
        for one in replies:
            text = one and (one[1] if isinstance(one[1], str) else json.dumps(one[1]))
            self.replies[path].append(one and (one[0], str(text)))

    def drop(self, path: str) -> None:
        self.replies[path] = [None]

    def all_sent(self, path: str = "/api/chat") -> list[dict[str, Any]]:
        return [body for asked, body in self.requests if asked == path]

    def sent(self, path: str = "/api/chat") -> dict[str, Any]:
        (body,) = self.all_sent(path)
        return body

    def next_reply(self, path: str) -> Reply:
        left = self.replies.get(path, [(404, "404 page not found")])
        return left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        self.silence.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self.connections:
            connection.join(PATIENCE)
            assert not connection.is_alive(), "a client has left a connection open"


def _handler(fake: FakeOllama) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # as Ollama: connections stay open until the client closes

        def setup(self) -> None:
            fake.connections.append(threading.current_thread())
            super().setup()

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.requests.append((self.path, json.loads(raw) if raw else {}))
            fake.headers.append(dict(self.headers))
            fake.on_request(self.path)
            reply = None
            if fake.silent:
                fake.silence.wait()
            else:
                reply = fake.next_reply(self.path)
            if reply is None:
                self.close_connection = True
            else:
                self._send(*reply)

        def _send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            if fake.location is not None:
                self.send_header("Location", fake.location)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def ollama_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    server = FakeOllama()
    monkeypatch.setenv("OLLAMA_HOST", server.host)
    yield server
    server.close()


@pytest.fixture
def openai_server(ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> FakeOllama:
    """The same, for it speaks OpenAI's protocol too; a new try follows at once."""
    monkeypatch.setattr("optuna_metallmix.llm.http.sleep", lambda seconds: None)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    return ollama_server


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings of Ollama at {RECORDINGS}")
    return str(request.param)


@pytest.fixture
def play(ollama_server: FakeOllama, release: str) -> Callable[[str], dict[str, Any]]:
    """Serve a recorded exchange at its own path, and hand it out."""

    def play_case(case: str) -> dict[str, Any]:
        text = (RECORDINGS / release / f"{case}.json").read_text(encoding="utf-8")
        exchange = json.loads(text)["exchanges"][-1]
        path, response = exchange["request"]["path"], exchange.get("response")
        if response is None:
            ollama_server.drop(path)
        else:
            lines = "\n".join(map(json.dumps, response.get("ndjson_lines", [])))
            body = response.get("body_raw") or response.get("body") or lines
            ollama_server.reply(path, body, response["status"])
        return dict(exchange)

    return play_case
