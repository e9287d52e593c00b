"""Progress is seen on a terminal, a real one, and nowhere else."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from optuna.storages import BaseStorage

from optuna_metallmix import progress
from optuna_metallmix.history.history import read_history
from optuna_metallmix.progress import counted
from optuna_metallmix.progress import line
from optuna_metallmix.progress import stage
from optuna_metallmix.progress import waiting


pty = pytest.importorskip("pty", reason="a pseudo-terminal is a thing of Unix")
termios = pytest.importorskip("termios")


class Terminal:
    """What stands on a terminal that ``sys.stderr`` writes to."""

    def __init__(self) -> None:
        self._screen, keyboard = pty.openpty()
        termios.tcsetwinsize(keyboard, (24, 100))
        self.file = os.fdopen(keyboard, "w")
        self.text = ""

    def wait_for(self, text: str) -> None:
        while text not in self.text:
            assert len(self.text) < 100_000  # ticks that never say it
            assert select.select([self._screen], [], [], 10)[0], f"{text!r} not in {self.text!r}"
            self.text += os.read(self._screen, 4096).decode()

    def rest(self) -> str:
        """What was written since, with the lines that were drawn and taken away again."""
        self.text = ""
        self.file.write("END")
        self.file.flush()
        self.wait_for("END")
        return self.text.removesuffix("END")

    def close(self) -> None:
        self.file.close()
        os.close(self._screen)


@contextmanager
def on_a_terminal() -> Iterator[Terminal]:
    """Not a fixture: pytest sets ``sys.stderr`` anew after those."""
    before, stderr = optuna.logging.get_verbosity(), sys.stderr
    optuna.logging.set_verbosity(optuna.logging.INFO)
    terminal = Terminal()
    sys.stderr = terminal.file
    try:
        yield terminal
    finally:
        sys.stderr = stderr
        terminal.close()
        optuna.logging.set_verbosity(before)


def test_line_shows_the_seconds_and_leaves_nothing_behind() -> None:
    with on_a_terminal() as terminal:
        with line("Fitting", 0.01) as is_shown:
            terminal.wait_for("Fitting ... 00:")
        assert is_shown
        assert last_line(terminal.rest()) == ""
    assert not [one for one in threading.enumerate() if "_tick" in one.name]


def test_line_within_a_line_takes_its_place() -> None:
    with on_a_terminal() as terminal:
        with line("Asking m", 0.01):
            with waiting("m (loading)", (0.0,)):
                terminal.wait_for("Waiting for m (loading) ... 00:")
            terminal.wait_for("Asking m ... 00:")
            terminal.rest()
            terminal.wait_for("Asking m ... 00:")
        assert "\n" not in terminal.text
        assert last_line(terminal.rest()) == ""


def test_log_is_not_written_into_the_line() -> None:
    with on_a_terminal() as terminal:
        logger, handler = logging.getLogger("optuna"), logging.StreamHandler(terminal.file)
        logger.addHandler(handler)
        try:
            with line("Fitting", 0.01):
                terminal.wait_for("Fitting")
                optuna.logging.get_logger("optuna.metallmix").warning("a warning")
                terminal.wait_for("a warning")
        finally:
            logger.removeHandler(handler)
        assert last_line(terminal.text.partition("a warning")[0]) == ""
        assert handler.filters == []


def test_studies_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_terminal() as terminal:
        assert list(counted("abc", "Reading past studies", "study")) == ["a", "b", "c"]
        assert terminal.rest() == ""  # too quick to be worth a line
        monkeypatch.setattr(progress, "_PATIENCE", 0)
        studies = counted("abc", "Reading past studies", "study")
        next(studies)
        terminal.wait_for("Reading past studies:   0%")
        assert list(studies) == ["b", "c"]
        assert last_line(terminal.rest()) == ""


def test_wait_for_a_model_is_told_there_and_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with on_a_terminal() as terminal:
        with waiting("m (loading)", (0.0,)):
            terminal.wait_for("Waiting for m (loading) ... 00:")
        assert last_line(terminal.rest()) == ""
    assert caplog.records == []


@pytest.mark.parametrize("why", ["no terminal", "no stream", "closed", "quiet"])
def test_nothing_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, past_storage: BaseStorage, why: str
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0)
    with on_a_terminal() as terminal:
        stream = io.StringIO()
        if why == "closed":
            stream.close()
        if why == "quiet":
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        else:
            monkeypatch.setattr(sys, "stderr", None if why == "no stream" else stream)
        threads, seconds = threading.active_count(), dict[str, float]()
        with stage(seconds, "fit", "Fitting"), line("Fitting", 0.0) as is_shown:
            assert threading.active_count() == threads
        assert not is_shown
        assert seconds["fit"] > 0
        assert len(read_history(past_storage).studies) == 3
        assert terminal.rest() == ""
        assert why == "closed" or stream.getvalue() == ""


def last_line(text: str) -> str:
    """What is left on the terminal's last line."""
    return text.rpartition("\r")[2].strip()
