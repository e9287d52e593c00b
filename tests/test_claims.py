"""Planted false claims are caught, true ones pass: of what is cited, and of what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._claims import false_citations
from optuna_metallmix._claims import false_claims
from optuna_metallmix._evidence import Evidence
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._explanation import NearestStudy
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._question import Question


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


def _false(text: str, question: Question = QUESTION) -> tuple[Any, ...]:
    return false_claims([text], question, question.candidates[0].params)


TRUE = [
    # signs, of a value, a range, a side, or the parameter as a whole
    "lr from 0.0005 to 0.002 helped: +0.12 (21 trials, 3 studies)",
    "lr 0.001 helped.",
    "An lr of 0.0012 improves the score.",
    "lr=0.05 hurts.",
    "A learning rate of 0.05 hurt the accuracy in the past.",
    "A high lr hurts.",
    "Lower lr helps.",
    "lr above 0.02 lowers the score.",
    "adam helped.",
    "Using adam as optimizer is beneficial.",
    "optimizer = adam helped by 0.2 in 40 trials.",
    "The score benefits from adam.",
    "The score is raised by adam.",
    "adam reduces the loss.",
    "With sgd the score gets worse, and sgd hurt.",
    "A high dropout hurts.",
    "Dropout above 0.5 has a negative effect.",
    "A small dropout helps.",
    "momentum lowers the score",
    "resnet18 works well on such tasks.",
    "depth 6 is bad, so depth 3 is chosen.",
    "E1 and E2 helped, E3 hurt.",
    "adam (E1) and lr 0.001 (E2) helped.",
    "lr 0.001 is in the range that helped, and candidate 1 avoids the dropout that hurt.",
    "High learning rates (0.02 to 0.1) hurt in 18 trials, so a lower one is chosen.",
    "Reducing dropout from 0.6 to 0.1 should help.",
    "Deeper networks hurt, so depth 3.",
    "The lr is neither too high nor too low.",
    # negations, doing without, comparisons
    "adam does not hurt.",
    "adam didn't hurt the score.",
    "momentum 0.95 does not help or improve anything.",
    "depth 6 never helped.",
    "Avoiding depth 6 helps.",
    "Without dropout 0.6 the score improves.",
    "adam instead of sgd helps.",
    "adam rather than momentum 0.95 is useful.",
    "lr 0.001 not only helped but mattered.",
    "It avoids the depth that hurt.",
    "adam avoids what hurt most there.",
    # ranks
    "optimizer matters most.",
    "The most important parameter is the optimizer.",
    "adam has the largest effect.",
    "adam helped the most.",
    "lr 0.05 hurts most.",
    "lr is the second most important parameter.",
    "lr is one of the most important parameters.",
    "lr matters more than depth.",
    "depth is the least important.",
    # numbers
    "The past expects 0.90 +- 0.02 of candidate 1 and 0.6 of candidate 2.",
    "Candidate 1 is expected to score 0.9.",
    "Candidate 1 uses adam with lr 0.0012.",
    "With 1,000 instances and an imbalance of 1.4, candidate 1 fits.",
    "The nearest study, chest-2024, is at distance 0.37 and has 30 trials.",
    "The rank correlation of 0.62 is high enough.",
    "lr 1.2e-3, batch_size 32, depth 3, dropout 0.1.",
    "2 of 3 lines speak for it: 1. adam, 2. lr 0.001.",
    "adam: +20 % on 1000 instances.",
    "lr about 0.0013 helped.",
    "batch_size is one of 16, 32 and 64.",
    # what is no claim
    "This helps the model to converge, as such models do.",
    "It fits CT tasks, v1.2.3 of them.",
    "If lr is too high, training may hurt.",
    "ResNet50 is deep? No: depth is another thing.",
    "Das Modell nimmt adam, denn lr 0.001 half: +0,12.",
    "",
    "1.1.1.1.1.1.1.",
    "lr lr lr lr lr lr lr lr",
]


@pytest.mark.parametrize("text", TRUE)
def test_true_claim_passes(text: str) -> None:
    assert [one.truth for one in _false(text)] == []


FALSE = {
    # says that it helps where it hurts
    "lr 0.05 helped.": "E3 says lr from 0.02 to 0.1 hurt",
    "A high lr helps.": "E3 says",
    "Raising lr improves the score.": "E3 says",
    "A dropout of 0.6 improves the accuracy.": "E4 says",
    "Dropout above 0.5 has a positive effect.": "E4 says",
    "momentum raises the score": "E6 says",
    "momentum 0.95 is useful.": "E6 says",
    "depth 6 works well.": "E7 says",
    "The score is improved by depth 6.": "E7 says",
    "A large dropout reduces the loss.": "E4 says",
    "sgd helped.": "E1 says optimizer = adam helped",
    "E3 helped.": "E3 says",
    "depth 6 did not hurt.": "E7 says",
    "The score benefits from dropout 0.7.": "E4 says",
    # says that it hurts where it helps
    "lr 0.001 hurt.": "E2 says lr from 0.0005 to 0.002 helped",
    "lr from 0.0005 to 0.002 hurt: -0.12": "E2 says",
    "adam hurts the score.": "E1 says",
    "Using adam is detrimental.": "E1 says",
    "adam lowers the accuracy.": "E1 says",
    "adam increases the error.": "E1 says",
    "adam does not help.": "E1 says",
    "adam never helped, and nor did others.": "E1 says",
    "resnet18 performs badly.": "E5 says",
    "The score was hurt by resnet18.": "E5 says",
    "Avoiding adam helps.": "E1 says",
    "adam instead of sgd hurts.": "E1 says",
    "A low dropout hurts.": "E4 says",
    "optimizer has no effect.": "E1 says",
    # wrong rank
    "depth matters most.": "the largest effect is E1",
    "The most important parameter is depth.": "the largest effect is E1",
    "momentum has the largest effect.": "the largest effect is E1",
    "optimizer is the least important.": "the largest effect is E1",
    "lr 0.001 helped the most.": "the largest effect is E1",
    "depth 6 hurts most.": "the largest effect is E3",
    "depth matters more than lr.": "the largest effect is E1",
    "batch_size is one of the most important parameters.": "no evidence is about batch_size",
    # wrong number, wrong value
    "adam helped by 0.5.": "0.5 is not its effect",
    "adam helped: +0.12.": "0.12 is not its effect",
    "lr 0.001 helped by 0.15.": "0.15 is not its effect",
    "lr 0.001 helped in 400 trials.": "400 stands nowhere",
    "adam helped in 21 trials.": "21 stands nowhere",
    "I choose lr 0.3.": "0.3 stands nowhere beside lr",
    "depth 32 is chosen.": "32 stands nowhere beside depth",
    "batch_size 48 is chosen.": "48 stands nowhere beside batch_size",
    "The expected score is 0.97.": "0.97 stands nowhere",
    "With 5,000 instances this fits.": "5,000 stands nowhere",
    "The rank correlation of 0.97 is high.": "0.97 stands nowhere",
    "Candidate 2 is expected to score 0.90.": "candidate 2 is expected to score 0.60",
    "Candidate 1 uses sgd.": "candidate 1 has optimizer = adam",
    "Candidate 2 has lr 0.001.": "candidate 2 has lr = 0.05",
    "Candidate 9 is better.": "9 stands nowhere",
    "Die Lernrate lr 0.3 ist gut.": "0.3 stands nowhere beside lr",
    # wrong parameter, wrong evidence
    "batch_size 32 helped.": "no evidence is about batch_size",
    "depth 0.001 helped.": "0.001 stands nowhere beside depth",
    "lr (E7) helped.": "E7 is about depth",
    "E12 speaks for it.": "there is no evidence E12",
    "adam and depth 6 helped.": "E7 says",
    "lr 0.001 helped and depth 6 helped.": "E7 says",
}


@pytest.mark.parametrize("text", FALSE)
def test_false_claim_is_caught(text: str) -> None:
    (found,) = _false(text)
    assert found.quote == text
    assert FALSE[text] in found.truth
    assert found.sentence == f'Not true: "{text}" ({found.truth}).'


def test_only_the_false_sentences_are_quoted() -> None:
    text = "adam helped.\n lr 0.05\x00 helped! It is 0.001, vs. 0.05 there; depth 6 helped"
    assert [one.quote for one in _false(text)] == ["lr 0.05 helped!", "depth 6 helped"]


def test_without_evidence_a_model_may_say_what_it_knows() -> None:
    text = "lr 0.3 helps most, by 0.77."
    assert _false(text, replace(QUESTION, explanation=None)) == ()
    assert _false(text, replace(QUESTION, explanation=replace(EXPLANATION, evidence=()))) == ()


def test_a_value_that_was_put_in_may_be_named() -> None:
    params = {**CANDIDATES[0].params, "lr": 0.00077}
    assert false_claims(["I set lr to 0.00077."], QUESTION, params) == ()
    assert false_claims(["Candidate 1 uses lr 0.00077."], QUESTION, params) == ()
    assert len(false_claims(["Candidate 1 uses lr 0.05."], QUESTION, params)) == 1
    assert len(false_claims(["I set lr to 0.00078."], QUESTION, params)) == 1


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
    failures = false_citations(proposal, QUESTION)
    assert len(failures) >= 1 if failure else failures == []
    assert failure is None or any(failure in one for one in failures)
