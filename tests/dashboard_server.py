"""Serve studies by optuna-dashboard, and open pages in Chromium."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path


PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60_000
"""Milliseconds to wait for a page, enough for a busy machine."""


def find_chromium() -> str | None:
    """Return the path of Chromium, or ``None`` if it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def serve_dashboard(storage: str, folder: Path) -> Iterator[str]:
    """Yield the address of a dashboard on a storage; ``folder`` has the artifacts and its log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [storage, "--port", str(port), "--artifact-dir", str(folder), "--server", "wsgiref"]
    command = [sys.executable, "-m", "optuna_dashboard._cli", *words]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while not _answers(port):
                with suppress(subprocess.TimeoutExpired):
                    raise RuntimeError(f"The dashboard ended with code {process.wait(0.1)}.")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
