"""suggestion, or why there is none -> a line in Optuna's log, the same warning only once."""

from __future__ import annotations

import optuna
from optuna import Study
from optuna.trial import FrozenTrial

from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import Suggestion


_logger = optuna.logging.get_logger("optuna.metallmix")


class SuggestionLog:
    """Tells where first trials come from, and remembers what it has warned of."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def suggestion(
        self, study: Study, trial: FrozenTrial, suggestion: Suggestion, *, postponed: bool
    ) -> None:
        """Tell what was suggested; a warning where it is less well founded than it could be.

        Args:
            study: The study.
            trial: Its trial.
            suggestion: What that is made from.
            postponed: Whether an earlier trial was told to have none, for want of a past.
        """
        reasons = " ".join(suggestion.reasons)
        if suggestion.source == SOURCE_BASE_SAMPLER:
            self.nothing(study, trial, reasons)
            return
        who = suggestion.model if suggestion.source == SOURCE_LLM else f"the {suggestion.source}"
        past = f"{len(suggestion.history.studies)} past studies"
        message = (
            f"Study {study.study_name!r}, trial {trial.number}: suggested by {who} from {past} "
            f"({suggestion.history.n_trials} trials): {suggestion.why}."
        )
        # That there is no past was said when the suggestion was put off.
        told = postponed and suggestion.source == SOURCE_LLM
        if reasons and not told:
            self.warn(f"{message} {reasons}")
        else:
            _logger.info(message)

    def nothing(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Warn that the base sampler makes a trial that was to have a suggestion."""
        message = (
            f"Study {study.study_name!r} gets no suggestion at trial {trial.number}, the base "
            f"sampler makes it: {reason}"
        )
        self.warn(message, f"{study.study_name} {reason}")

    def warn(self, message: str, matter: str | None = None) -> None:
        """Warn, unless the same ``matter`` (by default the message) was warned of before."""
        if (matter or message) not in self._said:
            self._said.add(matter or message)
            _logger.warning(message)
