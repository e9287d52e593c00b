"""messages -> how many tokens of context to ask a server for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna_metallmix.llm._protocol import Message


_CHARACTERS_PER_TOKEN = 3
"""English is read at 4 to 5 characters a token; 3 errs on the safe side, also for tables."""

_TEMPLATE_TOKENS = 64
"""What a model's own chat template may add before the first message (a date, a default role)."""

_MESSAGE_TOKENS = 8
"""What it adds around each message; 5 for SmolLM2."""

_SMALLEST = 4096
"""Less saves little memory, and would have to grow, which loads the model anew, too often."""


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Estimate from above how many tokens a model reads in ``messages``.

    A digit, and a character beyond ASCII, counts as one token (many models split numbers into
    digits), other text as a token for each three characters. The JSON schema of an answer is not
    counted, for a server makes a grammar of it and the model never reads it.
    """
    return _TEMPLATE_TOKENS + sum(
        _MESSAGE_TOKENS + _text_tokens(message["content"]) for message in messages
    )


def _text_tokens(text: str) -> int:
    single = sum(one.isdigit() or not one.isascii() for one in text)
    return single + math.ceil((len(text) - single) / _CHARACTERS_PER_TOKEN)


def context_size(n_tokens: int, limit: int | None) -> int:
    """Round up to a power of two, so that questions of about one length need no new size.

    Args:
        n_tokens: Tokens of prompt and answer together, at least 1.
        limit: The most that the model can hold; None where that is not known.

    Returns:
        At least 4,096 and at most ``limit``, even where ``n_tokens`` is more: it is an estimate
        from above, and only the server can count.
    """
    size = max(_SMALLEST, 1 << (n_tokens - 1).bit_length())
    return size if limit is None else min(size, limit)
