"""Neither the length nor the duration of an answer is the server's."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from itertools import repeat

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import TimeBudget
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm.http import MAX_BODY
from optuna_metallmix.llm.openai import served_models


QUESTION = [{"role": "user", "content": "Hm?"}]
BUFFERS = 64_000_000
"""Most bytes that the sockets of both sides hold unread."""


class Stream:
    """A server that answers every request with the same pieces, as long as anyone reads them."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], encoding: str | None) -> None:
        self.n_sent = self.n_requests = 0
        self.accepted: list[str | None] = []
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._stream()

            def do_POST(self) -> None:
                self._stream()

            def _stream(self) -> None:
                stream.n_requests += 1
                stream.accepted.append(self.headers.get("Accept-Encoding"))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                if encoding:
                    self.send_header("Content-Encoding", encoding)
                self.end_headers()
                try:
                    for piece in pieces():
                        self.wfile.write(piece)
                        stream.n_sent += len(piece)
                except OSError:  # the client has closed the connection
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()  # waits for the threads that send
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Stream]]:
    servers: list[Stream] = []

    def start(pieces: Callable[[], Iterator[bytes]], encoding: str | None = None) -> Stream:
        servers.append(Stream(pieces, encoding))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def endless() -> Iterator[bytes]:
    return repeat(b'{"models": [' + b" " * 2**20)


def models(server: Stream, timeout: float | None = None) -> list[LLM]:
    pytest.importorskip("openai")
    return [
        OllamaLLM("m", host=server.host, timeout=timeout),
        OpenAILLM("m", f"http://{server.host}", timeout=timeout),
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_an_endless_answer_is_an_error_at_once(serve: Callable[..., Stream], place: int) -> None:
    server = serve(endless)
    llm = models(server)[place]
    with pytest.raises(LLMError, match="answer of more than 16 MB: check that"):
        llm.generate(QUESTION, schema={})
    server.close()
    assert server.n_sent < server.n_requests * (MAX_BODY + BUFFERS)


def test_endless_lists_and_versions_are_not_read(serve: Callable[..., Stream]) -> None:
    server = serve(endless)
    with pytest.raises(LLMError, match="more than 16 MB"):
        installed_models(server.host, timeout=60)
    with pytest.raises(LLMError, match="more than 16 MB"):
        served_models(f"http://{server.host}/v1")
    assert server.n_requests == 2  # neither is asked again
    llm = OllamaLLM("m", host=server.host)
    assert llm.build is None
    assert llm.n_parameters is None
    server.close()
    assert server.n_sent < server.n_requests * (MAX_BODY + BUFFERS)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-unknown"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_compressed_answer_is_not_unpacked(
    serve: Callable[..., Stream], place: int, encoding: str
) -> None:
    server = serve(lambda: iter([gzip.compress(b" " * 10**6)]), encoding)
    with pytest.raises(LLMError, match="a compressed answer, which is not read: let"):
        models(server)[place].generate(QUESTION, schema={})
    assert set(server.accepted) == {"identity"}


@pytest.mark.parametrize("place", [0, 1])
def test_an_answer_that_drips_ends_with_the_time_limit(
    serve: Callable[..., Stream], place: int
) -> None:
    """The client's own limit is for each piece, and every piece comes in time."""
    ended = threading.Event()

    def drip() -> Iterator[bytes]:
        while not ended.wait(0.01):
            yield b" "

    server = serve(drip)
    try:
        with pytest.raises(LLMError, match=r"within 0\.3 seconds.*`timeout`"):
            models(server, timeout=0.3)[place].generate(QUESTION, schema={})
        with pytest.raises(LLMError, match="`llm_timeout`"):
            TimeBudget(0.3).limit(models(server)[place]).generate(QUESTION, schema={})
    finally:
        ended.set()
