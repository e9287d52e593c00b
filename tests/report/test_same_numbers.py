"""Note, page, figures and notebook show the numbers of the record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import new_study

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import ScriptedLLM
from optuna_metallmix import read_record
from optuna_metallmix.cli import main
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.report.record import restore_suggestion
from optuna_metallmix.space.search_space import label_of


dashboard = pytest.importorskip("optuna_dashboard")


@dataclass(frozen=True)
class Reported:
    """A suggestion, where it is recorded and its note."""

    storage: str
    study: optuna.Study
    record: dict[str, Any]
    note: str


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    storage = f"sqlite:///{tmp_path_factory.mktemp('same') / 'hpo.db'}"
    fill_past(storage)
    sampler = MetaLLMiXSampler(llm=ScriptedLLM(["?", choose(), choose()]), seed=0)
    study = new_study(sampler, storage)
    study.set_user_attr("n_instances", 1_500)
    study.optimize(_narrower, n_trials=2)
    record = read_record(study.trials[0])
    assert record is not None
    return Reported(storage, study, record, dashboard.get_note(study))


def _narrower(trial: optuna.Trial) -> float:
    """An objective with a smaller space than the past, so that a value is projected."""
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
    depth = trial.suggest_int("depth", 20, 30)
    return trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True) + len(optimizer) + depth


def _rows(note: str) -> dict[str, list[str]]:
    lines = note.partition("### Suggested values")[2].partition("###")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    return {row[0]: row[1:] for row in cells}


def test_the_note_has_the_records_numbers(reported: Reported) -> None:
    record, rows = reported.record, _rows(reported.note)
    suggestion = restore_whole(reported)
    for name, effect in record["effects"].items():
        if name in record["params"]:
            value = label_of(suggestion.space[name], record["params"][name])
            assert rows[name][0] == value
        if name in rows:
            assert rows[name][2] == f"{effect:+.3f}"
    assert set(record["params"]) <= set(rows)
    assert f"expected score of **{record['predicted']:.2f}**" in reported.note
    assert f"average of past trials, {record['base']:.3f}," in reported.note
    assert f"expected score, {record['predicted']:.3f}." in reported.note
    assert record["params"] == reported.study.trials[0].params
    assert record["moved"]["depth"][1] == record["params"]["depth"] == 20
    assert rows["depth"][1] == f"moved from {record['moved']['depth'][0]}"
    assert f"rank correlation of **{record['quality']:.2f}**" in reported.note
    past = record["past_studies"]
    assert f"{len(past)} past studies with {sum(past.values())} trials" in reported.note
    for study in record["nearest"]:
        assert f"| {study['n_trials']} | {study['distance']:.2f} |" in reported.note
    parts = {(e.parameter, f"{e.effect:+.2f}") for e in suggestion.explanation.parts}
    for name, row in rows.items():
        for effect in re.findall(r"\(([+-]\d\.\d\d)\)", " ".join(row[3:])):
            assert (name, effect) in parts
    for stage, seconds in record["seconds"].items():
        assert f"{stage} {seconds:.1f} s" in reported.note


def test_the_records_numbers_add_up(reported: Reported) -> None:
    record = reported.record
    total = record["base"] + sum(record["effects"].values())
    assert total == pytest.approx(record["predicted"], abs=1e-6)


def restore_whole(reported: Reported) -> Any:
    restored = restore_suggestion(reported.study)
    assert restored is not None
    assert restored.suggestion.learner is not None
    return restored.suggestion


def test_explain_repeats_the_note(reported: Reported, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "--storage", reported.storage, "--study", "new", "--format", "md"]
    assert main(words) == 0
    report = capsys.readouterr().out
    own = reported.note.partition("\n\n")[2].rpartition("\n\n")[0]
    unlinked = re.sub(r"\[(past-\d)\]\(/dashboard/studies/\d+\)", r"\1", own)
    assert report == f"# new\n\n{unlinked}\n\n"
    assert "- answer 1 was rejected: " in report
    assert "### Changes by the objective" in report


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _numbers(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?![\w.]*\w)", text)


def test_the_page_has_the_notes_numbers(reported: Reported, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "page.html"
    assert (
        main(["explain", "--storage", reported.storage, "--study", "new", "--out", str(out)]) == 0
    )
    page = out.read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 4
    assert "http" not in page
    reader = _Text()
    reader.feed(page.partition("<body>")[2])
    plain = re.sub(r"\]\(/dashboard/studies/\d+\)|\*\*|`|\\", "", reported.note)
    own = plain.partition("\n\n")[2].rpartition("\n\n")[0]
    assert _numbers(" ".join(reader.texts)) == _numbers(own)


def test_the_figures_have_the_records_numbers(reported: Reported) -> None:
    stored = dashboard._custom_plot_data.get_plotly_graph_objects(
        reported.study._storage.get_study_system_attrs(reported.study._study_id)
    )
    (bars,) = json.loads(stored["metallmix-suggestion"])["data"]
    record = reported.record
    predicted, *effects, base = bars["x"]
    assert (predicted, base) == (record["predicted"], record["base"])
    assert sorted(effects) == sorted(record["effects"].values())
    assert bars["text"] == [
        f"{predicted:.3f}",
        *(f"{effect:+.3f}" for effect in effects),
        f"{base:.3f}",
    ]
    again = describe_figures(restore_whole(reported))
    for figure in again:
        drawn = json.loads(stored[f"metallmix-{figure.name}"])
        assert drawn == json.loads(figure.to_plotly().to_json())
    assert len(again) == len(stored)


def test_notebooks_show_the_records_numbers(reported: Reported) -> None:
    suggestion = restore_whole(reported)
    shown = suggestion._repr_html_()
    for name, effect in reported.record["effects"].items():
        assert re.search(
            rf"<td>{name}</td>\n<td>[^<]*</td>\n<td>{re.escape(f'{effect:+.3f}')}<", shown
        )
    for mean in reported.record["importance"].values():
        assert f"<td>{mean:.3f}</td>" in shown


def test_changed_past_is_recognized(reported: Reported) -> None:
    storage = optuna.storages.InMemoryStorage()
    for name in ("past-0", "past-1", "new"):
        optuna.copy_study(from_study_name=name, from_storage=reported.storage, to_storage=storage)
    study = optuna.load_study(study_name="new", storage=storage)
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.learner is None
    assert restored.suggestion.predicted == reported.record["predicted"]
    assert [figure.name for figure in describe_figures(restored.suggestion)] == ["suggestion"]
