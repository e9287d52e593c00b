"""A base sampler that counts or reserves trials must not count those that others sample."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import BruteForceSampler
from optuna.samplers import GridSampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.transfer import PerStudySampler
from optuna_metallmix.transfer import per_study_sampler


class Fixed(PerStudySampler):
    """Samples the parameters in ``own`` of some trials; the base sampler samples all else."""

    def __init__(
        self, base: BaseSampler, own: Mapping[str, Any], numbers: Sequence[int] = (0,)
    ) -> None:
        super().__init__(base)
        self._own = own
        self._numbers = numbers

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        if self._is_own(study, trial) and param_name in self._own:
            return self._own[param_name]
        return self._base(study).sample_independent(study, trial, param_name, distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._base(study).after_trial(study, trial, state, values)

    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        return trial.number in self._numbers


GRID = {"x": [1, 2, 3], "y": ["a", "b"]}
POINTS = set(itertools.product(*GRID.values()))


def on_grid(trial: optuna.Trial) -> float:
    trial.suggest_categorical("kind", ["only"])  # never sampled
    x = trial.suggest_int("x", 1, 9)
    return x + len(trial.suggest_categorical("y", ["a", "b"]))


def points(study: Study) -> list[tuple[Any, ...]]:
    return [(trial.params["x"], trial.params["y"]) for trial in study.trials]


@pytest.mark.parametrize("number", [0, 3, 6])
@pytest.mark.parametrize("own", [{"x": 2, "y": "a"}, {"x": 8, "y": "a"}, {"x": 2}, {"y": "b"}, {}])
def test_every_point_of_a_grid_is_evaluated(own: dict[str, Any], number: int) -> None:
    """Whether the own trial is a point of the grid, is not, or has values of the grid in part."""
    study = optuna.create_study(sampler=Fixed(GridSampler(GRID, seed=1), own, [number]))
    study.optimize(on_grid, n_trials=20)
    rest = [point for n, point in enumerate(points(study)) if n != number or not own]
    assert sorted(rest) == sorted(POINTS)


@pytest.mark.parametrize("n_own", [1, 2])
def test_a_grid_of_a_point_is_evaluated_after_own_trials(n_own: int) -> None:
    """``GridSampler`` raises for a trial without a point if a single point is left."""
    grid = GridSampler({"x": [4], "y": ["a"]})
    study = optuna.create_study(sampler=Fixed(grid, {"x": 2, "y": "b"}, range(n_own)))
    study.optimize(on_grid, n_trials=20)
    assert points(study) == [*[(2, "b")] * n_own, (4, "a")]


def test_a_failed_own_trial_uses_up_no_point() -> None:
    def failing(trial: optuna.Trial) -> float:
        value = on_grid(trial)
        if trial.number == 0:
            raise RuntimeError
        return value

    study = optuna.create_study(sampler=Fixed(GridSampler(GRID), {"x": 1, "y": "a"}))
    study.optimize(failing, n_trials=20, catch=(RuntimeError,))
    assert sorted(points(study)[1:]) == sorted(POINTS)


def test_trials_in_threads_cover_the_grid() -> None:
    study = optuna.create_study(sampler=Fixed(GridSampler(GRID), {"x": 8, "y": "a"}, [1]))
    study.optimize(on_grid, n_trials=20, n_jobs=3)
    assert set(points(study)) >= POINTS


def test_a_grid_within_a_partial_fixed_sampler_is_evaluated() -> None:
    base = PartialFixedSampler({"y": "b"}, GridSampler({"x": [1, 2, 3]}))
    study = optuna.create_study(sampler=Fixed(base, {"x": 1, "y": "a"}))
    study.optimize(on_grid, n_trials=20)
    assert sorted(points(study)) == [(1, "a"), (1, "b"), (2, "b"), (3, "b")]


def test_an_own_trial_counts_for_brute_force() -> None:
    def small(trial: optuna.Trial) -> float:
        return trial.suggest_int("x", 1, 3) + len(trial.suggest_categorical("y", ["a", "b"]))

    study = optuna.create_study(sampler=Fixed(BruteForceSampler(seed=0), {"x": 2, "y": "a"}))
    study.optimize(small, n_trials=20)
    assert sorted(points(study)) == sorted(POINTS)
    last = optuna.create_study(sampler=Fixed(BruteForceSampler(), {"x": 1}))
    last.optimize(lambda trial: trial.suggest_categorical("x", [1, 1.5]), n_trials=20)
    assert len(last.trials) == 2


def test_brute_force_stops_after_an_own_trial_that_was_the_last() -> None:
    study = optuna.create_study(sampler=Fixed(BruteForceSampler(), {"x": 2}, [1]))
    study.add_trial(
        optuna.create_trial(
            params={"x": 1}, distributions={"x": CategoricalDistribution([1, 2])}, value=0.0
        )
    )
    study.optimize(lambda trial: trial.suggest_categorical("x", [1, 2]), n_trials=20)
    assert len(study.trials) == 2


class Queue(BaseSampler):
    """A user's own sampler: takes a value before each trial, and asks for it afterwards."""

    def __init__(self, values: Sequence[int]) -> None:
        self.values = list(values)
        self.taken: dict[int, int] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.taken[trial.number] = self.values.pop(0)
        study._storage.set_trial_system_attr(trial._trial_id, "taken", self.taken[trial.number])

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        return trial.system_attrs["taken"]

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        del self.taken[trial.number]
        if not self.values:
            study.stop()


@pytest.mark.parametrize("storage", ["sqlite:///:memory:", None])
@pytest.mark.parametrize(("own", "first"), [({"x": 9}, [9]), ({}, [])])
def test_a_sampler_that_takes_values_is_told_of_its_own_trials_only(
    storage: str | None, own: dict[str, Any], first: list[int]
) -> None:
    """If the own trial has no value after all, the base sampler is told of it first."""
    sampler = Fixed(Queue([3, 1, 2]), own)
    study = optuna.create_study(storage=storage, sampler=sampler)
    study.optimize(lambda trial: trial.suggest_int("x", 1, 9), n_trials=20)
    assert [trial.params["x"] for trial in study.trials] == [*first, 3, 1, 2]


def test_queued_trials_are_told_to_the_base_sampler() -> None:
    study = optuna.create_study(sampler=Fixed(GridSampler(GRID), {"x": 8, "y": "a"}, [1]))
    study.enqueue_trial({"x": 9, "y": "b"})
    study.optimize(on_grid, n_trials=20)
    assert points(study)[:2] == [(9, "b"), (8, "a")]
    assert sorted(points(study)[2:]) == sorted(POINTS)


@pytest.mark.filterwarnings("ignore")  # constraints_func is deprecated
def test_constraints_of_own_trials_are_recorded() -> None:
    tpe = TPESampler(constraints_func=lambda trial: [trial.params["x"] - 3.0])
    for base in (tpe, PartialFixedSampler({"y": "b"}, tpe)):
        study = optuna.create_study(sampler=Fixed(base, {"x": 8, "y": "a"}))
        study.optimize(on_grid, n_trials=2)
        assert list(study.trials[0].system_attrs["constraints"]) == [5.0]


def test_pickles_during_a_trial() -> None:
    study = optuna.create_study(sampler=Fixed(GridSampler(GRID), {}))
    trial = study.ask()
    on_grid(trial)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.tell(trial, 0.0)
    study.optimize(on_grid, n_trials=20)
    assert sorted(points(study)) == sorted(POINTS)


def test_studies_and_trials_that_never_end_do_not_pile_up(monkeypatch) -> None:
    monkeypatch.setattr(per_study_sampler, "MAX_STUDIES", 2)
    monkeypatch.setattr(per_study_sampler, "MAX_TRIALS", 3)
    sampler = Fixed(TPESampler(seed=0), {})
    studies = [optuna.create_study(sampler=sampler) for _ in range(4)]
    for study in studies:
        for _ in range(5):
            study.ask().suggest_float("x", 0.0, 1.0)
    assert len(sampler._bases) == 2
    assert [len(base._sampled) for base in sampler._bases.values()] == [3, 3]
    studies[0].optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=2)
    assert len(studies[0].get_trials(states=[TrialState.COMPLETE])) == 2


def test_a_sampler_is_reseeded_while_threads_add_studies() -> None:
    sampler = Fixed(TPESampler(), {})
    studies = [optuna.create_study(sampler=sampler) for _ in range(60)]

    def add() -> None:
        for study in studies:
            study.ask()

    thread = threading.Thread(target=add)
    thread.start()
    while thread.is_alive():
        sampler.reseed_rng()
    thread.join()
    assert len(sampler._bases) == 60
