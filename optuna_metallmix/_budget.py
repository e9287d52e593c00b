"""text -> how many tokens it may cost, and what of it fits.

The model that reads is any model, so its tokens are estimated, and rather too many than too few.
Measured with SmolLM2's tokenizer (2026-11), characters a token: English 3.4, our own sections 2.1,
random small letters 1.6, capitals 1.5, mixed 1.4, digits 1.0, punctuation 1.2; bytes a token:
Russian 2.6, Chinese 1.9, emoji 1.3, rare letters 1.1. The estimate takes the worst of each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from math import ceil
from typing import TypeVar


MAX_TOKENS = 3_000
"""Most tokens of a conversation: a question, its answer where it was refused, and why."""
ANSWER_TOKENS = 250
REFUSAL_TOKENS = 200
WORDING_TOKENS = 250
"""Of what frames the sections and a refusal: our own words, so measured, 195 at most."""
SECTION_TOKENS = MAX_TOKENS - ANSWER_TOKENS - REFUSAL_TOKENS - WORDING_TOKENS

_PIECES = re.compile(r"([A-Za-z]+)|\s(?=[A-Za-z])|(.)", re.DOTALL)
_UNLIKE_WORDS = re.compile(r"[^aeiouy]{4}|[aeiouy]{4}|.{15}", re.IGNORECASE)
_ORDINARY = frozenset(
    re.findall(
        "[a-z]+",
        "activation adam adamw alpha and augmentation batch beta best bs choice class classes "
        "configuration cosine data decay depth dim distance dropout each effect effects embed "
        "epoch epochs evidence expected false features from gamma had height helped hidden hurt "
        "image in instances is kernel lambda layer layers learning less linear little log lr max "
        "mean min model momentum more name network none norm null num number of on one optimizer "
        "parameter parameters past rate ratio relu scale schedule scheduler score seed sets sgd "
        "size smoothing step steps studies study task that the time to training trials true type "
        "units up usual value warmup wd weight whole width",
    )
)
"""Words so common that every model has tokens for them, or for their halves."""

T = TypeVar("T")


def estimate_tokens(text: str) -> int:
    """Return how many tokens a text costs at most, as far as can be told without a tokenizer."""
    return sum(_cost(found.group(1), found.group(2)) for found in _PIECES.finditer(text))


def first_fitting(drafts: Iterable[T], cost: Callable[[T], int], most: int) -> T:
    """Return the first draft that costs no more than ``most``, else the last; there is one."""
    for draft in drafts:
        if cost(draft) <= most:
            break
    return draft


def whole_lines(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines that fit, at least one of any, and how many were left out."""
    counts = range(len(lines), 0, -1) if lines else (0,)
    drafts = ([*lines[:n], *([f"- and {len(lines) - n} more"] * (n < len(lines)))] for n in counts)
    return first_fitting(drafts, lambda draft: estimate_tokens("\n".join(draft)), most)


def _cost(word: str | None, other: str | None) -> int:
    if other:
        return len(other.encode("utf-8", "replace"))
    if not word:
        return 0
    if word in _ORDINARY:
        return ceil(len(word) / 5)
    if not (word.islower() or word.istitle()):
        return ceil(len(word) / 1.25)
    return ceil(len(word) / (1.5 if _UNLIKE_WORDS.search(word) else 2))
