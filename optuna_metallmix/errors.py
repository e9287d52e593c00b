"""What can go wrong, and how it is told.

::

    Exception
     └ MetaLLMiXError     everything this package raises on purpose
        ├ HistoryError    the past studies cannot be read, or nothing can be learned from them
        ├ LLMError        the language model is absent, broken, or did not finish its answer
        └ ProposalError   the language model answered, but the answer cannot be used

Every message names the user's study, storage or model and ends with what to do next. Anything else
that leaves this package is a bug and is never swallowed.
"""

from __future__ import annotations


class MetaLLMiXError(Exception):
    """Base of all errors raised on purpose by this package."""


class HistoryError(MetaLLMiXError):
    """Past studies cannot be read, or nothing can be learned from them."""


class LLMError(MetaLLMiXError):
    """A language model is absent, broken, or did not finish its answer."""


class ProposalError(MetaLLMiXError):
    """A language model answered, but its answer cannot be used."""
