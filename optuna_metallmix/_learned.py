"""past + space -> what is learned of it, scores and costs: once, for all studies that ask."""

from __future__ import annotations

from optuna_metallmix._cost import CostModel
from optuna_metallmix._history import History
from optuna_metallmix._memory import Memory
from optuna_metallmix._memory import Same
from optuna_metallmix._meta_dataset import build_meta_dataset
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._search_space import SearchSpace


_SCORES: Memory[MetaLearner] = Memory(4)
_COSTS: Memory[CostModel] = Memory(4)


def learned_scores(history: History, space: SearchSpace, seed: int) -> MetaLearner:
    """Return the meta-learner of a past.

    Raises:
        HistoryError: Nothing can be learned from it.
    """
    studies = tuple((one.name, Same(one.trials)) for one in history.studies)
    return _SCORES.recall(
        (seed, repr(list(space.items())), studies),
        lambda: MetaLearner(seed=seed).fit(build_meta_dataset(history, space)),
    )


def learned_costs(learner: MetaLearner) -> CostModel:
    """Return what tells the costs of the past that a meta-learner was fitted on.

    Raises:
        HistoryError: Nothing of that past tells them.
    """
    return _COSTS.recall(
        Same(learner.dataset), lambda: CostModel(seed=learner.seed).fit(learner.dataset)
    )
