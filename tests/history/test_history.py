from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from datetime import UTC
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.history import score_study
from optuna_metallmix.history.history import with_own_trials
from optuna_metallmix.history.scores import PastTrial


X = {"x": FloatDistribution(0, 1)}
UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def run(
    x: float,
    value: float | None = None,
    state: TrialState = TrialState.COMPLETE,
    reports: dict[int, float] | None = None,
) -> FrozenTrial:
    return create_trial(
        state=state,
        params={"x": x},
        distributions=dict(X),
        value=value,
        intermediate_values=reports,
    )


def pruned(x: float, value: float | None) -> FrozenTrial:
    return run(x, value, TrialState.PRUNED)


def failed(x: float) -> FrozenTrial:
    return run(x, None, TrialState.FAIL)


def ranks_of(trials: Sequence[FrozenTrial], direction: StudyDirection = UP) -> dict[float, float]:
    study = score_study("past", direction, trials)
    return {trial.params["x"]: trial.rank for trial in study.trials}


def test_scores_are_ranks_from_worst_to_best() -> None:
    trials = [run(0.1, -5.0), run(0.2, 100.0), run(0.3, 7.0)]
    assert ranks_of(trials) == {0.1: 0.0, 0.3: 0.5, 0.2: 1.0}
    assert ranks_of(trials, DOWN) == {0.1: 1.0, 0.3: 0.5, 0.2: 0.0}


def test_the_best_trial_comes_first() -> None:
    study = score_study("past", DOWN, [run(0.1, 3.0), run(0.2, 1.0), run(0.3, 2.0)])
    assert [trial.params["x"] for trial in study.trials] == [0.2, 0.3, 0.1]
    assert [trial.value for trial in study.trials] == [1.0, 2.0, 3.0]


def test_equal_values_share_their_rank() -> None:
    ranks = ranks_of([run(0.1, 1.0), run(0.2, 1.0), run(0.3, 5.0)])
    assert ranks == {0.1: 0.25, 0.2: 0.25, 0.3: 1.0}


def test_failures_and_divergence_in_the_bad_direction_score_zero() -> None:
    trials = [run(0.1, 1.0), run(0.2, 2.0), failed(0.3), run(0.4, -math.inf)]
    ranks = ranks_of(trials)
    assert (ranks[0.3], ranks[0.4], ranks[0.2]) == (0.0, 0.0, 1.0)
    assert ranks[0.1] > 0.0


def test_failed_trial_has_no_value() -> None:
    study = score_study("past", UP, [run(0.1, 1.0), run(0.2, 2.0), failed(0.3)])
    assert [trial.value for trial in study.trials] == [2.0, 1.0, None]


@pytest.mark.parametrize(("direction", "value"), [(UP, math.inf), (DOWN, -math.inf)])
def test_infinity_in_the_good_direction_is_no_evidence(
    direction: StudyDirection, value: float
) -> None:
    assert set(ranks_of([run(0.1, 1.0), run(0.2, 2.0), run(0.3, value)], direction)) == {0.1, 0.2}


@pytest.mark.parametrize("n_complete", [2, 3, 4, 5])
def test_pruned_is_never_above_the_middle_and_the_best_stays_best(n_complete: int) -> None:
    trials = [run(i / 10, float(i)) for i in range(n_complete)]
    ranks = ranks_of([*trials, pruned(0.9, 1_000.0), pruned(0.8, -1.0)])
    complete = sorted(ranks[i / 10] for i in range(n_complete))
    assert ranks[0.9] <= complete[n_complete // 2]
    assert ranks[0.9] < 1.0
    assert complete[-1] == 1.0
    assert ranks[0.8] == 0.0


def test_pruned_trial_counts_by_its_last_report_if_it_has_no_value() -> None:
    reported = run(0.5, None, TrialState.PRUNED, {1: 9.0, 2: 2.5})
    silent = run(0.6, None, TrialState.PRUNED)
    ranks = ranks_of([run(0.1, 1.0), run(0.2, 3.0), run(0.3, 4.0), reported, silent])
    assert ranks[0.1] < ranks[0.5] < ranks[0.2]
    assert ranks[0.6] == 0.0


def test_pruned_trial_whose_last_report_is_not_a_number_failed() -> None:
    reported = run(0.5, None, TrialState.PRUNED, {1: math.nan})
    assert ranks_of([run(0.1, 1.0), run(0.2, 3.0), reported])[0.5] == 0.0


def test_repeated_configuration_counts_once_with_its_mean() -> None:
    trials = [run(0.1, 1.0), run(0.2, 0.0), run(0.2, 10.0), run(0.3, 3.0)]
    assert ranks_of(trials) == {0.1: 0.0, 0.3: 0.5, 0.2: 1.0}
    study = score_study("past", UP, trials)
    assert study.trials[0].value == 5.0


def test_repeating_the_best_does_not_lower_it() -> None:
    assert ranks_of([run(0.1, 1.0), run(0.2, 2.0), run(0.2, 2.0)])[0.2] == 1.0


def test_configuration_that_was_killed_and_tried_again_did_not_fail() -> None:
    trials = [failed(0.2), run(0.1, 1.0), run(0.2, 2.0), pruned(0.2, 0.5), failed(0.3)]
    ranks = ranks_of(trials)
    assert ranks[0.2] == 1.0
    assert ranks[0.3] == 0.0


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        ([], "no complete trial"),
        ([failed(0.1), failed(0.2)], "no complete trial"),
        ([pruned(0.1, 1.0), pruned(0.2, 2.0)], "no complete trial"),
        ([run(0.1, math.inf), run(0.2, -math.inf)], "no complete trial"),
        ([run(0.1, 1.0), failed(0.2)], "only one complete trial"),
        ([run(0.1, 1.0), run(0.2, 1.0), pruned(0.3, 2.0)], "the same value"),
        ([create_trial(value=1.0), create_trial(value=2.0)], "no complete trial"),
    ],
)
def test_unfit_study_is_left_out_with_a_reason(trials: list[FrozenTrial], reason: str) -> None:
    study = optuna.create_study(study_name="poor", direction="maximize")
    study.add_trials(trials)
    history = read_history(study._storage)
    assert history.studies == ()
    assert reason in history.left_out["poor"]


def test_several_objectives_and_preferences_are_left_out() -> None:
    storage = InMemoryStorage()
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    study = optuna.create_study(storage=storage, study_name="taste")
    storage.set_study_system_attr(study._study_id, "preference:is_preferential", True)
    study.add_trials([run(0.1, 1.0), run(0.2, 2.0)])
    left_out = read_history(storage).left_out
    assert "2 objectives" in left_out["two"]
    assert "preferential" in left_out["taste"]


def test_waiting_and_running_trials_are_passed_over() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trials([run(0.1, 1.0), run(0.2, 2.0)])
    study.ask({"x": X["x"]})
    study.enqueue_trial({"x": 0.9})
    (past,) = read_history(study._storage).studies
    assert {trial.params["x"] for trial in past.trials} == {0.1, 0.2}


def test_study_keeps_its_space_and_features() -> None:
    study = optuna.create_study(direction="maximize", study_name="past")
    study.set_user_attr("n_instances", 300)
    study.set_user_attr("notes", {"not": "a scalar"})
    study.add_trials([run(0.1, 1.0), run(0.2, 2.0)])
    (past,) = read_history(study._storage).studies
    assert past.name == "past"
    assert past.space == X
    assert past.meta_features == {"n_instances": 300}


def lasting(trial: FrozenTrial, seconds: float) -> FrozenTrial:
    assert trial.datetime_start is not None
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    return trial


def test_seconds_between_two_kinds_of_clocks_are_unknown() -> None:
    """One end of the trial has a time zone, the other has none."""
    study = optuna.create_study(direction="maximize", study_name="past")
    trials = [lasting(run(x, x), 20) for x in (0.1, 0.2, 0.3)]
    assert trials[0].datetime_start is not None
    assert trials[1].datetime_start is not None
    trials[0].datetime_start = trials[0].datetime_start.astimezone(UTC)
    trials[1].datetime_start = trials[1].datetime_start.astimezone(UTC)
    trials[1].datetime_complete = trials[1].datetime_start + timedelta(seconds=30)
    study.add_trials(trials)
    (past,) = read_history(study._storage).studies
    assert {trial.params["x"]: trial.seconds for trial in past.trials} == {
        0.1: None,
        0.2: 30,
        0.3: 20,
    }


def test_seconds_are_those_of_the_longest_complete_run() -> None:
    trials = [
        lasting(run(0.1, 1.0), 20),
        lasting(run(0.1, 1.0), 30),
        lasting(failed(0.1), 99),
        lasting(failed(0.2), 5),
        lasting(pruned(0.3, 0.5), 5),
        run(0.4, 2.0),  # added, not run: it starts and ends at once
    ]
    past = score_study("past", UP, trials)
    seconds = {trial.params["x"]: trial.seconds for trial in past.trials}
    assert seconds == {0.1: 30.0, 0.2: None, 0.3: None, 0.4: None}


def test_names_select_and_exclude_passes_over(past_storage: BaseStorage) -> None:
    names = [study.name for study in read_history(past_storage, names=["chest"]).studies]
    assert names == ["chest"]
    names = [study.name for study in read_history(past_storage, exclude="skin").studies]
    assert names == ["chest", "retina"]


def test_missing_studies_are_named_and_the_others_read(past_storage: BaseStorage) -> None:
    history = read_history(past_storage, names=["bone", "chest", "Skin", "retin"])
    assert [study.name for study in history.studies] == ["chest"]
    assert history.problems == (
        "InMemoryStorage has no study 'bone', 'Skin' (did you mean 'skin'?), 'retin' (did you "
        "mean 'retina'?). It has: 'chest', 'retina', 'skin'. Check `source_study_names`.",
    )
    assert read_history(past_storage, names=["bone"]).studies == ()


def _named(*trials: dict[str, float]) -> InMemoryStorage:
    """A storage with a study whose trials have these parameters."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="a")
    for i, params in enumerate(trials):
        space: dict[str, Any] = {name: FloatDistribution(0, i + 1) for name in params}
        study.add_trial(create_trial(params=params, distributions=space, value=i))
    return storage


def test_past_parameters_are_renamed() -> None:
    storage = _named({"lr": 0.5, "depth": 1.0}, {"eta": 0.25}, {"rate": 2.0})
    history = read_history(storage, aliases={"lr": "rate", "eta": "rate"})
    (study,) = history.studies
    params = [trial.params for trial in study.trials]
    assert params == [{"rate": 0.5, "depth": 1.0}, {"rate": 0.25}, {"rate": 2.0}]
    assert study.space == {"rate": FloatDistribution(0, 3), "depth": FloatDistribution(0, 1)}
    assert history.aliases == {"lr": "rate", "eta": "rate"}
    assert history.problems == ()
    (again,) = read_history(storage, aliases=history.aliases).studies
    assert again.trials is study.trials  # meta-learners are cached by their id


def test_a_study_with_two_parameters_of_the_same_present_name_is_left_out() -> None:
    storage = _named({"lr": 0.5, "rate": 1.0}, {"rate": 0.25})
    history = read_history(storage, aliases={"lr": "rate"})
    assert history.studies == ()
    assert history.left_out["a"] == (
        "it has a trial with both 'lr' and 'rate', which have the same name 'rate' by `aliases`"
    )
    (problem,) = history.problems
    assert problem.startswith("Past study 'a' is left out: it has a trial with both")


def test_an_alias_of_a_parameter_that_no_past_study_has_is_named(
    past_storage: BaseStorage,
) -> None:
    history = read_history(past_storage, aliases={"depht": "n_layers", "lr": "rate"})
    assert "rate" in history.past_space
    (problem,) = history.problems
    assert "'depht' (did you mean 'depth'?)" in problem


def test_the_study_s_own_parameters_keep_their_names(past_storage: BaseStorage) -> None:
    study = optuna.create_study()
    study.add_trials([create_trial(params={"x": v}, distributions=X, value=v) for v in (0.0, 1.0)])
    history = with_own_trials(read_history(past_storage, aliases={"lr": "x"}), study)
    assert history.with_aliases({"x": "y"}).studies[-1].space == X


class _Broken(InMemoryStorage):
    def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        raise ConnectionResetError("the server went away")


def test_storage_that_raises_is_a_history_error() -> None:
    storage = _Broken()
    storage.create_new_study([UP], "past")
    with pytest.raises(HistoryError, match=r"ConnectionResetError: the server went away.*Check"):
        read_history(storage)


def _sqlite(path: Path) -> BaseStorage:
    return optuna.storages.get_storage(f"sqlite:///{path}")


def _journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _memory(path: Path) -> BaseStorage:
    return InMemoryStorage()


def _exceeds(trial: FrozenTrial) -> tuple[float]:
    return (trial.params["x"] - 0.6,)


def _with_constraints_func(storage: BaseStorage) -> optuna.Study:
    with warnings.catch_warnings():  # deprecated from Optuna 5, experimental before
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.NSGAIISampler(seed=0, constraints_func=_exceeds)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
    return study


def _with_set_constraint(storage: BaseStorage) -> optuna.Study:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("size", x - 0.6)
        return x

    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=12)
    return study


@pytest.mark.parametrize("open_storage", [_memory, _sqlite, _journal])
@pytest.mark.parametrize("constrain", [_with_constraints_func, _with_set_constraint])
def test_infeasible_trials_of_any_storage_are_the_worst(
    tmp_path: Path,
    open_storage: Callable[[Path], BaseStorage],
    constrain: Callable[[BaseStorage], optuna.Study],
) -> None:
    if constrain is _with_set_constraint and not hasattr(optuna.Trial, "set_constraint"):
        pytest.skip("Optuna 4 has no set_constraint")
    study = constrain(open_storage(tmp_path / "past"))
    read, own = read_history(study._storage), with_own_trials(History(), study)
    for past in (*read.studies, *own.studies):
        feasible = [trial.params["x"] <= 0.6 for trial in past.trials]
        assert 2 <= sum(feasible) < 12
        assert feasible == sorted(feasible, reverse=True)
        assert all((trial.rank > 0) == ok for trial, ok in zip(past.trials, feasible, strict=True))
    assert {value is None for params, value in own.tried if params["x"] > 0.6} == {True}
    assert all(value == params["x"] for params, value in own.tried if params["x"] <= 0.6)


@pytest.mark.parametrize("open_storage", [_sqlite, _journal])
def test_past_study_is_byte_identical_afterwards(
    tmp_path: Path,
    add_study: Callable[..., optuna.Study],
    open_storage: Callable[[Path], BaseStorage],
) -> None:
    path = tmp_path / "past"
    add_study(open_storage(path), "skin", n_trials=6, n_instances=3)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    history = read_history(open_storage(path))
    assert len(history.studies[0].trials) == 6
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["past"]


@pytest.mark.parametrize("open_storage", [_sqlite, _journal])
def test_a_study_is_scored_once_until_it_grows(
    tmp_path: Path,
    add_study: Callable[..., optuna.Study],
    open_storage: Callable[[Path], BaseStorage],
) -> None:
    storage = open_storage(tmp_path / "past")
    study = add_study(storage, "skin", n_trials=6, n_instances=3)
    first = read_history(storage).studies[0]
    study.set_user_attr("n_instances", 4)
    again = read_history(storage).studies[0]
    assert again.trials is first.trials
    assert again.meta_features == {**first.meta_features, "n_instances": 4}
    study.add_trial(run(0.5, 0.5))
    grown = read_history(storage).studies[0]
    assert len(grown.trials) == 7
    assert grown == read_history(open_storage(tmp_path / "past")).studies[0]


def _past(name: str, *params: str, is_target: bool = False) -> PastStudy:
    space = {param: IntDistribution(0, 1) for param in params}
    return PastStudy(name, space, (PastTrial({}, 1.0, 1.0, None),), {}, is_target)


def test_sharing_keeps_studies_that_have_a_parameter() -> None:
    history = History((_past("a", "lr"), _past("b", "k"), _past("me", "k", is_target=True)))
    kept = history.sharing(["lr"])
    assert [study.name for study in kept.studies] == ["a", "me"]
    assert list(kept.left_out) == ["b"]
    assert history.sharing(["unknown"]) == history


def test_own_trials_are_kept_as_tried() -> None:
    own = [run(0.1, 1.0), failed(0.2)]
    study = optuna.create_study()
    study.add_trials(own)
    history = with_own_trials(History(), study)
    assert history.target_space == X
    assert history.tried == (({"x": 0.1}, 1.0),)
    assert history.n_trials == 0
