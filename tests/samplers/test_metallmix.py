"""Check the OptunaHub package: it loads, and meets the registry's rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import optuna_metallmix


ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "samplers" / "metallmix"

# From pyproject.toml of https://github.com/optuna/optunahub-registry (read 2026-11).
REGISTRY_RUFF = """
line-length = 99
[lint]
extend-select = ["I"]
[lint.isort]
known-third-party = ["optuna"]
lines-after-imports = 2
force-single-line = true
force-sort-within-sections = true
order-by-type = false
"""


def test_registry_layout_loads_through_optunahub(tmp_path: Path) -> None:
    optunahub = pytest.importorskip("optunahub")
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "metallmix").symlink_to(PACKAGE)

    module = optunahub.load_local_module("samplers/metallmix", registry_root=str(tmp_path))

    assert module.MetaLLMiXSampler is optuna_metallmix.MetaLLMiXSampler
    study = optuna.create_study(sampler=module.MetaLLMiXSampler(llm=False))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(study.trials) == 2


@pytest.mark.parametrize(
    "key", ["author", "title", "description", "tags", "optuna_versions", "license"]
)
def test_front_matter_has_what_the_registry_checks(key: str) -> None:
    text = (PACKAGE / "README.md").read_text()
    front = text.split("---\n")[1]
    values = dict(line.split(": ", 1) for line in front.splitlines())
    assert values[key].strip()
    assert "sampler" in values["tags"]
    assert values["license"] == "MIT License"


def test_licence_is_the_projects() -> None:
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_code_has_the_registrys_style(tmp_path: Path, command: list[str]) -> None:
    pytest.importorskip("ruff")
    settings = tmp_path / "ruff.toml"
    settings.write_text(REGISTRY_RUFF)
    words = [*command, "--no-cache", "--config", str(settings), str(PACKAGE)]
    done = subprocess.run([sys.executable, "-m", "ruff", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
