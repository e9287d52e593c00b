"""Parse the answer of a language model into a proposal.

Ollama and the embedded model are bound to the schema and write a JSON object only. Other models
may add reasoning, a code fence, quotation marks or prose, from which the object is extracted, and
may write a number as text, or the ids of evidence as text instead of a list. An answer that could
mean two things, such as several different objects or a repeated key, is rejected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any
from typing import ClassVar

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.explain import Explanation
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.prompt import MAX_REASONING
from optuna_metallmix.prompt import MAX_WHY
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import from_json
from optuna_metallmix.space import is_number
from optuna_metallmix.space import label_of
from optuna_metallmix.text import format_number


_FENCE = re.compile(r"```\w*\s(.*)```", re.DOTALL)
_NUMBER = re.compile(r"\s*([0-9]{1,9})(?:\.0)?\s*")
_REASONING = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
"""Words; characters of Chinese and Japanese, which have no spaces, count as words."""
_TWO_LETTERS = re.compile(r"[^\W\d_]{2}")
_MARKUP = re.compile(r"[{}]|<[|/\w]|\"\s*:")
"""Pieces of JSON and control tokens."""
_MIN_COPIED_WORDS = 8
"""Shorter runs occur in ordinary sentences: "1 is expected to do best", "lr from 0.1 to 0.2"."""


class _DuplicateKeyError(ValueError):
    """A JSON object contains a key twice."""


def read_object(answer: str, key: str) -> dict[str, Any]:
    """Return the JSON object that an answer consists of, or the only object with ``key`` in it.

    Raises:
        ValueError: The answer has no such object, or several different ones.
    """
    text = answer.strip().removeprefix("\ufeff").strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text:
        raise ValueError("Invalid JSON: it is empty")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("Invalid JSON: its brackets are nested too deep") from None
    except json.JSONDecodeError as error:
        objects = [item for item in _objects_in(_REASONING.sub("", text)) if key in item]
        if not objects:
            raise ValueError(f"Invalid JSON: {error.msg} at character {error.pos}") from None
        if any(item != objects[0] for item in objects):
            raise ValueError(f"it has {len(objects)} different objects instead of one") from None
        return objects[0]
    if isinstance(value, str) and "{" in value:  # the object in quotation marks
        return read_object(value, key)
    if not isinstance(value, dict):
        kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        raise ValueError(f"it is {kinds.get(type(value), 'a number')}")
    return value


def _objects_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a string, without those nested in another object."""
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError:
            end = start + 1
        except RecursionError:  # the rest is nested as deeply
            return
        else:
            yield value
        start = text.find("{", end)


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise _DuplicateKeyError(f"{key[:40]!r} is given twice")
        unique[key] = value
    return unique


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, strict=False)  # allows line breaks


def readable_text(text: str, prompt: str, limit: int, min_words: int = 2) -> str:
    """Return a model's prose, shortened to ``limit`` characters, or ``""`` if it is degenerate.

    Small models fill these fields with numbers, repeated phrases or lines of the prompt (seen with
    SmolLM2-135M, 2026-11). A readable text has different words, no JSON, repeats at most 40 % of
    its pairs of words, and is not mostly copied from the prompt.

    Args:
        text: What the model wrote.
        prompt: The messages sent to the model.
        limit: Maximum number of characters of the result.
        min_words: Minimum number of different words.
    """
    text = text.strip()
    if len(text) >= limit:  # models bound to a schema are cut off within a word or number
        text = (text[: limit - 1].rpartition(" ")[0] or text[: limit - 1]) + "…"
    words = _WORDS.findall(text.lower())
    pairs = list(pairwise(words))
    if len(set(words)) < min_words or not _TWO_LETTERS.search(text) or _MARKUP.search(text):
        return ""
    if len(set(pairs)) < 0.6 * len(pairs) or len(set(words)) <= 0.4 * len(words):
        return ""
    matcher = SequenceMatcher(None, words, _WORDS.findall(prompt.lower()), autojunk=False)
    copied = [match.size for match in matcher.get_matching_blocks()]
    n_copied = sum(size for size in copied if size >= _MIN_COPIED_WORDS)
    return "" if n_copied > len(words) / 2 else text


@dataclass(frozen=True)
class Proposal:
    """The proposal of a language model.

    Attributes:
        answer: The raw answer.
        evidence: The ids of the evidence that it cites.
        reasoning: The model's unverified reasoning before its choice, at most ``MAX_REASONING``
            characters; empty if it was not readable.
        candidate: The number of the chosen candidate.
        changes: The changed values by parameter, without those that equal the candidate's.
        why: The model's unverified sentence for users, at most ``MAX_WHY`` characters; empty if
            it was not readable.
        params: The resulting configuration; every value is in the search space.
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
    """The expected shape of an answer, checked by pydantic without converting values."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    candidate: int
    why: str | None = None
    reasoning: str | None = None
    evidence: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)


def parse_proposal(
    answer: str,
    space: SearchSpace,
    candidates: Sequence[Candidate],
    explanation: Explanation | None,
    *,
    with_reasoning: bool = True,
    is_short: bool = False,
    prompt: str = "",
) -> Proposal:
    """Parse an answer and check it against the question.

    Args:
        answer: The raw answer.
        space: The search space by parameter name.
        candidates: The candidates that the model was shown.
        explanation: The explanation with the shown evidence; ``None`` without history.
        with_reasoning: Whether reasoning was requested.
        is_short: Whether only citations and a choice were requested: text is not kept, and
            changes are rejected.
        prompt: The messages sent to the model, to recognize text copied from them.

    Raises:
        ProposalError: The answer is not the requested JSON object, or names a candidate,
            evidence, parameter or value that does not exist.
    """
    parsed = _parse(answer)
    if is_short:
        parsed = _without_text(parsed)
    elif parsed.why is None or (with_reasoning and parsed.reasoning is None):
        absent = "why" if parsed.why is None else "reasoning"
        raise ProposalError(f"It is not the JSON object asked for: {absent}: Field required.")
    chosen = next((c for c in candidates if c.number == parsed.candidate), None)
    if chosen is None:
        number = str(parsed.candidate)[:20]
        raise ProposalError(f"There is no candidate {number}: choose a number given.")
    _check_ids(parsed.evidence, explanation)
    changes = {
        name: _changed_value(name, raw, space)
        for name, raw in parsed.changes.items()
        if not _is_unchanged(name, raw, space, chosen.params)
    }
    return Proposal(
        answer=answer,
        evidence=tuple(dict.fromkeys(parsed.evidence)),
        reasoning=readable_text(parsed.reasoning or "", prompt, MAX_REASONING),
        candidate=parsed.candidate,
        changes=changes,
        why=readable_text(parsed.why or "", prompt, MAX_WHY),
        params={**chosen.params, **changes},
    )


def _without_text(parsed: _Answer) -> _Answer:
    if parsed.changes:
        raise ProposalError("changes: no value may be changed: choose a candidate as it is.")
    return replace(parsed, why=None, reasoning=None)


def _check_ids(cited: Sequence[str], explanation: Explanation | None) -> None:
    known = {item.id for item in explanation.evidence} if explanation else set()
    if unknown := [name for name in cited if name not in known]:
        raise ProposalError(f"There is no evidence {unknown[0][:20]!r}: cite the ids given.")
    if known and not cited:
        raise ProposalError("No evidence is cited: cite the ids that speak for the choice.")


def _is_unchanged(name: str, raw: Any, space: SearchSpace, chosen: Config) -> bool:
    """Return whether a value equals the candidate's, in the precision of the prompt."""
    if name not in chosen or name not in space:
        return False
    if not isinstance(raw, str):
        raw = format_number(raw) if is_number(raw) else label_of(space[name], raw)
    return bool(raw == label_of(space[name], chosen[name]))


def _changed_value(name: str, raw: Any, space: SearchSpace) -> Any:
    if name not in space:
        raise ProposalError(f"There is no parameter {name[:60]!r} to change.")
    try:
        return from_json(space[name], raw)
    except (ValueError, RecursionError) as error:  # the latter from nested brackets
        raise ProposalError(f"changes.{name}: {error}.") from error


def _parse(answer: str) -> _Answer:
    with NO_FORK:
        from pydantic import TypeAdapter
        from pydantic import ValidationError

    try:
        value = _with_types(read_object(answer, "candidate"))
        # Strict mode accepts a dataclass as JSON, but not as a dict.
        return TypeAdapter(_Answer).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"]) or "the answer"
        reason = f"{where}: {first['msg']}"
        raise ProposalError(f"It is not the JSON object asked for: {reason}.") from error
    except (ValueError, RecursionError) as error:
        raise ProposalError(f"It is not the JSON object asked for: {error}.") from error


def _with_types(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with the types asked for, where its values can mean one thing only."""
    typed = dict(answer)
    candidate, evidence = typed.get("candidate"), typed.get("evidence")
    if isinstance(candidate, float) and candidate.is_integer():
        typed["candidate"] = int(candidate)
    elif isinstance(candidate, str) and (number := _NUMBER.fullmatch(candidate)):
        typed["candidate"] = int(number[1])
    if isinstance(evidence, str):
        typed["evidence"] = re.findall(r"[^\s,;]+", evidence)
    if typed.get("changes", {}) is None:
        typed["changes"] = {}
    return typed
