"""Around the first trial: other samplers, ask-and-tell, threads, queues, changed spaces."""

from __future__ import annotations

import pickle
from typing import Any

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import accuracy
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import random_trials
from end_to_end import suggested
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import ScriptedLLM


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


def questions(llm: ScriptedLLM) -> int:
    """How often a model was asked to suggest; reviews are not counted."""
    return sum("candidate" in call.schema["properties"] for call in llm.calls)


def cma_es() -> BaseSampler:
    pytest.importorskip("cmaes")
    return optuna.samplers.CmaEsSampler(seed=0, warn_independent_sampling=False)


def qmc() -> BaseSampler:
    pytest.importorskip("scipy")
    return optuna.samplers.QMCSampler(seed=0, warn_independent_sampling=False)


def gp() -> BaseSampler:
    pytest.importorskip("torch")
    return optuna.samplers.GPSampler(seed=0, n_startup_trials=2)


BASES: dict[str, Any] = {
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=1),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=2),
    "brute force": lambda: optuna.samplers.BruteForceSampler(seed=0),
    "cma-es": cma_es,
    "qmc": qmc,
    "gp": gp,
}


@pytest.mark.filterwarnings("ignore")  # Optuna's own: experimental samplers and options
@pytest.mark.parametrize("name", BASES)
def test_base_samplers(past, name):
    def stepped(trial: optuna.Trial) -> float:
        params = {
            "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]),
            "learning_rate": trial.suggest_float("learning_rate", 0.001, 0.05, step=0.001),
            "depth": trial.suggest_int("depth", 1, 8),
        }
        return accuracy(params)

    study = new_study(MetaLLMiXSampler(base_sampler=BASES[name](), llm=False, seed=0), past)
    study.optimize(stepped, n_trials=5)
    assert suggested(study) == [study.trials[0]]
    assert len({str(one.params) for one in study.trials}) > 2
    plain = new_study(BASES[name](), InMemoryStorage())
    plain.optimize(stepped, n_trials=5)
    assert study.trials[0].params != plain.trials[0].params


def test_grid_sampler(past):
    grid = {"depth": [1, 2, 3], "optimizer": ["sgd", "adam"]}

    def on_grid(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("depth", 1, 8)
        return depth + len(trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]))

    base = optuna.samplers.GridSampler(grid, seed=0)
    study = new_study(MetaLLMiXSampler(base_sampler=base, llm=False, seed=0), past)
    study.optimize(on_grid, n_trials=20)
    assert suggested(study) == [study.trials[0]]
    rest = {tuple(one.params.values()) for one in study.trials[1:]}
    assert len(rest) == len(study.trials[1:]) == 6


def test_inside_a_partial_fixed_sampler(past):
    ours = MetaLLMiXSampler(llm=False, seed=0)
    fixed = optuna.samplers.PartialFixedSampler({"depth": 7}, ours)
    study = new_study(fixed, past)
    study.optimize(objective, n_trials=4)
    assert suggested(study) == [study.trials[0]]
    assert {one.params["depth"] for one in study.trials} == {7}


def test_ask_and_tell(past):
    llm = ScriptedLLM([choose()] * 4)
    study = new_study(MetaLLMiXSampler(llm=llm), past)
    for _ in range(3):
        trial = study.ask()
        study.tell(trial, objective(trial))
    assert [one.number for one in suggested(study)] == [0]
    assert questions(llm) == 1


def test_ask_with_fixed_distributions(past):
    llm = ScriptedLLM([choose()] * 4)
    study = new_study(MetaLLMiXSampler(llm=llm), past)
    space = {name: SPACE[name] for name in ("learning_rate", "optimizer", "depth")}
    trials = [study.ask(fixed_distributions=space) for _ in range(2)]
    record = read_record(study.trials[0])
    assert record is not None
    assert trials[0].params == {name: record["params"][name] for name in space}
    for trial in trials:
        study.tell(trial, 1.0)
    assert questions(llm) == 1


def test_trials_asked_before_the_first_is_told_are_the_base_samplers(past):
    study = new_study(MetaLLMiXSampler(llm=False), past)
    trials = [study.ask() for _ in range(4)]
    for trial in reversed(trials):
        study.tell(trial, objective(trial))
    assert [one.number for one in suggested(study)] == [0]


def test_a_first_trial_that_asks_for_nothing_leaves_the_suggestion_to_the_next(past):
    study = new_study(MetaLLMiXSampler(llm=False), past)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.optimize(objective, n_trials=2)
    assert [one.number for one in suggested(study)] == [1]


def test_threads(past, logs):
    llm = ScriptedLLM([choose()] * 8)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past)
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert [one.state for one in study.trials] == [TrialState.COMPLETE] * 12
    assert len(suggested(study)) == 1
    assert questions(llm) == 1
    assert logs.warnings == []


def test_threads_without_a_past():
    llm = ScriptedLLM([choose()] * 8)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0))
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert [one.state for one in study.trials] == [TrialState.COMPLETE] * 12
    assert len(suggested(study)) == 1
    assert questions(llm) == 1


def test_overlapping_trials_do_not_put_the_suggestion_off_for_ever(logs):
    """There is always a lower trial that runs, and none of them is still to ask."""
    llm = ScriptedLLM([choose()] * 4)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0))
    running = [study.ask() for _ in range(3)]
    for _ in range(6):
        trial = running.pop(0)
        study.tell(trial, objective(trial))
        running.append(study.ask())
    assert [one.number for one in suggested(study)] == [3]
    assert len(logs.warnings) == 1


def test_trials_that_start_together_without_a_past_are_told_of_it_once(logs):
    study = new_study(MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 4), seed=0))
    for _ in range(3):
        objective(study.ask())  # none is logs, so nothing is known at the next
    assert len(logs.warnings) == 1


@pytest.mark.parametrize("params", [{"optimizer": "sgd"}, random_trials(1, 3)[0].params])
def test_enqueued_trials_are_left_alone(past, params):
    study = new_study(MetaLLMiXSampler(llm=False), past)
    study.enqueue_trial(params)
    study.optimize(objective, n_trials=3)
    assert params.items() <= study.trials[0].params.items()
    assert [one.number for one in suggested(study)] == [1]


@pytest.mark.parametrize("asked", [False, True])
def test_a_trial_that_a_heartbeat_queues_again_is_served_what_it_had(past, asked):
    """RetryHeartbeatStaleTrialCallback copies the trial: values, attributes and our mark."""
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    trial = study.ask()
    if asked:
        objective(trial)
    study.tell(trial, state=TrialState.FAIL)
    stale = study.trials[0]
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=stale.params,
            distributions=stale.distributions,
            user_attrs=stale.user_attrs,
            system_attrs={"failed_trial": 0, "retry_history": [0], **stale.system_attrs},
        )
    )
    study.optimize(objective, n_trials=3)
    if asked:
        assert study.trials[1].params == stale.params
    assert [one.number for one in suggested(study)] == ([0, 1] if asked else [1])


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request, tmp_path):
    if request.param == "memory":
        return InMemoryStorage()
    if request.param == "journal":
        return JournalStorage(JournalFileBackend(str(tmp_path / "studies.jsonl")))
    return optuna.storages.get_storage(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.mark.parametrize("how", ["add_trials", "copy_study", "deleted", "one added"])
def test_a_study_made_from_the_trials_of_another_is_suggested_its_next(past, storage, how):
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    old = new_study(sampler, storage)
    old.optimize(objective, n_trials=3)
    trials, name = old.trials, "other"
    if how == "deleted":  # ids of deleted studies are used again in SQLite
        name = old.study_name
        optuna.delete_study(study_name=name, storage=storage)
    if how == "copy_study":
        optuna.copy_study(
            from_study_name="new", from_storage=storage, to_storage=storage, to_study_name=name
        )
    else:
        study = new_study(sampler, storage, study_name=name)
        study.add_trials(trials[:1] if how == "one added" else trials)
    n = 1 if how == "one added" else 3
    for _ in range(2):  # the second time is a continuation
        sampler = sampler if how == "deleted" else MetaLLMiXSampler(source_storage=past, llm=False)
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        study.optimize(objective, n_trials=2)
    assert [one.number for one in suggested(study)] == [0, n]
    record = read_record(study.trials[n])
    assert record is not None
    assert record["past_studies"].get(name, 1) == n


def test_a_continued_study_is_not_suggested_again(past, storage):
    for _ in range(3):
        sampler = MetaLLMiXSampler(source_storage=past, llm=False)
        study = new_study(sampler, storage, load_if_exists=True)
        study.optimize(objective, n_trials=1)
    assert suggested(study) == [study.trials[0]]


def test_a_multi_objective_study_is_told_once_that_it_gets_no_suggestion(logs):
    study = optuna.create_study(directions=["maximize", "minimize"])
    for _ in range(2):
        study.sampler = MetaLLMiXSampler(llm=False)
        study.optimize(lambda trial: (objective(trial), 1.0), n_trials=2)
    sources = [one.user_attrs.get("metallmix:source") for one in study.trials]
    assert sources == ["base-sampler", None, None, None]
    assert len(logs.warnings) == 1


def test_hyperband(past):
    def reporting(trial: optuna.Trial) -> float:
        value = objective(trial)
        for step in range(4):
            trial.report(value * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    llm = ScriptedLLM([choose()] * 4)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=4)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past, pruner=pruner)
    study.optimize(reporting, n_trials=12)
    assert [one.number for one in suggested(study)] == [0]
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert questions(llm) == 1


def test_pickles_before_during_and_after(past):
    sampler = pickle.loads(pickle.dumps(MetaLLMiXSampler(llm=False, seed=0)))
    study = new_study(sampler, past)
    trial = study.ask()
    trial.suggest_int("depth", 1, 8)
    pickle.dumps(sampler)
    study.tell(trial, objective(trial))
    again = pickle.loads(pickle.dumps(study.sampler))
    study = optuna.load_study(study_name="new", storage=past, sampler=again)
    study.optimize(objective, n_trials=3)
    assert [one.number for one in suggested(study)] == [0]


def test_a_person_s_note_is_kept(past):
    dashboard = pytest.importorskip("optuna_dashboard")
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    mine = "# My study\n\nRun on the *old* GPU.  \n"
    dashboard.save_note(study, mine)
    study.optimize(objective, n_trials=2)
    note = dashboard.get_note(study)
    assert note.startswith(mine)
    assert "How trial 0 was chosen" in note
