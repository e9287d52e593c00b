"""Check the OptunaHub package: it loads, works, and passes the registry's own checks."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from code_blocks import read_blocks
from packaging.requirements import Requirement

import optuna_metallmix
from benchmarks.hub import FAMILIES
from benchmarks.hub import METHODS
from benchmarks.hub import shared_searches
from benchmarks.report.numbers import interval


ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "samplers" / "metallmix"
README = (PACKAGE / "README.md").read_text(encoding="utf-8")

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
REGISTRY_MYPY = """
[mypy]
warn_unused_configs = true
disallow_untyped_calls = true
disallow_untyped_defs = true
disallow_incomplete_defs = true
check_untyped_defs = true
no_implicit_optional = true
warn_redundant_casts = true
strict_equality = true
extra_checks = true
no_implicit_reexport = true
ignore_missing_imports = true
explicit_package_bases = true
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A cache of OptunaHub that holds this package: ``load_module`` needs no network then."""
    pytest.importorskip("optunahub")
    root = tmp_path / "github.com" / "optuna" / "optunahub-registry" / "main" / "package"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "samplers" / "metallmix", ignore=ignored)
    return root


def run(*words: object, folder: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env={**os.environ, **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_registry_layout_loads_through_optunahub(registry: Path) -> None:
    import optunahub

    module = optunahub.load_local_module("samplers/metallmix", registry_root=str(registry))

    assert module.MetaLLMiXSampler is optuna_metallmix.MetaLLMiXSampler
    study = optuna.create_study(sampler=module.MetaLLMiXSampler(llm=False))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(study.trials) == 2


@pytest.mark.slow
def test_the_packages_own_tests_pass(registry: Path) -> None:
    tests = registry / "samplers" / "metallmix" / "tests"
    output = run("-m", "pytest", "-q", "-p", "no:cacheprovider", tests, folder=registry)
    assert int(re.findall(r"(\d+) passed", output)[-1]) > 100


@pytest.mark.slow
@pytest.mark.parametrize("source", ["example.py", "README.md"])
def test_examples_run(registry: Path, tmp_path: Path, source: str) -> None:
    code = (PACKAGE / source).read_text(encoding="utf-8")
    if source == "README.md":
        (code,) = [block.code for block in read_blocks(code) if block.language == "python"]
    home = {"OPTUNAHUB_CACHE_HOME": str(tmp_path), "OPTUNA_METALLMIX_MODEL": "none"}
    output = run("-c", code, folder=tmp_path, **home)
    assert "'x': " in output


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna_metallmix'] = None\n"
        f"exec(open({str(PACKAGE / '__init__.py')!r}).read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f'Run: pip install "{requirement()}"' in done.stderr.splitlines()[-1]


def requirement() -> str:
    (line,) = (PACKAGE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return line


def test_requirements_name_the_project_where_it_can_be_had() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parsed = Requirement(requirement())
    assert parsed.name == project["name"]
    assert parsed.extras <= set(project["optional-dependencies"])
    assert parsed.url == f"git+{project['urls']['Homepage']}"
    assert f'pip install "{requirement()}"' in README
    assert f'pip install "{requirement()}"' in (ROOT / "README.md").read_text(encoding="utf-8")


def front_matter() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(README.split("---\n")[1])
    return loaded


@pytest.mark.parametrize("key", ["author", "title", "description", "license"])
def test_front_matter_has_the_texts_that_the_registry_checks(key: str) -> None:
    assert isinstance(front_matter()[key], str)


@pytest.mark.parametrize("key", ["tags", "optuna_versions"])
def test_front_matter_has_the_lists_of_texts_that_the_registry_checks(key: str) -> None:
    values = front_matter()[key]
    assert isinstance(values, list)
    assert all(isinstance(value, str) for value in values)


def test_front_matter_has_the_licence_and_tags() -> None:
    assert front_matter()["license"] == "MIT License"
    tags = {"sampler", "warm-starting", "transfer-learning", "meta-learning"}
    assert tags <= set(front_matter()["tags"])


@pytest.mark.parametrize(
    "function", [optuna_metallmix.MetaLLMiXSampler, optuna_metallmix.image_meta_features]
)
def test_all_arguments_are_described(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    (shown,) = re.findall(rf"^- `{function.__name__}\((.*)\)`", README, re.MULTILINE)
    section = README.split(f"- `{function.__name__}(")[1].split("\n- `")[0]
    described = re.findall(r"^  - `(\w+)`: \S", section, re.MULTILINE)
    assert described == list(parameters)
    defaults = [
        name if each.default is each.empty else f"{name}={each.default!r}".replace("'", '"')
        for name, each in parameters.items()
    ]
    assert shown.removeprefix("*, ") == ", ".join(defaults)


def test_licence_is_the_projects() -> None:
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_code_has_the_registrys_style(tmp_path: Path, command: list[str]) -> None:
    pytest.importorskip("ruff")
    settings = tmp_path / "ruff.toml"
    settings.write_text(REGISTRY_RUFF)
    run("-m", "ruff", *command, "--no-cache", "--config", settings, PACKAGE, folder=tmp_path)


def test_code_has_the_registrys_types(registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    settings = tmp_path / "mypy.ini"
    settings.write_text(REGISTRY_MYPY)
    run("-m", "mypy", "--config-file", settings, "samplers/metallmix", folder=registry)


@pytest.mark.parametrize("page", ["README.md", "SUBMISSION.md"])
def test_text_has_the_registrys_style(tmp_path: Path, page: str) -> None:
    pytest.importorskip("mdformat_frontmatter")
    run("-m", "mdformat", "--check", PACKAGE / page, folder=tmp_path)


def test_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((PACKAGE / picture).is_file() for picture in pictures)


def test_figures_of_the_submission_are_those_that_are_kept() -> None:
    rows = re.findall(
        r"^\| ([\w-]+) \| (\d+) \| (.*?) \| (.*) \|$",
        (PACKAGE / "SUBMISSION.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    shown = {(family, sampler.strip("`")): (n, values) for family, n, sampler, values in rows}
    kept = {}
    for name, table in shared_searches().items():
        for method, label in METHODS.items():
            regrets = (interval(table[method, trial]) for trial in (1, 5, 10, 25, 50))
            values = " | ".join(f"{regret.mean:.3f}" for regret in regrets if regret)
            label = "past bests" if method == "past-bests" else label
            kept[FAMILIES[name], label] = (str(len(table)), values)
    assert shown == kept
