"""Trials that run at the same time have different configurations, as those of TPE."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix import trial_claim
from optuna_metallmix.candidates.pool import PROPOSAL_ATTR
from optuna_metallmix.transfer import sampler as transfer_sampler
from optuna_metallmix.transfer import study_state
from optuna_metallmix.transfer.study_state import MAX_PENDING
from optuna_metallmix.transfer.study_state import StudyState


Objective = Callable[[optuna.Trial], float]


def continuous(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    values = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(3)]
    return abs(np.log10(rate) + 3) + sum((x - 0.3) ** 2 for x in values)


def mixed(trial: optuna.Trial) -> float:
    loss = {"a": 2.0, "b": 0.0, "c": 5.0}[trial.suggest_categorical("kind", ["a", "b", "c"])]
    x, n = trial.suggest_float("x", 0.0, 10.0), trial.suggest_int("n", 1, 64, log=True)
    return loss + (x - 3) ** 2 + abs(np.log2(n) - 4)


def conditional(trial: optuna.Trial) -> float:
    if trial.suggest_categorical("kind", ["a", "b"]) == "a":
        loss = 1.0 + trial.suggest_float("a_x", 0.0, 1.0)
    else:
        loss = (trial.suggest_float("b_x", 0.0, 1.0) - 0.5) ** 2
        loss += abs(trial.suggest_int("b_n", 1, 30) - 9) / 9
    return loss + trial.suggest_float("w", 0.0, 1.0)


SPACES = {"continuous": continuous, "mixed": mixed, "conditional": conditional}


@pytest.fixture(scope="module")
def pasts() -> dict[tuple[str, bool], BaseStorage]:
    """A past of each space that agrees with the objective, and one that contradicts it."""
    pasts = {}
    for name, objective in SPACES.items():
        for agrees in (True, False):
            storage = pasts[name, agrees] = InMemoryStorage()
            for seed in range(3):
                sampler = optuna.samplers.RandomSampler(seed=seed)
                study = optuna.create_study(
                    storage=storage,
                    study_name=f"past-{seed}",
                    sampler=sampler,
                    direction="minimize" if agrees else "maximize",
                )
                study.optimize(objective, n_trials=30)
    return pasts


def n_different(study: optuna.Study) -> int:
    return len({tuple(sorted(trial.params.items())) for trial in study.trials})


@pytest.mark.parametrize("agrees", [True, False])
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "make",
    [TransferSampler, lambda **options: MetaLLMiXSampler(llm=False, **options)],
    ids=["transfer", "metallmix"],
)
def test_eight_threads_try_64_configurations(pasts, make, seed, name, agrees) -> None:
    sampler = make(source_storage=pasts[name, agrees], seed=seed)
    study = optuna.create_study(sampler=sampler)
    study.optimize(SPACES[name], n_trials=64, n_jobs=8)
    assert n_different(study) == 64


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("reverse", [True, False])
def test_trials_that_show_their_parameters_one_by_one_differ(pasts, name, reverse) -> None:
    """The proposal of a trial counts before the trial has asked for it."""
    study = optuna.create_study(sampler=TransferSampler(source_storage=pasts[name, True], seed=0))
    for _ in range(4):
        trials = [study.ask() for _ in range(8)]
        for trial in trials:  # all configurations are proposed before any is complete
            study.sampler.infer_relative_search_space(study, study.trials[trial.number])
        for trial in trials[::-1] if reverse else trials:
            SPACES[name](trial)
        for trial in trials:
            study.tell(trial, SPACES[name](trial))
    assert n_different(study) == 32


@pytest.mark.parametrize("n_finished", [0, 2, 9])
def test_workers_on_one_storage_differ_in_what_it_shows(pasts, n_finished) -> None:
    """Another process sees only the parameters that a trial has asked for so far."""
    storage = InMemoryStorage()
    workers = [
        optuna.create_study(
            storage=storage,
            study_name="study",
            load_if_exists=True,
            sampler=TransferSampler(source_storage=pasts["continuous", True], seed=0),
        )
        for _ in range(6)
    ]
    workers[0].optimize(continuous, n_trials=n_finished)
    trials = []
    for worker in workers:
        trials.append(worker.ask())
        trials[-1].suggest_float("rate", 1e-5, 1e-1, log=True)
    for trial in trials:
        continuous(trial)
    assert n_different(workers[0]) == n_finished + 6


def two_workers(past: BaseStorage, n_trials: int = 2) -> list[optuna.Study]:
    """Two processes, as far as their samplers know, that have both begun."""
    storage = InMemoryStorage()
    workers = [
        optuna.create_study(
            storage=storage,
            study_name="study",
            load_if_exists=True,
            sampler=TransferSampler(source_storage=past, seed=0),
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.optimize(mixed, n_trials=n_trials)
    return workers


def test_workers_share_what_their_trials_have_not_asked_for_yet(pasts) -> None:
    """Of a choice alone, another process cannot know the configuration."""
    workers = two_workers(pasts["mixed", True])
    trials = [worker.ask() for worker in workers]
    for trial in trials:
        trial.suggest_categorical("kind", ["a", "b", "c"])
    assert all(PROPOSAL_ATTR in trial.system_attrs for trial in workers[0].trials[4:])
    for trial in trials:
        mixed(trial)
    assert n_different(workers[0]) == 6


def test_workers_that_propose_at_the_same_moment_differ(pasts, monkeypatch) -> None:
    """Both have read the trials before either has proposed, and explore the same choice."""
    monkeypatch.setattr(study_state, "MAX_PENDING", timedelta(seconds=-1))  # not reserved
    first, second = two_workers(pasts["mixed", True], n_trials=3)
    trials = [first.ask(), second.ask()]
    read, before = transfer_sampler.all_trials, first.trials
    mixed(trials[0])
    calls: list[int] = []

    def read_late(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
        calls.append(1)
        return before if len(calls) <= 2 else read(study)

    monkeypatch.setattr(transfer_sampler, "all_trials", read_late)
    mixed(trials[1])
    assert len(calls) > 2
    assert n_different(first) == 8


def test_a_single_process_shares_nothing(pasts) -> None:
    study = optuna.create_study(sampler=TransferSampler(source_storage=pasts["mixed", True]))
    study.optimize(mixed, n_trials=4)
    assert not any(PROPOSAL_ATTR in trial.system_attrs for trial in study.trials)


@pytest.mark.parametrize("record", ["text", 3, ["x"], {"x": "text", "n": None, "other": 1}, {}])
def test_a_damaged_proposal_of_another_process_stops_nothing(pasts, record) -> None:
    study = optuna.create_study(sampler=TransferSampler(source_storage=pasts["mixed", True]))
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL_ATTR, record)
    study.optimize(mixed, n_trials=4)
    assert n_different(study) == 5


def test_a_configuration_of_another_sampler_is_not_proposed(pasts, monkeypatch) -> None:
    monkeypatch.setattr(study_state, "MAX_PENDING", timedelta(seconds=-1))  # not reserved
    sampler = TransferSampler(source_storage=pasts["mixed", True], seed=0)
    alone = optuna.create_study(sampler=sampler)
    alone.optimize(mixed, n_trials=1)
    study = optuna.create_study(sampler=sampler)
    suggested, other = study.ask(), study.ask()
    sampler.add_suggested(study, study.trials[suggested.number], alone.best_params)
    mixed(other)
    assert other.params != alone.best_params


def test_the_suggestion_is_not_proposed_before_its_trial_has_asked_for_it(pasts) -> None:
    """Its first parameter is a choice, which says little of the others."""
    sampler = MetaLLMiXSampler(source_storage=pasts["mixed", True], seed=0, llm=False)
    study = optuna.create_study(sampler=sampler)
    suggested, other, earlier = (study.ask() for _ in range(3))
    mixed(earlier)
    suggested.suggest_categorical("kind", ["a", "b", "c"])
    mixed(other)
    mixed(suggested)
    assert other.params != suggested.params


def suggestion_after(study: optuna.Study, past: BaseStorage) -> dict[str, Any]:
    """Return the first configuration of a sampler that another process might run."""
    sampler = MetaLLMiXSampler(source_storage=past, seed=0, llm=False)
    suggested = optuna.load_study(study_name="study", storage=study._storage, sampler=sampler)
    trial = suggested.ask()
    mixed(trial)
    assert study.trials[trial.number].user_attrs["metallmix:source"] == "meta-learner"
    return trial.params


def with_transfer(past: BaseStorage) -> optuna.Study:
    sampler = TransferSampler(source_storage=past, seed=0)
    return optuna.create_study(study_name="study", storage=InMemoryStorage(), sampler=sampler)


def test_the_configuration_of_a_running_trial_is_not_suggested(pasts) -> None:
    past = pasts["mixed", True]
    study = with_transfer(past)
    running = study.ask()
    mixed(running)
    assert suggestion_after(with_transfer(past), past) == running.params  # without the trial
    assert suggestion_after(study, past) != running.params


def test_a_running_trial_is_known_by_a_continuous_parameter(pasts) -> None:
    """It has asked for nothing else so far."""
    past = pasts["mixed", True]
    study = with_transfer(past)
    running = study.ask()
    x = running.suggest_float("x", 0.0, 10.0)
    assert suggestion_after(with_transfer(past), past)["x"] == x
    assert suggestion_after(study, past)["x"] != x


@pytest.mark.parametrize("name", ["fixed_params", PROPOSAL_ATTR])
def test_what_a_trial_has_not_asked_for_yet_is_not_suggested(pasts, name) -> None:
    past = pasts["mixed", True]
    first = suggestion_after(with_transfer(past), past)
    study = with_transfer(past)
    running = study.ask()
    study._storage.set_trial_system_attr(running._trial_id, name, first)
    assert suggestion_after(study, past) != first


def test_an_enqueued_configuration_is_not_suggested(pasts) -> None:
    """Another process enqueues it just after a trial has started."""
    past = pasts["mixed", True]
    first = suggestion_after(with_transfer(past), past)
    study = with_transfer(past)
    study.sampler = MetaLLMiXSampler(source_storage=past, seed=0, llm=False)
    trial = study.ask()
    study.enqueue_trial(first)
    mixed(trial)
    assert trial.params != first


@pytest.mark.parametrize("value", ["text", 3, ["x"], {"x": "text", "n": None, "other": 1}, {}])
@pytest.mark.parametrize("name", ["fixed_params", PROPOSAL_ATTR])
def test_damaged_attributes_of_a_running_trial_change_no_suggestion(pasts, name, value) -> None:
    past = pasts["mixed", True]
    study = with_transfer(past)
    running = study.ask()
    study._storage.set_trial_system_attr(running._trial_id, name, value)
    assert suggestion_after(study, past) == suggestion_after(with_transfer(past), past)


def test_a_suggestion_that_was_never_begun_is_made_again(pasts, monkeypatch) -> None:
    """Its process was killed between the record and the first parameter."""
    past = pasts["mixed", True]
    study = with_transfer(past)
    study.sampler = MetaLLMiXSampler(source_storage=past, seed=0, llm=False)
    killed = study.ask()

    def kill(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study._storage, "set_trial_param", kill)
    with pytest.raises(KeyboardInterrupt):
        mixed(killed)
    monkeypatch.undo()
    monkeypatch.setattr(trial_claim, "LEASE", 0.0)  # it has expired
    assert suggestion_after(study, past) == study.trials[0].system_attrs[PROPOSAL_ATTR]


def test_trials_of_a_parallel_start_follow_the_portfolio(pasts) -> None:
    """Running trials say nothing of the past, so they do not end the portfolio."""
    sampler = TransferSampler(source_storage=pasts["continuous", True], seed=0)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(4)]
    for trial in trials:
        continuous(trial)
    (state,) = sampler._states.values()
    portfolio = [dict(config) for config in state.model._portfolio]
    assert all(trial.params in portfolio for trial in trials)


def test_nothing_is_kept_of_trials_that_ended(pasts) -> None:
    sampler = TransferSampler(source_storage=pasts["continuous", True], seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(continuous, n_trials=40, n_jobs=4)
    assert len(sampler._proposals) == len(sampler._suggested) == 0
    (state,) = sampler._states.values()
    assert len(state.model._observed) <= 40
    assert state.silent == {}


def test_trials_that_never_end_do_not_pile_up(pasts, monkeypatch) -> None:
    monkeypatch.setattr(transfer_sampler, "MAX_TRIALS", 5)
    sampler = TransferSampler(source_storage=pasts["continuous", True], seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(12):
        continuous(study.ask())
    assert len(sampler._proposals) == 5
    assert n_different(study) == 12


def test_a_sampler_of_many_studies_keeps_the_last_ones(pasts, monkeypatch) -> None:
    monkeypatch.setattr(transfer_sampler, "MAX_STUDIES", 2)
    sampler = TransferSampler(source_storage=pasts["continuous", True], seed=0)
    studies = [optuna.create_study(sampler=sampler) for _ in range(3)]
    for study in [*studies, *studies]:
        study.optimize(continuous, n_trials=2)
    assert len(sampler._states) == 2
    assert [n_different(study) for study in studies] == [4, 4, 4]


def trial_from(hours: float, number: int, **parameters: Any) -> optuna.trial.FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, **parameters)
    trial.number = number
    trial.datetime_start = datetime(2026, 11, 1, 12) + timedelta(hours=hours)
    return trial


@pytest.mark.parametrize("hours", [-9.0, 0.0, 8.0])
def test_a_new_trial_of_a_machine_with_another_clock_is_pending(monkeypatch, hours) -> None:
    now = [0.0]
    monkeypatch.setattr(study_state.time, "monotonic", lambda: now[0])
    state = StudyState()
    assert state.count_pending(trial_from(0, 5), [], last_number=4) == 0
    silent = [trial_from(hours, 6)]
    assert state.count_pending(trial_from(0, 7), silent, last_number=6) == 1
    now[0] += MAX_PENDING.total_seconds() - 1
    assert state.count_pending(trial_from(0, 8), silent, last_number=7) == 1
    now[0] += 2
    assert state.count_pending(trial_from(0, 9), silent, last_number=8) == 0
    assert state.count_pending(trial_from(0, 10), [], last_number=9) == 0
    assert state.silent == {}


def test_trials_that_were_abandoned_before_are_not_pending(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(study_state.time, "monotonic", lambda: now[0])
    state = StudyState()
    silent = [trial_from(-2, 0), trial_from(-0.01, 1), trial_from(9, 2)]
    assert state.count_pending(trial_from(0, 5), silent, last_number=4) == 2
    now[0] += MAX_PENDING.total_seconds()
    assert state.count_pending(trial_from(0, 5), silent, last_number=4) == 0


def test_enqueued_trials_are_not_pending() -> None:
    waiting = trial_from(0, 1)
    waiting.state = TrialState.WAITING
    assert StudyState().count_pending(trial_from(0, 5), [waiting], last_number=4) == 0


@pytest.mark.parametrize("hours", [0, 9])
@pytest.mark.parametrize("is_other", [True, False])
def test_a_start_with_a_time_zone_is_compared_with_one_without(hours, is_other) -> None:
    zone = timezone(timedelta(hours=hours))
    trials = [trial_from(-0.01, 1), trial_from(0, 5)]
    aware = trials[0 if is_other else 1]
    assert aware.datetime_start is not None
    aware.datetime_start = aware.datetime_start.astimezone(zone)
    assert StudyState().count_pending(trials[1], [trials[0]], last_number=4) == 1
    aware.datetime_start += timedelta(days=-1 if is_other else 1)
    assert StudyState().count_pending(trials[1], [trials[0]], last_number=4) == 0


@pytest.mark.parametrize("name", ["memory", "journal", "sqlite"])
def test_running_trials_with_time_zones_stop_nothing(pasts, tmp_path, name) -> None:
    storages: dict[str, Any] = {
        "journal": str(tmp_path / "hpo.jsonl"),
        "sqlite": f"sqlite:///{tmp_path / 'hpo.db'}",
    }
    sampler = MetaLLMiXSampler(source_storage=pasts["mixed", True], seed=0, llm=False)
    if name == "journal":
        backend = optuna.storages.journal.JournalFileBackend(storages[name])
        storages[name] = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(storage=storages.get(name), sampler=sampler)
    for start in (datetime.now(UTC), datetime.min.replace(tzinfo=UTC)):
        template = create_trial(state=TrialState.RUNNING)
        template.datetime_start = start
        study.add_trial(template)
    study.optimize(mixed, n_trials=3)
    ended = study.trials[-1]
    ended.datetime_complete = datetime.now(UTC)
    ended.system_attrs = {trial_claim.SEEN_ATTR: [1, None, None, 0.0]}
    study.add_trial(ended)
    study.optimize(mixed, n_trials=3)
    assert [t.user_attrs.get("metallmix:source") for t in study.trials][2] == "meta-learner"
    assert len(study.trials) == 9
