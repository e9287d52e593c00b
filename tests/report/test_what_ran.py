"""Note, figures, log and record describe the configuration that a trial ran, not a better one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts import get_all_artifact_meta
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import ScriptedLLM
from optuna_metallmix import read_record
from optuna_metallmix.report.record import restore_suggestion


if TYPE_CHECKING:
    from conftest import LogRecords

dashboard = pytest.importorskip("optuna_dashboard")


def _narrow(trial: optuna.Trial) -> float:
    """Allows neither the past's good values nor its best optimizer."""
    rate = trial.suggest_float("learning_rate", 2e-2, 9e-2, log=True)
    trial.suggest_categorical("optimizer", ["lion", "adam"])
    return rate + trial.suggest_int("depth", 20, 30)


def _lacking(trial: optuna.Trial) -> float:
    """Has no depth, but a parameter of its own."""
    trial.suggest_categorical("optimizer", ["adamw"])
    return trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True) + trial.suggest_int(
        "w", 1, 4
    )


def _run(objective: Callable[[optuna.Trial], float], llm: Any = False, **options: Any) -> Any:
    sampler = MetaLLMiXSampler(llm=llm, seed=0, **options)
    study = new_study(sampler, memory_past())
    study.optimize(objective, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.learner is not None  # what it predicts is what was recorded
    return study, record, restored.suggestion


def _waterfall(study: optuna.Study) -> dict[str, Any]:
    attributes = study._storage.get_study_system_attrs(study._study_id)
    stored = dashboard._custom_plot_data.get_plotly_graph_objects(attributes)
    drawn: dict[str, Any] = json.loads(stored["metallmix-suggestion"])
    return drawn


def test_moved_values_change_what_is_expected_wherever_it_is_told(logs: LogRecords) -> None:
    study, record, suggestion = _run(_narrow)
    ran = study.trials[0].params
    (expected,) = suggestion.learner.predict_mean([ran])
    assert record["params"] == suggestion.params == ran
    assert record["predicted"] == pytest.approx(expected)
    assert record["predicted"] < record["candidates"][0]["predicted"] - 0.05
    assert record["moved"]["depth"] == [record["candidates"][0]["params"]["depth"], 20]
    assert record["moved"]["optimizer"] == ["adamw", "adam"]
    told = f"{expected:.2f}"
    note, drawn = dashboard.get_note(study), _waterfall(study)
    assert f"with an expected score of **{told}**" in note
    assert (
        f"As suggested, the expected score was {record['candidates'][0]['predicted']:.2f}" in note
    )
    assert drawn["data"][0]["x"][0] == pytest.approx(expected)
    assert f"depth = {ran['depth']}" in drawn["layout"]["yaxis"]["ticktext"]
    assert f"expected score {told} of 1" in study.trials[0].user_attrs["metallmix:why"]
    scores = re.findall(r"[Ee]xpected score:? ([\d.]+) of 1", "\n".join(logs.infos))
    assert scores == [told]
    assert f"depth={ran['depth']} (suggested: " in "\n".join(logs.infos)


def test_what_runs_as_suggested_is_told_once(logs: LogRecords) -> None:
    study, record, _ = _run(objective)
    assert record["moved"] == {}
    assert record["params"] == study.trials[0].params == record["candidates"][0]["params"]
    assert record["predicted"] == pytest.approx(record["candidates"][0]["predicted"])
    assert "### Changes by the objective" not in dashboard.get_note(study)
    assert len([line for line in logs.infos if "trial 0" in line]) == 1


def test_parameters_that_only_one_side_has_are_named(logs: LogRecords) -> None:
    study, record, suggestion = _run(_lacking)
    ran, note = study.trials[0].params, dashboard.get_note(study)
    assert record["params"] == ran
    assert "The objective did not ask for depth." in note
    assert f"| w | {ran['w']} | base sampler |  |  |  |" in note
    assert "| depth |" not in note
    assert "no depth" in "\n".join(logs.infos)
    assert f"w={ran['w']} (not suggested)" in "\n".join(logs.infos)
    # What the past knows of depth is averaged: its absence is no extreme value of it.
    depths = [config["depth"] for config in suggestion.learner.dataset.configs]
    rows = [{**ran, "depth": depth} for depth in depths]
    low, high = (f(suggestion.learner.predict_mean(rows)) for f in (min, max))
    assert low < record["predicted"] < high
    total = record["base"] + sum(record["effects"].values())
    assert record["predicted"] == pytest.approx(total)


def test_cited_evidence_that_no_longer_holds_is_no_reason() -> None:
    def cite(messages: Any, schema: Any) -> str:
        text = "\n".join(message["content"] for message in messages)
        found = re.search(r"(E\d+): depth .*helped", text)
        ids = [found[1]] if found and "candidate" in schema["properties"] else ["E1"]
        return choose(1, evidence=ids)(messages, schema)

    def shallow(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
        return float(trial.suggest_int("depth", 20, 30))

    study, record, suggestion = _run(shallow, ScriptedLLM([cite] * 4))
    assert record["source"] == "llm"
    (evidence,) = suggestion.cited
    assert evidence.parameter == "depth"
    assert "cited" not in study.trials[0].user_attrs["metallmix:why"]
    assert f"{evidence.sentence}, but that value did not run" in dashboard.get_note(study)


def test_trial_that_fails_early_keeps_what_it_did_not_ask_for() -> None:
    def failing(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
        trial.suggest_int("depth", 20, 30)
        raise ValueError("out of memory")

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), memory_past())
    study.optimize(failing, n_trials=1, catch=(ValueError,))
    record = read_record(study.trials[0])
    assert study.trials[0].state is TrialState.FAIL
    assert record is not None
    assert record["params"]["depth"] == 20
    assert record["params"]["learning_rate"] == record["candidates"][0]["params"]["learning_rate"]


def test_pruned_trial_and_ask_and_tell_are_described_too() -> None:
    def pruned(trial: optuna.Trial) -> float:
        _narrow(trial)
        raise optuna.TrialPruned

    _, record, _ = _run(pruned)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), memory_past())
    trial = study.ask()
    study.tell(trial, _narrow(trial))
    told = read_record(study.trials[0])
    assert told is not None
    assert told["params"] == record["params"] == study.trials[0].params
    assert told["predicted"] == record["predicted"]


def test_killed_trial_is_explained_as_it_ran() -> None:
    """Its process wrote nothing after the values were moved."""
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), memory_past())
    trial = study.ask()
    _narrow(trial)
    restored = restore_suggestion(study)
    assert restored is not None
    suggestion = restored.suggestion
    assert suggestion.params["depth"] == trial.params["depth"]
    assert suggestion.moved["depth"] == (suggestion.suggested["depth"], trial.params["depth"])
    (expected,) = suggestion.learner.predict_mean([suggestion.params])
    assert suggestion.predicted == pytest.approx(expected)


def test_outdated_pictures_are_replaced(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    store = FileSystemArtifactStore(tmp_path)
    study, _, _ = _run(_narrow, artifact_store=store)
    note = dashboard.get_note(study)
    shown = set(re.findall(r"\]\(/artifacts/\d+/([^)]+)\)", note))
    attributes = study._storage.get_study_system_attrs(study._study_id)
    listed = {
        name.removeprefix("artifacts:")
        for name, value in attributes.items()
        if name.startswith("artifacts:") and json.loads(value) is not None
    }
    assert len(shown) == 4
    assert listed == shown == {path.name for path in tmp_path.iterdir()}


def test_past_rows_have_only_the_parameters_that_were_there() -> None:
    study, record, _ = _run(objective)
    assert get_all_artifact_meta(study) == []
    rows = [line for line in dashboard.get_note(study).splitlines() if "| [past-" in line]
    assert len(rows) == len(record["nearest"]) == 3
    for row, nearest in zip(rows, record["nearest"], strict=True):
        named = {name for name in SPACE if f"{name} = " in row}
        assert named == set(nearest["best"])
    assert any("momentum" not in nearest["best"] for nearest in record["nearest"])


OTHER_KINDS: dict[str, tuple[str, Any]] = {
    "a choice for a number": ("depth", CategoricalDistribution(["shallow", "deep"])),
    "zero on a logarithmic scale": ("learning_rate", FloatDistribution(0.0, 1.0, step=0.5)),
    "a number for a choice": ("optimizer", IntDistribution(0, 9)),
    "only unknown choices": ("optimizer", CategoricalDistribution([None, "lion"])),
    "choices of numbers": ("depth", CategoricalDistribution([16, 32])),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_values_moved_to_another_kind_are_reported_without_a_warning(
    kind: str, logs: LogRecords, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    name, distribution = OTHER_KINDS[kind]
    order = [*(other for other in ("optimizer", "learning_rate", "depth") if other != name), name]

    def changed(trial: optuna.Trial) -> float:
        for asked in order:
            trial._suggest(asked, distribution if asked == name else SPACE[asked])
        return 1.0

    study, record, _ = _run(changed, artifact_store=FileSystemArtifactStore(tmp_path))
    assert logs.warnings == []
    assert record["params"] == study.trials[0].params
    assert name in record["moved"]
    assert "moved from " in dashboard.get_note(study)


def _unrelated(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0.0, 1.0)


def _unrelated_first(trial: optuna.Trial) -> float:
    return trial.suggest_int("w", 1, 4) + trial.suggest_float("x", 0.0, 1.0)


WIDER = {**SPACE, "x": FloatDistribution(0.0, 1.0)}


@pytest.mark.parametrize(
    ("unrelated", "options"),
    [
        (_unrelated, {}),
        (_unrelated_first, {}),
        (_unrelated, {"search_space": WIDER}),
        (_unrelated_first, {"search_space": WIDER}),
    ],
)
@pytest.mark.parametrize("llm", [False, "scripted"])
def test_trial_without_a_value_from_the_past_is_no_suggestion(
    unrelated: Any, options: Any, llm: Any, logs: LogRecords, tmp_path: Path
) -> None:
    model = ScriptedLLM([choose()] * 4) if llm else False
    store = FileSystemArtifactStore(tmp_path)
    study, record, suggestion = _run(unrelated, model, artifact_store=store, **options)
    attributes, note = study.trials[0].user_attrs, dashboard.get_note(study)
    assert record["source"] == attributes["metallmix:source"] == "base-sampler"
    assert suggestion.source == "base-sampler"
    assert record["predicted"] is record["trade"] is suggestion.predicted is None
    assert (record["params"], record["effects"]) == ({}, {})
    reason = "No value is from past studies: the objective did not ask for"
    assert attributes["metallmix:reason"].startswith(reason)
    assert {"optimizer", "learning_rate", "depth"} <= set(
        re.findall(r"\w+", attributes["metallmix:reason"])
    )
    assert attributes["metallmix:reason"] in note.replace("\\", "")
    assert [line for line in logs.warnings if attributes["metallmix:reason"] in line] != []
    for text in (note, attributes["metallmix:why"]):
        assert not re.search("because the configuration|expected score|one of the best of", text)
    assert "x |" not in note
    assert _waterfall(study)["data"] == []
    assert "metallmix-suggestion.png" not in note
    assert not (tmp_path / "metallmix-suggestion.png").exists()
    assert len(logs.warnings) == 1
    assert "xpected score" not in "\n".join(logs.infos)


def _renamed(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.suggest_categorical("optimizer", ["adam", "adamw"])
    return rate + trial.suggest_int("n_layers", 1, 12)


RENAMED = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "optimizer": CategoricalDistribution(["adam", "adamw"]),
    "n_layers": IntDistribution(1, 12),
}


def test_values_that_the_past_does_not_have_are_not_from_it(logs: LogRecords) -> None:
    study, record, suggestion = _run(_renamed)
    attributes, note = study.trials[0].user_attrs, dashboard.get_note(study)
    assert re.search(r"\| lr \| \S+ \| base sampler \|", note)
    assert re.search(r"\| n_layers \| \S+ \| base sampler \|", note)
    assert "because the configuration is" not in note
    assert "Only the value of optimizer is from past studies" in note
    assert attributes["metallmix:why"].startswith("only optimizer is from past studies: ")
    assert "aliases={'learning_rate': 'lr'}" in attributes["metallmix:reason"]
    assert attributes["metallmix:reason"] in " ".join(record["reasons"])
    assert "aliases={'learning_rate': 'lr'}" in note.replace("\\", "")
    assert suggestion.why == attributes["metallmix:why"]
    assert len(logs.warnings) == 1


def test_values_of_a_given_space_that_the_past_does_not_have_are_its_middle(
    logs: LogRecords,
) -> None:
    study, record, suggestion = _run(_renamed, search_space=RENAMED)
    note = dashboard.get_note(study)
    assert set(record["new"]) == set(suggestion.new) == {"lr", "n_layers"}
    chosen = record["candidates"][0]
    is_middle = chosen["params"]["lr"] == pytest.approx(1e-3)
    origin = "middle of the range" if is_middle else "candidate 1"
    assert f"| lr | {study.trials[0].params['lr']:.4g} | no past study has it: {origin} |" in note
    assert "Only the value of optimizer is from past studies" in note
    assert "only optimizer is from past studies" in "\n".join(logs.infos)
    assert "aliases={'learning_rate': 'lr'}" in note.replace("\\", "")
    assert "pass aliases=" in record["reasons"][0]


def test_a_model_is_said_to_be_absent_once() -> None:
    study, _, _ = _run(objective)
    note = dashboard.get_note(study)
    assert len(re.findall("language model", note)) == 1


def test_a_renamed_parameter_is_told_where_nothing_was_suggested(logs: LogRecords) -> None:
    space = {"lr": RENAMED["lr"]}

    def only(trial: optuna.Trial) -> float:
        return trial.suggest_float("lr", 1e-5, 1e-1, log=True)

    sampler = MetaLLMiXSampler(llm=False, seed=0, search_space=space)
    study = new_study(sampler, memory_past())
    study.optimize(only, n_trials=1)
    attributes = study.trials[0].user_attrs
    assert attributes["metallmix:source"] == "base-sampler"
    assert "aliases={'learning_rate': 'lr'}" in attributes["metallmix:reason"]
    assert "did not ask for" not in " ".join([*logs.warnings, attributes["metallmix:reason"]])
