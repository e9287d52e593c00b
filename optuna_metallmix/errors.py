"""The errors that this package raises.

::

    Exception
     └ MetaLLMiXError       base of all deliberate errors
        ├ HistoryError      the past studies cannot be read, or nothing can be learned from them
        ├ CalculationError  a numerical calculation failed, or there is not enough memory for it
        ├ LLMError          the language model is unavailable, broken, or did not finish its answer
        └ ProposalError     the language model's answer cannot be used

Each message names the study, storage or model, and ends with what to do next. Any other exception
is a bug and is never swallowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.text import cut_middle


MAX_MESSAGE = 2_000

hides_numerical_errors = True
"""Whether :func:`numerical_errors` translates them; the tests of this package set it to false."""

_NUMERICAL = (ArithmeticError, MemoryError, RuntimeWarning)
"""``RuntimeWarning`` is NumPy's warning of a floating-point error, if warnings are errors."""
_NUMERICAL_PACKAGES = ("numpy", "scipy", "pandas", "catboost", "_catboost")
_MAX_REASON = 200
"""Maximum number of characters of the reason: CatBoost's contain data and paths."""


class MetaLLMiXError(Exception):
    """Base of all errors that this package raises deliberately.

    Messages quote studies, models and servers, and are stored with trials: of a message longer
    than ``MAX_MESSAGE`` characters, only the start and the end are kept.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(
            *(cut_middle(one, MAX_MESSAGE) if isinstance(one, str) else one for one in arguments)
        )


class HistoryError(MetaLLMiXError):
    """Past studies cannot be read, or nothing can be learned from them."""


class CalculationError(MetaLLMiXError):
    """A numerical calculation failed, or there is not enough memory for it."""


class LLMError(MetaLLMiXError):
    """A language model is unavailable, broken, or did not finish its answer."""


class ProposalError(MetaLLMiXError):
    """A language model answered, but the answer cannot be used."""


@contextmanager
def requires(*packages: str, failure: str) -> Iterator[None]:
    """Report a failed import in the body with the command that installs what is missing.

    Args:
        packages: The optional packages that the body imports, by their names on PyPI. An extra of
            this package would not be found where it was installed from its repository.
        failure: What does not work without them, as the start of the message.

    Raises:
        MetaLLMiXError: The body raised ImportError.
    """
    try:
        with NO_FORK:
            yield
    except ImportError as error:
        command = f"pip install {' '.join(packages)}"
        raise MetaLLMiXError(f"{failure}: {error}. Run: {command}") from error


@contextmanager
def numerical_errors() -> Iterator[None]:
    """Raise the numerical errors of the body as :class:`CalculationError`.

    They are arithmetic errors, missing memory, and those errors that numerical packages raise for
    values they cannot process. All others are bugs, and are not translated.
    """
    try:
        yield
    except Exception as error:
        if not hides_numerical_errors or not _is_numerical(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:_MAX_REASON]
        advice = (
            "Free some memory, or name fewer past studies in `source_study_names`."
            if isinstance(error, MemoryError)
            else "Check this study and its past studies for extreme values and ranges."
        )
        raise CalculationError(f"A calculation failed ({reason}). {advice}") from error


def _is_numerical(error: Exception) -> bool:
    if isinstance(error, _NUMERICAL) or type(error).__name__ in ("CatBoostError", "LinAlgError"):
        return True
    if not isinstance(error, ValueError):
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    package = str(frame.f_globals.get("__name__")).split(".")[0]
    return package in _NUMERICAL_PACKAGES
