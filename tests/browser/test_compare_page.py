"""The page that `optuna-metallmix compare --out page.html` writes, opened from the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optuna_metallmix.cli import main


if TYPE_CHECKING:
    import optuna
    from conftest import Look

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EVIL = "<img src=x onerror=alert(1)></script>"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_needs_nothing_else(
    tmp_path: Path,
    add_study: Callable[..., optuna.Study],
    look: Callable[..., Look],
    theme: str,
) -> None:
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    for seed, name in enumerate([EVIL, "tpe-0", "tpe-1"]):
        add_study(storage, name, n_trials=8, seed=seed)
    path = tmp_path / "page.html"
    words = ["--studies", EVIL, "--side", "tpe=tpe-*", "--out", str(path)]
    assert main(["compare", "--storage", storage, *words]) == 0
    looked = look(path.as_uri(), ".js-plotly-plot .xtitle", theme)
    assert looked.page.locator("table").count() == 2
    assert looked.page.locator("h1").inner_text() == f"{EVIL} and tpe"
    assert looked.page.locator("img").count() == 0
    assert looked.requests == [path.as_uri()]
    assert looked.errors == []
    looked.keep(f"compare-page-{theme}")
