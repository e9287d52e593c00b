"""a look at one part -> findings: how it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from typing import TypeAlias

from optuna_metallmix._errors import MetaLLMiXError


Level: TypeAlias = Literal["ok", "warning", "problem"]
"""``problem``: something asked for cannot be had; ``warning``: less is had than could be."""


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        level: How bad it is.
        subject: What was looked at.
        text: What was found; where it is not ``ok``, with what to do.
    """

    level: Level
    subject: str
    text: str


def look(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; what it raises on purpose is a problem, and its last finding."""
    try:
        yield from check()
    except (MetaLLMiXError, OSError) as error:
        yield Finding("problem", subject, str(error))
