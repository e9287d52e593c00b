"""a prompt -> a valid answer that means harm: what is the worst a language model can do?

It answers in range and in the shape asked for, and cites evidence that exists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.methods.scripted import ScriptedChooser


class HostileLLM(ScriptedChooser):
    """Chooses a random candidate, or always the last.

    Args:
        worst: Whether it always takes the last candidate, which is predicted worst.
        seed: Seeds its choices.
    """

    def __init__(self, *, worst: bool, seed: int) -> None:
        super().__init__()
        self.name = f"hostile-{'worst' if worst else 'random'}"
        self._worst = worst
        self._rng = np.random.default_rng(seed)
        self._candidate: int | None = None

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Choose once, and insist."""
        if self._candidate is None:
            drawn = int(self._rng.integers(len(candidates)))
            self._candidate = max(candidates) if self._worst else candidates[drawn]
        return self._candidate
