from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pandas as pd
import pytest
from choosers import Cites
from choosers import Reads
from choosers import TakesPosition
from fake_ollama import FakeOllama
from fake_ollama import ollama_server
from optuna.storages import InMemoryStorage

from optuna_metallmix import HistoryError
from optuna_metallmix import LLMError
from optuna_metallmix import OllamaLLM
from optuna_metallmix import ScriptedLLM
from optuna_metallmix.cli import main
from optuna_metallmix.evaluation.models import ModelAnswers
from optuna_metallmix.evaluation.models import compare_models
from optuna_metallmix.evaluation.order_bias import order_bias
from optuna_metallmix.evaluation.render import as_frame
from optuna_metallmix.evaluation.render import as_markdown
from optuna_metallmix.evaluation.render import draw


if TYPE_CHECKING:
    from conftest import AddStudy


__all__ = ["ollama_server"]  # a fixture

CHAT = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 9}


def good(study: str, params: Mapping[str, Any]) -> float:
    """The synthetic past's own rule, without its noise."""
    value = -abs(math.log10(params["lr"]) + 3) + 0.5 * (params["optimizer"] == "adam")
    value += 0.2 * params["frozen"]
    return -value if study == "chest" else value


@pytest.fixture(scope="module")
def result(past_storage: InMemoryStorage) -> ModelAnswers:
    broken = ScriptedLLM([LLMError("out of order")] * 40)
    models = [Reads(), TakesPosition(6, "takes the last"), broken]
    return compare_models(models, past_storage, evaluate=good, n_orders=2)


@pytest.fixture(scope="module")
def frame(result: ModelAnswers) -> pd.DataFrame:
    return as_frame(result).set_index(["model", "study"])


def test_all_models_are_asked_about_all_studies(frame: pd.DataFrame) -> None:
    names = ["llm=False", "reads", "takes the last", "scripted"]
    assert list(dict.fromkeys(frame.index.get_level_values("model"))) == names
    assert all(sorted(frame.loc[name].index) == ["chest", "retina", "skin"] for name in names)


def test_what_a_good_model_gets(frame: pd.DataFrame) -> None:
    own = frame.loc["reads"]
    assert own["valid"].all()
    assert own["accepted"].all()
    assert (own[["format", "accuracy", "completeness"]] == 5).all(axis=None)
    assert (own["agreement"] == 1.0).all()


def test_what_a_broken_model_gets(frame: pd.DataFrame) -> None:
    own = frame.loc["scripted"]
    assert not own["valid"].any()
    assert not own["accepted"].any()
    assert own["reason"].tolist() == ["out of order"] * 3
    assert not own["answered"].any()
    assert (own["regret_more"] == 0).all()  # its place is taken by the first candidate


def test_true_values_are_held_against_the_held_out_study(
    frame: pd.DataFrame, past_storage: InMemoryStorage
) -> None:
    values = sorted(
        trial.value or 0.0 for trial in past_storage.get_all_trials(1)
    )  # chest: minimize
    assert frame.loc[("llm=False", "chest"), "regret"] < 0.5
    row = frame.loc[("takes the last", "chest")]
    without = frame.loc[("llm=False", "chest")]
    assert row["regret"] - without["regret"] == pytest.approx(row["regret_more"])
    assert values[0] < values[15]


def test_small_model_is_compared_by_the_short_question(past_storage: InMemoryStorage) -> None:
    result = compare_models([Cites()], past_storage, n_orders=6)
    own = as_frame(result).set_index("model").loc["cites"]
    assert own["accepted"].all()
    assert (own["attempts"] == 1).all()
    assert (own["agreement"] == 1.0).all()
    assert own[["format", "accuracy", "completeness"]].isna().all(axis=None)
    assert order_bias(result.choices["cites"]).candidate_share >= 0.8


def test_size_of_a_model_is_asked_within_the_limit(past_storage: InMemoryStorage) -> None:
    asked_in = []

    class Sized(Reads):
        @property
        def n_parameters(self) -> None:
            asked_in.append(threading.current_thread())

    compare_models([Sized()], past_storage, studies=["skin"], n_orders=0)
    assert len(asked_in) == 1
    assert asked_in != [threading.current_thread()]


def test_judge_that_is_another_model(past_storage: InMemoryStorage) -> None:
    harsh = TakesPosition(1, "harsh")
    result = compare_models([Reads()], past_storage, studies=["skin"], judge=harsh, n_orders=0)
    assert as_frame(result)["format"].tolist()[1] == 5
    assert result.choices == {}
    without = compare_models([Reads()], past_storage, studies=["skin"], judge=False, n_orders=0)
    assert as_frame(without)["format"].isna().all()


def test_storage_is_only_read(past_storage: InMemoryStorage) -> None:
    before = [(study.study_name, study.user_attrs) for study in past_storage.get_all_studies()]
    compare_models([Reads()], past_storage, studies=["skin"], n_orders=1)
    assert [
        (study.study_name, study.user_attrs) for study in past_storage.get_all_studies()
    ] == before


def test_markdown_has_a_row_and_a_verdict_for_each_model(result: ModelAnswers) -> None:
    text = as_markdown(result)
    assert "| reads | 100% | 100% | 5.0 | 5.0 | 5.0 | 100% |" in text
    assert "`takes the last` does not read the prompt: position 6 in 100% of 6 answers" in text
    assert "`reads` reads the prompt: " in text
    assert "`scripted` gave no usable answer" in text
    assert "| scripted |" not in text
    assert "never answered:\n\n- `scripted`: out of order\n" in text
    assert "| cot+shap | yes |" in text


def test_wrong_arguments_are_errors(past_storage: InMemoryStorage) -> None:
    with pytest.raises(ValueError, match="Two models have the name 'reads'"):
        compare_models([Reads(), Reads()], past_storage)
    with pytest.raises(HistoryError, match=r"no study 'lung'.*Check `studies`\."):
        compare_models([Reads()], past_storage, studies=["lung"])
    with pytest.raises(LLMError, match="False is not a language model"):
        compare_models([False], past_storage)
    with pytest.raises(ValueError, match="prompt='loud' must be one of"):
        compare_models([Reads()], past_storage, prompt="loud")


def test_studies_that_cannot_be_held_out_are_reported(add_study: AddStudy) -> None:
    storage, lines = InMemoryStorage(), list[str]()
    for name in ("skin", "chest"):
        add_study(storage, name)
    add_study(storage, "empty", n_trials=0)
    names = ["skni", "chest", "empty"]
    result = compare_models([Reads()], storage, studies=names, n_orders=0, report=lines.append)
    assert {answer.study for answer in result.answers} == {"chest"}
    assert "no study 'skni' (did you mean 'skin'?)" in lines[0]
    assert "Nothing can be learned from study 'empty'" in lines[1]


def test_one_study_cannot_be_held_out(add_study: AddStudy) -> None:
    storage = InMemoryStorage()
    add_study(storage, "only")
    add_study(storage, "empty", n_trials=0)
    with pytest.raises(HistoryError, match=r"At least two usable studies.*there are 1.*'empty'"):
        compare_models([Reads()], storage)
    with pytest.raises(HistoryError, match="Nothing can be learned from study 'empty'"):
        compare_models([Reads()], storage, studies=["empty"])


def test_judge_that_is_compared_is_loaded_once(
    past_storage: InMemoryStorage, ollama_server: FakeOllama
) -> None:
    """A second object would ask with a context of its own, which reloads the model."""
    show = {"model_info": {"general.parameter_count": 8 * 10**9}}
    ollama_server.reply("/api/show", show)
    ollama_server.reply("/api/ps", {"models": []})
    ollama_server.reply("/api/chat", {**CHAT, "message": {"role": "assistant", "content": "no"}})
    models = ["ollama:a:8b", "ollama:b:8b"]
    compare_models(models, past_storage, studies=["skin"], judge=models[1], n_orders=0)
    assert [body["model"] for body in ollama_server.all_sent("/api/show")] == ["a:8b", "b:8b"]


def test_dead_server_is_an_error_before_any_work(past_storage: InMemoryStorage) -> None:
    steps: list[str] = []
    dead = OllamaLLM("qwen3:8b", host="127.0.0.1:1")
    for arguments in ({"models": [Reads(), dead]}, {"models": [Reads()], "judge": dead}):
        with pytest.raises(
            LLMError, match=r"No Ollama server answers at http://127\.0\.0\.1:1: st"
        ):
            compare_models(source=past_storage, report=steps.append, **arguments)
    assert steps == []


def test_model_that_answers_once_is_in_the_table(past_storage: InMemoryStorage) -> None:
    late = ScriptedLLM([LLMError("slow"), LLMError("slow"), "nonsense", LLMError("slow")])
    result = compare_models([late], past_storage, n_orders=0, n_attempts=1)
    assert result.silent == {}
    assert "| scripted | 0% |" in as_markdown(result)


@pytest.fixture
def words(add_study: AddStudy, tmp_path: Path) -> list[str]:
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    for seed, name in enumerate(["skin", "retina"]):
        add_study(storage, name, seed=seed, n_trials=12)
    out = str(tmp_path / "x")
    return ["compare-models", "--storage", storage, "--orders", "0", "--out", out]


def test_command_names_a_dead_server(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    assert main([*words, "--models", "ollama:qwen3:8b"]) == 1
    captured = capsys.readouterr()
    assert "No Ollama server answers at http://127.0.0.1:1: start it with `oll" in captured.err
    assert captured.out == ""
    assert not list(tmp_path.glob("x*"))


def test_command_names_a_missing_model(
    words: list[str], ollama_server: FakeOllama, capsys: pytest.CaptureFixture[str]
) -> None:
    ollama_server.reply("/api/show", {"error": "model 'qwen3:8b' not found"}, 404)
    ollama_server.reply("/api/tags", {"models": [{"model": "qwen3:4b", "size": 10**9}]})
    assert main([*words, "--models", "ollama:qwen3:8b"]) == 1
    captured = capsys.readouterr()
    assert "installed: qwen3:4b): run `ollama pull qwen3:8b`" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("n_models", [1, 2])
def test_command_fails_for_a_model_that_never_answers(
    words: list[str],
    tmp_path: Path,
    ollama_server: FakeOllama,
    capsys: pytest.CaptureFixture[str],
    n_models: int,
) -> None:
    ollama_server.reply("/api/show", {"model_info": {}})
    ollama_server.reply("/api/ps", {"models": []})
    good_answer = {**CHAT, "message": {"role": "assistant", "content": "nonsense"}}
    empty = {**CHAT, "message": {"role": "assistant", "content": ""}}
    first = [(200, good_answer)] * 4 * (n_models - 1)  # and then it is unloaded
    ollama_server.reply_in_turn("/api/chat", *first, *[(200, empty)] * 4)
    models = ["ollama:good:8b", "ollama:mute:8b"][-n_models:]
    assert main([*words, "--models", ",".join(models)]) == 1
    captured = capsys.readouterr()
    assert "ollama:mute:8b never answered: Model 'mute:8b' of Ollama at" in captured.err
    assert "gave an empty answer: choose another model" in captured.err
    assert ("| ollama:good:8b | 0% |" in captured.out) is (n_models == 2)
    assert "| ollama:mute:8b |" not in captured.out
    assert (tmp_path / "x.md").exists() is (n_models == 2)


def test_command_writes_table_rows_and_plot(
    words: list[str],
    tmp_path: Path,
    ollama_server: FakeOllama,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = {"role": "assistant", "content": "nonsense"}
    ollama_server.reply("/api/chat", {**CHAT, "message": message})
    ollama_server.reply("/api/show", {"model_info": {"general.parameter_count": 8 * 10**9}})
    ollama_server.reply("/api/ps", {"models": []})
    words += ["--models", "ollama:qwen3:8b", "--objective", f"{__name__}:good"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "ollama:qwen3:8b: study 1 of 2, 'skin'" in captured.err
    assert "| ollama:qwen3:8b | 0% | 0% |" in captured.out
    assert (tmp_path / "x.md").read_text(encoding="utf-8") in captured.out
    assert len(pd.read_csv(tmp_path / "x.csv")) == 4
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--models", "embedded"], 2, "required: --storage"),
        (["--storage", "no.db", "--models", "ollama:a"], 1, "--storage: there is no file no.db"),
        (
            ["--storage", "no.db", "--models", "embedded,gpt"],
            2,
            "llm='gpt' names no language model",
        ),
        (
            ["--storage", "no.db", "--models", "embedded", "--judge", "gpt"],
            2,
            "judge='gpt' names no language model",
        ),
        (
            ["--storage", "x", "--models", "none", "--objective", "nowhere:f"],
            2,
            "cannot import 'nowhere:f'",
        ),
        (
            ["--storage", "x", "--models", "none", "--orders", "-1"],
            2,
            "'-1' is not a non-negative integer",
        ),
    ],
)
def test_command_errors(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = main(["compare-models", *words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == code
    assert message in capsys.readouterr().err


def test_plot_without_true_values_shows_predictions(past_storage: InMemoryStorage) -> None:
    result = compare_models([Reads()], past_storage, studies=["skin", "chest"], n_orders=0)
    (axes,) = draw(result).axes
    assert axes.get_xlabel().startswith("predicted score below")


def test_model_that_is_too_slow_is_left_behind(past_storage: InMemoryStorage) -> None:
    may_answer = threading.Event()

    class Slow:
        n_calls = 0

        def generate(self, messages: object, *, schema: object) -> str:
            self.n_calls += 1
            may_answer.wait()
            return "{}"

    slow = Slow()
    result = compare_models([slow], past_storage, llm_timeout=0.1)
    may_answer.set()
    rows = [answer for answer in result.answers if answer.model == "Slow"]
    assert len(rows) == 3
    assert "The 0.1 seconds of `llm_timeout`" in rows[0].reason
    assert "has still not answered" in rows[1].reason
    assert {choice.candidate for choice in result.choices["Slow"]} <= {None}
    assert slow.n_calls == 1
    with pytest.raises(ValueError, match="llm_timeout=0 must be"):
        compare_models([slow], past_storage, llm_timeout=0)
