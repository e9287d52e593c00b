"""Test the arithmetic of the benchmarks on data small enough to check by hand."""

from __future__ import annotations

import json
from itertools import combinations
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler

from benchmarks.bench import missing
from benchmarks.families.search import trace
from benchmarks.methods.baselines import Search
from benchmarks.methods.hostile import HostileLLM
from benchmarks.methods.ranking import expected_best
from benchmarks.report.numbers import compare
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.numbers import outcome
from benchmarks.report.rows import Row
from benchmarks.report.rows import Rows
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Comparison
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import best_by_study
from benchmarks.tasks.past import best_mean_rank
from benchmarks.tasks.past import inverted
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import permuted
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space
from benchmarks.work import Chunk
from optuna_metallmix.prompt.messages import rejection


SPACE = Space({"x": IntDistribution(0, 9)})


def task(name: str, best: int, **attributes: int) -> Task:
    return Task(
        name,
        "minimize",
        lambda configs: np.array([float(abs(config["x"] - best)) for config in configs]),
        lambda value: value / 2,
        attributes,
    )


def whole_grid(space: Space, task: Task, seed: int, n: int) -> list[Config]:
    return [{"x": i} for i in range(n)]


def steps(*regrets: float) -> list[Step]:
    return [Step(regret, 0.1) for regret in regrets]


def row(name: str, method: str, regret: float, trial: int = 1) -> Row:
    return Row(name, 0, method, trial, regret, 0.0, "code")


def test_rows_are_read_back_and_a_longer_search_replaces_a_shorter(tmp_path: Path):
    rows = Rows(tmp_path / "rows.csv")
    rows.add("a", 0, "tpe", steps(3, 2, 1, 1), "code")
    rows.write()
    again = Rows(tmp_path / "rows.csv")
    assert again.rows == rows.rows
    assert [row.trial for row in again.rows] == [1, 2, 3]
    assert again.has("a", 0, "tpe", 4)
    assert not again.has("a", 0, "tpe", 5)
    assert not again.has("a", 1, "tpe", 1)
    again.add("a", 0, "tpe", steps(3, 2, 1, 1, 0), "code")
    assert [row.regret for row in again.rows] == [3, 2, 1, 0]
    again.drop(["tpe"])
    assert again.rows == []


@pytest.mark.parametrize("n", [1, 2, 5])
def test_expectation_of_random_picks_is_exact(n):
    regrets = np.array([0.0, 0.3, 0.3, 1.0, 2.5])
    exact = np.mean([min(regrets[list(subset)]) for subset in combinations(range(5), n)])
    assert expected_best(regrets, n) == pytest.approx(exact)


def test_trace_keeps_the_best_and_runs_enqueued_trials_first():
    trajectory = trace(task("t", 4), SPACE, Search(RandomSampler(seed=0), [{"x": 4}]), 5)
    assert [step.regret for step in trajectory] == [0.0] * 5
    assert all(a.seconds <= b.seconds for a, b in pairwise(trajectory))


def test_the_past_and_its_controls_have_the_same_trials():
    tasks = [task("a", 2), task("b", 7)]
    past = past_of(tasks, SPACE, whole_grid, 0, 10)
    true, shuffled, negated = (
        [trial.value for trial in one.storage.get_all_trials(0)]
        for one in (past, permuted(past), inverted(past))
    )
    assert true != shuffled
    assert sorted(true) == sorted(shuffled)
    assert true == [-value for value in negated]


def test_past_bests_come_from_the_nearest_task_first():
    tasks = [task("far", 1, n=100_000), task("near", 7, n=110)]
    past = past_of(tasks, SPACE, whole_grid, 0, 10)
    assert best_by_study(past, tasks, 0, task("target", 5, n=100)) == [{"x": 7}, {"x": 1}]
    assert best_mean_rank(past, tasks[1])["x"] == 1  # the best of the other task


def test_intervals_are_over_tasks_and_bars_over_common_searches():
    rows = [row("a", "ours", 0.1), row("b", "ours", 0.3), row("c", "ours", 9.0)]
    rows += [row("a", "tpe", 0.2, 25), row("b", "tpe", 0.4, 25)]
    table = frame(rows)
    mean = interval(table["ours", 1])
    assert mean is not None
    assert (mean.n, mean.mean) == (3, pytest.approx(9.4 / 3))
    assert mean.low <= mean.mean <= mean.high
    result = outcome(Bar("", "ours", 1, ("tpe", 25)), table)
    assert result is not None
    assert (result.n, result.met) == (2, True)
    assert (result.regret, result.limit) == (pytest.approx(0.2), pytest.approx(0.3))
    assert outcome(Bar("", "ours", 1, ("gp", 25)), table) is None
    below = outcome(Bar("", "ours", 1, ("low", 1), 1.05), frame([*rows, row("a", "low", -0.2)]))
    assert below is not None
    assert below.limit == pytest.approx(-0.19)


def test_high_regrets_are_clipped():
    table = frame([row("a", "ours", 99.0), row("b", "ours", -1.0)], clip=3.0)
    assert table["ours", 1].tolist() == [3.0, -1.0]


@pytest.mark.parametrize(
    ("others", "met"),
    [
        ((0.1, 0.2, 0.3), True),
        ((0.096, 0.191, 0.286), True),  # within 5 %
        ((0.05, 0.1, 0.45), True),  # beyond it, but the interval of the difference has 0
        ((0.09, 0.18, 0.28), False),
    ],
)
def test_a_comparison_is_met_within_5_percent_or_the_interval(others, met):
    rows = [row(name, "ours@x", 0.1 * i) for i, name in enumerate("abc", 1)]
    rows += [row(name, "bests@x", other) for name, other in zip("abc", others, strict=True)]
    rows += [row(name, "tpe", 0.0) for name in "abcd"]
    comparison = Comparison("x", "ours@x", {"bests@x": 1, "tpe": 10})
    compared = compare(comparison, 1, frame(rows))
    assert compared is not None
    assert compared.regrets == pytest.approx(
        {"ours@x": 0.2, "bests@x": np.mean(others), "tpe": 0.0}
    )
    assert (compared.met, compared.n) == ({"bests@x": met}, 3)


def test_a_comparison_needs_another_method():
    comparison = Comparison("x", "ours", {"tpe": 1})
    assert compare(comparison, 1, frame([row("a", "ours", 0.1)])) is None
    assert compare(comparison, 1, frame([row("a", "tpe", 0.1)])) is None


def test_missing_searches_are_ordered_by_seed_with_the_numbers_of_each_method(tmp_path: Path):
    family = Family(
        "f",
        "",
        "",
        ("a", "b"),
        {"tpe": "", "slow": "", "optional": ""},
        ("tpe", "slow"),
        lambda task, seed, method, n: steps(*[0.0] * n),
        n_trials=2,
        n_seeds=2,
        trials={"tpe": 3},
        seeds={"slow": 1},
    )
    rows = Rows(tmp_path / "rows.csv")
    rows.add("b", 0, "tpe", steps(1, 1, 1), "code")
    rows.add("a", 1, "tpe", steps(1, 1), "code")  # too short
    assert list(missing(family, Options(), rows)) == [
        Chunk("a", 0, (("tpe", 3), ("slow", 2))),
        Chunk("b", 0, (("slow", 2),)),
        Chunk("a", 1, (("tpe", 3),)),
        Chunk("b", 1, (("tpe", 3),)),
    ]
    options = Options(methods=("slow",), seeds=2, trials=1, tasks=1)
    assert list(missing(family, options, rows)) == [
        Chunk("a", 0, (("slow", 1),)),
        Chunk("a", 1, (("slow", 1),)),
    ]


def test_every_search_has_its_own_seed():
    seeds = {seed_of("lcbench", t, s, m) for t in "abc" for s in range(3) for m in ("tpe", "gp")}
    assert len(seeds) == 18


def test_hostile_model_answers_questions_and_reviews():
    schema = {
        "properties": {
            "evidence": {"items": {"enum": ["E1", "E2"]}},
            "candidate": {"enum": [1, 2, 3]},
        }
    }
    llm = HostileLLM(worst=True, seed=0)
    question = {"role": "user", "content": "Which?"}
    first = json.loads(llm.generate([question], schema=schema))
    assert (first["candidate"], first["evidence"]) == (3, ["E1"])
    refused = [question, *rejection("{}", ["E1 (x) speaks against y, which was chosen."])]
    assert json.loads(llm.generate(refused, schema=schema))["evidence"] == ["E2"]
    review = {"properties": {"a_score": {"type": "integer"}, "a_remark": {"type": "string"}}}
    assert json.loads(llm.generate([question], schema=review))["a_score"] == 5
