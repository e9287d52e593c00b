"""Fixtures: a real optuna-dashboard on a file, and Chromium to open its pages."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from dashboard_server import PATIENCE
from dashboard_server import find_chromium
from dashboard_server import serve_dashboard
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix import Comparison
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import compare
from optuna_metallmix.llm import ScriptedLLM


if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "ci-output"


@dataclass
class Look:
    """An open page, its requests and its errors."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def keep(self, name: str) -> None:
        """Save a screenshot of the page as CI output."""
        PICTURES.mkdir(exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@dataclass(frozen=True)
class PromptView:
    """Two studies and the address of the dashboard that shows them."""

    kind: str
    address: str
    ours: optuna.Study
    tpe: optuna.Study
    comparison: Comparison


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, closed after each module: Playwright keeps an event loop running."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Look]]:
    """Return a function that opens an address and waits for a selector."""
    contexts = []

    def at(address: str, selector: str, theme: str = "light") -> Look:
        size = {"width": 1280, "height": 900}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme))
        looked = Look(contexts[-1].new_page())
        looked.page.set_default_timeout(PATIENCE)
        looked.page.on("request", lambda request: looked.requests.append(request.url))
        looked.page.on("pageerror", lambda error: looked.errors.append(str(error)))
        looked.page.goto(address)
        looked.page.locator(selector).first.wait_for()
        return looked

    yield at
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=["sqlite", "journal"])
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[PromptView]:
    """A study of ours and a study of TPE with their past, served by a dashboard."""
    assert browser.is_connected()  # before the work below, so that it skips without a browser
    pytest.importorskip("optuna_dashboard", reason="the dashboard is not installed")
    from optuna_dashboard import save_plotly_graph_object

    folder: Path = tmp_path_factory.mktemp(request.param)
    place, storage = _storage(request.param, folder)
    fill_past(storage)
    llm = ScriptedLLM([choose()] * 2)
    sampler = MetaLLMiXSampler(llm=llm, seed=0, artifact_store=FileSystemArtifactStore(folder))
    ours = new_study(sampler, storage, study_name="metallmix")
    tpe = new_study(optuna.samplers.TPESampler(seed=0), storage, study_name="tpe")
    for study in (ours, tpe):
        study.optimize(objective, n_trials=12)
    comparison = compare(ours, tpe)
    save_plotly_graph_object(ours, comparison.plot(), graph_object_id="metallmix-compare")
    with serve_dashboard(place, folder) as address:
        yield PromptView(request.param, address, ours, tpe, comparison)


def _storage(kind: str, folder: Path) -> tuple[str, BaseStorage]:
    if kind == "sqlite":
        place = f"sqlite:///{folder / 'hpo.db'}"
        return place, get_storage(place)
    place = str(folder / "past.jsonl")
    return place, JournalStorage(JournalFileBackend(place))
