"""Choose the size of the context that an Ollama server loads a model with.

The size is fixed while the model is loaded, and has to hold both the prompt and the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna_metallmix.llm.protocol import Message


# English has 4 to 5 characters per token; 3 is a safe estimate, also for tables.
_CHARACTERS_PER_TOKEN = 3

# Tokens that a chat template may add before the first message (a date, a default role), and
# around each message (5 for SmolLM2).
_TEMPLATE_TOKENS = 64
_MESSAGE_TOKENS = 8

# In tokens. A smaller context saves little memory, and has to grow, which reloads the model,
# too often.
_MIN_CONTEXT = 4096


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Return an upper estimate of the number of tokens in ``messages``.

    Digits and characters beyond ASCII count as a token each (many models split numbers into
    digits), other text as a token for each three characters. The JSON schema of the answer does
    not count, because it constrains the decoding and is not part of the prompt.
    """
    n_tokens = _TEMPLATE_TOKENS
    for text in (message["content"] for message in messages):
        n_single = sum(character.isdigit() or not character.isascii() for character in text)
        n_grouped = math.ceil((len(text) - n_single) / _CHARACTERS_PER_TOKEN)
        n_tokens += _MESSAGE_TOKENS + n_single + n_grouped
    return n_tokens


def context_size(n_tokens: int, limit: int | None) -> int:
    """Round up to a power of two, so that prompts of similar length need no other context.

    Args:
        n_tokens: Tokens of prompt and answer together, at least 1.
        limit: Maximum context of the model in tokens; None if unknown.

    Returns:
        At least 4,096 and at most ``limit``, even if ``n_tokens`` is more: it is an upper
        estimate, and only the server can count.
    """
    size = max(_MIN_CONTEXT, 1 << (n_tokens - 1).bit_length())
    return size if limit is None else min(size, limit)
