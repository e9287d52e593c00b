"""Models that choose by a rule, in the shape asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.methods.scripted import ScriptedChooser


class TakesPlace(ScriptedChooser):
    """Takes one place, whatever stands there; the last where there are fewer."""

    def __init__(self, place: int, name: str = "takes a place") -> None:
        super().__init__()
        self.place, self.name = place, name

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        return candidates[min(self.place, len(candidates)) - 1]


class Reads(ScriptedChooser):
    """Takes the candidate of the highest expected score, wherever it stands."""

    name = "reads"

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        found = re.findall(r"^(\d+)\. .* expected score (-?[\d.]+)", prompt, re.MULTILINE)
        return int(max(found, key=lambda one: float(one[1]))[0])
