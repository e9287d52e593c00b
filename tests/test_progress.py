"""Progress is shown on a real terminal and nowhere else, and stages are timed everywhere."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import optuna
import pytest
from optuna.storages import BaseStorage

from optuna_metallmix.history.history import read_history
from optuna_metallmix.progress import progress_bar
from optuna_metallmix.progress import status_line
from optuna_metallmix.progress import timed_stage


pty = pytest.importorskip("pty", reason="pseudo-terminals exist on Unix only")
termios = pytest.importorskip("termios")


class Terminal:
    """A pseudo-terminal, and what has been written to it."""

    def __init__(self) -> None:
        self._screen, keyboard = pty.openpty()
        termios.tcsetwinsize(keyboard, (24, 100))
        self.file = os.fdopen(keyboard, "w")
        self.text = ""

    def wait_for(self, text: str) -> None:
        while text not in self.text:
            assert select.select([self._screen], [], [], 10)[0], f"{text!r} not in {self.text!r}"
            self.text += os.read(self._screen, 4096).decode()

    def visible(self) -> list[str]:
        """The lines as a person sees them: a carriage return lets later text overwrite."""
        self.file.write("END")
        self.file.flush()
        self.wait_for("END")
        lines = []
        for line in self.text.removesuffix("END").split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines

    def close(self) -> None:
        self.file.close()
        os.close(self._screen)


@contextmanager
def on_a_terminal() -> Iterator[Terminal]:
    """Not a fixture: pytest replaces ``sys.stderr`` after fixtures have run."""
    stderr = sys.stderr
    optuna.logging.set_verbosity(optuna.logging.INFO)
    terminal = Terminal()
    sys.stderr = terminal.file
    try:
        yield terminal
    finally:
        sys.stderr = stderr
        terminal.close()


def test_status_line_is_cleared_at_the_end() -> None:
    with on_a_terminal() as terminal:
        with status_line("Fitting"):
            terminal.wait_for("Fitting ...")
        assert terminal.visible() == [""]


def test_log_record_overwrites_the_status_line() -> None:
    with on_a_terminal() as terminal:
        logger, handler = logging.getLogger("optuna"), logging.StreamHandler(terminal.file)
        logger.addHandler(handler)
        try:
            with status_line("Fitting"):
                terminal.wait_for("Fitting ...")
                optuna.logging.get_logger("optuna.metallmix").warning("A warning of some length.")
        finally:
            logger.removeHandler(handler)
        assert terminal.visible() == ["A warning of some length.", ""]


def test_quick_loop_shows_no_bar() -> None:
    with on_a_terminal() as terminal:
        assert list(progress_bar("abc", "Reading past studies", "study")) == ["a", "b", "c"]
        assert terminal.visible() == [""]


def test_progress_bar_counts_and_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=2.0)  # every look at the clock is two seconds after the last
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with on_a_terminal() as terminal:
        studies = iter(progress_bar("abc", "Reading past studies", "study"))
        assert [next(studies), next(studies)] == ["a", "b"]
        terminal.wait_for("Reading past studies:  33%")
        assert list(studies) == ["c"]
        assert terminal.visible() == [""]


@pytest.mark.parametrize("why", ["no terminal", "no stream", "closed", "quiet"])
def test_nothing_is_shown_without_a_reader(
    monkeypatch: pytest.MonkeyPatch, past_storage: BaseStorage, why: str
) -> None:
    with on_a_terminal() as terminal:
        stream = io.StringIO()
        if why == "closed":
            stream.close()
        if why == "quiet":
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        else:
            monkeypatch.setattr(sys, "stderr", None if why == "no stream" else stream)
        with status_line("Fitting"):
            assert list(progress_bar("abc", "Reading", "study")) == ["a", "b", "c"]
        assert len(read_history(past_storage).studies) == 3
        assert terminal.visible() == [""]
        assert why == "closed" or stream.getvalue() == ""


def test_stage_adds_its_seconds_even_after_an_error() -> None:
    seconds = {"fit": 100.0}
    with timed_stage(seconds, "fit", "Fitting"):
        pass
    after_first = seconds["fit"]
    assert after_first > 100
    with pytest.raises(ZeroDivisionError), timed_stage(seconds, "fit", "Fitting"):
        raise ZeroDivisionError
    assert seconds["fit"] > after_first
