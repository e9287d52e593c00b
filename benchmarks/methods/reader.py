"""a prompt -> the candidate that its evidence speaks most for, and evidence that is true of it.

No real model reads so well: where it is hurt by evidence that was shuffled, the evidence was
read, and where it gains nothing by true evidence, there was nothing in it beyond the candidates'
order. `ShuffledEvidence` does the shuffling, for any model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.methods.scripted import ScriptedChooser
from optuna_metallmix import LLM
from optuna_metallmix.llm import Message


WORD = r'"(?:[^"\\]|\\.)*"|[\w./-]+'
"""A name or value as the prompt writes it: quoted as in JSON where it is not plain."""
EFFECT = re.compile(rf"^(E\d+: (?:{WORD}) .*?)((?:helped|hurt): [+-][\d.]+)( \()", re.MULTILINE)
EVIDENCE = re.compile(
    rf"^(E\d+): ({WORD}) (?:from ({WORD}) to ({WORD})|= ({WORD})) "
    r"(?:helped|hurt): ([+-][\d.]+) \(",
    re.MULTILINE,
)
IMPORTANCE = re.compile(r"^What each parameter does .*?: (.*)$", re.MULTILINE)
CANDIDATE = re.compile(r"^(\d+)\. (.*?)(?: \| expected score .*)?$", re.MULTILINE)
VALUE = re.compile(rf"({WORD})=({WORD})")


@dataclass(frozen=True)
class Line:
    """One line of evidence as it was read.

    Attributes:
        parameter: What it is about.
        values: The bounds of a range, or one value.
        effect: In score units.
    """

    parameter: str
    values: tuple[str, ...]
    effect: float

    def covers(self, value: str) -> bool:
        """Tell whether it is about this value."""
        if len(self.values) == 1:
            return value == self.values[0]
        low, high = map(float, self.values)
        return low <= float(value) <= high


class ReaderLLM(ScriptedChooser):
    """Adds up the effects of a candidate's values and takes the candidate with the most."""

    name = "reader"

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Choose; of equal ones the first."""
        lines, configs = read_evidence(prompt), read_candidates(prompt)
        return max(candidates, key=lambda one: round(_sum(lines, configs[one]), 9))

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        """Put first what speaks for the candidate, the largest effect foremost."""
        lines, config = read_evidence(prompt), read_candidates(prompt)[candidate]
        return sorted(evidence, key=lambda one: -_support(lines[one], config))


class ShuffledEvidence(LLM):
    """Lets another model read a prompt whose effects were dealt anew among the evidence lines.

    Args:
        llm: The model.
        seed: Seeds the dealing, which is the same for every message.
    """

    def __init__(self, llm: LLM, seed: int) -> None:
        self.name = f"{getattr(llm, 'name', 'model')}, evidence shuffled"
        self._llm = llm
        self._seed = seed

    @property
    def last_usage(self) -> object:
        """What the model's latest answer took, where it tells."""
        return getattr(self._llm, "last_usage", None)

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Ask the model about the shuffled prompt."""
        shuffled = [{**one, "content": self.shuffle(one["content"])} for one in messages]
        return self._llm.generate(shuffled, schema=schema)

    def shuffle(self, text: str) -> str:
        """Return the text with its effects, signs included, on other lines.

        What each parameter does in all is dealt anew too: it would tell the truth otherwise.
        """
        rng = np.random.default_rng(self._seed)
        effects = [found.group(2) for found in EFFECT.finditer(text)]
        dealt = iter(rng.permutation(effects).tolist())
        shuffled = EFFECT.sub(lambda found: found.group(1) + next(dealt) + found.group(3), text)
        return IMPORTANCE.sub(lambda found: _dealt(found, rng), shuffled)


def read_evidence(prompt: str) -> dict[str, Line]:
    """Return the lines of evidence by id."""
    return {
        id_: Line(
            _plain(parameter),
            tuple(_plain(one) for one in (low, high, choice) if one),
            float(effect),
        )
        for id_, parameter, low, high, choice, effect in EVIDENCE.findall(prompt)
    }


def read_candidates(prompt: str) -> dict[int, dict[str, str]]:
    """Return the candidates' values, as they are written, by number."""
    listed = prompt.partition("\nCandidates:\n")[2].partition("\n\n")[0]
    return {
        int(number): {_plain(name): _plain(value) for name, value in VALUE.findall(config)}
        for number, config in CANDIDATE.findall(listed)
    }


def _dealt(found: re.Match[str], rng: np.random.Generator) -> str:
    """Return the line of importances with its numbers on other parameters."""
    told = re.findall(rf"({WORD}) (\d\.\d\d)", found.group(1))
    numbers = rng.permutation([number for _, number in told]).tolist()
    listed = [f"{name} {number}" for (name, _), number in zip(told, numbers, strict=True)]
    head = found.group().removesuffix(found.group(1))
    return head + ", ".join(listed)


def _plain(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word


def _sum(lines: Mapping[str, Line], config: Mapping[str, str]) -> float:
    return sum(
        one.effect
        for one in lines.values()
        if one.parameter in config and one.covers(config[one.parameter])
    )


def _support(line: Line, config: Mapping[str, str]) -> float:
    """Return by how much a line speaks for a configuration: what hurt speaks for other values."""
    if line.parameter not in config:
        return 0.0
    return line.effect if line.covers(config[line.parameter]) else -line.effect
