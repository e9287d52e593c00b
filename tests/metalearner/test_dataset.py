from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner.dataset import FULL_WEIGHT
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.metalearner.dataset import MAX_TRIALS
from optuna_metallmix.metalearner.dataset import MAX_VALUES
from optuna_metallmix.metalearner.dataset import MIN_TRIALS
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import limit_studies
from optuna_metallmix.metalearner.dataset import max_trials
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.space.search_space import ABSENT


SPACE = {
    "lr": FloatDistribution(0, 1),
    "size": CategoricalDistribution([16, 32]),
    "kind": CategoricalDistribution(["a", None, True]),
}


def _study(name: str, configs: list[dict[str, object]]) -> PastStudy:
    n = len(configs)
    trials = (PastTrial(params, 1 - i / n, None, None) for i, params in enumerate(configs))
    return PastStudy(name, SPACE, tuple(trials), {})


def test_each_past_trial_is_a_row(history: History) -> None:
    space = history.studies[0].space
    dataset = build_meta_dataset(history, space)
    assert len(dataset.configs) == history.n_trials == 90
    assert dataset.studies == ("skin", "chest", "retina")
    assert np.bincount(dataset.groups).tolist() == [30, 30, 30]
    for config, score, group in zip(dataset.configs, dataset.scores, dataset.groups, strict=True):
        trials = history.studies[group].trials
        assert any(t.params == config and t.rank**3 == score for t in trials)


def test_foreign_parameters_and_empty_rows_are_dropped() -> None:
    history = History((_study("a", [{"lr": 0.5, "x": 1}, {"x": 2}, {"lr": 0.1}]),))
    dataset = build_meta_dataset(history, {"lr": SPACE["lr"]})
    assert dataset.configs == ({"lr": 0.5}, {"lr": 0.1})


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (History(), "no past studies to learn from"),
        (History((_study("a", [{"x": 1}]),)), "no past trial with a parameter"),
    ],
)
def test_empty_table_is_a_history_error(history: History, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        build_meta_dataset(history, SPACE)


def test_large_study_keeps_an_even_spread_from_best_to_worst() -> None:
    n = 3 * MAX_TRIALS
    configs: list[dict[str, object]] = [{"lr": i / n} for i in range(n)]
    history = History((_study("a", configs), _study("b", configs[:5])))
    dataset = build_meta_dataset(history, SPACE)
    kept = [config["lr"] for config in dataset.configs[:MAX_TRIALS]]
    assert len(set(kept)) == MAX_TRIALS
    assert (kept[0], kept[-1]) == (0.0, (n - 1) / n)
    assert np.ptp(np.diff(kept)) < 1.5 / n
    assert np.bincount(dataset.groups).tolist() == [MAX_TRIALS, 5]


def test_trials_without_a_parameter_of_the_space_take_up_no_rows() -> None:
    configs: list[dict[str, object]] = [{"lr": i} if i % 3 == 0 else {"x": i} for i in range(300)]
    dataset = build_meta_dataset(History((_study("a", configs),)), {"lr": SPACE["lr"]})
    assert [config["lr"] for config in dataset.configs] == list(range(0, 300, 3))


def test_thinned_table_keeps_an_even_spread_of_each_study() -> None:
    configs: list[dict[str, object]] = [{"lr": i / 100} for i in range(100)]
    history = History(tuple(_study(name, configs[:n]) for name, n in [("a", 100), ("b", 5)]))
    dataset = build_meta_dataset(history, SPACE)
    thinned = dataset.thinned(60)
    assert np.bincount(thinned.groups).tolist() == [30, 5]
    kept = [config["lr"] for config in thinned.configs[:30]]
    assert (kept[0], kept[-1]) == (0.0, 0.99)
    assert np.ptp(np.diff(kept)) < 0.011
    assert np.bincount(dataset.thinned(1).groups).tolist() == [20, 5]


def test_studies_of_few_trials_weigh_little() -> None:
    configs: list[dict[str, object]] = [{"lr": i / 50} for i in range(50)]
    sizes = [50, 10, 3, 0]
    studies = tuple(_study(str(i), configs[:n]) for i, n in enumerate(sizes))
    dataset = build_meta_dataset(History(studies), SPACE)
    np.testing.assert_allclose(dataset.weights, [1, 1, 0.09, 0])
    assert dataset.n_studies == 3
    np.testing.assert_array_equal(dataset.thinned(1).weights, dataset.weights)


def test_numbers_outside_single_precision_stay_finite() -> None:
    numbers = [1e300, -1e300, 1e-300, float(np.finfo(float).max), 2**70, 0.1]
    with np.errstate(all="raise"):
        column = to_frame({"x": FloatDistribution(-1, 1)}, [{"x": x} for x in numbers])["x"]
    assert np.isfinite(column).all()
    assert column[0] == column[3] > column[4] > column[5] > column[2] >= 0 > column[1]


def test_columns_are_numeric_or_text() -> None:
    frame = to_frame(
        SPACE,
        [
            {"lr": 0.5, "size": 32, "kind": None},
            {"lr": 0.25, "kind": True},
            {"size": 16},
            {"size": "odd", "kind": "new", "other": 1},
        ],
    )
    assert list(frame) == ["lr", "size", "kind"]
    assert frame["lr"].tolist()[:2] == [0.5, 0.25]
    assert math.isnan(frame["lr"][2])
    assert math.isnan(frame["size"][3])
    assert frame["kind"].tolist() == ["null", "true", ABSENT, "new"]
    assert categorical_columns(SPACE) == ["kind"]
    assert categorical_columns({"n": IntDistribution(0, 1)}) == []


def _lr_studies(*sizes: int) -> list[PastStudy]:
    return [_study(f"s{i}", [{"lr": j / n} for j in range(n)]) for i, n in enumerate(sizes)]


def test_a_past_of_ordinary_size_is_learned_from_as_a_whole() -> None:
    history = History(tuple(_lr_studies(*[2] * MAX_STUDIES)))
    assert limit_studies(history, SPACE) is history
    assert max_trials(60, dict.fromkeys(map(str, range(40)), SPACE["lr"])) == MAX_TRIALS


def test_of_many_studies_the_latest_large_ones_are_learned_from() -> None:
    few, many = FULL_WEIGHT - 1, FULL_WEIGHT
    studies = _lr_studies(*[many] * 10, *[few] * 10, *[many] * (MAX_STUDIES - 5))
    unrelated = PastStudy("unrelated", {"z": SPACE["lr"]}, studies[0].trials, {})
    history = History((*studies, unrelated), left_out={"x": "broken"})
    kept = limit_studies(history, SPACE)
    names = [study.name for study in kept.studies]
    assert names == [f"s{i}" for i in [*range(5, 10), *range(20, MAX_STUDIES + 15)]]
    (first, second) = kept.left_out.items()
    assert first == ("x", "broken")
    assert second[0] == "16 more studies"
    assert f"at most {MAX_STUDIES} studies" in second[1]
    assert limit_studies(kept, SPACE) is kept


def test_small_studies_are_learned_from_if_there_is_room() -> None:
    few, many = FULL_WEIGHT - 1, FULL_WEIGHT
    sizes = [*[few] * 4, *[many] * (MAX_STUDIES - 2)]
    kept = limit_studies(History(tuple(_lr_studies(*sizes))), SPACE)
    assert [study.name for study in kept.studies][:3] == ["s2", "s3", "s4"]


def test_own_trials_are_learned_from_however_few_they_are() -> None:
    target, *others = _lr_studies(2, *[FULL_WEIGHT] * (MAX_STUDIES + 3))
    history = History((replace(target, is_target=True), *others))
    assert limit_studies(history, SPACE).studies[0].is_target


@pytest.mark.parametrize(("n_studies", "n_params"), [(1, 300), (50, 300), (5_000, 8), (300, 60)])
def test_size_of_the_table_is_bounded(n_studies: int, n_params: int) -> None:
    n_trials = MAX_TRIALS + 1
    space = {f"p{i}": SPACE["lr"] for i in range(n_params)}
    trials = tuple(
        PastTrial(dict.fromkeys(space, 0.5), 1 - i / n_trials, None, None) for i in range(n_trials)
    )
    studies = tuple(PastStudy(f"s{i}", space, trials, {}) for i in range(n_studies))
    dataset = build_meta_dataset(History(studies), space)
    n_kept = min(n_studies, MAX_STUDIES)
    assert dataset.n_studies == len(dataset.studies) == n_kept
    assert len(dataset.configs) <= MAX_TRIALS * n_kept
    assert len(dataset.configs) * n_params <= MAX_VALUES
    for study in range(n_kept):  # from the best to the worst
        scores = dataset.scores[dataset.groups == study]
        assert len(scores) >= MIN_TRIALS
        assert scores[0] == 1.0
        assert scores[-1] == pytest.approx(n_trials**-3)


def test_rows_know_which_parameters_are_active() -> None:
    history = History((_study("a", [{"lr": 0.5, "x": 1}, {"kind": None, "lr": "?"}]),))
    assert build_meta_dataset(history, SPACE).is_active.tolist() == [
        [True, False, False],
        [False, False, True],
    ]
