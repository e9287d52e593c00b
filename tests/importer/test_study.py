"""Check that runs of other trackers become a past study, which a sampler learns from."""

from __future__ import annotations

import json
import math
import warnings
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix import study_from_dataframe
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.importer import read_csv
from optuna_metallmix.importer import read_runs


SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 0.1, log=True),
    "depth": IntDistribution(1, 8),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "momentum": FloatDistribution(0.1, 0.9),
    "amp": CategoricalDistribution([False, True]),
}
"""The space of :func:`configs`, as it is inferred."""


def configs(n: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Configurations in random order, with both ends of each range; some without momentum."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        optimizer = ["adam", "sgd"][i % 2]
        position = i // 2 / (n // 2 - 1)
        row = {"lr": 1e-5 * 1e4**position, "depth": 1 + round(7 * position)}
        row |= {"optimizer": optimizer, "amp": i % 3 == 0}
        row |= {"momentum": 0.1 + 0.8 * position} if optimizer == "sgd" else {}
        rows.append(row)
    rng.shuffle(rows)
    return rows


def score(config: dict[str, Any]) -> float:
    return 0.9 - 0.1 * abs(math.log10(config["lr"]) + 3) - 0.1 * (config["optimizer"] == "sgd")


def mlflow_frame() -> pd.DataFrame:
    """As ``mlflow.search_runs()`` returns it: parameters are text, the latest run is first."""
    start = pd.Timestamp("2026-03-01 12:00", tz="UTC")
    rows = [
        {
            "run_id": f"{i:032x}",
            "experiment_id": "1",
            "status": "FINISHED",
            "artifact_uri": f"mlruns/{i}",
            "start_time": start + pd.Timedelta(minutes=i),
            "end_time": start + pd.Timedelta(minutes=i, seconds=30 + i),
            "metrics.accuracy": score(config),
            "metrics.loss": 1 - score(config),
            **{f"params.{name}": str(value) for name, value in config.items()},
            "params.output": f"outputs/{i}",
            "tags.mlflow.runName": f"able-hare-{i}",
        }
        for i, config in enumerate(configs())
    ]
    rows[3] |= {"status": "FAILED", "metrics.accuracy": None, "metrics.loss": None}
    rows[4] |= {"status": "KILLED"}
    rows[5] |= {"status": "RUNNING", "end_time": pd.NaT}
    rows[6] |= {"metrics.accuracy": float("nan")}
    return pd.DataFrame(rows[::-1])


def wandb_frame() -> pd.DataFrame:
    """As the documentation of W&B exports runs: columns of dictionaries."""
    return pd.DataFrame(
        {
            "summary": [
                {"accuracy": score(config), "_runtime": 60 + i, "_timestamp": 1.7e9 + 100 * i}
                for i, config in enumerate(configs())
            ],
            "config": [{**config, "_wandb": {"t": 1}} for config in configs()],
            "name": [f"sweep-{i}" for i in range(24)],
        }
    )


def wandb_csv_frame() -> pd.DataFrame:
    """As W&B's page of runs downloads it: without prefixes, everything is text."""
    rows = [
        {
            "Name": f"sweep-{i}",
            "State": "finished",
            "Notes": "-",
            "Created": f"2026-03-01T12:{59 - i:02}:11.000Z",
            "Runtime": str(60 + i),
            **{name: str(value).lower() for name, value in config.items()},
            "accuracy": str(score(config)),
        }
        for i, config in enumerate(configs())
    ]
    return pd.DataFrame(rows).fillna("")


def ray_frame() -> pd.DataFrame:
    """As Ray Tune's ``ResultGrid.get_dataframe()`` returns it."""
    rows = [
        {
            "accuracy": score(config),
            "timestamp": 1_700_000_000 + 100 * i,
            "checkpoint_dir_name": None,
            "done": False,
            "training_iteration": 3,
            "trial_id": f"2fddd_{i:05}",
            "date": "2026-11-26_19-33-08",
            "time_this_iter_s": 20.0,
            "time_total_s": 60.0 + i,
            "pid": 17_244,
            **{f"config/{name}": value for name, value in config.items()},
            "logdir": f"2fddd_{i:05}",
        }
        for i, config in enumerate(configs())
    ]
    return pd.DataFrame(rows)


def test_mlflow() -> None:
    study = study_from_dataframe(
        mlflow_frame(), params="params.", value="metrics.accuracy", direction="maximize"
    )
    states = [trial.state for trial in study.trials]
    assert states[3:6] == [TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL]
    assert states.count(TrialState.COMPLETE) == 20
    first = study.trials[0]
    assert (first.params, first.value) == (configs()[0], pytest.approx(score(configs()[0])))
    assert [t.duration for t in study.trials[:2]] == [timedelta(seconds=s) for s in (30, 31)]
    assert_space(study)


@pytest.mark.parametrize(
    ("frame", "arguments"),
    [
        (wandb_frame(), {"params": "config", "value": "summary.accuracy"}),
        (wandb_frame(), {"value": "summary.accuracy"}),
        (wandb_frame().astype(str), {"params": "config.", "value": "summary.accuracy"}),
        (wandb_csv_frame(), {"params": [*SPACE], "value": "accuracy"}),
        (ray_frame(), {"params": "config/", "value": "accuracy"}),
        (ray_frame(), {"params": "config", "value": "accuracy"}),
        (ray_frame(), {"params": [f"config/{n}" for n in SPACE], "value": "accuracy"}),
        (wandb_csv_frame(), {"params": pd.Index([*SPACE]), "value": "accuracy"}),
    ],
)
def test_trackers(frame: pd.DataFrame, arguments: dict[str, Any]) -> None:
    study = study_from_dataframe(frame, direction="maximize", **arguments)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert sorted(trial.duration for trial in study.trials if trial.duration) == [
        timedelta(seconds=60 + i) for i in range(24)
    ]
    assert_same_configs(study)
    assert_space(study)


def assert_same_configs(study: optuna.Study) -> None:
    found = sorted(json.dumps(trial.params, sort_keys=True) for trial in study.trials)
    assert found == sorted(json.dumps(config, sort_keys=True) for config in configs())
    for trial in study.trials:
        assert trial.value == pytest.approx(score(trial.params))


def assert_space(study: optuna.Study) -> None:
    for trial in study.trials:
        for name, distribution in trial.distributions.items():
            expected = SPACE[name]
            assert type(distribution) is type(expected)
            if isinstance(expected, FloatDistribution | IntDistribution):
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                bounds = [distribution.low, distribution.high]
                assert bounds == pytest.approx([expected.low, expected.high])
                assert distribution.log is expected.log
            else:
                assert distribution == expected


@pytest.mark.parametrize("is_csv", [False, True])
@pytest.mark.parametrize("params", ["param_", None])
def test_scikit_learn(tmp_path: Path, params: str | None, is_csv: bool) -> None:
    """Masked parameters are absent, ``None`` is a value, and fits that failed are failures."""
    search = pytest.importorskip("sklearn.model_selection")
    tree = pytest.importorskip("sklearn.tree")
    features = np.arange(40.0).reshape(-1, 1)
    grid = [
        {"max_depth": [None, 3], "ccp_alpha": [0.0, 0.001, 0.1]},
        {"criterion": ["entropy"], "min_samples_leaf": [1, -1]},
    ]
    fitted = search.GridSearchCV(tree.DecisionTreeClassifier(random_state=0), grid, cv=2)
    with warnings.catch_warnings(action="ignore"):  # of the fits that fail
        fitted.fit(features, np.arange(40) % 3 == 0)
    results = fitted.cv_results_
    if is_csv:
        pd.DataFrame(results).to_csv(tmp_path / "grid.csv")
        results = read_csv(tmp_path / "grid.csv")
    study = study_from_dataframe(
        results, params=params, value="mean_test_score", direction="maximize"
    )
    assert [trial.params for trial in study.trials] == fitted.cv_results_["params"]
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE] * 7 + [TrialState.FAIL]
    assert study.trials[0].distributions["max_depth"] == CategoricalDistribution([3, None])
    times = fitted.cv_results_["mean_fit_time"]
    assert [trial.duration.total_seconds() for trial in study.trials if trial.duration] == (
        pytest.approx(list(times), abs=1e-6)
    )


def test_optuna_s_own_table() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 1e-3, 1, log=True)
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_int("n", 1, 5)
        if trial.number == 3:
            trial.report(x, 0)
            raise optuna.TrialPruned
        return float("nan") if trial.number == 4 else x

    study.optimize(objective, n_trials=12)
    copy = study_from_dataframe(study.trials_dataframe(), direction="minimize")
    for mine, theirs in zip(copy.trials, study.trials, strict=True):
        assert (mine.params, mine.state) == (theirs.params, theirs.state)
        assert (mine.values, mine.datetime_start) == (theirs.values, theirs.datetime_start)
        assert mine.duration == theirs.duration


def complete(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state is TrialState.COMPLETE]


@pytest.mark.parametrize("file", ["past.db", "past.jsonl"])
def test_imported_study_is_a_past(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    study_from_dataframe(
        mlflow_frame(), value="metrics.accuracy", direction="maximize", storage=path,
        name="mlflow", meta_features={"n_instances": 1000, "modality": "CT"},
        aliases={"lr": "learning_rate"},
    )  # fmt: skip
    sampler = MetaLLMiXSampler(llm=False, source_storage=str(path), seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("learning_rate", 1e-6, 1.0, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "lion"])
        return score({"lr": lr, "optimizer": optimizer})

    study.optimize(objective, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert study.trials[0].params["optimizer"] == "adam"
    assert 1e-4 < study.trials[0].params["learning_rate"] < 1e-2


def test_arguments_of_the_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'past.db'}"
    arguments = {"direction": "minimize", "storage": storage, "name": "grid"}
    frame = {"params.x": [1, 2, 3], "value": [3, 2, 1]}
    study = study_from_dataframe(frame, meta_features={"n_classes": 2}, **arguments)  # type: ignore[arg-type]
    loaded = optuna.load_study(study_name="grid", storage=storage)
    assert loaded.user_attrs == {"n_classes": 2}
    assert loaded.best_params == study.best_params == {"x": 3}
    with pytest.raises(DuplicatedStudyError, match=r"has a study 'grid' already. Choose another"):
        study_from_dataframe(frame, **arguments)  # type: ignore[arg-type]
    assert len(optuna.load_study(study_name="grid", storage=storage).trials) == 3


def test_own_storage_object() -> None:
    storage = InMemoryStorage()
    frame = {"params.x": [1, 2], "value": [3, 2]}
    study_from_dataframe(frame, direction="minimize", storage=storage, name="a")
    assert optuna.get_all_study_names(storage) == ["a"]


@pytest.mark.parametrize(
    ("storage", "error"),
    [("runs.csv", ValueError), ("past", ValueError), ("foo://x", HistoryError)],
)
def test_storage_that_cannot_be_created(storage: str, error: type[Exception]) -> None:
    frame = {"params.x": [1, 2], "value": [3, 2]}
    with pytest.raises(error, match="storage"):
        study_from_dataframe(frame, direction="minimize", storage=storage)


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    frame = {"params.x": [1, 2], "value": [3, 2]}
    with pytest.raises(HistoryError, match="cannot be opened"):
        study_from_dataframe(frame, direction="minimize", storage=tmp_path / "no" / "past.db")


@pytest.mark.parametrize(
    "direction", [None, "max", "not_set", optuna.study.StudyDirection.NOT_SET]
)
def test_direction_is_asked_for(direction: Any) -> None:
    with pytest.raises(
        ValueError, match='must be "maximize" or "minimize": are larger or smaller'
    ):
        study_from_dataframe({"params.x": [1], "value": [3]}, direction=direction)


def test_given_distributions() -> None:
    frame = {"params.lr": ["0.1", "0.01"], "params.batch": ["32", "64"], "value": [1, 2]}
    given: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "batch": CategoricalDistribution([32, 64, 128]),
    }
    study = study_from_dataframe(frame, direction="maximize", distributions=given)
    assert study.trials[0].distributions == given
    assert study.trials[0].params == {"lr": 0.1, "batch": 32}
    narrow: dict[str, BaseDistribution] = {"lr": FloatDistribution(1e-4, 0.05)}
    with pytest.raises(ValueError, match=r"distributions\['lr'\] .* 1 runs .* such as 0.1"):
        study_from_dataframe(frame, direction="maximize", distributions=narrow)
    with pytest.raises(ValueError, match=r"distributions='lrs' is not .* mean 'lr'"):
        study_from_dataframe(frame, direction="maximize", distributions={"lrs": given["lr"]})


def test_renamed_parameters() -> None:
    frame = {
        "params.lr": [0.1, None, 0.3],
        "params.learning_rate": [None, 0.2, 0.3],
        "value": [1, 2, 3],
    }
    study = study_from_dataframe(
        frame, direction="maximize", aliases={"lr": "learning_rate", "bs": "learning_rate"}
    )
    assert [trial.params for trial in study.trials] == [
        {"learning_rate": value} for value in (0.1, 0.2, 0.3)
    ]
    with pytest.raises(ValueError, match=r"aliases='lrn' is not .* Did you mean 'lr'"):
        study_from_dataframe(frame, direction="maximize", aliases={"lrn": "rate"})
    frame["params.lr"][1] = 0.9
    with pytest.raises(ValueError, match="Row 1 has two values of one parameter"):
        study_from_dataframe(frame, direction="maximize", aliases={"lr": "learning_rate"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("param.", r"'param\.' \(did you mean 'params\.'\?\)"),
        ("parameters.", r"'parameters\.' \(did you mean 'params\.'\?\)"),
        ("hp_", r"'hp_'\. Common prefixes: 'params\.'\. The columns: 'params\.lr'"),
        (["lr"], r"did you mean 'params\.lr'\?"),
        (["params.lr", "batch"], r"begins with 'batch' \(did you mean 'params\.batch_size'\?\)"),
        (["lrr", "hp_", "bach_size"], r"'lrr' \(did .*\), 'hp_', 'bach_size' \(did you mean 'par"),
        ("", "The columns: 'params.lr', 'params.batch_size', 'value'"),
        (3, "must be a prefix, or a list of columns"),
    ],
)
def test_wrong_params(params: Any, message: str) -> None:
    frame = {"params.lr": [1], "params.batch_size": [8], "value": [3]}
    with pytest.raises(ValueError, match=message):
        study_from_dataframe(frame, params=params, direction="maximize")


def test_own_prefixes_are_named() -> None:
    names = ["hparam_lr", "hparam_depth", "val/acc", "val/loss", "start_time", "end_time"]
    with pytest.raises(ValueError, match=r"Common prefixes: 'hparam_', 'val/'\. The columns:"):
        study_from_dataframe({n: [1] for n in names}, params="x_", direction="maximize")
    with pytest.raises(ValueError, match=r"begins with 'hp_'\. The columns: 'lr', 'value'\."):
        study_from_dataframe({"lr": [1], "value": [1]}, params="hp_", direction="maximize")


def test_params_without_a_prefix_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"Name the columns .*: 'lr', 'accuracy'"):
        study_from_dataframe({"lr": [1], "accuracy": [3]}, direction="maximize")


def test_rows_that_are_left_out() -> None:
    frame = {
        "run_id": ["a", "a", "b", "c", "d", "", ""],
        "status": [
            "RUNNING",
            "FINISHED",
            "FINISHED",
            "FINISHED",
            "RUNNING",
            "FINISHED",
            "FINISHED",
        ],
        "params.x": [1, 1, None, 2, 3, 4, 4],
        "value": [None, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5],
    }
    runs = read_runs(frame, direction="maximize")
    assert [(trial.params["x"], trial.value) for trial in runs.trials] == [
        (1, 0.1),
        (2, 0.3),
        (4, 0.5),
    ]
    assert runs.left_out == {"not finished": 2, "without parameters": 1, "repeated": 1}
    assert runs.summarize() == (
        "3 of 7 runs: 3 complete, 2 left out (not finished), 1 left out (without parameters), "
        "1 left out (repeated)."
    )


def test_repeated_configurations_are_kept() -> None:
    frame = {"params.x": [1, 1, 2], "seed": [0, 1, 0], "value": [0.1, 0.1, 0.3]}
    runs = read_runs(frame, direction="maximize", value="value")
    assert len(runs.trials) == 3


def test_description() -> None:
    runs = read_runs(mlflow_frame(), value="metrics.accuracy", direction="maximize")
    assert runs.describe().splitlines() == [
        "value      metrics.accuracy (maximize)",
        "state      status: finished -> complete, running -> left out, killed -> pruned if there "
        "is a value, failed -> failed",
        "duration   end_time - start_time: 30 to 53 seconds, median 42",
        "parameter  lr (params.lr): number from 0.00001 to 0.1, log scale",
        "parameter  depth (params.depth): whole number from 1 to 8",
        'parameter  optimizer (params.optimizer): one of "adam", "sgd"',
        'parameter  amp (params.amp): one of "false", "true"',
        "parameter  momentum (params.momentum): number from 0.1 to 0.9, in 12 runs",
        "left out   output: almost every run has another text; keep it with `distributions`",
        "runs       23 of 24 runs: 20 complete, 2 failed (1 finished without metrics.accuracy), "
        "1 pruned, 1 left out (not finished).",
    ]


def test_finished_runs_without_a_value() -> None:
    states = ["FINISHED", "FINISHED", "FINISHED", "FAILED", "KILLED", "RUNNING"]
    frame = {"params.x": range(6), "status": states, "value": [0.1, None, "inf", 0.4, None, None]}
    runs = read_runs(frame, direction="maximize")
    assert runs.summarize() == (
        "5 of 6 runs: 4 failed (2 finished without value), 1 complete, 1 left out (not finished)."
    )
    runs = read_runs(frame, direction="maximize", skip_without_value=True)
    assert runs.summarize() == (
        "3 of 6 runs: 2 failed, 1 complete, 1 left out (not finished), 2 left out (without value)."
    )
    del frame["status"]
    runs = read_runs(frame, direction="maximize")
    assert runs.summarize() == "6 of 6 runs: 4 failed (4 finished without value), 2 complete."
    study = study_from_dataframe(frame, direction="maximize", skip_without_value=True)
    assert [trial.value for trial in study.trials] == [0.1, 0.4]


def test_imported_runs_are_logged(logs: Any) -> None:
    study_from_dataframe({"params.x": [1, 2], "value": [3, 4]}, direction="maximize")
    assert logs.infos == ["Imported 2 of 2 runs: 2 complete."]
    assert logs.warnings == []


def test_useless_past_is_named(logs: Any) -> None:
    study_from_dataframe({"params.x": [1, 2], "value": [3, None]}, direction="maximize", name="a")
    (warning,) = logs.warnings
    assert "Nothing can be learned from study 'a': it has only one complete trial" in warning


def test_no_parameter_is_left() -> None:
    with pytest.raises(ValueError, match=r"no run with parameters. x: no run has a value"):
        study_from_dataframe(
            {"params.x": [None, 1], "status": ["FINISHED", "RUNNING"], "value": [1, 2]},
            direction="maximize",
        )


def test_imported_now_if_times_are_unknown() -> None:
    study = study_from_dataframe({"params.x": [1, 2], "value": [3, 4]}, direction="maximize")
    for trial in study.trials:
        assert trial.duration == timedelta(0)
        assert trial.datetime_start is not None
        assert trial.datetime_start <= datetime.now()
