"""Test the pasts that methods are given: their sizes, their flaws, and who reads which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler

from benchmarks import paths
from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.families.search import trace
from benchmarks.methods import baselines
from benchmarks.methods.baselines import Search
from benchmarks.methods.catalog import NAMES
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.flaws import fewer_choices
from benchmarks.tasks.flaws import narrow
from benchmarks.tasks.flaws import rank
from benchmarks.tasks.flaws import wrong_choice
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.past import random_trials
from benchmarks.tasks.past import tpe_trials
from benchmarks.tasks.scenarios import SCENARIOS
from benchmarks.tasks.space import Space


SPACE = Space(
    {
        "net": CategoricalDistribution(["linear", "deep", "broken"]),
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "depth": IntDistribution(1, 9),
    },
    {"depth": ("net", frozenset({"deep"}))},
)
NUMBERS = Space({name: SPACE.parameters[name] for name in ("lr", "depth")})


def value(config: dict) -> float:
    net = {"linear": 1.0, "deep": 0.0, "broken": 5.0}[config.get("net", "deep")]
    return net + abs(np.log10(config["lr"]) + 3) + 0.1 * abs(config.get("depth", 2) - 2)


def task(name: str, direction: str = "minimize") -> Task:
    sign = 1 if direction == "minimize" else -1
    return Task(
        name,
        direction,
        lambda configs: np.array([sign * value(config) for config in configs]),
        lambda value: sign * value,
        {},
    )


def ranked(space: Space, direction: str = "minimize"):
    return rank(task("target", direction), space, random_configs(space, 500, "test"))


def searches(n: int = 12, **options) -> Searches:
    tasks = {name: task(name) for name in map("t{}".format, range(n))}
    default = {"net": "linear", "lr": 0.1}
    return Searches("family", tasks, SPACE, default, 8, **options)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)


def test_inactive_parameters_are_not_suggested():
    configs = random_configs(SPACE, 50, "test")
    assert {config["net"] for config in configs} == {"linear", "deep", "broken"}
    assert all(("depth" in config) == (config["net"] == "deep") for config in configs)
    steps = trace(
        task("t"), SPACE, Search(RandomSampler(seed=0), [{"net": "deep", "lr": 1e-3}]), 5
    )
    assert steps[0].regret < 1


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_narrow_past_lacks_the_better_half(direction):
    narrowed = narrow(ranked(NUMBERS, direction)).parameters
    assert narrowed["lr"] == FloatDistribution(1e-2, 1.0, log=True)
    assert narrowed["depth"] == NUMBERS.parameters["depth"]


@pytest.mark.parametrize(
    ("whole", "best", "half"),
    [
        (IntDistribution(0, 9), 1, IntDistribution(5, 9)),
        (IntDistribution(0, 2), 2, IntDistribution(0, 1)),
        (IntDistribution(16, 512, log=True), 500, IntDistribution(16, 90, log=True)),
        (FloatDistribution(0, 1), 0.1, FloatDistribution(0.5, 1)),
    ],
)
def test_halves_of_ranges(whole, best, half):
    space = Space({"x": whole})
    near = Task(
        "t", "minimize", lambda configs: np.array([abs(c["x"] - best) for c in configs]), float, {}
    )
    assert narrow(rank(near, space, random_configs(space, 200, "x"))).parameters == {"x": half}


def test_a_past_with_fewer_choices_lacks_the_best():
    parameters = fewer_choices(ranked(SPACE)).parameters
    assert parameters["net"] == CategoricalDistribution(["linear", "broken"])
    assert parameters["lr"] == SPACE.parameters["lr"]


def test_without_choices_it_lacks_every_second_level():
    assert fewer_choices(ranked(NUMBERS)).parameters["depth"] == IntDistribution(1, 9, step=2)


def test_a_flaw_needs_a_parameter_of_its_kind():
    space = Space({"net": SPACE.parameters["net"]})
    constant = Task("t", "minimize", lambda configs: np.zeros(len(configs)), float, {})
    with pytest.raises(SkippedError, match="no parameter of this kind"):
        narrow(rank(constant, space, random_configs(space, 20, "x")))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_wrong_choice_exchanges_best_and_worst(direction):
    past = past_of([task("t", direction)], SPACE, random_trials, 0, 90)
    wrong = wrong_choice(past, ranked(SPACE, direction))
    nets = np.array([config["net"] for config in past.configs["t"]])
    sign = 1 if direction == "minimize" else -1
    true, changed = sign * past.values["t"], sign * wrong.values["t"]
    assert changed[nets == "broken"].max() < changed[nets == "deep"].min()
    assert np.array_equal(true[nets == "linear"], changed[nets == "linear"])
    deep = nets == "deep"  # the order within a choice is kept, so that other effects are, too
    assert np.corrcoef(true[deep].argsort().argsort(), changed[deep])[0, 1] > 0.9


def test_a_wrong_half_where_there_are_no_choices():
    past = past_of([task("t")], NUMBERS, random_trials, 0, 60)
    wrong = wrong_choice(past, ranked(NUMBERS))
    best = past.configs["t"][int(wrong.values["t"].argmin())]
    assert best["lr"] > 1e-2


def test_smaller_pasts_are_part_of_larger_and_the_same_for_all_methods():
    family = searches()
    chosen = {
        (method, n): family._setting(family.tasks["t3"], 0, method, SCENARIOS[f"tpe-{n}"]).others
        for method in ("past-bests", "ours-no-llm")
        for n in (1, 3, 10)
    }
    for n in (1, 3, 10):
        assert chosen["past-bests", n] == chosen["ours-no-llm", n]
        assert len(set(chosen["past-bests", n]) - {"t3"}) == n
    assert set(chosen["past-bests", 1]) < set(chosen["past-bests", 3])
    assert set(chosen["past-bests", 3]) < set(chosen["past-bests", 10])
    with pytest.raises(SkippedError, match="the family has 2 past studies"):
        searches(3).run("t0", 0, "past-bests@random-3", 1)


def test_sources_are_the_past_of_every_target():
    sources = tuple(task(f"s{i}") for i in range(4))
    family = searches(2, sources=sources)
    setting = family._setting(family.tasks["t0"], 0, "past-bests", SCENARIOS[""])
    assert setting.others == ["s0", "s1", "s2", "s3"]
    assert [past.name for past in setting.past.tasks] == setting.others


def test_a_past_made_by_tpe_is_a_search_of_its_own_for_each_study(tmp_path):
    one, other, again = (tpe_trials(SPACE, task(name), 0, 20) for name in ("a", "b", "a"))
    assert one == again
    assert one != other
    assert len(list((tmp_path / "benchmarks").glob("tpe-*.json"))) == 2
    found = np.mean([value(config) for config in one[10:]])
    assert found < np.mean([value(config) for config in random_configs(SPACE, 50, "x")])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs(scenario):
    steps = searches().run("t0", 0, f"past-bests@{scenario}".rstrip("@"), 3)
    assert len(steps) == 3


def test_at_most_five_bests_are_enqueued():
    family = searches()
    setting = family._setting(family.tasks["t0"], 0, "past-bests", SCENARIOS[""])
    assert len(baselines.past_bests(setting).first) == 5
    few = family._setting(family.tasks["t0"], 0, "past-bests", SCENARIOS["random-3"])
    assert len(baselines.past_bests(few).first) == 3


def test_only_methods_with_a_past_have_scenarios():
    names = search_family(searches(), quick=True, title="", unit="", n_trials=1).methods
    assert names == NAMES
    assert {"past-bests@tpe-3", "ours-no-llm@wrong-choice", "meta-learn-tpe@tpe"} < set(names)
    assert not {"tpe@tpe-3", "random@narrow", "no-past@tpe-1"} & set(names)


def test_meta_learn_tpe_reads_the_same_studies(tmp_path, monkeypatch):
    pytest.importorskip("optunahub")
    package = tmp_path / "samplers" / "meta_learn_tpe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "class MetaLearnTPESampler:\n"
        "    def __init__(self, *, source_studies, seed):\n"
        "        self.names = [study.study_name for study in source_studies]\n"
    )
    family = searches()
    setting = family._setting(family.tasks["t0"], 0, "meta-learn-tpe", SCENARIOS["random-3"])
    monkeypatch.setenv("OPTUNAHUB_REGISTRY", str(tmp_path))
    monkeypatch.setattr(optuna, "__version__", "5.0.0")
    with pytest.raises(SkippedError, match=r"needs Optuna 4, not 5\.0\.0"):
        baselines.meta_learn_tpe(setting)
    monkeypatch.setattr(optuna, "__version__", "4.9.0")
    assert baselines.meta_learn_tpe(setting).sampler.names == setting.others
    monkeypatch.setenv("OPTUNAHUB_REGISTRY", str(tmp_path / "nowhere"))
    with pytest.raises(SkippedError, match="set OPTUNAHUB_REGISTRY"):
        baselines.meta_learn_tpe(setting)
