"""A disk that is full for a while does not use up the suggestion."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import suggested
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import trial_claim
from optuna_metallmix.llm import Message


pytestmark = [pytest.mark.servers, pytest.mark.slow]
SIZE = "2m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk with a file, and return it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4_096):
            pass
    return ballast


class FillingLLM:
    """Fills a disk while it is asked, and then answers."""

    name = "filling"

    def __init__(self, disk: Path) -> None:
        self._disk = disk

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        fill(self._disk)
        return choose()(messages, schema)


def test_the_disk_of_the_study(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna itself cannot go on, either; but once there is space, the suggestion is made."""
    past, url = f"sqlite:///{tmp_path}/past.db", f"sqlite:///{disk}/own.db"
    fill_past(past)
    sampler = MetaLLMiXSampler(source_storage=past, llm=FillingLLM(disk), judge=False, seed=0)
    study = new_study(sampler, url)
    with pytest.raises(Exception, match=r"full|Should not reach"):
        study.optimize(objective, n_trials=3)
    (disk / "ballast").unlink()
    study.sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    study.optimize(objective, n_trials=1)
    monkeypatch.setattr(trial_claim, "LEASE", 0.0)  # as if it had passed
    study.optimize(objective, n_trials=2)
    (trial,) = [t for t in suggested(study) if t.state is TrialState.COMPLETE]
    told = "metallmix:reason" in study.trials[1].user_attrs
    assert told or trial.number == 1


def test_the_disk_of_the_figures(disk: Path, tmp_path: Path, logs: Any) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    fill_past(url)
    fill(disk)
    store = FileSystemArtifactStore(disk)
    sampler = MetaLLMiXSampler(llm=False, seed=0, artifact_store=store)
    study = new_study(sampler, url)
    study.optimize(objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert [trial.number for trial in suggested(study)] == [0]
    assert "No space left" in study.trials[0].user_attrs["metallmix:note"]
    assert "No space left" in " ".join(logs.warnings)
