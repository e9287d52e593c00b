"""Make the pictures of README and docs from the kept measurements and today's code.

    python docs/make_figures.py            # all; the screenshots need Chromium

The study on the screenshots is the tutorial's: its code blocks are run in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pandas as pd


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from code_blocks import run_page  # noqa: E402
from dashboard_server import PATIENCE  # noqa: E402
from dashboard_server import find_chromium  # noqa: E402
from dashboard_server import serve_dashboard  # noqa: E402

from benchmarks.paths import RESULTS  # noqa: E402
from benchmarks.report.numbers import frame  # noqa: E402
from benchmarks.report.numbers import interval  # noqa: E402
from benchmarks.report.rows import Row  # noqa: E402
from benchmarks.report.rows import read_csv  # noqa: E402
from optuna_metallmix import compare  # noqa: E402
from optuna_metallmix.cli import main as main_of_cli  # noqa: E402


if TYPE_CHECKING:
    from playwright.sync_api import Locator
    from playwright.sync_api import Page

FAMILIES = {
    "xgboost": "XGBoost, 10 tasks",
    "lcbench": "LCBench, 10 tasks",
    "hpobench": "HPOBench, 8 tasks",
    "hpolib": "HPOLib, 4 tasks",
    "nasbench201": "NAS-Bench-201, 3 tasks",
}
METHODS = {
    "tpe": ("TPE", "#D55E00", "s"),
    "past-bests": ("best trials of past studies, then TPE", "#009E73", "^"),
    "ours-no-llm": ("optuna-metallmix", "#0072B2", "o"),
}
CLIP = 3.0
"""As on the pages of the benchmarks."""
MARGIN = 16
"""Pixels below what a screenshot shows."""


def main(folder: Path = ROOT / "docs" / "figures") -> None:
    """Write all pictures to ``folder``."""
    folder.mkdir(exist_ok=True)
    plot_regret(folder / "regret.png")
    (folder / "regret.md").write_text(regret_table(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        storage = make_studies(Path(work))
        with serve_dashboard(storage, Path(work)) as address:
            take_screenshots(address, storage, folder)
        for name in ("effects.png", "suggestion.png"):
            (picture,) = Path(work).glob(f"metallmix-pictures/*-{name}")
            shutil.copy(picture, folder / name)


def plot_regret(path: Path) -> None:
    """Plot mean regret over trials with all past studies, a panel for each benchmark."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(FAMILIES), figsize=(11, 3.2), sharey=True, layout="constrained"
    )
    for axes, (name, title) in zip(panels, FAMILIES.items(), strict=True):
        _draw_family(axes, name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("trial")
    panels[0].set_ylabel("mean regret of the best trial")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def regret_table() -> str:
    """Return a table of the regrets in the figure, with the mean over the benchmarks."""
    columns = [(method, n) for n in (1, 5, 10, 50) for method in reversed(METHODS)]
    means = pd.DataFrame({title: _means(name) for name, title in FAMILIES.items()}).T[columns]
    means.loc["mean of the five"] = means.mean()
    rows = [["", *(f"trial {n}" for n in (1, 5, 10, 50))], ["---"] * 5]
    for title, values in means.iterrows():
        cells = [" / ".join(f"{value:.3f}" for value in values[i : i + 3]) for i in (0, 3, 6, 9)]
        rows.append([str(title), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _means(name: str) -> pd.Series[float]:
    table = frame(read_csv(RESULTS / f"{name}.csv", Row), CLIP)
    return table[list(METHODS)].groupby(level="task").mean().mean()


def _draw_family(axes: Any, name: str) -> None:
    table = frame(read_csv(RESULTS / f"{name}.csv", Row), CLIP)
    for method, (label, colour, marker) in METHODS.items():
        points = {n: interval(table[method, n]) for n in sorted(table[method].columns)}
        shown = {n: point for n, point in points.items() if point}
        axes.plot(
            list(shown), [point.mean for point in shown.values()],
            label=label, color=colour, marker=marker, markersize=4,
        )  # fmt: skip
        low, high = zip(*((point.low, point.high) for point in shown.values()), strict=True)
        axes.fill_between(list(shown), low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([1, 3, 10, 50], ["1", "3", "10", "50"])
    axes.minorticks_off()
    axes.set_ylim(-0.2, 1.2)
    axes.grid(alpha=0.3)


def make_studies(work: Path) -> str:
    """Run the tutorial and a search by TPE in ``work``, and return the storage's URL."""
    os.environ["OPTUNA_METALLMIX_MODEL"] = "none"  # as after the installation in the tutorial
    storage = f"sqlite:///{work}/hpo.db"
    with chdir(work):
        tutorial = run_page(ROOT / "docs" / "tutorial.md")
        study = optuna.create_study(
            study_name="digits-tpe",
            storage=storage,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=0),
        )
        objective = tutorial["make_objective"](tutorial["datasets"].load_digits)
        study.optimize(objective, n_trials=10)
        words = ["--study", "digits", "--format", "md", "--out", "why.md"]
        assert main_of_cli(["explain", "--storage", storage, *words]) == 0
    return storage


def take_screenshots(address: str, storage: str, folder: Path) -> None:
    """Save what the dashboard shows of the studies."""
    from playwright.sync_api import sync_playwright

    ours, tpe = (
        optuna.load_study(study_name=name, storage=storage) for name in ("digits", "digits-tpe")
    )
    study = f"{address}/dashboard/studies/{ours._study_id}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium())
        page = browser.new_page(viewport={"width": 1280, "height": 680})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}{compare(ours, tpe).dashboard_path}")
        page.locator(".legendtext").first.wait_for()
        page.screenshot(path=folder / "compare.png")
        page.set_viewport_size({"width": 1280, "height": 3000})  # the note scrolls by itself
        page.goto(f"{study}/note")
        _shoot_above(page, page.locator("li", has_text="time: "), folder / "note.png")
        page.goto(study)
        _shoot_figures(page, folder / "study.png")
        browser.close()


def _shoot_above(page: Page, last: Locator, path: Path) -> None:
    """Save the page down to an element."""
    last.wait_for()
    end = last.bounding_box()
    assert end
    height = end["y"] + end["height"] + MARGIN
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1280, "height": height})


def _shoot_figures(page: Page, path: Path) -> None:
    """Save the part of the page that has the figures of the suggestion."""
    figures = page.locator(".js-plotly-plot").filter(has=page.locator(".gtitle"))
    figures.nth(3).wait_for()
    boxes = [box for figure in figures.all() if (box := figure.bounding_box())]
    x, y = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    width = max(box["x"] + box["width"] for box in boxes) - x
    height = max(box["y"] + box["height"] for box in boxes) - y + MARGIN
    page.screenshot(path=path, clip={"x": x, "y": y, "width": width, "height": height})


if __name__ == "__main__":
    main()
