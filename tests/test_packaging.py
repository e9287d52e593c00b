"""Check what is published: sdist, wheel, metadata, and the files that GitHub reads."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import optuna_metallmix


ROOT = Path(__file__).resolve().parents[1]
BUILD = """
from setuptools import build_meta
build_meta.build_sdist("dist")
build_meta.build_wheel("dist")
"""
NOT_NEEDED = ("PIL", "contourpy", "fontTools", "graphviz", "kiwisolver", "matplotlib", "plotly")
"""What CatBoost requires and the core never imports; see docs/install.md."""
MAX_WHEEL = 12_000_000  # bytes
SEARCH = f"""
import sys
sys.modules.update(dict.fromkeys({NOT_NEEDED}))
import optuna
from optuna_metallmix import MetaLLMiXSampler

def objective(trial):
    return trial.suggest_float("x", 0, 1) * trial.suggest_categorical("c", [1, 2])

storage = optuna.storages.InMemoryStorage()
for sampler in (optuna.samplers.RandomSampler(seed=0), MetaLLMiXSampler(llm=False, seed=0)):
    study = optuna.create_study(storage=storage, sampler=sampler)
    study.optimize(objective, n_trials=14)
print(study.trials[0].user_attrs["metallmix:source"])
"""
SCHEMAS = {
    ".github/ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    ".github/ISSUE_TEMPLATE/idea.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/worse.yml": "github-issue-forms",
    ".github/workflows/ci.yml": "github-workflows",
    ".github/workflows/release.yml": "github-workflows",
    "CITATION.cff": "citation-file-format",
}


def tracked_files() -> set[str]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.slow
def test_sdist_and_wheel_are_complete(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("twine")
    files = tracked_files()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "tests" / "__pycache__").mkdir()
    (tmp_path / "tests" / "__pycache__" / "conftest.cpython-311.pyc").write_bytes(b"")
    subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, capture_output=True, check=True)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {name for name in files if not name.startswith(".")} <= packed
    assert not [name for name in packed if "__pycache__" in name]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.stat().st_size < MAX_WHEEL
    with zipfile.ZipFile(wheel) as zipped:
        modules = {name for name in zipped.namelist() if ".dist-info/" not in name}
    assert modules == {name for name in files if name.startswith("optuna_metallmix/")}
    check = [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_core_needs_no_drawing_packages() -> None:
    command = [sys.executable, "-c", SEARCH]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "meta-learner", done.stderr


def test_all_files_for_github_are_checked() -> None:
    names = {name for name in tracked_files() if name.startswith(".github/")}
    assert names | {"CITATION.cff"} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_follows_its_schema(name: str) -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, f"vendor.{SCHEMAS[name]}", name],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_release_is_published_only_after_all_checks() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    publishers = {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert publishers == {"publish"}


def test_every_python_of_the_classifiers_is_tested_before_a_release() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    tested = jobs["wheel"]["strategy"]["matrix"]["python-version"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project()["classifiers"]))
    assert tested == named
    assert project()["requires-python"] == f">={named[0]}"


def test_one_version_everywhere() -> None:
    version = project()["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert optuna_metallmix.__version__ == version
