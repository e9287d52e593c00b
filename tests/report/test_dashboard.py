"""What the real optuna-dashboard and a real artifact store have of a suggestion."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import make_server

import optuna
import pytest
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts import get_all_artifact_meta

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import ScriptedLLM
from optuna_metallmix.report.dashboard import BEGIN
from optuna_metallmix.report.dashboard import END
from optuna_metallmix.report.dashboard import write_note


if TYPE_CHECKING:
    from conftest import LogRecords

dashboard = pytest.importorskip("optuna_dashboard")

FIGURES = {
    *("metallmix-effects", "metallmix-suggestion"),
    *("metallmix-dependence", "metallmix-studies"),
}


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str, FileSystemArtifactStore]]:
    """A running dashboard: its address, its storage's address and its artifact store."""
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    fill_past(storage)
    (tmp_path / "artifacts").mkdir()
    store = FileSystemArtifactStore(tmp_path / "artifacts")
    app = dashboard.wsgi(storage, artifact_store=store)
    server = make_server("127.0.0.1", 0, app, handler_class=_Silent)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", storage, store
    server.shutdown()
    thread.join()
    server.server_close()


def _get(address: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_the_dashboard_serves_note_figures_pictures_and_links(
    served: tuple[str, str, FileSystemArtifactStore],
) -> None:
    host, storage, store = served
    sampler = MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 2), seed=0, artifact_store=store)
    study = new_study(sampler, storage)
    study.set_user_attr("n_instances", 1_500)
    study.optimize(objective, n_trials=2)
    detail = json.loads(_get(f"{host}/api/studies/{study._study_id}")[1])
    note = detail["note"]["body"]
    assert "### Suggested values" in note
    assert {stored["id"] for stored in detail["plotly_graph_objects"]} == FIGURES
    for stored in detail["plotly_graph_objects"]:
        layout = json.loads(stored["graph_object"])["layout"]
        assert layout["xaxis"]["title"]["text"]
        assert layout["paper_bgcolor"] == "#ffffff"
    pictures = re.findall(r"!\[[^]]+\]\((/artifacts/[^)]+)\)", note)
    assert len(pictures) == 4
    for address in pictures:
        kind, content = _get(host + address)
        assert kind == "image/png"
        assert content.startswith(b"\x89PNG")
    links = re.findall(r"\| \[(past-\d)\]\(/dashboard/studies/(\d+)\)", note)
    assert len(links) == 3
    for name, number in links:
        assert json.loads(_get(f"{host}/api/studies/{number}")[1])["name"] == name


def test_a_past_elsewhere_is_not_linked() -> None:
    study = new_study(MetaLLMiXSampler(source_storage=memory_past(), llm=False, seed=0))
    study.optimize(objective, n_trials=1)
    assert "/dashboard/studies/" not in dashboard.get_note(study)


HALF = BEGIN[: len(BEGIN) // 2]


@pytest.mark.parametrize(
    "mine",
    [
        "first\r\nsecond\r\n",
        "naïve 数 🙂 \u2028 end\n",
        "no newline at the end",
        f"half a marker: {HALF}",
        f"{END}\nfirst\n{HALF}\n",
        "x" * 10_000,
    ],
)
def test_a_persons_note_is_kept_byte_for_byte(mine: str) -> None:
    study = optuna.create_study()
    dashboard.save_note(study, mine)
    for text in ("ours " * 2_000, "ours, shorter", "ours again"):
        write_note(study, text)
        note = dashboard.get_note(study)
        assert note == f"{mine}\n\n{BEGIN}\n\n{text}\n\n{END}"
    dashboard.save_note(study, f"{note}\r\nadded below")
    write_note(study, "new")
    assert dashboard.get_note(study) == f"{mine}\n\n{BEGIN}\n\nnew\n\n{END}\r\nadded below"


class _Full(FileSystemArtifactStore):
    """An artifact store whose disk is full after the first file."""

    n = 0

    def write(self, artifact_id: str, content_body: Any) -> None:
        self.n += 1
        if self.n > 1:
            raise OSError(28, "No space left on device")
        super().write(artifact_id, content_body)


def test_a_full_artifact_store_stops_nothing_and_warns_once(
    tmp_path: Path, logs: LogRecords
) -> None:
    study = new_study(
        MetaLLMiXSampler(llm=False, seed=0, artifact_store=_Full(tmp_path)), memory_past()
    )
    study.optimize(objective, n_trials=3)
    (warning,) = logs.warnings
    assert "No space left on device" in warning
    assert study.trials[0].user_attrs["metallmix:note"] == warning
    note = dashboard.get_note(study)
    assert note.count("](/artifacts/") == 1  # only the picture that was written
    assert len([entry for entry in _listed_artifacts(study) if entry is not None]) == 1


def _listed_artifacts(study: optuna.Study) -> list[Any]:
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return [json.loads(v) for k, v in attributes.items() if k.startswith("artifacts:")]


def test_a_storage_that_takes_no_note_stops_nothing_and_warns_once(
    monkeypatch: pytest.MonkeyPatch, logs: LogRecords
) -> None:
    storage = memory_past()

    def read_only(*_: Any) -> None:
        raise PermissionError("read-only")

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), storage)
    monkeypatch.setattr(storage, "set_study_system_attr", read_only)
    study.optimize(objective, n_trials=2)
    (warning,) = logs.warnings
    assert "PermissionError (read-only)" in warning
    assert len(study.trials) == 2


def test_a_study_that_cannot_be_found_for_a_moment_stops_nothing_and_warns_once(
    monkeypatch: pytest.MonkeyPatch, logs: LogRecords
) -> None:
    """Its note, which needs the study, is missing; the trial says why."""
    storage = memory_past()

    def unreachable(*_: Any) -> None:
        raise ConnectionError("no route")

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), storage)
    monkeypatch.setattr(storage, "get_study_id_from_name", unreachable)
    study.optimize(objective, n_trials=2)
    (warning,) = logs.warnings
    assert "ConnectionError (no route)" in warning
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert "no route" in study.trials[0].user_attrs["metallmix:note"]


def test_an_absent_dashboard_warns_once(monkeypatch: pytest.MonkeyPatch, logs: LogRecords) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna_dashboard", None)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), memory_past())
    study.optimize(objective, n_trials=2)
    (warning,) = logs.warnings
    assert "pip install optuna-dashboard plotly" in warning


def test_what_is_no_artifact_store_is_refused() -> None:
    with pytest.raises(TypeError, match="FileSystemArtifactStore"):
        MetaLLMiXSampler(artifact_store="./artifacts")  # type: ignore[arg-type]


def test_artifacts_are_named_for_people(tmp_path: Path) -> None:
    store = FileSystemArtifactStore(tmp_path)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0, artifact_store=store), memory_past())
    study.optimize(objective, n_trials=1)
    names = {artifact.filename for artifact in get_all_artifact_meta(study)}
    assert names >= {"metallmix-effects.png", "metallmix-suggestion.png"}
