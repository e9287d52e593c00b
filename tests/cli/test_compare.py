"""The command `compare`, on studies in real files, which it leaves as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.cli import main


AddStudy = Callable[..., optuna.Study]


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest, tmp_path: Path, add_study: AddStudy) -> str:
    path = tmp_path / ("past.jsonl" if request.param == "journal" else "hpo.db")
    is_journal = request.param == "journal"
    storage = (
        JournalStorage(JournalFileBackend(str(path)))
        if is_journal
        else get_storage(f"sqlite:///{path}")
    )
    for i, name in enumerate(["ours-0", "ours-1", "tpe-0", "tpe-1", "a,b"]):
        add_study(storage, name, n_trials=6, seed=i)
    return str(path) if is_journal else f"sqlite:///{path}"


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["compare", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def digest(place: str) -> str:
    return hashlib.sha256(Path(place.removeprefix("sqlite:///")).read_bytes()).hexdigest()


def test_studies_and_sides(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = digest(place)
    code, out, err = compared(capsys, "--storage", place, "--studies", "ours-0,tpe-0")
    assert (code, err) == (0, "")
    assert "| trials | ours-0 | tpe-0 |" in out
    sides = ["--side", "ours=ours-*", "--side", "tpe=tpe-0,tpe-1", "--studies", "a,b"]
    code, out, err = compared(capsys, "--storage", place, *sides)
    assert (code, err) == (0, "")
    assert "| trials | a,b | ours | tpe |" in out
    assert "Medians over studies (a,b 1, ours 2, tpe 2)" in out
    assert digest(place) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--studies", "ours-0,gone"],
            "no study 'gone'. Studies in --storage: 'ours-0', 'ours-1', 'tpe-0'",
        ),
        (["--studies", "ours-0,tpe0"], "no study 'tpe0' (did you mean 'tpe-0'"),
        (["--studies", "ours-0"], "Nothing to compare in 'ours-0'. Pass at least two sides"),
        (["--studies", "ours-0,tpe-0", "--out", "no/folder/x.md"], "No such file or directory"),
    ],
)
def test_an_error_is_one_line(
    place: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = compared(capsys, "--storage", place, *words)
    assert (code, out) == (1, "")
    assert err.startswith("optuna-metallmix: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--side", "tpe"], "'tpe' is not NAME=STUDY,STUDY"),
        (["--out", "page.pdf"], "'page.pdf' does not end in .html, .md or .csv"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", "--storage", "hpo.db", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["html", "md", "csv"])
def test_files(
    place: str, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"page.{ending}"
    words = ["--storage", place, "--studies", "ours-0,tpe-0", "--out", str(path)]
    assert compared(capsys, *words) == (0, f"Wrote {path}.\n", "")
    text = path.read_text(encoding="utf-8")
    first = {"html": "<!DOCTYPE html>", "md": "### Best", "csv": "measure,side,"}[ending]
    assert text.startswith(first)
    if ending == "html":
        assert text.count("<table>") == 2
        assert "Plotly.newPlot" in text
        assert 'src="http' not in text  # it needs no network
