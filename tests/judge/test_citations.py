"""Citations that do not support the choice are refused, the others pass."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.judge.judge import check_citations
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.prompt.context import Question


SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "optimizer": CategoricalDistribution(["adam", "sgd", None]),
    "momentum": FloatDistribution(0.0, 0.99),
    "dropout": FloatDistribution(0.0, 0.8),
    "depth": IntDistribution(1, 8),
    "batch_size": CategoricalDistribution([16, 32, 64]),
    "model": CategoricalDistribution(["resnet18", "vit_b"]),
}
EVIDENCE = (
    Evidence("E1", "optimizer", "= adam", None, None, "adam", 0.2, 40, 3),
    Evidence("E2", "lr", "from 0.0005 to 0.002", 0.0005, 0.002, None, 0.12, 21, 3),
    Evidence("E3", "lr", "from 0.02 to 0.1", 0.02, 0.1, None, -0.15, 18, 3),
    Evidence("E4", "dropout", "from 0.5 to 0.8", 0.5, 0.8, None, -0.08, 14, 2),
    Evidence("E5", "model", "= resnet18", None, None, "resnet18", 0.07, 25, 3),
    Evidence("E6", "momentum", "from 0.9 to 0.99", 0.9, 0.99, None, -0.05, 11, 2),
    Evidence("E7", "depth", "= 6", 6.0, 6.0, None, -0.03, 12, 2),
)
_COMMON = {"batch_size": 32, "model": "resnet18"}
_ADAM = {"optimizer": "adam", "dropout": 0.1}
_SGD = {"optimizer": "sgd", "momentum": 0.95, "dropout": 0.6}
CANDIDATES = (
    Candidate(1, {"lr": 0.00123456, "depth": 3, **_COMMON, **_ADAM}, "best", 0.9, 0.02),
    Candidate(2, {"lr": 0.05, "depth": 6, **_COMMON, **_SGD}, "random", 0.6, 0.1),
)
EXPLANATION = Explanation(
    base=0.5,
    values=np.zeros((1, len(SPACE))),
    configs=(CANDIDATES[0].params,),
    space=SPACE,
    importance={"optimizer": 0.1, "lr": 0.09, "dropout": 0.04, "model": 0.03, "depth": 0.01},
    evidence=EVIDENCE,
    nearest=(NearestStudy("chest-2024", 0.37, CANDIDATES[0].params, 30),),
    quality=0.62,
)
QUESTION = Question(
    SPACE,
    {"n_instances": 1_000, "imbalance_ratio": 1.37, "modality": "CT"},
    CANDIDATES,
    EXPLANATION,
)


CITED = {
    "E1": ((1, ("E1",), {}), None),
    "what hurts, and is not chosen": ((1, ("E3", "E4", "E7"), {}), None),
    "a change with a reason": ((2, ("E2",), {"lr": 0.001}), None),
    "what helps, and is not chosen": ((2, ("E1",), {}), "E1 (optimizer = adam helped"),
    "what hurts, and is chosen": ((2, ("E3",), {}), "speaks against lr=0.05, which was chosen"),
    "what is not there": ((1, ("E6",), {}), "E6 is about momentum, which the chosen"),
    "a change without a reason": (
        (1, ("E1",), {"depth": 2}),
        "depth was changed, but no evidence",
    ),
    "a change for the worse": ((1, ("E2",), {"lr": 0.05}), "speaks against lr=0.05"),
    "a reason for another change": ((2, ("E2",), {"lr": 0.001, "depth": 2}), "depth was changed"),
}


@pytest.mark.parametrize("case", CITED)
def test_citations_bear_on_the_choice_and_point_the_right_way(case: str) -> None:
    (number, cited, changes), failure = CITED[case]
    params = {**CANDIDATES[number - 1].params, **changes}
    proposal = Proposal("{}", cited, "", number, changes, "", params)
    failures = check_citations(proposal, QUESTION)
    assert len(failures) >= 1 if failure else failures == []
    assert failure is None or any(failure in sentence for sentence in failures)
