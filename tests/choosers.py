"""Scripted models that choose by a rule."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.methods.scripted import ScriptedChooser


class TakesPosition(ScriptedChooser):
    """Choose a fixed place, or the last if there are fewer."""

    def __init__(self, place: int, name: str = "takes a place") -> None:
        super().__init__()
        self.place, self.name = place, name

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        return candidates[min(self.place, len(candidates)) - 1]


class Reads(ScriptedChooser):
    """Choose the candidate with the highest expected score, wherever it is listed."""

    name = "reads"

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        scores = re.findall(r"^(\d+)\. .* expected score (-?[\d.]+)", prompt, re.MULTILINE)
        return int(max(scores, key=lambda match: float(match[1]))[0])


class Cites(ScriptedChooser):
    """Answer the short question: a candidate that nothing is against, wherever it is listed."""

    name = "cites"
    n_parameters = 270_000_000

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        best = re.findall(r"^(\d+)\. (.*) \| for .*against none$", prompt, re.MULTILINE)
        return int(min(best, key=lambda match: match[1])[0]) if best else candidates[0]

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        return re.findall(rf"^{candidate}\. .*?for (E\d+)", prompt, re.MULTILINE)
