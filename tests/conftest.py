"""Fixtures for all tests: a small synthetic past of three studies with one conditional space."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from optuna_metallmix import errors
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.explain.explanation import explain
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import read_history
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import merge_spaces


# The same examples in every run: a test that passed here passes in CI.
hypothesis.settings.register_profile("repeat", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeat")

# A user's study goes on after a numerical error; here it is a fault to be found.
errors.hides_numerical_errors = False

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # end_to_end; benchmarks


SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "batch_size": CategoricalDistribution([16, 32, 64]),
    "depth": IntDistribution(1, 6),
    "optimizer": CategoricalDistribution(["adam", "sgd", None]),
    "momentum": FloatDistribution(0.0, 0.99),
    "frozen": CategoricalDistribution([True, False]),
}
"""``momentum`` is active only for the optimizer ``sgd``."""

AddStudy = Callable[..., optuna.Study]


@dataclass(frozen=True)
class Learned:
    """A past, and everything that is derived from it up to the explanation."""

    history: History
    space: Mapping[str, BaseDistribution]
    learner: MetaLearner
    candidates: tuple[Candidate, ...]
    explanation: Explanation


def _past_trial(rng: np.random.Generator, sign: float) -> FrozenTrial:
    params: dict[str, Any] = {
        "lr": 10 ** rng.uniform(-5, -1),
        "batch_size": [16, 32, 64][rng.integers(3)],
        "depth": int(rng.integers(1, 7)),
        "optimizer": ["adam", "sgd", None][rng.integers(3)],
        "frozen": bool(rng.integers(2)),
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = rng.uniform(0.0, 0.99)
    good = -abs(math.log10(params["lr"]) + 3) + 0.5 * (params["optimizer"] == "adam")
    good += 0.2 * params["frozen"] + 0.05 * rng.normal()
    space = {name: SPACE[name] for name in params}
    return create_trial(params=params, distributions=space, value=sign * good)


def _add_study(
    storage: BaseStorage,
    name: str,
    *,
    direction: str = "maximize",
    n_trials: int = 30,
    seed: int = 0,
    **attributes: Any,
) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    rng = np.random.default_rng(seed)
    sign = 1.0 if direction == "maximize" else -1.0
    study.add_trials([_past_trial(rng, sign) for _ in range(n_trials)])
    return study


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let UTF-8 hold what a test has logged: pytest-xdist cannot send anything else."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def same_verbosity() -> Iterator[None]:
    """Restore Optuna's verbosity, which scripts lower."""
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(autouse=True, scope="module")
def close_databases() -> Iterator[None]:
    """Close the databases that tests and their fixtures open through Optuna, which leaves that to
    the garbage collector: Python 3.13 warns of it in whichever test runs then."""
    opened: list[RDBStorage] = []
    init = RDBStorage.__init__

    def recording_init(self: RDBStorage, *args: Any, **options: Any) -> None:
        opened.append(self)
        init(self, *args, **options)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(RDBStorage, "__init__", recording_init)
        yield
    for storage in opened:
        if hasattr(storage, "engine"):  # it was opened successfully
            storage.engine.dispose()


@pytest.fixture(scope="session")
def add_study() -> AddStudy:
    """Adds a study to a storage; ``lr`` near 1e-3 and ``adam`` are good in every study."""
    return _add_study


@pytest.fixture(scope="session")
def past_storage() -> InMemoryStorage:
    """Three past studies, shared by all tests: do not write to it."""
    storage = InMemoryStorage()
    _add_study(storage, "skin", seed=1, n_instances=500, n_classes=2, modality="dermoscopy")
    _add_study(storage, "chest", seed=2, direction="minimize", n_instances=900, modality="CT")
    _add_study(storage, "retina", seed=3, n_instances=20_000, n_classes=5, modality="fundus")
    return storage


@pytest.fixture(scope="session")
def history(past_storage: InMemoryStorage) -> History:
    return read_history(past_storage)


@pytest.fixture(scope="session")
def learned(history: History) -> Learned:
    space = merge_spaces(study.space for study in history.studies)
    learner = MetaLearner(seed=0).fit(build_meta_dataset(history, space))
    candidates = propose_candidates(learner, history, np.random.default_rng(0))
    explanation = explain(learner, candidates, history, {"modality": "CT"})
    return Learned(history, space, learner, candidates, explanation)


class LogRecords(logging.Handler):
    """Collects the log records of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def warnings(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno >= logging.WARNING]

    @property
    def infos(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno == logging.INFO]


@pytest.fixture
def logs() -> Iterator[LogRecords]:
    handler, logger = LogRecords(), logging.getLogger("optuna.metallmix")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@dataclass(frozen=True)
class Handmade:
    """The content of a prompt, written by hand: three candidates and four pieces of evidence."""

    space: dict[str, BaseDistribution]
    candidates: tuple[Candidate, ...]
    explanation: Explanation


@pytest.fixture
def handmade() -> Handmade:
    evidence = (
        Evidence("E1", "optimizer", "= adam", None, None, "adam", 0.2, 40, 3),
        Evidence("E2", "lr", "from 0.0005 to 0.002", 0.0005, 0.002, None, 0.12, 20, 3),
        Evidence("E3", "momentum", "from 0.9 to 0.99", 0.9, 0.99, None, -0.05, 10, 2),
        Evidence("E4", "depth", "= 6", 6.0, 6.0, None, -0.03, 12, 2),
    )
    common = {"batch_size": 32, "frozen": True}
    candidates = (
        Candidate(
            1, {"lr": 0.00123456, "depth": 3, "optimizer": "adam", **common}, "best", 0.9, 0.02
        ),
        Candidate(2, {"lr": 1e-05, "depth": 6, "optimizer": None, **common}, "near", 0.6, 0.1),
        Candidate(
            3,
            {"lr": 0.001, "depth": 2, "optimizer": "sgd", "momentum": 0.95, **common},
            "random",
            0.4,
            0.1,
        ),
    )
    nearest = (
        NearestStudy("chest", 0.5, candidates[0].params, 30),
        NearestStudy("skin", None, candidates[1].params, 30),
    )
    explanation = Explanation(
        base=0.5,
        values=np.zeros((1, len(SPACE))),
        configs=(candidates[0].params,),
        space=SPACE,
        importance={"optimizer": 0.1, "lr": 0.09},
        evidence=evidence,
        nearest=nearest,
        quality=0.62,
    )
    return Handmade(dict(SPACE), candidates, explanation)
