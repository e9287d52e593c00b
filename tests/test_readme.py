"""Run the README as a reader would, and compare its claims with the pages that they come from."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from code_blocks import read_blocks
from packaging.requirements import Requirement

from optuna_metallmix.cli import make_parser


ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REPOSITORY: str = PROJECT["urls"]["Homepage"]
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
RESULTS = ROOT / "benchmarks" / "results"
FAMILIES = ("xgboost", "lcbench", "hpobench", "hpolib", "nasbench201")


def commands() -> Iterator[list[str]]:
    """All command lines: those of code blocks, and our command inside sentences."""
    for block in read_blocks(README):
        if block.language == "bash":
            yield from (shlex.split(line) for line in block.code.splitlines())
    yield from (shlex.split(code) for code in re.findall(r"`(optuna-metallmix [^`]+)`", README))


def objective(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
    is_deep = trial.suggest_categorical("deep", [True, False])
    depth = trial.suggest_int("depth", 1, 6) if is_deep else 1
    return 1 - abs(rate - 1e-3) - abs(depth - 3) / 10


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with two past studies in ``hpo.db``; no Ollama server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    for seed in range(2):
        study = optuna.create_study(
            study_name=f"past-{seed}", storage="sqlite:///hpo.db", direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=seed),
        )  # fmt: skip
        study.optimize(objective, n_trials=15)
    return tmp_path


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.slow
def test_snippet_and_commands_run(folder: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    namespace: dict[str, Any] = {"objective": objective}
    for block in read_blocks(README):
        if block.language == "python":
            exec(compile(block.code, "README.md", "exec"), namespace)
    study = namespace["study"]
    assert len(study.trials) == 50
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    ours = [command for command in commands() if command[0] == "optuna-metallmix"]
    assert ours
    for command in ours:
        module = [sys.executable, "-m", "optuna_metallmix", *command[1:]]
        done = subprocess.run(module, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "why.html").exists()


def test_all_blocks_are_run_or_parsed() -> None:
    assert {block.language for block in read_blocks(README)} == {"python", "bash"}
    assert {command[0] for command in commands()} == {"optuna-metallmix", "pip", "python3"}


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_command_is_valid(command: list[str]) -> None:
    program, *arguments = command
    if program == "python3":
        helped = subprocess.run(
            [sys.executable, *arguments[:1], "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert arguments[1] in helped.stdout.partition("{")[2].partition("}")[0].split(",")
    elif program == "optuna-metallmix":
        make_parser().parse_args(arguments)


@pytest.mark.parametrize(
    "page", ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
)
def test_package_is_installed_from_its_repository(page: str) -> None:
    """Until it is on PyPI, a command with the name alone finds nothing."""
    text = (ROOT / page).read_text("utf-8")
    for argument in re.findall(r"pip install [^`\n]*?(optuna-metallmix[^\"'`\n]*)", text):
        requirement = Requirement(argument)
        assert requirement.url == f"git+{REPOSITORY}"
        assert requirement.extras <= set(PROJECT["optional-dependencies"])


LINKS = re.findall(r"\]\(([^)]+)\)", README)
OURS = {link for link in LINKS if link.startswith((f"{REPOSITORY}/", f"{RAW}/"))}


def test_links_are_absolute_for_readers_on_pypi() -> None:
    assert [link for link in LINKS if not link.startswith("https://")] == []


@pytest.mark.parametrize("link", sorted(OURS - {f"{REPOSITORY}/issues"}))
def test_link_into_the_repository_leads_there(link: str) -> None:
    if link.startswith(f"{REPOSITORY}/tree/main/"):
        assert (ROOT / link.removeprefix(f"{REPOSITORY}/tree/main/")).is_dir()
    else:
        assert (ROOT / re.sub(f"{RAW}/main/|{REPOSITORY}/blob/main/", "", link)).is_file()


def row(page: str, label: str) -> list[str]:
    """Return the cells of the first row with a label in a page of results."""
    for line in (RESULTS / f"{page}.md").read_text("utf-8").splitlines():
        cells = [cell.strip(" `*") for cell in line.split("|")[1:-1]]
        if cells[:1] == [label]:
            return cells[1:]
    raise AssertionError(f"{page}.md has no row {label}")


def regrets(family: str, past: str) -> list[list[float]]:
    """Read ours, past bests and TPE at trials 1, 2, 3, 5, 10, 25 and 50."""
    return [[float(x) for x in cell.split(" / ")] for cell in row(family, past)[1:]]


@pytest.mark.parametrize(
    ("label", "past"),
    [("all other tasks", "as usual"), ("3 studies", "@random-3"), ("1 study", "@random-1")],
)
def test_table_of_pasts_has_the_numbers_of_the_pages(label: str, past: str) -> None:
    fifth = [regrets(family, past)[3] for family in FAMILIES[:3]]
    cells = [" / ".join(f"{value:.3f}" for value in values) for values in fifth]
    assert f"| {label} | {' | '.join(cells)} |" in README


def test_headline_is_the_mean_over_families() -> None:
    families = [regrets(family, "as usual") for family in FAMILIES]
    ours_10, tpe_10, tpe_50 = (
        sum(family[trial][method] for family in families) / len(families)
        for trial, method in [(4, 0), (4, 2), (6, 2)]
    )
    assert (
        f"mean regret is {ours_10:.2f} after ten trials; "
        f"TPE's is {tpe_10:.2f} after ten and {tpe_50:.2f} after fifty"
    ) in " ".join(README.split())


def test_opposite_past_has_the_numbers_of_the_page() -> None:
    ours, tpe = (
        [f"{float(row('xgboost', name)[column].split()[0]):.2f}" for column in (2, 5, 6)]
        for name in ("ours-no-llm@inverted", "tpe")
    )
    assert (
        f"regret is {ours[0]} after two trials (TPE {tpe[0]}), {ours[1]} after ten ({tpe[1]}) "
        f"and {ours[2]} after 25 ({tpe[2]})"
    ) in " ".join(README.split())


def test_costs_have_the_numbers_of_the_page() -> None:
    journal, _, sqlite, _ = (float(cell) for cell in row("timing", "all"))
    names = ("TransferSampler", "TPESampler")
    ours, tpe = (1000 * float(row("timing", name)[1]) for name in names)
    assert (
        f"{(journal + sqlite) / 2:.1f} s for a suggestion from 50 studies of 200 trials, "
        f"{ours:.0f} ms for a later trial (TPE {tpe:.0f} ms"
    ) in " ".join(README.split())
