"""a model's answer -> the one JSON object in it.

Ollama and the embedded model are held to the schema and write the object alone. Other people's
models put thoughts before it, a code fence or a sentence around it: what was meant is clear as
long as there is one object that could be meant. Of two different ones none is guessed at, nor is
a key that is given twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import ClassVar

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.explain import Explanation
from optuna_metallmix.prompt import MAX_REASONING
from optuna_metallmix.prompt import MAX_WHY
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import from_json
from optuna_metallmix.space import is_number
from optuna_metallmix.space import label_of
from optuna_metallmix.text import format_number


_THOUGHTS = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)


class _TwiceError(ValueError):
    """An object has a key twice."""


def read_object(answer: str, key: str) -> dict[str, Any]:
    """Return the object that an answer consists of, else the only one in it that has ``key``.

    Raises:
        ValueError: There is none, or no telling which; the sentence says so.
    """
    text = answer.strip().removeprefix("\ufeff").strip()
    if not text:
        raise ValueError("Invalid JSON: it is empty")
    try:
        return _object(_DECODER.decode(text))
    except RecursionError:
        raise ValueError("Invalid JSON: its brackets are nested too deep") from None
    except json.JSONDecodeError as error:
        return _only([one for one in _inside(_THOUGHTS.sub("", text)) if key in one], error)


def _only(found: Sequence[dict[str, Any]], error: json.JSONDecodeError) -> dict[str, Any]:
    if not found:
        raise ValueError(f"Invalid JSON: {error.msg} at character {error.pos}")
    if any(one != found[0] for one in found):
        raise ValueError(f"there are {len(found)} different ones, and one was asked for")
    return found[0]


def _inside(text: str) -> Iterator[dict[str, Any]]:
    """Give each JSON object in a text, those within another one left out."""
    place = text.find("{")
    while place >= 0:
        try:
            found, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError:
            end = place + 1
        except RecursionError:  # what follows is nested as deep
            return
        else:
            yield found
        place = text.find("{", end)


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        raise ValueError(f"it is {kinds.get(type(found), 'a number')}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"{key[:40]!r} is given twice")
        found[key] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once, strict=False)  # line breaks within texts


@dataclass(frozen=True)
class Proposal:
    """What a language model proposes.

    Attributes:
        answer: The answer's text as it came.
        evidence: The ids of the evidence it cites.
        reasoning: Its own words, before it chose; at most ``MAX_REASONING`` characters.
        candidate: The number of the candidate it chose.
        changes: The values it changed in it; what it only repeated is not here.
        why: One sentence for people; at most ``MAX_WHY`` characters.
        params: The resulting configuration, every value in the search space.
    """

    answer: str
    evidence: tuple[str, ...]
    reasoning: str
    candidate: int
    changes: Mapping[str, Any]
    why: str
    params: Config


@dataclass(frozen=True)
class _Answer:
    """The answer's shape; pydantic, imported on use, checks it without converting anything."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    candidate: int
    why: str
    reasoning: str | None = None
    evidence: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)


def parse_proposal(
    answer: str,
    space: SearchSpace,
    candidates: Sequence[Candidate],
    explanation: Explanation | None,
    *,
    reasoned: bool = True,
) -> Proposal:
    """Parse an answer and check it against what was asked.

    The object may stand in a code fence or among prose, see :func:`read_object`.

    Args:
        answer: The answer's text.
        space: What may be suggested, by name.
        candidates: Those it was shown.
        explanation: With the evidence it was shown; ``None`` without a past.
        reasoned: Whether it was to reason before it chose.

    Raises:
        ProposalError: It is not the JSON object asked for, or names a candidate, evidence,
            parameter or value that does not exist; the message says which, for the model to mend.
    """
    parsed = _parse(answer)
    if reasoned and parsed.reasoning is None:
        raise ProposalError("It is not the JSON object asked for: reasoning: Field required.")
    chosen = {one.number: one for one in candidates}.get(parsed.candidate)
    if chosen is None:
        number = str(parsed.candidate)[:20]
        raise ProposalError(f"There is no candidate {number}: choose a number given.")
    _check_cited(parsed.evidence, explanation)
    changes = {
        name: _changed(name, raw, space)
        for name, raw in parsed.changes.items()
        if not _is_repeated(name, raw, space, chosen.params)
    }
    return Proposal(
        answer=answer,
        evidence=tuple(dict.fromkeys(parsed.evidence)),
        reasoning=shorten(parsed.reasoning or "", MAX_REASONING),
        candidate=parsed.candidate,
        changes=changes,
        why=shorten(parsed.why, MAX_WHY),
        params={**chosen.params, **changes},
    )


def shorten(text: str, limit: int) -> str:
    """Keep of a model's words what was asked for, up to the last whole word.

    At the limit a model that is held to the schema has been cut in mid-word, or in mid-number.
    """
    text = text.strip()
    if len(text) < limit:
        return text
    return (text[: limit - 1].rpartition(" ")[0] or text[: limit - 1]) + "…"


def _check_cited(cited: Sequence[str], explanation: Explanation | None) -> None:
    known = {one.id for one in explanation.evidence} if explanation else set()
    if unknown := [one for one in cited if one not in known]:
        raise ProposalError(f"There is no evidence {unknown[0][:20]!r}: cite the ids given.")
    if known and not cited:
        raise ProposalError("No evidence is cited: cite the ids that speak for the choice.")


def _is_repeated(name: str, raw: Any, space: SearchSpace, chosen: Config) -> bool:
    """Tell whether a model wrote down what the candidate has, as rounded as it was shown."""
    if name not in chosen or name not in space:
        return False
    if not isinstance(raw, str):
        raw = format_number(raw) if is_number(raw) else label_of(space[name], raw)
    return bool(raw == label_of(space[name], chosen[name]))


def _changed(name: str, raw: Any, space: SearchSpace) -> Any:
    if name not in space:
        raise ProposalError(f"There is no parameter {name[:60]!r} to change.")
    try:
        return from_json(space[name], raw)
    except (ValueError, RecursionError) as error:  # the latter from nested brackets
        raise ProposalError(f"changes.{name}: {error}.") from error


def _parse(answer: str) -> _Answer:
    from pydantic import TypeAdapter
    from pydantic import ValidationError

    try:
        found = read_object(answer, "candidate")
        return TypeAdapter(_Answer).validate_json(json.dumps(found))  # strict takes no dict as one
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"]) or "the answer"
        raise ProposalError(
            f"It is not the JSON object asked for: {where}: {first['msg']}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProposalError(f"It is not the JSON object asked for: {error}.") from error
