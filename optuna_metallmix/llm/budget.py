"""Limit the seconds that language models may take, and leave a late model behind.

A user's own model may block for ever, and so may a library that it calls. Under a limit, each call
therefore runs in a daemon thread, which is abandoned when the time is up. This package's own
models then stop within seconds, see :mod:`optuna_metallmix.llm.deadline`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any
from typing import NoReturn
from typing import TypeVar

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.auto import ForeignLLM
from optuna_metallmix.llm.auto import holds_memory
from optuna_metallmix.llm.auto import release
from optuna_metallmix.llm.deadline import DEADLINE
from optuna_metallmix.llm.deadline import Deadline
from optuna_metallmix.llm.protocol import LLM
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import model_name


_T = TypeVar("_T")

# Seconds of a single wait: Windows does not deliver Ctrl-C to a thread that waits.
_SLICE = 0.5

# Seconds for which an exhausted budget waits until a model of this package has freed its memory,
# which the training run needs. Ollama takes about one.
_RELEASE_SECONDS = 2.0

# The abandoned calls of users' models, by the id of the model. A running thread holds a reference
# to its model, so that the id is not used again.
_LATE: dict[int, Thread] = {}


class TimeBudget:
    """The seconds that all calls of the language models of a suggestion may take together.

    Only the calls count, not the time between them.

    Attributes:
        seconds: The limit; None for no limit, so that calls run in the caller's thread.
        is_over: Whether a call was abandoned, or failed, when the time was up.
    """

    def __init__(self, seconds: float | None) -> None:
        """Start with all ``seconds``, above 0."""
        self.seconds = seconds
        self.is_over = False
        self._left = seconds or 0.0
        self._late: list[Thread] = []

    @property
    def message(self) -> str:
        """What to do about a late model."""
        return (
            f"The {self.seconds:g} seconds of `llm_timeout`, for all answers and reviews, are "
            "over: raise `llm_timeout`, choose a smaller model, or pass `llm=False`."
        )

    def run(self, call: Callable[[], _T], subject: str, owner: object = None) -> _T:
        """Return the result of ``call``, or raise its exception.

        Args:
            call: What to do. It runs in a copy of the present context.
            subject: What is late if the call is, such as the name of the model.
            owner: A user's model that ``call`` uses: not called again before it has returned.

        Raises:
            LLMError: The time is up, or an earlier call of ``owner`` has not returned.
        """
        context = copy_context()
        if self.seconds is None:
            context.run(DEADLINE.set, Deadline())
            return context.run(call)
        if (earlier := _LATE.get(id(owner))) is not None and earlier.is_alive():
            raise LLMError(
                f"{subject} has still not answered an earlier question, for which it had "
                "`llm_timeout` seconds: check it, or choose another model."
            )
        if self._left <= 0:
            self._raise_late(subject)
        deadline, future = Deadline(monotonic() + self._left), Future[_T]()
        context.run(DEADLINE.set, deadline)
        thread = Thread(target=context.run, args=(_fulfil, future, call), daemon=True)
        self._left = 0.0  # unless the call ends in time
        try:
            thread.start()
            while not future.done() and deadline.seconds_left > 0:
                wait([future], min(deadline.seconds_left, _SLICE))
        finally:
            if not future.done():  # the time is up, or Ctrl-C
                self._abandon(thread, deadline, owner)
        if not future.done():
            self._raise_late(subject)
        self._left = max(deadline.seconds_left, 0.0)
        if not self._left and isinstance(future.exception(), LLMError):
            self.is_over = True  # a request that had all of it
        return future.result()

    def limit(self, llm: LLM) -> LLM:
        """Return ``llm`` with its answers limited by this budget."""
        return _LimitedLLM(llm, self)

    def release(self, llm: LLM | None) -> None:
        """Unload ``llm`` when its last call has ended; wait no longer than the time allows."""
        if holds_memory(llm):
            late, self._late = self._late, []
            self._left = max(self._left, _RELEASE_SECONDS)
            with suppress(LLMError):
                self.run(lambda: _release_after(late, llm), "Unloading")

    def _raise_late(self, subject: str) -> NoReturn:
        self.is_over = True
        raise LLMError(f"{subject} did not finish in time. {self.message}")

    def _abandon(self, thread: Thread, deadline: Deadline, owner: object) -> None:
        deadline.cancelled.set()
        self._late.append(thread)
        if owner is not None:
            _LATE[id(owner)] = thread


class _LimitedLLM:
    """A language model within a budget; other attributes are those of the model."""

    def __init__(self, llm: LLM, budget: TimeBudget) -> None:
        self._llm = llm
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    @property
    def n_parameters(self) -> object:
        """The model's ``n_parameters``, which may take a request to a server.

        Raises:
            LLMError: As the model and :meth:`TimeBudget.run`.
        """
        return self._run(partial(getattr, self._llm, "n_parameters", None))

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Pass the question on.

        Raises:
            LLMError: As the model and :meth:`TimeBudget.run`.
        """
        return self._run(partial(self._llm.generate, messages, schema=schema))

    def _run(self, call: Callable[[], _T]) -> _T:
        owner = self._llm.wrapped if isinstance(self._llm, ForeignLLM) else None
        return self._budget.run(call, model_name(self._llm), owner)


def _fulfil(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # raised again in the thread that waits
        future.set_exception(error)


def _release_after(late: Sequence[Thread], llm: LLM | None) -> None:
    for thread in late:
        thread.join()
    release(llm)
