"""A model server with a single faulty behavior: `python broken_server.py BEHAVIOR`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer


MEMORY = b'{"error":"model requires more system memory (8.0 GiB) than is available (1.2 GiB)"}'


def kill() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class Broken(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        {
            "never answers": threading.Event().wait,
            "is out of memory": lambda: self.answer(500, MEMORY),
            "is killed while answering": self.die_in_the_middle,
            "is killed before answering": kill,
            "hangs up": self.connection.close,
            "is no Ollama": lambda: self.answer(200, b"<html>It works!</html>"),
            "answers nothing": lambda: self.answer(200, b""),
        }[sys.argv[1]]()

    def answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def die_in_the_middle(self) -> None:
        self.answer(200, b'{"model": "qwen3:8b", "message": {"role": "assis', 5_000)
        kill()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    print(server.server_address[1], flush=True)
    server.serve_forever()
