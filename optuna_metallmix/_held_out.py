"""past -> each study as if it were new: what a model would be asked of it, by the others."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from optuna_metallmix._errors import HistoryError
from optuna_metallmix._history import History
from optuna_metallmix._history import PastStudy
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._question import Question
from optuna_metallmix._suggestion import question_of
from optuna_metallmix._suggestion import suggest
from optuna_metallmix._variant import Variant


Evaluate = Callable[[str, Config], float]
"""``evaluate(study name, configuration) -> the objective's value`` in that study's own unit, from
a table, a surrogate or a training."""


@dataclass(frozen=True)
class HeldOut:
    """One past study that stands for a new task.

    Attributes:
        study: The study.
        question: What a model is asked about it; its learner has seen the other studies only.
    """

    study: PastStudy
    question: Question

    def regret(self, params: Config, evaluate: Evaluate) -> float:
        """Return (best - value) / (best - median) of the study's own trials; 0 is as good as its
        best, 1 its median, and below 0 better than any."""
        values = [one.value for one in self.study.trials if one.value is not None]
        best, median = values[0], values[len(values) // 2]  # best first, whatever the direction
        spread = (best - median) or (best - values[-1])
        return (best - float(evaluate(self.study.name, params))) / spread


def hold_out(
    history: History, names: Sequence[str] | None, variant: Variant, seed: int
) -> Iterator[HeldOut]:
    """Hold each study out once, those of ``names`` only where some are named.

    Raises:
        HistoryError: There are not two studies that can be learned from.
    """
    if len(history.studies) < 2:
        why = [f"{name!r}: {reason}" for name, reason in list(history.left_out.items())[:5]]
        raise HistoryError(
            "Models are compared on past studies, each held out from the others: at least two "
            f"are needed that can be learned from, and there are {len(history.studies)}. "
            f"{'; '.join(why)}".strip()
        )
    for study in history.studies:
        if names is None or study.name in names:
            yield _held_out(history, study, variant, seed)


def _held_out(history: History, study: PastStudy, variant: Variant, seed: int) -> HeldOut:
    others = tuple(one for one in history.studies if one is not study)
    past = replace(history, studies=others).sharing(study.space)
    options: dict[str, Any] = {"seed": seed, "prompt": variant.name}
    known = suggest(past, study.space, study.meta_features, None, **options)
    return HeldOut(study, question_of(known, variant))
