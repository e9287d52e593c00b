"""What a user writes, and what stands on the first trial afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import accuracy
from end_to_end import check_step_down
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import random_trials
from end_to_end import suggested
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.report import restore_suggestion


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return InMemoryStorage()
    if request.param == "journal":
        return JournalStorage(JournalFileBackend(str(tmp_path / "past.jsonl")))
    return f"sqlite:///{tmp_path / 'past.db'}"


def test_own_storage_is_the_past(storage, logs):
    fill_past(storage, n_trials=8)
    llm = ScriptedLLM([choose(), choose()])
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), storage)
    study.optimize(objective, n_trials=3)
    first = study.trials[0]
    record = read_record(first)
    assert suggested(study) == [first]
    assert first.user_attrs["metallmix:source"] == "llm"
    assert first.user_attrs["metallmix:model"] == "scripted"
    assert "metallmix:reason" not in first.user_attrs
    assert record is not None
    assert record["past_studies"] == {"past-0": 8, "past-1": 8, "past-2": 8}
    assert record["verdict"]["accepted"]
    assert record["params"] == first.params
    assert logs.warnings == []


@pytest.mark.parametrize("form", ["journal path", "sqlite url", "sqlite path", "object"])
def test_source_storage(tmp_path, form):
    journal, database = tmp_path / "past.jsonl", tmp_path / "past.db"
    if "journal" in form:
        source: Any = str(journal)
        fill_past(JournalStorage(JournalFileBackend(source)), n_trials=6)
    else:
        url = f"sqlite:///{database}"
        fill_past(url, n_trials=6)
        source = {"sqlite url": url, "sqlite path": database}.get(form)
        source = source or optuna.storages.RDBStorage(url)
    study = new_study(MetaLLMiXSampler(source_storage=source, llm=False, seed=0))
    study.optimize(objective, n_trials=2)
    record = read_record(study.trials[0])
    assert record is not None
    assert (record["source"], list(record["past_studies"])) == (
        "meta-learner",
        ["past-0", "past-1", "past-2"],
    )


def test_source_study_names(past):
    sampler = MetaLLMiXSampler(
        source_storage=past, source_study_names=["past-0", "past-2"], llm=False
    )
    study = new_study(sampler)
    study.optimize(objective, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert list(record["past_studies"]) == ["past-0", "past-2"]


@pytest.mark.parametrize("is_own", [True, False])
def test_names_of_studies_that_do_not_exist_are_logged_once(past, logs, is_own):
    source = None if is_own else past
    sampler = MetaLLMiXSampler(
        source_storage=source, source_study_names=["past_0", "past-2"], llm=False
    )
    study = new_study(sampler, past if is_own else None)
    study.optimize(objective, n_trials=3)
    record = read_record(study.trials[0])
    assert record is not None
    assert list(record["past_studies"]) == ["past-2"]
    (warning,) = logs.warnings
    assert "has no study 'past_0' (did you mean 'past-0'" in warning
    assert "'past_0'" in study.trials[0].user_attrs["metallmix:reason"]


@pytest.mark.parametrize("is_own", [True, False])
def test_no_existing_name_is_logged_once_and_uses_no_past(past, logs, is_own):
    source = None if is_own else past
    sampler = MetaLLMiXSampler(source_storage=source, source_study_names=["gone"], llm=False)
    study = new_study(sampler, past if is_own else None)
    study.optimize(objective, n_trials=3)
    check_step_down(study, logs, "base-sampler", "has no study 'gone'. It has: ")


def renamed_objective(trial):
    params = {
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]),
        "learning_rate": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        "depth": trial.suggest_int("n_layers", 1, 8),
    }
    return accuracy(params)


def test_aliases_apply_to_everything_that_is_shown(past, logs):
    aliases = {"learning_rate": "lr", "depth": "n_layers"}
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0, aliases=aliases))
    study.optimize(renamed_objective, n_trials=3)
    record = read_record(study.trials[0])
    assert record is not None
    assert {"lr", "n_layers"} <= record["params"].keys()
    assert record["aliases"] == aliases
    assert {name: study.trials[0].params[name] for name in ("lr", "n_layers")} == {
        name: record["params"][name] for name in ("lr", "n_layers")
    }
    shown = json.dumps([record[part] for part in ("evidence", "nearest", "importance")])
    assert "n_layers" in shown
    assert '"depth"' not in shown
    assert not [line for line in [*logs.warnings, *logs.infos] if "no trial with" in line]
    restored = restore_suggestion(study, past)
    assert restored is not None
    assert restored.suggestion.learner is not None  # fitted on the renamed past again


def test_renamed_parameters_are_logged_once(past, logs):
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    study = new_study(sampler)
    study.optimize(renamed_objective, n_trials=4)
    (warning,) = logs.warnings
    assert "no parameter 'lr', but 'learning_rate'." in warning
    assert "pass aliases={'learning_rate': 'lr'}" in warning
    other = optuna.create_study(study_name="other", direction="maximize", sampler=sampler)
    other.optimize(renamed_objective, n_trials=2)
    assert len(logs.warnings) == 2


def test_renamed_parameters_are_logged_after_a_failed_trial(past, logs):
    def fail(trial):
        trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
        raise ValueError

    study = new_study(
        MetaLLMiXSampler(
            source_storage=past, llm=False, base_sampler=optuna.samplers.RandomSampler(seed=0)
        )
    )
    study.optimize(fail, n_trials=1, catch=ValueError)
    assert logs.warnings == []
    study.optimize(renamed_objective, n_trials=2)
    (warning,) = logs.warnings
    assert "'learning_rate': 'lr'" in warning


@pytest.mark.parametrize("name", ["past.db", "past.jsonl"])
def test_own_storage_by_another_spelling_is_not_its_own_past(tmp_path, monkeypatch, logs, name):
    monkeypatch.chdir(tmp_path)
    own: Any = f"sqlite:///{name}"
    if name == "past.jsonl":
        own = JournalStorage(JournalFileBackend(name))
    fill_past(own, n_studies=2, n_trials=8)
    study = new_study(MetaLLMiXSampler(source_storage=tmp_path / name, llm=False), own)
    study.add_trials(random_trials(8, seed=9))
    study.optimize(objective, n_trials=1)
    (message,) = [one.getMessage() for one in logs.records]
    assert "3 past studies with 24 trials" in message


@pytest.mark.parametrize(
    ("sizes", "is_said"), [((12, 3), True), ((12, 12), False), ((9, 3), False)]
)
def test_the_log_says_that_small_studies_count_less(logs, sizes, is_said):
    past = InMemoryStorage()
    for size in sizes:
        optuna.create_study(storage=past).add_trials(random_trials(size, seed=size))
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past, direction="minimize")
    study.optimize(objective, n_trials=2)
    (message,) = [one.getMessage() for one in logs.records if "suggested by" in one.getMessage()]
    assert ("fewer than 10 trials count less" in message) is is_said


def test_two_databases_in_memory_are_not_the_same():
    sampler = MetaLLMiXSampler(source_storage=memory_past(), llm=False, seed=0)
    for _ in range(2):
        study = new_study(sampler, optuna.storages.RDBStorage("sqlite:///:memory:"))
        study.optimize(objective, n_trials=2)
        assert suggested(study) == [study.trials[0]]


def test_no_past_is_said_once_and_the_model_makes_the_second_trial(logs):
    llm = ScriptedLLM([choose(), choose()])
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0))
    study.optimize(objective, n_trials=4)
    first, second = study.trials[:2]
    (warning,) = logs.warnings
    assert "source_storage=" in warning
    assert "search_space=" in warning
    assert first.user_attrs["metallmix:source"] == "base-sampler"
    assert "source_storage=" in first.user_attrs["metallmix:reason"]
    assert second.user_attrs["metallmix:source"] == "llm"
    assert suggested(study) == [second]
    shown = llm.calls[0].messages[-1]["content"]
    assert "Already tried on this task" in shown


def test_no_past_with_a_space_the_model_makes_the_first_trial(logs):
    llm = ScriptedLLM([choose(2), choose(2)])
    sampler = MetaLLMiXSampler(
        search_space=SPACE, llm=llm, meta_features={"modality": "CT", "n_classes": 4}, seed=0
    )
    study = new_study(sampler)
    study.optimize(objective, n_trials=3)
    first = study.trials[0]
    record = read_record(first)
    assert record is not None
    assert suggested(study) == [first]
    assert record["source"] == "llm"
    assert first.params == {name: record["params"][name] for name in first.params}
    assert 'modality="CT"' in llm.calls[0].messages[-1]["content"]
    assert len(logs.warnings) == 1


def test_models_that_cannot_be_compared():
    class Model:
        """As a dataclass with an array."""

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        def __hash__(self) -> int:
            return 1

        def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
            return choose()(messages, schema)

    study = new_study(MetaLLMiXSampler(llm=Model(), judge=Model()), memory_past())
    study.optimize(objective, n_trials=1)
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"


def test_no_past_and_a_small_model_promises_no_question():
    llm = ScriptedLLM([])
    llm.n_parameters = 135_000_000
    study = new_study(MetaLLMiXSampler(llm=llm))
    study.optimize(objective, n_trials=2)
    first, second = (trial.user_attrs["metallmix:reason"] for trial in study.trials)
    assert "with at least 1.5 billion parameters, it is asked once this trial has" in first
    assert "scripted was not asked" in second


def test_no_past_and_no_model_is_said_once(logs):
    study = new_study(MetaLLMiXSampler(llm=False))
    study.optimize(objective, n_trials=4)
    (warning,) = logs.warnings
    assert "it is asked" not in warning
    assert [one.user_attrs.get("metallmix:source") for one in study.trials] == [
        "base-sampler",
        *[None] * 3,
    ]


def test_a_space_without_past_or_model_is_left_to_the_base_sampler(logs):
    study = new_study(MetaLLMiXSampler(llm=False, search_space=SPACE))
    study.optimize(objective, n_trials=3)
    assert study.trials[0].user_attrs["metallmix:source"] == "base-sampler"
    assert "no past studies" in study.trials[0].user_attrs["metallmix:reason"]
    assert len(logs.warnings) == 1


def test_a_study_with_trials_is_suggested_its_next(past):
    study = optuna.create_study(storage=past, study_name="old", direction="maximize")
    study.add_trials(random_trials(10, seed=7))
    llm = ScriptedLLM([choose(), choose()])
    study = optuna.load_study(
        storage=past, study_name="old", sampler=MetaLLMiXSampler(llm=llm, seed=0)
    )
    study.optimize(objective, n_trials=3)
    (trial,) = suggested(study)
    record = read_record(trial)
    assert trial.number == 10
    assert record is not None
    assert record["past_studies"]["old"] == 10
    assert "Already tried on this task" in llm.calls[0].messages[-1]["content"]
    assert trial.params not in [one.params for one in study.trials[:10]]


def test_a_second_sampler_on_the_study_suggests_nothing_more(past):
    for _ in range(2):
        study = optuna.create_study(
            storage=past, study_name="again", load_if_exists=True, direction="maximize",
            sampler=MetaLLMiXSampler(llm=False),
        )  # fmt: skip
        study.optimize(objective, n_trials=2)
    assert suggested(study) == [study.trials[0]]


def test_meta_features_order_the_nearest_studies(past):
    study = new_study(
        MetaLLMiXSampler(source_storage=past, meta_features={"n_instances": 2_900}, llm=False)
    )
    study.optimize(objective, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert record["nearest"][0]["name"] == "past-2"
    assert record["meta_features"] == {"n_instances": 2_900}


def test_own_study_attributes_are_meta_features(past):
    llm = ScriptedLLM([choose(), choose()])
    study = new_study(MetaLLMiXSampler(llm=llm), past)
    study.set_user_attr("modality", "MRI")
    study.optimize(objective, n_trials=1)
    assert 'modality="MRI"' in llm.calls[0].messages[-1]["content"]


def test_the_same_seed_gives_the_same_study(past):
    def values() -> list[dict[str, Any]]:
        study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=5))
        study.optimize(objective, n_trials=4)
        return [one.params for one in study.trials]

    assert values() == values()


def test_the_first_trial_is_good(past):
    """On a past of the same task the meta-learner finds its ridge: random is about 0.79."""
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    study.optimize(objective, n_trials=1)
    assert study.best_value > 0.9


def test_the_note_says_where_the_trial_comes_from(past):
    dashboard = pytest.importorskip("optuna_dashboard")
    llm = ScriptedLLM([choose(), choose()])
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past)
    study.optimize(objective, n_trials=2)
    note = dashboard.get_note(study)
    for expected in ("scripted", "as the past says", "past-0", "accepted", "depth"):
        assert expected in note


@pytest.mark.parametrize("place", ["memory", "sqlite://", "file"])
def test_only_in_memory_the_log_says_where_the_note_is(past, logs, tmp_path, place):
    dashboard = pytest.importorskip("optuna_dashboard")
    storages = {"memory": None, "file": f"sqlite:///{tmp_path / 'new.db'}"}
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    study = new_study(sampler, storages.get(place, place))
    study.optimize(objective, n_trials=2)
    assert "optuna-metallmix begin" in dashboard.get_note(study)
    lines = [line for line in logs.infos if "in memory" in line]
    assert len(lines) == (place != "file")
    assert all(repr(study.study_name) in line and "storage=" in line for line in lines)


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_one_sampler_serves_two_studies(past, tmp_path, name):
    url = "sqlite:///" + str(tmp_path / "two.db") if name == "sqlite" else InMemoryStorage()
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    studies = [
        optuna.create_study(storage=url, study_name=n, sampler=sampler, direction="maximize")
        for n in ("a", "b")
    ]
    for _ in range(2):
        for study in studies:
            study.optimize(objective, n_trials=6)
    assert [[one.number for one in suggested(study)] for study in studies] == [[0], [0]]


def test_one_sampler_serves_studies_of_one_name_in_two_storages(past):
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    for _ in range(2):
        study = new_study(sampler, InMemoryStorage())
        study.optimize(objective, n_trials=2)
        assert suggested(study) == [study.trials[0]]


def test_a_study_made_anew_under_its_old_name_is_suggested_again(past, tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    for _ in range(2):
        study = new_study(sampler, url)
        study.optimize(objective, n_trials=2)
        assert suggested(study) == [study.trials[0]]
        optuna.delete_study(study_name="new", storage=url)


def test_trials_that_fail_do_not_end_the_study(past):
    def failing(trial: optuna.Trial) -> float:
        value = objective(trial)
        if trial.number == 0:
            raise RuntimeError("out of memory")
        return value

    study = new_study(MetaLLMiXSampler(llm=False), past)
    study.optimize(failing, n_trials=3, catch=(RuntimeError,))
    assert [one.state for one in study.trials] == [TrialState.FAIL, *[TrialState.COMPLETE] * 2]
    assert suggested(study) == [study.trials[0]]


@pytest.mark.parametrize(
    "attributes",
    [{"constraints": value} for value in ([None], ["x"], "abc", 5, {"a": 1})]
    + [{"constraints:c": value} for value in ("x", [1], {"a": 1})],
    ids=repr,
)
def test_a_damaged_constraint_is_violated(
    attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna itself does not log the best trial of such a study."""
    monkeypatch.setattr(optuna.Study, "_log_completed_trial", lambda *_: None)
    past = memory_past()
    (good, *_) = past.get_all_trials(0)
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    study.add_trial(
        create_trial(
            params=good.params,
            distributions=good.distributions,
            value=1.0,
            system_attrs=attributes,
        )
    )
    study.optimize(objective, n_trials=4)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert study.trials[1].user_attrs["metallmix:source"] == "meta-learner"


def test_that_another_trial_has_the_suggestion_is_said_once(past, logs):
    """As after a kill: trial 0 does not go on. What is said stays true when it does, after all."""
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    claimed = study.ask()
    study.optimize(objective, n_trials=3)
    objective(claimed)
    study.optimize(objective, n_trials=3)
    study.tell(claimed, 1.0)
    study.optimize(objective, n_trials=1)
    reasons = [trial.user_attrs.get("metallmix:reason") for trial in study.trials]
    assert reasons == [
        None,
        "Trial 0 had claimed the suggestion, so this trial was sampled without it. If the process "
        "of trial 0 was killed before it had the suggestion, a trial that starts at least 90 s "
        "later makes it.",
        None,
        None,
        "Trial 0 had the suggestion, and had not finished when this trial started. If its process "
        "was killed, evaluate it again with study.enqueue_trial(study.trials[0].params).",
        *[None] * 3,
    ]
    assert sum("had claimed" in info for info in logs.infos) == 1
