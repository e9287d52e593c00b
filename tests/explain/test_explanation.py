from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix import suggest
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import evidence_sign
from optuna_metallmix.explain.explanation import explain
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import label_of


if TYPE_CHECKING:
    from conftest import Handmade
    from conftest import Learned


def _number(low: float, high: float, effect: float) -> Evidence:
    return Evidence("E1", "lr", f"from {low} to {high}", low, high, None, effect, 9, 2)


def _choice(label: str, effect: float) -> Evidence:
    return Evidence("E1", "optimizer", f"= {label}", None, None, label, effect, 9, 2)


def test_values_and_base_add_up_to_the_prediction(learned: Learned) -> None:
    explanation = learned.explanation
    assert explanation.values.shape == (len(explanation.configs), len(learned.space))
    expected = learned.learner.predict(explanation.configs).mean
    np.testing.assert_allclose(
        explanation.values.sum(axis=1) + explanation.base, expected, atol=1e-9, rtol=0
    )


def test_importance_is_the_mean_absolute_effect_in_descending_order(learned: Learned) -> None:
    importance = learned.explanation.importance
    assert list(importance)[:2] == ["lr", "optimizer"]
    assert list(importance.values()) == sorted(importance.values(), reverse=True)
    for column, name in enumerate(learned.explanation.space):
        mean = np.abs(learned.explanation.values[:, column]).mean()
        assert importance[name] == pytest.approx(mean, abs=1e-12)


def _check_truth(evidence: Evidence, explanation: Explanation, groups: Any) -> None:
    """Recompute evidence from the SHAP values of the trials it is about."""
    column = list(explanation.space).index(evidence.parameter)
    distribution = explanation.space[evidence.parameter]
    about = [
        i
        for i, config in enumerate(explanation.configs)
        if evidence.parameter in config
        and evidence.covers(
            label_of(distribution, config[evidence.parameter]), config[evidence.parameter]
        )
    ]
    assert evidence.n_trials == len(about)
    assert evidence.n_studies == len(np.unique(groups[about]))
    assert evidence.effect == pytest.approx(explanation.values[about, column].mean(), abs=1e-12)


def test_evidence_is_true_numbered_and_large_enough(learned: Learned) -> None:
    evidence = learned.explanation.evidence
    assert [item.id for item in evidence] == [f"E{i}" for i in range(1, len(evidence) + 1)]
    assert 3 <= len(evidence) <= 10
    assert all(abs(item.effect) >= 0.01 for item in evidence)
    for item in evidence:
        _check_truth(item, learned.explanation, learned.learner.dataset.groups)


def test_evidence_of_nearly_equal_numbers_is_true() -> None:
    space = {"lr": FloatDistribution(0, 1)}
    values = [0.12341, 0.12344, 0.5, 0.50004, 0.9]
    trials = tuple(
        PastTrial({"lr": values[i % 5]}, [0.0, 0.1, 1.0, 0.9, 0.4][i % 5], None, None)
        for i in range(20)
    )
    history = History((PastStudy("past", space, trials, {}),))
    learner = MetaLearner(trees=Trees(4, 30, 0.08)).fit(build_meta_dataset(history, space))
    best = Candidate(1, {"lr": 0.5}, "test")
    explanation = explain(learner, [best], history, {})
    assert explanation.evidence
    for item in explanation.evidence:
        _check_truth(item, explanation, learner.dataset.groups)


def test_evidence_for_the_best_candidate_comes_first(learned: Learned) -> None:
    best = learned.candidates[0].params
    signs = [evidence_sign(item, learned.space, best) for item in learned.explanation.evidence]
    assert signs[0] == 1
    assert signs == sorted(signs, reverse=True)


def test_planted_effect_is_found(learned: Learned) -> None:
    adam = [item for item in learned.explanation.evidence if item.choice == "adam"]
    assert [item.effect > 0 for item in adam] == [True]
    assert "optimizer = adam helped: +" in adam[0].sentence


def test_covers_knows_ranges_and_choices() -> None:
    rate = _number(0.1, 0.2, 0.1)
    assert rate.covers("0.1", 0.1)
    assert rate.covers("0.2", np.float64(0.2))
    assert not rate.covers("0.21", 0.21)
    assert not rate.covers("x", "x")
    assert not rate.covers("NaN", math.nan)
    assert _choice("adam", 0.1).covers("adam", "adam")
    assert not _choice("adam", 0.1).covers("sgd", "sgd")


@pytest.mark.parametrize(
    ("evidence", "params", "expected"),
    [
        (_number(0.1, 0.2, 0.1), {"lr": 0.15}, 1),
        (_number(0.1, 0.2, 0.1), {"lr": 0.5}, -1),
        (_number(0.1, 0.2, -0.1), {"lr": 0.15}, -1),
        (_number(0.1, 0.2, -0.1), {"lr": 0.5}, 1),
        (_number(0.1, 0.2, 0.1), {}, 0),
        (_choice("adam", 0.1), {"optimizer": "adam"}, 1),
        (_choice("null", -0.1), {"optimizer": None}, -1),
        (_choice("null", 0.1), {"optimizer": None}, 1),
        (_choice("adam", 0.1), {"optimizer": "sgd", "lr": 1}, -1),
    ],
)
def test_evidence_sign_of_a_configuration(
    evidence: Evidence, params: dict[str, Any], expected: int
) -> None:
    space = {
        "lr": FloatDistribution(0, 1),
        "optimizer": CategoricalDistribution(["adam", "sgd", None]),
    }
    assert evidence_sign(evidence, space, params) == expected


def test_sentence_has_the_range_and_the_rounded_effect() -> None:
    assert _number(0.1, 0.2, -0.123).sentence == (
        "lr from 0.1 to 0.2 hurt: -0.12 (9 trials, 2 studies)"
    )


def test_nearest_studies_have_their_best_configuration(learned: Learned) -> None:
    nearest = learned.explanation.nearest
    assert nearest[0].name == "chest"
    assert nearest[0].distance == 0.0
    best = {study.name: study.trials[0].params for study in learned.history.studies}
    assert all(study.best == best[study.name] for study in nearest)
    assert {study.n_trials for study in nearest} == {30}


def test_nearest_studies_exclude_the_current_one(learned: Learned) -> None:
    trials = learned.history.studies[0].trials
    many = [PastStudy(f"p{i}", learned.space, trials, {"n": 10**i}) for i in range(5)]
    own = PastStudy("me", learned.space, trials, {"n": 100}, is_target=True)
    history = History((*many, own))
    nearest = explain(learned.learner, learned.candidates, history, {"n": 100}).nearest
    assert [study.name for study in nearest] == ["p2", "p1", "p3"]


def test_plots_of_shap_accept_the_explanation(learned: Learned) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shap = pytest.importorskip("shap")
        from matplotlib import pyplot

        values = learned.explanation.shap_values
        assert isinstance(values, shap.Explanation)
        assert values.shape == learned.explanation.values.shape
        assert list(values.feature_names) == list(learned.space)
        for draw in (shap.plots.beeswarm, shap.plots.bar, shap.plots.heatmap, shap.plots.violin):
            draw(values, show=False)
            pyplot.close("all")
        for name in learned.space:
            shap.plots.scatter(values[:, name], show=False)
            pyplot.close("all")
        for draw in (shap.plots.waterfall, shap.plots.bar):
            draw(values[0], show=False)
            pyplot.close("all")
        shap.plots.force(values[0], show=False, matplotlib=True)
        shap.plots.decision(learned.explanation.base, values.values, show=False)
        pyplot.close("all")


def test_shap_explanation_adds_up_to_the_prediction(learned: Learned) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("shap")
    explanation = learned.explanation
    given = explanation.shap_values
    predicted = learned.learner.predict(explanation.configs).mean
    total = given.base_values + given.values.sum(axis=1)
    np.testing.assert_allclose(total, predicted, atol=1e-6, rtol=0)
    made = suggest(learned.history, learned.space, {}, None)
    own = made.shap_values
    assert own is not None
    assert own.base_values + own.values.sum() == pytest.approx(made.predicted, abs=1e-6)
    row = dict(zip(own.feature_names, own.display_data, strict=True))
    assert row["optimizer"] == label_of(learned.space["optimizer"], made.params["optimizer"])


def test_notebooks_escape_names(handmade: Handmade) -> None:
    evil = replace(handmade.explanation, importance={"<script>x</script>|[a](javascript:b)": 0.1})
    shown = evil._repr_html_()
    assert "<table>" in shown
    assert "<script" not in shown
    assert "<a " not in shown
