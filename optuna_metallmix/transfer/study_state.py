"""Keep what is known of a study between its trials, and count the trials of other workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.candidates import fit_into
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.history import History
from optuna_metallmix.optuna_access import local_time
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.transfer.next_config import TransferModel


MAX_PENDING = timedelta(minutes=5)
"""Maximum time until a trial's first value, for which a language model may have to answer."""


@dataclass
class StudyState:
    """What is kept of a study between its trials.

    Attributes:
        past: The past studies; ``None`` if they have not been read.
        model: The model fitted to them; ``None`` if nothing can be learned.
        model_space: The known space that the model was made for; ``None`` if there was no attempt.
        configs: The configurations of finished trials in the model's space, by trial number.
        space: The merged space of the trials in ``merged``.
        merged: Numbers of finished trials.
        logged: Parameters with values that are logged to be unknown to the past.
        is_renaming_logged: Whether parameters that may have been renamed are logged.
        silent: When each unfinished trial without a known parameter was first seen, in seconds of
            the monotonic clock, and whether it is newer than the first look, by number.
        last_number: The highest number of all trials at the last look; ``None`` before the first.
        is_shared: Whether other processes run trials, too, or did.
        lock: Held while a trial of the study is proposed, so that the next one differs from it.
    """

    past: History | None = None
    model: TransferModel | None = None
    model_space: SearchSpace | None = None
    configs: dict[int, Config] = field(default_factory=dict)
    space: SearchSpace = field(default_factory=dict)
    merged: set[int] = field(default_factory=set)
    logged: set[str] = field(default_factory=set)
    is_renaming_logged: bool = False
    silent: dict[int, tuple[float, bool]] = field(default_factory=dict)
    last_number: int | None = None
    is_shared: bool = False
    lock: ForkLock = field(default_factory=ForkLock)

    def space_of(self, trials: Sequence[FrozenTrial]) -> SearchSpace:
        """Return the merged space of trials; finished ones are merged only once."""
        new = [t for t in trials if t.number not in self.merged]
        if finished := [t for t in new if t.state.is_finished()]:
            self.space = merge_spaces([self.space, *(t.distributions for t in finished)])
            self.merged.update(t.number for t in finished)
        running = [t.distributions for t in new if not t.state.is_finished()]
        return merge_spaces([self.space, *running]) if running else self.space

    def config_of(self, trial: FrozenTrial, space: SearchSpace) -> Config:
        """Return the configuration of a finished trial in ``space``."""
        if trial.number not in self.configs:
            self.configs[trial.number] = fit_into(trial.params, space, {})
        return self.configs[trial.number]

    def count_pending(
        self, trial: FrozenTrial, silent: Sequence[FrozenTrial], last_number: int
    ) -> int:
        """Return how many earlier trials other workers may be sampling right now.

        The clocks of other machines are trusted only for trials that were there before this
        process looked: some of them were abandoned.

        Args:
            trial: The trial that is sampled here.
            silent: Unfinished trials without any known parameter.
            last_number: The highest number of all trials.
        """
        now, last = time.monotonic(), self.last_number
        self.silent = {
            other.number: self.silent.get(
                other.number, (now, last is not None and other.number > last)
            )
            for other in silent
        }
        self.last_number = last_number
        seen = [(other, *self.silent[other.number]) for other in silent]
        return sum(
            now - since < MAX_PENDING.total_seconds() and (is_new or _is_recent(other, trial))
            for other, since, is_new in seen
            if other.state is TrialState.RUNNING and other.number < trial.number
        )


def _is_recent(other: FrozenTrial, trial: FrozenTrial) -> bool:
    if trial.datetime_start is None or other.datetime_start is None:
        return False
    return local_time(trial.datetime_start) - local_time(other.datetime_start) < MAX_PENDING
