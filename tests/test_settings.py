from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.settings import Settings


def _check(**arguments: Any) -> Settings:
    return MetaLLMiXSampler(**{"llm": False, "judge": False, **arguments})._settings


def test_defaults() -> None:
    settings = _check()
    assert settings.meta_features == {}
    assert settings.search_space is None
    assert 0 <= settings.seed < 2**31


def test_arguments_are_kept(past_storage: InMemoryStorage) -> None:
    space = {"lr": FloatDistribution(0, 1)}
    settings = _check(
        source_storage=past_storage,
        source_study_names=["skin", "chest"],
        search_space=space,
        meta_features={"n": np.int64(3), "flag": np.True_, "modality": "CT"},
        llm=False,
        n_attempts=1,
        seed=np.int64(7),
    )
    assert settings.source_study_names == ("skin", "chest")
    assert settings.search_space == space
    assert settings.search_space is not space
    assert settings.meta_features == {"n": 3, "flag": "True", "modality": "CT"}
    assert type(settings.meta_features["n"]) is int
    assert (settings.seed, type(settings.seed)) == (7, int)


def test_no_seed_draws_another_each_time() -> None:
    assert len({_check().seed for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (
            {"n_attempts": 0},
            ValueError,
            "n_attempts=0 must be an integer greater than or equal to 1.",
        ),
        ({"n_attempts": True}, ValueError, "n_attempts=True must be"),
        ({"n_attempts": 2.0}, ValueError, "n_attempts=2.0 must be"),
        ({"n_attempts": "2"}, ValueError, "n_attempts='2' must be"),
        ({"seed": -1}, ValueError, "seed=-1 must be an integer from 0"),
        ({"seed": 2**32}, ValueError, "seed=4294967296 must be an integer from 0 to"),
        ({"seed": 1.5}, ValueError, "seed=1.5 must be"),
        ({"seed": True}, ValueError, "seed=True must be"),
        ({"seed": "1"}, ValueError, "seed='1' must be"),
        ({"cost_aware": "yes"}, TypeError, "cost_aware='yes' must be True or False."),
        ({"cost_aware": 1}, TypeError, "cost_aware=1 must be True or False."),
        (
            {"prompt": "shap"},
            ValueError,
            "prompt='shap' must be one of 'plain', 'cot', 'cot+shap'.",
        ),
        ({"prompt": None}, ValueError, "prompt=None must be one of 'plain', 'cot', 'cot+shap'."),
        ({"source_study_names": "skin"}, TypeError, "source_study_names='skin' must be a list"),
        ({"source_study_names": 5}, TypeError, "source_study_names=5 must be a list"),
        ({"source_study_names": [1]}, TypeError, "source_study_names=[1] must be a list"),
        ({"source_study_names": []}, ValueError, "source_study_names is empty"),
        ({"aliases": [("lr", "rate")]}, TypeError, "aliases=[('lr', 'rate')] must map past names"),
        ({"aliases": "lr=rate"}, TypeError, "aliases='lr=rate' must map past names"),
        ({"aliases": {"lr": 1}}, TypeError, "aliases={'lr': 1} must map past names"),
        ({"aliases": {1: "lr"}}, TypeError, "aliases={1: 'lr'} must map past names"),
        ({"aliases": {"lr": ""}}, ValueError, "aliases={'lr': ''} has an empty name"),
        ({"aliases": {"lr": "lr"}}, ValueError, "'lr' is both a past and a present name"),
        ({"aliases": {"a": "b", "b": "c"}}, ValueError, "'b' is both a past and a present name"),
        ({"aliases": {"a": "b", "b": "a"}}, ValueError, "'b' is both a past and a present name"),
        ({"search_space": {}}, TypeError, "search_space={} must map parameter names"),
        ({"search_space": ["lr"]}, TypeError, "search_space=['lr'] must map parameter names"),
        ({"search_space": {"lr": (0, 1)}}, TypeError, "{'lr': (0, 1)} must map parameter names"),
        ({"search_space": {1: FloatDistribution(0, 1)}}, TypeError, "search_space={1: Float"),
        ({"meta_features": [1]}, TypeError, "meta_features=[1] must map names"),
        ({"meta_features": {1: 2}}, TypeError, "meta_features={1: 2} must map names"),
        ({"meta_features": {"n": None}}, ValueError, "meta_features['n']=None must be a finite"),
        ({"meta_features": {"n": np.nan}}, ValueError, "meta_features['n']=nan must be a finite"),
        ({"meta_features": {"n": [1]}}, ValueError, "meta_features['n']=[1] must be a finite"),
        ({"meta_features": {"n": "x" * 65}}, ValueError, "at most 64 characters"),
        ({"llm": 5}, TypeError, "llm=5 is not a language model"),
        ({"judge": 5}, TypeError, "judge=5 is not a language model. Accepted are None (the"),
        ({"judge": "gpt"}, ValueError, "judge='gpt' names no language model"),
        ({"judge": "openai:no-url"}, ValueError, "judge: 'no-url' is not the address"),
        ({"llm": "gpt"}, ValueError, "llm='gpt' names no language model. Accepted are None (auto"),
        ({"llm": "gpt"}, ValueError, "llm='gpt'"),
        ({"source_storage": "no-such.db"}, HistoryError, "there is no file no-such.db"),
        ({"source_storage": 5}, TypeError, "source_storage=5 must be"),
    ],
)
def test_a_bad_argument_is_an_error(
    arguments: dict[str, Any],
    kind: type[Exception],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=re.escape(sentence)):
        _check(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_aliases_are_checked_on_the_past(past_storage: InMemoryStorage) -> None:
    given = {"lr": "learning_rate", "gone": "x"}
    settings = _check(source_storage=past_storage, aliases=given)
    assert settings.aliases == given
    assert settings.aliases is not given
    for aliases in ({"lr": "depth"}, {"lr": "rate", "depth": "rate"}):
        with pytest.raises(ValueError, match="cannot be used for study 'skin': it has a trial"):
            _check(source_storage=past_storage, aliases=aliases)
        assert _check(aliases=aliases).aliases == aliases  # nothing is known of the past yet


class _Broken(InMemoryStorage):
    def get_all_studies(self) -> Any:
        raise ConnectionResetError("gone")


def test_a_storage_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(HistoryError, match=r"cannot be read \(ConnectionResetError: gone\)"):
        _check(source_storage=_Broken(), source_study_names=["bone"])


def test_a_missing_model_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(LLMError, match=r"absent\.gguf"):
        _check(llm=str(tmp_path / "absent.gguf"))
    with pytest.raises(LLMError, match=r"absent\.gguf"):
        _check(judge=tmp_path / "absent.gguf")
