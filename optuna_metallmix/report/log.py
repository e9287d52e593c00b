"""Log where first trials come from, with each warning only once."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator

import numpy as np
import optuna
from optuna import Study
from optuna.trial import FrozenTrial

from optuna_metallmix.history import describe_renamed
from optuna_metallmix.history import find_renamed
from optuna_metallmix.metalearner import FULL_WEIGHT
from optuna_metallmix.metalearner import NO_PAST
from optuna_metallmix.report.note import describe_past
from optuna_metallmix.report.note import label_value
from optuna_metallmix.shipped import describe_offer
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import Suggestion


_MAX_NAMED = 5
"""Maximum number of changes in a line of the log."""

_logger = optuna.logging.get_logger("optuna.metallmix")


class SuggestionLog:
    """Logs suggestions to Optuna's log, without repeating warnings."""

    def __init__(self) -> None:
        self._warned: set[str] = set()
        self._offered: set[str] = set()
        self._said: dict[str, list[str]] = {}  # reasons in warnings by study

    def log_suggestion(
        self, study: Study, trial: FrozenTrial, suggestion: Suggestion, *, postponed: bool
    ) -> None:
        """Log a suggestion, as a warning if any step fell back.

        The expected score is left to :meth:`log_run`, as the objective may move values.

        Args:
            study: The study.
            trial: The trial made from the suggestion.
            suggestion: The suggestion.
            postponed: Whether the log already has a warning that there are no past studies.
        """
        reasons = " ".join(suggestion.reasons)
        if suggestion.source == SOURCE_BASE_SAMPLER:
            if new := self._new_reasons(study, suggestion, postponed):
                self.warn_missing(study, trial, " ".join(new))
            return
        is_llm = suggestion.source == SOURCE_LLM
        message = (
            f"Study {study.study_name!r}, trial {trial.number}: suggested by "
            f"{suggestion.model if is_llm else f'the {suggestion.source}'} from "
            f"{_describe_past(suggestion)}: {suggestion.basis}{suggestion.cited_reason}."
        )
        if reasons and not (postponed and is_llm):
            self.warn_once(f"{message} {reasons}")
        else:
            _logger.info(message)

    def log_run(self, study: Study, trial: FrozenTrial, suggestion: Suggestion) -> None:
        """Log how the configuration that a trial ran differs from the suggested one.

        A trial without a value from past studies has fallen back, so that is a warning.
        """
        if suggestion.source == SOURCE_BASE_SAMPLER:
            if suggestion.explanation:  # else there was a warning before
                name = f"Study {study.study_name!r}, trial {trial.number}"
                self.warn_once(f"{name}: not chosen from past studies. {suggestion.fallback}")
            return
        parts = list(_differences(suggestion))
        if len(parts) > _MAX_NAMED:
            n = len(parts) - _MAX_NAMED
            parts[_MAX_NAMED:] = [f"{n} more difference{'s' * (n > 1)}"]
        expected = ""
        if suggestion.predicted is not None:
            expected = f" Expected score: {suggestion.predicted:.2f} of 1."
        if parts:
            _logger.info(
                f"Study {study.study_name!r}, trial {trial.number}: the objective's search space "
                f"is not the suggestion's, so it ran with {', '.join(parts)}.{expected}"
            )

    def log_note_in_memory(self, study: Study) -> None:
        """Log where the note of a study without a database or file is, and how to keep it."""
        _logger.info(
            f"Study {study.study_name!r} is in memory only, and so is its note: it is lost when "
            "this process ends. To keep it for optuna-dashboard, make the study with a storage, "
            'such as storage="sqlite:///hpo.db"; to read it now, print '
            "optuna_dashboard.get_note(study)."
        )

    def warn_missing(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Warn that a trial has no suggestion, once for each study and reason."""
        message = (
            f"Study {study.study_name!r}, trial {trial.number}: no suggestion, so the base "
            f"sampler samples it. {reason}"
        )
        self._said.setdefault(study.study_name, []).append(reason)
        self.warn_once(message, key=f"{study.study_name} {reason}")

    def log_passed(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Log that another trial has the suggestion."""
        _logger.info(f"Study {study.study_name!r}, trial {trial.number}: {reason}")

    def _new_reasons(
        self, study: Study, suggestion: Suggestion, postponed: bool
    ) -> tuple[str, ...]:
        """Return the reasons that are not part of an earlier warning of the study."""
        if not postponed:
            return suggestion.reasons
        said = " ".join([*self._said.get(study.study_name, ()), NO_PAST])
        return tuple(reason for reason in suggestion.reasons if reason not in said)

    def warn_renamed(self, study: Study, space: SearchSpace, past: SearchSpace) -> bool:
        """Warn, once for each study, of parameters that past studies may have under other names.

        Returns:
            Whether there are any.
        """
        aliases = find_renamed(space, past)
        if aliases:
            name = study.study_name
            self.warn_once(f"Study {name!r}: {describe_renamed(aliases)}", key=f"{name} renamed")
        return bool(aliases)

    def offer_past(self, study: Study, space: SearchSpace, known: Collection[str]) -> None:
        """Log, once for each study, which past comes with the package for its parameters."""
        offer = describe_offer(space, known)
        if offer and study.study_name not in self._offered:
            self._offered.add(study.study_name)
            _logger.info(f"Study {study.study_name!r}: {offer}")

    def warn_once(self, message: str, key: str | None = None) -> None:
        """Warn, unless there was a warning with the same ``key`` (default: the message)."""
        if (key or message) not in self._warned:
            self._warned.add(key or message)
            _logger.warning(message)


def _differences(suggestion: Suggestion) -> Iterator[str]:
    """Say for each parameter how its value differs from the suggested one."""
    space, ran, suggested = suggestion.space, suggestion.params, suggestion.suggested
    for name, (wanted, used) in suggestion.moved.items():
        old, new = (label_value(space[name], value) for value in (wanted, used))
        yield f"{name}={new} (suggested: {old})"
    yield from (f"no {name}" for name in suggested if name not in ran)
    for name in ran:
        if name not in suggested and name not in suggestion.moved:
            yield f"{name}={label_value(space[name], ran[name])} (not suggested)"


def _describe_past(suggestion: Suggestion) -> str:
    past = describe_past(suggestion.history)
    weights = suggestion.learner.dataset.weights if suggestion.learner else np.ones(1)
    if weights.min() < weights.max() == 1.0:
        past += f" (studies with fewer than {FULL_WEIGHT} trials count less)"
    return past
