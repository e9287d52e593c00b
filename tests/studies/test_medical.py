"""What is shipped: `studies/medical.jsonl`, read as a user would read it."""

import math
import os
import shutil
import statistics
import sys
from pathlib import Path

import optuna
import pytest

import recipes
import shipped_table
from recipes import MEDICAL
from shipped_table import complete
from shipped_table import open_journal


META_FEATURES = {
    "n_instances": int,
    "n_classes": int,
    "imbalance_ratio": float,
    "class_entropy": float,
    "image_height": (int, float),
    "image_width": (int, float),
    "n_channels": int,
    "class_size_mean": float,
    "class_size_std": float,
    "class_size_min": int,
    "class_size_max": int,
    "modality": str,
}
PROVENANCE = ("hardware", "versions", "recorded", "recipe", "metric", "licence", "n_images")
MODALITIES = {"MRI", "CT", "X-ray", "ultrasound", "microscopy", "fundus photography"}


@pytest.fixture(scope="module")
def studies():
    storage = open_journal(MEDICAL.shipped)
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def test_there_is_enough_past_to_learn_from(studies):
    assert len(studies) == 8
    assert {study.study_name for study in studies} == {s.study for s in recipes.IMAGE_SETS}
    for study in studies:
        assert len(complete(study)) >= 100
        assert len(complete(study)) == len(study.trials)
        assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_every_study_says_what_it_was_about(studies):
    for study in studies:
        attrs = study.user_attrs
        for name, kind in META_FEATURES.items():
            assert isinstance(attrs[name], kind), (study.study_name, name)
        assert all(attrs[name] for name in PROVENANCE)
        assert attrs["modality"] in MODALITIES


def test_meta_features_agree_with_each_other(studies):
    for attrs in (study.user_attrs for study in studies):
        mean = attrs["n_instances"] / attrs["n_classes"]
        assert attrs["class_size_mean"] == pytest.approx(mean)
        assert attrs["class_size_min"] <= mean <= attrs["class_size_max"]
        ratio = attrs["class_size_max"] / attrs["class_size_min"]
        assert attrs["imbalance_ratio"] == pytest.approx(ratio)
        assert 0 < attrs["class_entropy"] <= math.log2(attrs["n_classes"]) + 1e-9
        assert attrs["n_instances"] == pytest.approx(0.6 * attrs["n_images"], abs=1)


def test_every_trial_says_what_it_cost_and_what_it_was_worth(studies):
    for trial in (trial for study in studies for trial in study.trials):
        assert 0 <= trial.value <= 1
        assert 0 <= trial.user_attrs["test_balanced_accuracy"] <= 1
        assert trial.user_attrs["seconds"] > 0
        for name in ("test_accuracy", "test_macro_auc"):
            assert 0 <= trial.user_attrs[name] <= 1
        assert trial.value == max(trial.intermediate_values.values())
        assert len(trial.intermediate_values) <= trial.params["epochs"]


def test_there_is_something_to_get_wrong(studies):
    for study in studies:
        values = sorted(trial.value for trial in study.trials)
        assert values[-1] - statistics.median(values) > 0.03, study.study_name
        assert values[-1] - values[0] > 0.2, study.study_name


def median_value(study, optimizer, low, high):
    return statistics.median(
        trial.value
        for trial in study.trials
        if trial.params["optimizer"] == optimizer and low <= trial.params["learning_rate"] < high
    )


@pytest.mark.parametrize(
    ("optimizer", "right", "wrong"),
    [("sgd", (1e-3, 1e-2), (1e-4, 1e-3)), ("adamw", (1e-4, 1e-2), (1e-2, 1.0))],
    ids=["too slow", "too hasty"],
)
def test_a_wrong_learning_rate_costs_in_most_studies(studies, optimizer, right, wrong):
    """These bounds were drawn after looking: they describe this file and prove nothing beyond."""
    gaps = [
        median_value(s, optimizer, *right) - median_value(s, optimizer, *wrong) for s in studies
    ]
    assert statistics.median(gaps) > 0.05
    assert sum(gap > 0 for gap in gaps) > 0.7 * len(gaps)


def test_every_network_was_tried_and_every_parameter_means_something(studies):
    """At least five networks and ten parameters, some of them conditional."""
    for study in studies:
        asked = {name for trial in study.trials for name in trial.params}
        always = {name for name in asked if all(name in trial.params for trial in study.trials)}
        assert len({trial.params["network"] for trial in study.trials}) >= 5
        assert len(asked) >= 10
        assert asked - always == {"hidden_units", "momentum", "augment", "image_size"}


def test_the_numbers_that_seeded_the_trials_have_no_gap(studies):
    for study in studies:
        numbers = [trial.user_attrs["number"] for trial in study.trials]
        assert numbers == list(range(len(study.trials)))


def test_the_space_is_that_of_the_example(studies):
    pytest.importorskip("torch", reason="the example needs the extra `torch`")
    pytest.importorskip("sklearn", reason="the example needs the extra `torch`")
    sys.path.insert(0, str(recipes.ROOT / "examples"))
    from timm_objective import Space

    target = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = {}
    for _ in range(60):
        trial = target.ask()
        Space(**MEDICAL.space).suggest(trial)
        asked |= trial.distributions
    for study in studies:
        shipped = {k: v for trial in study.trials for k, v in trial.distributions.items()}
        assert shipped == asked


def test_reading_leaves_the_file_as_it_was(tmp_path):
    copy = tmp_path / "medical.jsonl"
    shutil.copy(MEDICAL.shipped, copy)
    copy.chmod(0o444)
    storage = open_journal(copy)
    for name in optuna.get_all_study_names(storage):
        assert optuna.load_study(study_name=name, storage=storage).best_value > 0
    assert copy.read_bytes() == MEDICAL.shipped.read_bytes()


def test_the_file_is_small_and_says_nothing_of_the_machine():
    text = MEDICAL.shipped.read_text("utf-8")
    assert len(text) < 2_400_000
    assert "/work" not in text
    assert "/home" not in text
    assert os.uname().nodename not in text


def test_the_readme_shows_the_file_that_is_beside_it():
    text = (recipes.ROOT / "studies" / "README.md").read_text("utf-8")
    table = shipped_table.table(MEDICAL.shipped)
    assert text == shipped_table.with_table(text, table, MEDICAL.name)
    assert table in text


@pytest.mark.shared
@pytest.mark.parametrize("image_set", recipes.IMAGE_SETS[-3:], ids=lambda each: each.study)
def test_meta_features_are_those_of_the_images(studies, image_set):
    pytest.importorskip("sklearn", reason="reading images needs the extra `torch`")
    path = recipes.images_folder() / image_set.file
    if not Path(path).exists():
        pytest.skip("the image sets are not beside the checkout (METALLMIX_DATA)")
    sys.path.insert(0, str(recipes.ROOT / "examples"))
    from image_data import load_images
    from image_data import meta_features

    data = load_images(path, limit=MEDICAL.limit, seed=recipes.SEED)
    study = next(study for study in studies if study.study_name == image_set.study)
    expected = meta_features(data, image_set.modality)
    assert {name: study.user_attrs[name] for name in expected} == pytest.approx(expected)
