"""Shorten a suggestion's record and attributes, so that every storage can hold them.

Choices, names, messages and answers of models can have any length, and MySQL holds 65,535 bytes
in an attribute. What is cut is cut in the middle, and differs where the whole texts differ.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import shorten


MAX_RECORD = 64_000
"""Maximum size of a trial's record in bytes, as storages write it. They read it with the trial."""
MAX_ATTRIBUTE = 4_000
"""Maximum length of an attribute in characters, each of which is stored in up to 12 bytes."""

_LEVELS: tuple[tuple[int, int, int | None], ...] = (
    (2_000, 1_000, None),
    (400, 100, 200),
    (400, 100, 60),
    (60, 20, 60),
    (30, 10, 30),
)
"""Maximum length of texts, maximum number of items and maximum length of choices, in the order in
which they are tried; ``None`` for choices as they are."""

_MAX_PARAMETER = 4_000
"""Maximum length of the name and the distribution of a parameter that is kept among fewer."""
_TEXTS = (
    *(
        "model",
        "model_build",
        "reasons",
        "left_out",
        "aliases",
        "other_names",
        "meta_features",
        "attempts",
    ),
    *("verdict", "past_studies"),
)
"""The parts of a record that no other part depends on."""


def cut_attribute(sentences: Iterable[str]) -> str:
    """Join sentences to an attribute of at most :data:`MAX_ATTRIBUTE` characters."""
    joined = " ".join(cut_middle(sentence, MAX_ATTRIBUTE // 2) for sentence in sentences)
    return cut_middle(joined, MAX_ATTRIBUTE)


def shorten_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record that is at most :data:`MAX_RECORD` bytes long, as whole as possible.

    Long texts are cut first, then choices, whose parameters are named in ``record["labels"]``.
    If that is not enough, only the parameters with the largest effects are kept, and
    ``record["n_omitted"]`` is the number of the others.
    """
    shorter = record
    for level in ((None, None, None), *_LEVELS):
        shorter = _cut(record, *level)
        if _fits(shorter):
            return shorter
    for level in _LEVELS[-2:]:
        shorter = _with_fewer_parameters(_cut(record, *level))
        if _fits(shorter):
            break
    return shorter


def shorten_distribution(distribution_json: str, limit: int | None) -> str:
    """Return a distribution in JSON, with labels of at most ``limit`` characters as its choices.

    ``limit`` is ``record["max_choice"]``: with ``None``, and without a longer choice, the
    distribution is returned as it is.
    """
    choices = _choices(distribution_json)
    texts = [one if isinstance(one, str) else json.dumps(one) for one in choices]
    if limit is None or all(len(text) <= limit for text in texts):
        return distribution_json
    if len(set(texts)) < len(texts):  # such as 1 and "1"
        texts = [f"{text} #{i}" for i, text in enumerate(texts, start=1)]
    short = shorten(texts, limit)
    attributes = {"choices": [short[text] for text in texts]}
    return json.dumps({**json.loads(distribution_json), "attributes": attributes})


def _choices(distribution_json: str) -> list[Any]:
    choices: list[Any] = json.loads(distribution_json).get("attributes", {}).get("choices", [])
    return choices


def _size(value: object) -> int:
    # JSON within JSON, in which any other character than ASCII is escaped.
    return len(json.dumps(json.dumps(value, ensure_ascii=False)))


def _fits(record: Mapping[str, Any]) -> bool:
    return _size(record) <= MAX_RECORD


def _cut(
    record: Mapping[str, Any], max_text: int | None, max_items: int | None, max_choice: int | None
) -> dict[str, Any]:
    """Return a record with shorter texts, fewer items and shorter choices."""
    if max_text is None or max_items is None:
        return dict(record)
    cut = {key: _cut_text(record[key], max_text, max_items) for key in _TEXTS}
    omitted = list(record["past_studies"].values())[max_items:]
    shorter = {
        **record,
        **cut,
        "past_studies": cut["past_studies"],
        "n_omitted_studies": len(omitted),
        "n_omitted_trials": sum(omitted),
        "is_cut": True,
        "max_choice": max_choice,
    }
    for key, names in (("candidates", ("origin",)), ("nearest", ("name",))):
        shorter[key] = [
            {**one, **{name: cut_middle(one[name], max_text) for name in names}}
            for one in record[key]
        ]
    if (proposal := record["proposal"]) is not None:
        texts = ("answer", "reasoning", "why")
        cut_texts = {name: cut_middle(proposal[name], max_text) for name in texts}
        shorter["proposal"] = {**proposal, **cut_texts}
    return shorter if max_choice is None else _cut_choices(shorter, max_text, max_choice)


def _cut_text(value: Any, max_text: int, max_items: int) -> Any:
    """Cut all texts of a JSON value, and all lists and objects of more than ``max_items``."""
    if isinstance(value, str):
        return cut_middle(value, max_text)
    if isinstance(value, Mapping):
        kept = list(value)[:max_items]
        names = shorten(kept, max_text)
        return {names[key]: _cut_text(value[key], max_text, max_items) for key in kept}
    if isinstance(value, Sequence):
        return [_cut_text(one, max_text, max_items) for one in value[:max_items]]
    return value


def _cut_choices(record: dict[str, Any], max_text: int, limit: int) -> dict[str, Any]:
    """Replace long choices by labels, wherever they are."""
    tables: dict[str, dict[str, Any]] = {}
    space = {name: shorten_distribution(text, limit) for name, text in record["space"].items()}
    for name in (name for name in space if space[name] != record["space"][name]):
        short, choices = (_choices(text[name]) for text in (space, record["space"]))
        tables[name] = {_key(c): s for c, s in zip(choices, short, strict=True)}

    def convert(name: str, value: Any) -> Any:
        if name in tables:
            return tables[name].get(_key(value), _cut_text(value, limit, limit))
        return _cut_text(value, limit, limit)

    evidence = []
    for item in record["evidence"]:
        choice = item["choice"]
        short = choice and convert(item["parameter"], choice)
        values = f"= {short}" if choice else item["values"]
        evidence.append({**item, "choice": short, "values": cut_middle(values, max_text)})
    return {
        **map_configs(record, convert),
        "space": space,
        "labels": list(dict.fromkeys([*record["labels"], *tables])),
        "evidence": evidence,
    }


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def map_configs(record: Mapping[str, Any], convert: Any) -> dict[str, Any]:
    """Convert every value of every configuration of a record by ``convert(name, value)``."""

    def of(config: Mapping[str, Any]) -> dict[str, Any]:
        return {name: convert(name, value) for name, value in config.items()}

    proposal = record["proposal"]
    if proposal is not None:
        proposal = {**proposal, **{key: of(proposal[key]) for key in ("changes", "params")}}
    moved = record["moved"].items()
    return {
        **record,
        "params": of(record["params"]),
        "moved": {name: [convert(name, value) for value in values] for name, values in moved},
        "candidates": [{**one, "params": of(one["params"])} for one in record["candidates"]],
        "nearest": [{**study, "best": of(study["best"])} for study in record["nearest"]],
        "proposal": proposal,
    }


def _with_fewer_parameters(record: Mapping[str, Any]) -> dict[str, Any]:
    """Keep as many parameters as fit, those with the largest effects first."""
    effects = record["effects"]
    names = [
        name
        for name in dict.fromkeys([*record["params"], *record["space"], *effects])
        if len(name) + len(record["space"].get(name, "")) <= _MAX_PARAMETER
    ]
    names.sort(key=lambda name: (name not in record["params"], -abs(effects.get(name, 0.0))))
    low, high = 0, len(names)  # `low` parameters fit, unless nothing does
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(_of_parameters(record, names[:middle])):
            low = middle
        else:
            high = middle - 1
    return _of_parameters(record, names[:low])


def _of_parameters(record: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a record of these parameters only; the effects of the others are added up."""
    kept = set(names)

    def only(part: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name in kept}

    proposal, effects = record["proposal"], only(record["effects"])
    if proposal is not None:
        proposal = {**proposal, **{key: only(proposal[key]) for key in ("changes", "params")}}
    others = {n: effect for n, effect in record["effects"].items() if n not in kept}
    if others:
        effects[f"{len(others)} other parameters"] = sum(others.values())
    return {
        **record,
        **{key: only(record[key]) for key in ("params", "moved", "space", "importance")},
        **{key: [n for n in record[key] if n in kept] for key in ("new", "labels")},
        "effects": effects,
        "evidence": [item for item in record["evidence"] if item["parameter"] in kept],
        "candidates": [{**one, "params": only(one["params"])} for one in record["candidates"]],
        "nearest": [{**study, "best": only(study["best"])} for study in record["nearest"]],
        "proposal": proposal,
        "n_omitted": len({*record["space"], *record["params"]} - kept),
    }
