"""what is known -> one question, as a language model is asked it and its answer is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_features import MetaFeatures
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._search_space import SearchSpace


@dataclass(frozen=True)
class Question:
    """What a language model is asked about.

    Attributes:
        space: What may be suggested, by name.
        meta_features: What is known of the target task.
        candidates: What it chooses from, best first.
        explanation: Why the past favours them; ``None`` without a past.
        learner: The fitted meta-learner; ``None`` without a past.
        tried: What the asking study has tried, with its values.
    """

    space: SearchSpace
    meta_features: MetaFeatures
    candidates: Sequence[Candidate]
    explanation: Explanation | None = None
    learner: MetaLearner | None = None
    tried: Sequence[tuple[Config, float]] = ()
