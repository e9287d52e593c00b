"""Give valid answers with bad choices, to measure the worst a language model can do.

Its answers match the schema, stay in range, and cite evidence that exists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.methods.scripted import ScriptedChooser


class HostileLLM(ScriptedChooser):
    """Chooses a random candidate or the last.

    Args:
        worst: Whether to choose the last candidate, which has the worst prediction.
        seed: Seed of the random choices.
    """

    def __init__(self, *, worst: bool, seed: int) -> None:
        super().__init__()
        self.name = f"hostile-{'worst' if worst else 'random'}"
        self._worst = worst
        self._rng = np.random.default_rng(seed)
        self._candidate: int | None = None

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the same candidate for every question."""
        if self._candidate is None:
            drawn = int(self._rng.integers(len(candidates)))
            self._candidate = max(candidates) if self._worst else candidates[drawn]
        return self._candidate
