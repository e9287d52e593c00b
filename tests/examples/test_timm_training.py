import numpy as np
import optuna
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
metrics = pytest.importorskip("sklearn.metrics", reason="the example needs the extra `torch`")
pytest.importorskip("tqdm", reason="the example needs the extra `torch`")

from configurations import GOOD  # noqa: E402

from timm_training import Training  # noqa: E402
from timm_training import class_weights  # noqa: E402
from timm_training import macro_auc  # noqa: E402
from timm_training import mixed_precision  # noqa: E402


CPU = torch.device("cpu")


def training(data, *, patience=5, **params):
    """A linear layer on the images' own pixels."""
    torch.manual_seed(0)
    inputs = torch.from_numpy(data.images[..., 0]).flatten(1).float() / 255
    model = torch.nn.Linear(inputs.shape[1], len(data.class_names))
    params = GOOD | {"trained": "head", "epochs": 30} | params
    return Training(model, inputs, data, params, CPU, 0, patience=patience)


def fit(run):
    trial = optuna.create_study(direction="maximize").ask()
    return run.fit(trial), trial.storage.get_trial(trial._trial_id).intermediate_values


def test_a_training_ends_when_it_gets_no_better_and_goes_back_to_its_best(digits):
    run = training(digits, patience=3)
    value, reported = fit(run)
    assert value == max(reported.values())
    best = max(reported, key=reported.get)
    assert len(reported) < 30
    assert len(reported) == best + 3 + 1
    assert run.score(digits.validation) == value


def test_patience_is_asked_for(digits):
    few, many = (len(fit(training(digits, patience=n))[1]) for n in (1, 6))
    assert few < many


def test_the_cosine_ends_where_nothing_moves_any_more(digits):
    run = training(digits, schedule="cosine", epochs=8)
    rates = []
    for epoch in range(8):
        run._train_epoch(epoch)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates[0] == GOOD["learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.05 * rates[0]


def test_rare_classes_weigh_more(digits):
    weights = class_weights(digits)
    counts = np.bincount(digits.labels[digits.train])
    assert torch.allclose(weights * torch.from_numpy(counts), torch.tensor(7.2))  # 72 / 10
    assert training(digits).class_weights is None
    assert torch.equal(training(digits, class_weight="balanced").class_weights, weights)


def test_the_area_is_scikit_learn_s_where_that_has_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet([1, 1, 1], 60)
    expected = metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert macro_auc(labels, probabilities) == pytest.approx(expected)
    two = metrics.roc_auc_score(labels > 0, probabilities[:, 1])
    pair = np.stack([1 - probabilities[:, 1], probabilities[:, 1]], 1)
    assert macro_auc((labels > 0).astype(int), pair) == pytest.approx(two)


def test_the_area_of_a_class_that_is_not_there_is_left_out():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    assert macro_auc(labels, probabilities) == 1.0
    assert macro_auc(np.zeros(4, int), probabilities) == 0.5
    assert macro_auc(labels, np.full((4, 3), np.nan)) == 0.5


@pytest.mark.parametrize("trained", ["head", "last_block", "all"])
def test_a_processor_trains_in_full_precision(trained):
    assert mixed_precision({"trained": trained}, CPU) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # its compiler's own
def test_a_head_is_not_compiled_and_a_network_can_be(digits):
    run = training(digits)
    assert run.model._compiled_call_impl is None
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    inputs = torch.from_numpy(digits.images[..., 0]).flatten(1).float() / 255
    params = GOOD | {"trained": "all"}
    compiled = Training(model, inputs, digits, params, CPU, 0, compiled=True)
    assert compiled.model._compiled_call_impl is not None
    assert set(compiled.model.state_dict()) == {"weight", "bias"}  # checkpoints stay the same
