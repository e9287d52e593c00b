"""The errors that this package raises.

::

    Exception
     └ MetaLLMiXError     base of all deliberate errors
        ├ HistoryError    the past studies cannot be read, or nothing can be learned from them
        ├ LLMError        the language model is unavailable, broken, or did not finish its answer
        └ ProposalError   the language model's answer cannot be used

Each message names the study, storage or model, and ends with what to do next. Any other exception
is a bug and is never swallowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MetaLLMiXError(Exception):
    """Base of all errors that this package raises deliberately."""


class HistoryError(MetaLLMiXError):
    """Past studies cannot be read, or nothing can be learned from them."""


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
        yield
    except ImportError as error:
        command = f"pip install {' '.join(packages)}"
        raise MetaLLMiXError(f"{failure}: {error}. Run: {command}") from error
