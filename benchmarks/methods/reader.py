"""Choose the candidate that the evidence in the prompt supports most, as an ideal reader would.

If shuffled evidence hurts this model, it depends on the evidence; if true evidence does not help
it, the evidence adds nothing to the order of the candidates. `ShuffledEvidence` shuffles the
evidence for any model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.methods.scripted import ScriptedChooser
from optuna_metallmix import LLM
from optuna_metallmix.llm import Message


WORD = r'"(?:[^"\\]|\\.)*"|[\w./-]+'
"""A name or value as written in the prompt; a JSON string if it is not a plain word."""
EFFECT = re.compile(rf"^(E\d+: (?:{WORD}) .*?)((?:helped|hurt): [+-][\d.]+)( \(|$)", re.MULTILINE)
EVIDENCE = re.compile(
    rf"^(E\d+): ({WORD}) (?:from ({WORD}) to ({WORD})|= ({WORD})) "
    r"(?:helped|hurt): ([+-][\d.]+)(?: \(|$)",
    re.MULTILINE,
)
IMPORTANCE = re.compile(r"^What each parameter does .*?: (.*)$", re.MULTILINE)
CANDIDATE = re.compile(r"^(\d+)\. (.*?)(?: \| expected score .*)?$", re.MULTILINE)
SIGNS = re.compile(r"\bfor ([E\d ]+|none) \| against ([E\d ]+|none)$", re.MULTILINE)
"""The end of a candidate in the short question: the evidence for and against it."""
VALUE = re.compile(rf"({WORD})=({WORD})")


@dataclass(frozen=True)
class Line:
    """A line of evidence parsed from the prompt.

    Attributes:
        parameter: Name of the parameter.
        values: The bounds of a range, or a single value.
        effect: SHAP effect in score units.
    """

    parameter: str
    values: tuple[str, ...]
    effect: float

    def covers(self, value: str) -> bool:
        """Return whether the evidence is about this value."""
        if len(self.values) == 1:
            return value == self.values[0]
        low, high = map(float, self.values)
        return low <= float(value) <= high


class ReaderLLM(ScriptedChooser):
    """Chooses the candidate with the largest sum of effects."""

    name = "reader"

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the candidate with the largest sum of effects; ties go to the first."""
        lines, configs = read_evidence(prompt), read_candidates(prompt)
        return max(candidates, key=lambda number: round(_sum(lines, configs[number]), 9))

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        """Sort by support for the candidate, strongest first."""
        lines, config = read_evidence(prompt), read_candidates(prompt)[candidate]
        return sorted(evidence, key=lambda id_: -_support(lines[id_], config))


class ShortReaderLLM(ScriptedChooser):
    """Chooses the candidate with the largest sum of effects in the short question."""

    name = "reader of the short question"
    n_parameters = 100_000_000
    """So that it is asked the short question."""

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the candidate with the most support; ties go to the first."""
        effects = {id_: abs(line.effect) for id_, line in read_evidence(prompt).items()}
        sums = [
            sum(effects[id_] for id_ in re.findall(r"E\d+", supporting))
            - sum(effects[id_] for id_ in re.findall(r"E\d+", opposing))
            for supporting, opposing in SIGNS.findall(prompt)
        ]
        return max(zip(candidates, sums, strict=True), key=lambda pair: round(pair[1], 9))[0]

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        """Sort by support for the candidate, which comes first."""
        listed = re.search(rf"^{candidate}\. .*$", prompt, re.MULTILINE)
        supporting = SIGNS.findall(listed[0])[0][0] if listed else ""
        return sorted(evidence, key=lambda id_: id_ not in supporting.split())


class ShuffledEvidence(LLM):
    """Shuffles the effects among the evidence lines of a prompt before a model reads it.

    Args:
        llm: The model.
        seed: Seed of the permutation, which is the same for every message.
    """

    def __init__(self, llm: LLM, seed: int) -> None:
        self.name = f"{getattr(llm, 'name', 'model')}, evidence shuffled"
        self.n_parameters = getattr(llm, "n_parameters", None)
        self._llm = llm
        self._seed = seed

    @property
    def last_usage(self) -> object:
        """Token usage of the model's last answer, if it reports any."""
        return getattr(self._llm, "last_usage", None)

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Ask the model with shuffled prompts."""
        shuffled = [{**m, "content": self.shuffle(m["content"])} for m in messages]
        return self._llm.generate(shuffled, schema=schema)

    def shuffle(self, text: str) -> str:
        """Return the text with the effects, signs included, permuted among the lines.

        Parameter importances are permuted too: they would reveal the true effects otherwise. In
        the short question, evidence that helps instead of hurting speaks for the other candidates.
        """
        rng = np.random.default_rng(self._seed)
        effects = [match.group(2) for match in EFFECT.finditer(text)]
        permuted = iter(rng.permutation(effects).tolist())
        shuffled = EFFECT.sub(lambda match: match[1] + next(permuted) + match[3], text)
        before, after = read_evidence(text), read_evidence(shuffled)
        turned = {id_ for id_ in before if before[id_].effect * after[id_].effect < 0}
        shuffled = SIGNS.sub(lambda match: _turned_signs(match, turned), shuffled)
        return IMPORTANCE.sub(lambda match: _permuted_importances(match, rng), shuffled)


def read_evidence(prompt: str) -> dict[str, Line]:
    """Return the lines of evidence by id."""
    return {
        id_: Line(
            _plain(parameter),
            tuple(_plain(word) for word in (low, high, choice) if word),
            float(effect),
        )
        for id_, parameter, low, high, choice, effect in EVIDENCE.findall(prompt)
    }


def read_candidates(prompt: str) -> dict[int, dict[str, str]]:
    """Return the values of the candidates, as written, by number."""
    listed = prompt.partition("\nCandidates:\n")[2].partition("\n\n")[0]
    return {
        int(number): {_plain(name): _plain(value) for name, value in VALUE.findall(config)}
        for number, config in CANDIDATE.findall(listed)
    }


def _turned_signs(match: re.Match[str], turned: Collection[str]) -> str:
    """Return the signs of a candidate with the ids in ``turned`` on the other side."""
    sides = [re.findall(r"E\d+", side) for side in match.groups()]
    supporting, opposing = (
        [id_ for id_ in own if id_ not in turned] + [id_ for id_ in other if id_ in turned]
        for own, other in (sides, sides[::-1])
    )
    ids = [" ".join(sorted(side, key=lambda id_: int(id_[1:]))) for side in (supporting, opposing)]
    return f"for {ids[0] or 'none'} | against {ids[1] or 'none'}"


def _permuted_importances(match: re.Match[str], rng: np.random.Generator) -> str:
    """Return the line of importances with its numbers permuted among the parameters."""
    pairs = re.findall(rf"({WORD}) (\d\.\d\d)", match[1])
    numbers = rng.permutation([number for _, number in pairs]).tolist()
    listed = [f"{name} {number}" for (name, _), number in zip(pairs, numbers, strict=True)]
    return match[0].removesuffix(match[1]) + ", ".join(listed)


def _plain(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word


def _sum(lines: Mapping[str, Line], config: Mapping[str, str]) -> float:
    return sum(
        line.effect
        for line in lines.values()
        if line.parameter in config and line.covers(config[line.parameter])
    )


def _support(line: Line, config: Mapping[str, str]) -> float:
    """Return a line's support for a configuration; a harmful value supports all other values."""
    if line.parameter not in config:
        return 0.0
    return line.effect if line.covers(config[line.parameter]) else -line.effect
