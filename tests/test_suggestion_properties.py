"""Odd pasts, end to end: whatever the storage holds, a suggestion is valid and truly explained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import Suggestion
from optuna_metallmix import suggest
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.history.history import read_history
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.report.note import render_note
from optuna_metallmix.report.record import as_record
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import label_of
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.space.search_space import sample


Space = dict[str, BaseDistribution]

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(0, 1),
    FloatDistribution(1e-7, 1e-1, log=True),
    FloatDistribution(-5, 5, step=0.5),
    FloatDistribution(0.5, 0.5),
    IntDistribution(1, 4),
    IntDistribution(8, 512, log=True),
    IntDistribution(16, 256, step=16),
    IntDistribution(0, 2**60),
    CategoricalDistribution(["a", "b", None]),
    CategoricalDistribution([True, False]),
    CategoricalDistribution([1, 2, 4]),
    CategoricalDistribution([1e-5, 1e-3]),
    CategoricalDistribution([math.nan, 1.0]),
    CategoricalDistribution([0, "0", False]),
    CategoricalDistribution(["[1, 2]", 'q"uo\nte', "é"]),
    CategoricalDistribution(["x"]),
]
STATES = [TrialState.COMPLETE] * 3 + [TrialState.PRUNED, TrialState.FAIL]


def _any(rng: np.random.Generator) -> BaseDistribution:
    return DISTRIBUTIONS[rng.integers(len(DISTRIBUTIONS))]


def _trial(rng: np.random.Generator, space: Space) -> FrozenTrial:
    active = {name: one for name, one in space.items() if rng.random() < 0.8}
    state = STATES[rng.integers(len(STATES))]
    values = [rng.normal(), float(rng.integers(3)), math.inf, -math.inf]
    value = values[rng.choice(4, p=[0.6, 0.3, 0.05, 0.05])]
    return create_trial(
        state=state,
        params={name: sample(one, rng) for name, one in active.items()},
        distributions=active,
        value=None if state is TrialState.FAIL else value,
    )


def _past(rng: np.random.Generator) -> tuple[InMemoryStorage, Space]:
    """Studies that share some parameters, and disagree about what some of them are."""
    storage = InMemoryStorage()
    base = {f"p{i}": _any(rng) for i in range(rng.integers(1, 5))}
    for number in range(rng.integers(1, 5)):
        study = optuna.create_study(storage=storage, study_name=f"past {number}")
        space = {
            name: one if rng.random() < 0.8 else _any(rng)
            for name, one in base.items()
            if rng.random() < 0.9
        }
        study.add_trials([_trial(rng, space) for _ in range(rng.integers(0, 25))])
    return storage, base


def _value(rng: np.random.Generator, schema: Mapping[str, Any]) -> object:
    if "enum" in schema:
        return schema["enum"][rng.integers(len(schema["enum"]))]
    if schema["type"] == "integer":
        return int(rng.integers(schema["minimum"], schema["maximum"] + 1))
    return float(rng.uniform(schema["minimum"], schema["maximum"]))


def _answering(
    rng: np.random.Generator,
) -> Callable[[Sequence[Message], Mapping[str, Any]], str]:
    """Return a model that answers anything the schema allows."""

    def answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        found: dict[str, object] = {"reasoning": "r", "why": "w"}
        asked = schema["properties"]
        found["candidate"] = _value(rng, asked["candidate"])
        if "evidence" in asked:
            found["evidence"] = [_value(rng, asked["evidence"]["items"])]
        if "changes" in asked:
            allowed = asked["changes"]["properties"].items()
            found["changes"] = {n: _value(rng, one) for n, one in allowed if rng.random() < 0.3}
        return json.dumps(found)

    return answer


def _check_evidence(explanation: Explanation) -> None:
    for one in explanation.evidence:
        column = list(explanation.space).index(one.parameter)
        distribution = explanation.space[one.parameter]
        about = [
            i
            for i, config in enumerate(explanation.configs)
            if one.parameter in config
            and one.covers(label_of(distribution, config[one.parameter]), config[one.parameter])
        ]
        assert len(about) == one.n_trials
        assert explanation.values[about, column].mean() == pytest.approx(one.effect, abs=1e-9)


def _check_values(suggestion: Suggestion) -> None:
    for params in (suggestion.params, *(one.params for one in suggestion.candidates)):
        assert params or suggestion.source == "base-sampler"
        assert all(contains(suggestion.space[name], value) for name, value in params.items())
    for name in suggestion.params:
        for distribution in DISTRIBUTIONS:
            found = suggestion.value_for(name, distribution)
            assert found is not None
            assert contains(distribution, found[0])


@pytest.fixture(autouse=True)
def _small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MetaLearner.__init__.__kwdefaults__, "trees", Trees(4, 6, 0.08))


@pytest.mark.parametrize("seed", range(30))
def test_any_past_gives_a_valid_and_true_suggestion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    storage, space = _past(rng)
    history = read_history(storage)
    space = merge_spaces(study.space for study in history.studies) or space
    if seed % 3 == 0:
        space = {**space, "new": _any(rng), next(iter(space)): _any(rng)}
    suggestion = suggest(history, space, {}, ScriptedLLM([_answering(rng)] * 2), seed=seed)
    assert all(one.answer for one in suggestion.attempts)
    _check_values(suggestion)
    if suggestion.explanation is not None:
        _check_evidence(suggestion.explanation)
    assert render_note(suggestion, 0, {})
    assert as_record(suggestion)["source"] == suggestion.source
    assert suggestion._repr_html_()
    _check_figures(suggestion)


def _check_figures(suggestion: Suggestion) -> None:
    """Draw all there is: a figure that raises would end a training."""
    figures = describe_figures(suggestion)
    for figure in figures:
        json.loads(
            figure.to_plotly().to_json(),
            parse_constant=lambda name: pytest.fail(f"{name} in a figure"),
        )
    if suggestion.explanation is not None:
        pytest.importorskip("matplotlib")
        assert all(figure.to_png() for figure in figures)
        assert figures
