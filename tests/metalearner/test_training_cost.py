"""Cost model on past trainings whose ``size`` determines the time and ``lr`` the score."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import optuna
import pytest
from end_to_end import choose
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import Suggestion
from optuna_metallmix import read_record
from optuna_metallmix import suggest
from optuna_metallmix.candidates.selection import best_predicted
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import read_history
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.meta_learner import Prediction
from optuna_metallmix.metalearner.training_cost import CostModel
from optuna_metallmix.metalearner.training_cost import cheapest_equal


if TYPE_CHECKING:
    from conftest import LogRecords

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.0, 1.0),
    "size": CategoricalDistribution(["small", "large"]),
}
Score = Callable[[float, str, int], float]
Seconds = Callable[[float, str], float | None]


def equal(lr: float, size: str, study: int = 0) -> float:
    """Return scores with a ``size`` effect that differs in sign between studies."""
    return 1 - abs(lr - 0.5) + (size == "large") * [0.1, -0.1, 0.1][study]


def large_is_better(lr: float, size: str, study: int) -> float:
    return 1 - abs(lr - 0.5) + 3 * (size == "large")


def ten_times(lr: float, size: str) -> float:
    return 600.0 if size == "large" else 60.0


def unknown(lr: float, size: str) -> None:
    return None


def past(
    score: Score = equal, seconds: Seconds = ten_times, speeds: Sequence[float] = (1, 7, 0.2)
) -> InMemoryStorage:
    """Return a study of 40 trials for each machine speed."""
    storage = InMemoryStorage()
    rng = np.random.default_rng(0)
    for i, speed in enumerate(speeds):
        study = optuna.create_study(storage=storage, study_name=f"past-{i}", direction="maximize")
        for place in range(40):
            lr, size = float(rng.random()), ["small", "large"][place % 2]
            taken = seconds(lr, size)
            params = {"lr": lr, "size": size}
            study.add_trial(trial(params, score(lr, size, i), taken and taken * speed))
    return storage


def trial(params: dict[str, Any], value: float, seconds: float | None) -> optuna.trial.FrozenTrial:
    made = create_trial(params=params, distributions=SPACE, value=value)
    made.datetime_start = datetime(2026, 1, 1)
    made.datetime_complete = made.datetime_start + timedelta(seconds=seconds or 0)
    return made


def learn(storage: BaseStorage, **options: Any) -> Suggestion:
    return suggest(read_history(storage), SPACE, {}, None, **options)


def rows(storage: BaseStorage) -> MetaDataset:
    return build_meta_dataset(read_history(storage), SPACE)


def test_cost_is_relative_to_the_median_of_the_study():
    model = CostModel().fit(rows(past()))
    small, large = model.predict([{"lr": 0.3, "size": size} for size in ("small", "large")])
    assert large / small == pytest.approx(10, rel=0.2)  # on any machine
    assert small < 1 < large
    assert model.r2 > 0.9


def test_same_seed_same_costs():
    dataset = rows(past())
    probe = [{"lr": x, "size": "small"} for x in (0.1, 0.9)]
    first, again = (CostModel(seed=3).fit(dataset).predict(probe).tolist() for _ in range(2))
    assert first == again


def noise(lr: float, size: str) -> float:
    return 60 + 1_000 * ((lr * 7_919) % 1)


def few(lr: float, size: str) -> float | None:
    return 60.0 + lr if lr < 0.04 else None


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (unknown, "only 0 past trials have a known training time"),
        (few, "only [1-7] past trials have a known training time"),
        (lambda lr, size: 60.0, "have the same training time"),
        (noise, "cannot be predicted from the parameters"),
    ],
)
def test_unpredictable_costs_are_a_history_error(seconds: Seconds, reason: str):
    with pytest.raises(HistoryError, match=reason) as raised:
        CostModel().fit(rows(past(seconds=seconds)))
    assert str(raised.value).startswith("cost_aware=True has no effect: ")


@pytest.mark.parametrize("n_studies", [1, 2])
def test_few_studies_are_enough(n_studies: int):
    model = CostModel().fit(rows(past(speeds=(1,) * n_studies)))
    small, large = model.predict([{"lr": 0.3, "size": size} for size in ("small", "large")])
    assert large > 5 * small


@pytest.mark.parametrize(
    ("means", "costs", "chosen"),
    [
        ([0.9, 0.85, 0.5], [2.0, 1.0, 0.1], 1),  # within the spread of 0.1; the third is not
        ([0.9, 0.79, 0.5], [2.0, 1.0, 0.1], 0),
        ([0.9, 0.85, 0.82], [2.0, 1.0, 0.1], 2),
        ([0.9, 0.85, 0.5], [1.0, 0.95, 0.1], 0),  # a saving of 5 % is too small
        ([0.5, 0.9], [0.1, 1.0], 1),
    ],
)
def test_cheapest_of_those_within_the_spread_of_the_best(
    means: list[float], costs: list[float], chosen: int
):
    spread = np.where(np.array(means) == 0.9, 0.1, 9.0)  # the spread of the best counts
    prediction = Prediction(np.array(means), spread)
    assert cheapest_equal(prediction, np.array(costs)) == chosen


def test_cheapest_of_equals_is_suggested_and_the_others_keep_their_order():
    without, aware = (learn(past(), cost_aware=flag) for flag in (False, True))
    assert aware.reasons == without.reasons == ()
    assert aware.params["size"] == "small"
    assert abs(aware.params["lr"] - 0.5) < 0.2
    assert [candidate.number for candidate in aware.candidates] == [1, 2, 3, 4, 5, 6]
    assert without.params["size"] == "large"
    first, *others = [candidate.params for candidate in aware.candidates]
    assert (
        others
        == [candidate.params for candidate in without.candidates if candidate.params != first][:5]
    )
    assert best_predicted(aware.candidates).params == without.params
    assert aware.trade is not None
    assert 0 < aware.trade.given_up <= aware.trade.uncertainty
    costs = [candidate.cost for candidate in aware.candidates if candidate.cost is not None]
    assert costs[0] == min(costs) == aware.trade.cost < 0.5 < 2 < aware.trade.best_cost
    assert all(candidate.cost is None for candidate in without.candidates)
    assert (without.trade, without.costs) == (None, None)
    assert "cost" in aware.seconds
    assert "cost" not in without.seconds


def test_without_cost_awareness_candidates_are_ordered_by_score():
    predicted = [candidate.predicted for candidate in learn(past()).candidates]
    assert predicted == sorted(predicted, reverse=True)


def test_cost_never_overrides_a_difference_beyond_the_uncertainty():
    aware = learn(past(score=large_is_better), cost_aware=True)
    assert aware.params["size"] == "large"
    assert aware.trade is not None
    assert aware.trade.given_up <= aware.trade.uncertainty
    assert aware.trade.cost > 1


def test_unknown_durations_are_a_reason_and_change_nothing():
    storage = past(seconds=unknown)
    without, aware = (learn(storage, cost_aware=flag) for flag in (False, True))
    assert aware.params == without.params
    assert aware.candidates == without.candidates
    assert aware.reasons == (
        "cost_aware=True has no effect: only 0 past trials have a known training time, but at "
        "least 8 are needed.",
    )
    assert aware.trade is None


def test_cost_model_is_cached():
    history = read_history(past())
    first, again = (suggest(history, SPACE, {}, None, cost_aware=True) for _ in range(2))
    assert first.costs is again.costs is not None


def objective(asked: optuna.Trial) -> float:
    lr = asked.suggest_float("lr", 0.0, 1.0)
    return equal(lr, asked.suggest_categorical("size", ["small", "large"]))


def run(storage: BaseStorage, **options: Any) -> optuna.Study:
    sampler = pickle.loads(pickle.dumps(MetaLLMiXSampler(seed=0, cost_aware=True, **options)))
    study = optuna.create_study(
        study_name="new", storage=storage, direction="maximize", sampler=sampler
    )
    study.optimize(objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    return study


def test_sampler_note_and_record_agree_on_the_cost(logs: LogRecords):
    get_note = pytest.importorskip("optuna_dashboard").get_note
    study = run(past(), llm=False)
    first, note = study.trials[0], get_note(study)
    record = read_record(first)
    assert record is not None
    assert first.params["size"] == "small"
    assert logs.warnings == []
    trade = record["trade"]
    assert trade["cost"] == record["candidates"][0]["cost"] < 0.5
    best = max(record["candidates"], key=lambda candidate: candidate["predicted"])
    assert (trade["best_cost"], trade["uncertainty"]) == (best["cost"], best["spread"])
    assert trade["given_up"] == pytest.approx(best["predicted"] - record["predicted"], abs=1e-8)
    assert (
        f"Cost: about **{trade['cost']:.2f}** times the median past training time. The candidate "
        f"with the best predicted score would cost {trade['best_cost']:.2f} and is expected to "
        f"score {trade['given_up']:.3f} more, within the uncertainty of "
        f"{trade['uncertainty']:.3f}."
    ) in note


def test_sampler_warns_once_about_unknown_durations(logs: LogRecords):
    first = run(past(seconds=unknown), llm=False).trials[0]
    assert "cost_aware=True has no effect" in first.user_attrs["metallmix:reason"]
    assert first.user_attrs["metallmix:source"] == "meta-learner"
    (warning,) = logs.warnings
    assert "cost_aware=True has no effect" in warning


def test_prompt_has_the_costs_only_if_cost_aware():
    asked = []
    for cost_aware in (False, True):
        llm = ScriptedLLM([choose()] * 2)
        made = suggest(read_history(past()), SPACE, {}, llm, cost_aware=cost_aware)
        assert made.source == "llm"
        asked.append(llm.calls[0].messages[1]["content"])
    assert "training time" not in asked[0]
    assert "1 is expected to do best" in asked[0]
    assert asked[1].count("| training time ") == 6
    assert "1 is expected to do best" not in asked[1]
    assert "1 trains fastest of those that may do best" in asked[1]
