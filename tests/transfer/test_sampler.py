from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.transfer import sampler as transfer_sampler
from optuna_metallmix.transfer import study_state
from optuna_metallmix.transfer.sampler import SIMILARITY_ATTR
from optuna_metallmix.transfer.study_state import MAX_PENDING
from optuna_metallmix.transfer.trial_scores import trial_scores


pytest.register_assert_rewrite("optuna.testing.pytest_samplers")

from optuna.testing.pytest_samplers import BasicSamplerTestCase  # noqa: E402
from optuna.testing.pytest_samplers import MultiObjectiveSamplerTestCase  # noqa: E402
from optuna.testing.pytest_samplers import RelativeSamplerTestCase  # noqa: E402


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0.0, 10.0)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    y = trial.suggest_int("y", 1, 100, log=True) if kind == "b" else 1
    return (x - 3) ** 2 + (5 if kind == "a" else abs(np.log10(y) - 1))


def past_of(
    objective: Callable[[optuna.Trial], float], n_trials: int = 25
) -> optuna.storages.InMemoryStorage:
    storage = optuna.storages.InMemoryStorage()
    for i in range(3):
        sampler = optuna.samplers.RandomSampler(seed=i)
        study = optuna.create_study(storage=storage, study_name=f"past-{i}", sampler=sampler)
        study.optimize(objective, n_trials=n_trials)
    return storage


@pytest.fixture(scope="module")
def past() -> optuna.storages.InMemoryStorage:
    return past_of(objective, n_trials=40)


@pytest.mark.filterwarnings("default")
class TestSuite(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """All cases of Optuna's suite without past studies."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: TransferSampler(base_sampler=TPESampler(n_startup_trials=0, seed=0))


@pytest.mark.filterwarnings("default")
class TestSuiteWithPast(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """The suite with past studies whose ``x`` has another range."""

    @pytest.fixture
    def sampler(self, past) -> Callable[[], BaseSampler]:
        base = TPESampler(n_startup_trials=0, seed=0)
        return lambda: TransferSampler(source_storage=past, base_sampler=base)


def test_search_continues_from_the_past(past) -> None:
    study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    study.optimize(objective, n_trials=12)
    assert study.trials[0].params["kind"] == "b"
    assert study.trials[0].value < 1.0
    assert study.best_value < 0.2
    similarities = [trial.system_attrs[SIMILARITY_ATTR] for trial in study.trials]
    assert all(0 <= similarity <= 1 for similarity in similarities)
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 12


def test_it_is_the_default_after_the_first_trial(past) -> None:
    study = optuna.create_study(sampler=MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    study.optimize(objective, n_trials=3)
    assert [SIMILARITY_ATTR in trial.system_attrs for trial in study.trials] == [False, True, True]


def test_the_suggestion_and_later_trials_share_one_meta_learner(past, monkeypatch) -> None:
    fit, fitted = MetaLearner.fit, []

    def counted(learner: MetaLearner, dataset: MetaDataset) -> MetaLearner:
        fitted.append(learner)
        return fit(learner, dataset)

    monkeypatch.setattr(MetaLearner, "fit", counted)
    study = optuna.create_study(sampler=MetaLLMiXSampler(source_storage=past, llm=False))
    study.optimize(objective, n_trials=4)
    assert len(fitted) == 1


def test_without_past_studies_the_base_sampler_is_used() -> None:
    values = []
    for sampler in (TransferSampler(seed=3), TPESampler(seed=3)):
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=15)
        values.append([trial.value for trial in study.trials])
    assert values[0] == values[1]


@pytest.mark.filterwarnings("ignore:.*experimental:optuna.exceptions.ExperimentalWarning")
def test_a_base_sampler_that_groups_parameters_is_left_out_of_own_trials(past) -> None:
    """``TPESampler`` with ``group`` must not sample relatively before it inferred a space."""
    base = TPESampler(multivariate=True, group=True, seed=0)
    study = optuna.create_study(sampler=TransferSampler(source_storage=past, base_sampler=base))
    study.optimize(objective, n_trials=3)
    assert all(SIMILARITY_ATTR in trial.system_attrs for trial in study.trials)


def test_unrelated_past_uses_the_base_sampler(logs) -> None:
    storage = optuna.storages.InMemoryStorage()
    other = optuna.create_study(storage=storage, study_name="other")
    other.optimize(lambda trial: trial.suggest_float("unrelated", 0, 1), n_trials=20)
    study = optuna.create_study(storage=storage, sampler=TransferSampler(seed=0))
    study.optimize(objective, n_trials=15)
    assert ["are not used" in warning for warning in logs.warnings] == [True]
    assert study.best_value < 10


def test_configurations_differ_in_parameters_of_the_objective(past) -> None:
    """Trials that differ only in another parameter of the past are the same trial."""

    def smaller(trial: optuna.Trial) -> float:
        return trial.suggest_int("x", 0, 10)

    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="past")
    random = optuna.samplers.RandomSampler(seed=0)
    study.sampler = random
    study.optimize(
        lambda t: t.suggest_int("x", 0, 10) + t.suggest_float("other", 0, 1), n_trials=30
    )
    study = optuna.create_study(storage=storage, sampler=TransferSampler(seed=0))
    study.optimize(smaller, n_trials=8)
    assert len({trial.params["x"] for trial in study.trials}) == 8
    assert study.best_value == 0


def test_same_seed_same_trials(past) -> None:
    values = []
    for _ in range(2):
        study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=5))
        study.optimize(objective, n_trials=7)
        values.append([trial.value for trial in study.trials])
    assert values[0] == values[1]


def test_pickling_in_the_middle_of_a_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    random = optuna.samplers.RandomSampler(seed=0)
    optuna.create_study(storage=storage, study_name="past", sampler=random).optimize(
        objective, n_trials=30
    )
    sampler = TransferSampler(seed=0)
    study = optuna.create_study(storage=storage, study_name="one", sampler=sampler)
    study.optimize(objective, n_trials=3)
    again = optuna.load_study(
        storage=storage, study_name="one", sampler=pickle.loads(pickle.dumps(sampler))
    )
    again.optimize(objective, n_trials=2)
    assert all(SIMILARITY_ATTR in trial.system_attrs for trial in again.trials)


def test_threads_share_the_sampler(past) -> None:
    study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_concurrent_trials_get_different_configurations(past) -> None:
    """With ``n_jobs`` several trials start before any of them has a value."""
    sampler = TransferSampler(source_storage=past, seed=0)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(4)]
    for trial in trials[::-1]:
        objective(trial)
    params = [tuple(sorted(trial.params.items())) for trial in study.trials]
    assert len(set(params)) == 4


def test_abandoned_trial_is_not_pending(past, monkeypatch) -> None:
    first = []
    for longest in (MAX_PENDING, -MAX_PENDING):
        monkeypatch.setattr(study_state, "MAX_PENDING", longest)
        study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
        study.ask()
        trial = study.ask()
        objective(trial)
        first.append(trial.params)
    alone = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    alone.optimize(objective, n_trials=1)
    assert first[0] != alone.trials[0].params == first[1]


def test_ranges_of_the_objective_are_respected(past) -> None:
    def narrower(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 5.0, 6.0)
        trial.suggest_categorical("kind", ["a", "c"])
        return x

    study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    study.optimize(narrower, n_trials=8)
    assert all(5.0 <= trial.params["x"] <= 6.0 for trial in study.trials)
    assert study.best_value < 5.2


def test_own_scores_are_finite_and_larger_is_better() -> None:
    def trial(value: float | None, state: TrialState = TrialState.COMPLETE, **attributes):
        space = {"x": FloatDistribution(0, 1)}
        return create_trial(
            params={"x": 0.5},
            distributions=space,
            value=value,
            state=state,
            system_attrs=attributes,
        )

    trials = [
        trial(1.0),
        trial(2.0),
        trial(3.0),
        trial(1e9),
        trial(float("inf")),
        trial(None, TrialState.FAIL),
        trial(0.1, TrialState.PRUNED),
        trial(0.5, constraints=[1.0]),
    ]
    scores = trial_scores(trials, StudyDirection.MINIMIZE)
    assert np.isfinite(scores).all()
    assert scores[:3].tolist() == [1.0, 0.5, 0.0] or scores[:3].tolist() == [1.0, 0.0, -1.0]
    assert scores[3] == scores[4] == scores[5] == scores[7] == scores.min() == -3.0
    assert scores[6] <= np.median(scores[:4])


def test_invalid_arguments_raise(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"absent\.db"):
        TransferSampler(source_storage=f"sqlite:///{tmp_path / 'absent.db'}")
    with pytest.raises(ValueError, match="seed"):
        TransferSampler(seed=-1)
    with pytest.raises(TypeError, match="base_sampler"):
        TransferSampler(base_sampler="tpe")


def by_kind(kinds: list[str], losses: dict[str, float]) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        return losses[trial.suggest_categorical("kind", kinds)] + 0.1 * (x - 0.3) ** 2

    return objective


@pytest.mark.parametrize("sampler_class", [MetaLLMiXSampler, TransferSampler])
def test_new_choices_are_tried_early_and_kept_if_good(sampler_class) -> None:
    losses = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 0.0}
    storage = past_of(by_kind(["a", "b"], losses))
    llm = {"llm": False} if sampler_class is MetaLLMiXSampler else {}
    study = optuna.create_study(sampler=sampler_class(source_storage=storage, seed=0, **llm))
    study.optimize(by_kind(["a", "b", "c", "d"], losses), n_trials=20)
    kinds = [trial.params["kind"] for trial in study.trials]
    assert {"c", "d"} <= set(kinds[:6])
    assert kinds[10:].count("d") > 5


def test_a_choice_that_the_past_is_wrong_about_is_found() -> None:
    kinds = ["a", "b", "c"]
    storage = past_of(by_kind(kinds, {"a": 0.0, "b": 1.0, "c": 2.0}))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))
    study.optimize(by_kind(kinds, {"a": 2.0, "b": 1.0, "c": 0.0}), n_trials=12)
    assert study.best_params["kind"] == "c"
    assert min(trial.value for trial in study.trials[:10]) < 0.1


def test_a_wider_range_is_searched() -> None:
    def objective(trial: optuna.Trial, high: int) -> float:
        return abs(trial.suggest_int("depth", 1, high) - 18) + trial.suggest_float("x", 0, 1)

    storage = past_of(lambda trial: objective(trial, 6))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))
    study.optimize(lambda trial: objective(trial, 20), n_trials=15)
    assert study.best_params["depth"] > 15


def test_a_new_branch_is_searched() -> None:
    def objective(trial: optuna.Trial, models: list[str]) -> float:
        model = trial.suggest_categorical("model", models)
        if model == "new":
            return abs(trial.suggest_float("rate", 0, 1) - 0.5) - 1
        return abs(trial.suggest_float(f"{model}_x", 0, 1) - 0.5)

    storage = past_of(lambda trial: objective(trial, ["svm", "tree"]))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))
    study.optimize(lambda trial: objective(trial, ["svm", "tree", "new"]), n_trials=15)
    assert study.best_params["model"] == "new"


def test_what_the_past_does_not_know_is_logged_once(logs) -> None:
    losses = {"a": 1.0, "b": 2.0, "c": 0.0}
    storage = past_of(by_kind(["a", "b"], losses))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))

    def objective(trial: optuna.Trial) -> float:
        value = by_kind(["a", "b", "c"], losses)(trial)
        return value + trial.suggest_float("new", 0.0, 1.0)

    study.optimize(objective, n_trials=6)
    messages = [r.getMessage() for r in logs.records]
    messages = [text for text in messages if "no trial with" in text]
    assert len(messages) == 1
    assert "no trial with 'kind' = c; the parameter 'new'. " in messages[0]


def test_moving_ranges_do_not_refit(monkeypatch) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0 + 0.1 * trial.number)
        return x + trial.suggest_int("n", 1, 9)

    storage = past_of(objective)
    models, fits = [], []
    model_class, fit = transfer_sampler.TransferModel, MetaLearner.fit
    monkeypatch.setattr(
        transfer_sampler, "TransferModel", lambda *args: models.append(1) or model_class(*args)
    )
    monkeypatch.setattr(MetaLearner, "fit", lambda *args: fits.append(1) or fit(*args))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))
    study.optimize(objective, n_trials=25)
    assert len(fits) == 1
    assert len(models) < 10


@pytest.mark.parametrize("penalty", [1e308, sys.float_info.max, np.inf])
def test_huge_penalties_and_strict_numpy_stop_nothing(penalty: float) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        return penalty if x > 0.7 else (x - 0.5) ** 2

    storage = past_of(objective)
    with np.errstate(all="raise"):
        study = optuna.create_study(sampler=MetaLLMiXSampler(source_storage=storage, llm=False))
        study.enqueue_trial({"x": 0.9})
        study.optimize(objective, n_trials=15)
    assert sum(trial.params["x"] > 0.7 for trial in study.trials) < 8
    assert study.best_value < 0.01


def draw(distribution: BaseDistribution, rng: np.random.Generator) -> float:
    """Draw without the width of the range, at which Optuna's samplers raise OverflowError."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    share = rng.random()
    return distribution.low * (1 - share) + distribution.high * share


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(-1.7e308, 1.7e308),
        FloatDistribution(0.0, 1.7e308),
        FloatDistribution(0.0, 5e-324),
        FloatDistribution(1e16, 1e16 + 4),
        CategoricalDistribution([-1.7e308, 0.0, 1.7e308]),
    ],
)
@pytest.mark.parametrize("sampler_class", [MetaLLMiXSampler, TransferSampler])
def test_extreme_ranges_stop_nothing(distribution: BaseDistribution, sampler_class) -> None:
    def objective(trial: optuna.Trial) -> float:
        if isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical("wide", distribution.choices)
        else:
            trial.suggest_float("wide", distribution.low, distribution.high)
        return (trial.suggest_float("x", 0.0, 1.0) - 0.5) ** 2

    storage, rng = optuna.storages.InMemoryStorage(), np.random.default_rng(0)
    for i in range(3):
        study = optuna.create_study(storage=storage, study_name=f"past-{i}")
        for _ in range(15):
            study.enqueue_trial({"wide": draw(distribution, rng), "x": rng.random()})
        study.optimize(objective, n_trials=15)
    llm = {"llm": False} if sampler_class is MetaLLMiXSampler else {}
    with np.errstate(all="raise"):
        study = optuna.create_study(sampler=sampler_class(source_storage=storage, seed=0, **llm))
        study.optimize(objective, n_trials=12)
    assert study.best_value < 0.01
    assert not any("metallmix:reason" in trial.user_attrs for trial in study.trials)


@pytest.mark.filterwarnings("error")
def test_a_tiny_space_is_covered_whatever_the_past() -> None:
    def objective(trial: optuna.Trial) -> float:
        return abs(trial.suggest_int("n", 1, 4) - 1.0)

    storage = past_of(lambda trial: -objective(trial))
    study = optuna.create_study(sampler=TransferSampler(source_storage=storage, seed=0))
    study.optimize(objective, n_trials=6)
    assert {trial.params["n"] for trial in study.trials} == {1, 2, 3, 4}


def with_added(trial: optuna.Trial) -> float:
    return trial.suggest_float("added", 0.0, 1.0) + objective(trial)


def run_in_parallel(study: optuna.Study) -> None:
    """Start the second trial when the first has only its first parameter."""
    first, second = study.ask(), study.ask()
    for trial in (first, second):
        trial.suggest_float("added", 0.0, 1.0)
    for trial in (first, second):
        study.tell(trial, with_added(trial))
    study.optimize(with_added, n_trials=2)


def run_after_failure(study: optuna.Study) -> None:
    """Fail the first trial after its first parameter."""
    study.ask().suggest_float("added", 0.0, 1.0)
    study.tell(0, state=TrialState.FAIL)
    study.optimize(with_added, n_trials=3)


@pytest.mark.parametrize(
    "start", [lambda s: s.optimize(with_added, n_trials=3), run_in_parallel, run_after_failure]
)
@pytest.mark.parametrize(
    "make",
    [
        lambda past: TransferSampler(source_storage=past, seed=0),
        lambda past: MetaLLMiXSampler(source_storage=past, llm=False, seed=0),
        lambda past: MetaLLMiXSampler(
            source_storage=past,
            llm=False,
            seed=0,
            search_space={"x": FloatDistribution(0.0, 10.0)},
        ),
    ],
)
def test_a_parameter_without_a_past_is_not_logged_as_a_study_without_one(past, logs, make, start):
    study = optuna.create_study(sampler=make(past))
    start(study)
    lines = [record.getMessage() for record in logs.records]
    assert not [line for line in lines if "not used" in line]
    assert len([line for line in lines if "the parameter 'added'" in line]) == 1
    assert any(SIMILARITY_ATTR in trial.system_attrs for trial in study.trials)


def test_an_objective_without_any_known_parameter_is_logged_once(past, logs):
    study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=4)
    (warning,) = logs.warnings
    assert "none of them has a parameter of this study ('a')" in warning


def test_a_renamed_parameter_is_logged_once_and_its_alias_uses_the_past(past, logs):
    def renamed(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("Kind", ["a", "b"])
        return abs(trial.suggest_float("x", 0.0, 10.0) - 3) + (kind == "a")

    study = optuna.create_study(sampler=TransferSampler(source_storage=past, seed=0))
    study.optimize(renamed, n_trials=4)
    (warning,) = logs.warnings
    assert "pass aliases={'kind': 'Kind'}" in warning
    assert not [line for line in logs.infos if "'Kind'" in line]
    sampler = TransferSampler(source_storage=past, seed=0, aliases={"kind": "Kind"})
    study = optuna.create_study(sampler=sampler)
    study.optimize(renamed, n_trials=2)
    assert len(logs.warnings) == 1
    model = next(iter(sampler._states.values())).model
    assert model is not None
    assert "Kind" in model.learner.space
    assert "kind" not in model.learner.space


def test_names_of_studies_that_do_not_exist_are_logged(past, logs):
    names = ["past-0", "past_1"]
    sampler = TransferSampler(source_storage=past, source_study_names=names, seed=0)
    optuna.create_study(sampler=sampler).optimize(objective, n_trials=3)
    (warning,) = logs.warnings
    assert "has no study 'past_1' (did you mean 'past-1'" in warning
