"""No name, choice or answer of others becomes a link, an image or markup on any page."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pytest
from dashboard_server import serve_dashboard
from optuna.storages import get_storage

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.cli import main
from optuna_metallmix.llm import Message
from optuna_metallmix.report.dashboard import END


if TYPE_CHECKING:
    from conftest import Look
    from playwright.sync_api import Browser
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ADDRESSES = (
    *("https://evil.example/a_b", "www.evil.example/c", "me@evil.example", "HTTPS://EVIL.example"),
    *("<https://evil.example>", "[x](https://evil.example)", "![x](https://evil.example/i.png)"),
    *(
        "xmpp:me@evil.example",
        "https://evil.example|`d`",
        "`www.evil.example`",
        "www.evil.example,",
    ),
    *('<a href="https://evil.example">x</a>', "mailto:me@evil.example?subject=a"),
)
ANSWER = (
    "Past trials with this optimizer did well, see https://evil.example or www.evil.example, and "
    "write to me@evil.example."
)


class _Model:
    """A model whose name ends the note, and whose words are addresses."""

    name = f"{END} https://evil.example"

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        shown = {"evidence": ["E1"], "reasoning": ANSWER, "candidate": 1, "why": ANSWER}
        return json.dumps({**shown, **_scores(schema)} if _scores(schema) else shown)


def _scores(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a good review, if that is asked for."""
    asked = [name for name in schema["properties"] if name.endswith("_score")]
    remarks = {name.replace("_score", "_remark"): ANSWER for name in asked}
    return {**remarks, **dict.fromkeys(asked, 5)}


@dataclass(frozen=True)
class Hostile:
    """The address of a dashboard with a study whose past is hostile, and the study."""

    address: str
    place: str
    study: optuna.Study


def _objective(trial: optuna.Trial) -> float:
    kind = trial.suggest_categorical("see https://evil.example/p", ADDRESSES)
    x = trial.suggest_float("www.evil.example", 0.0, 1.0)
    y = trial.suggest_float("me@evil.example", 0.0, 1.0)
    return ADDRESSES.index(kind) + x + y


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Hostile]:
    assert browser.is_connected()  # before the work below, so that it skips without a browser
    pytest.importorskip("optuna_dashboard", reason="the dashboard is not installed")
    folder: Path = tmp_path_factory.mktemp("hostile")
    place = f"sqlite:///{folder / 'hpo.db'}"
    storage = get_storage(place)
    for i, name in enumerate(ADDRESSES):
        sampler = optuna.samplers.RandomSampler(seed=i)
        past = optuna.create_study(storage=storage, study_name=name, sampler=sampler)
        past.set_user_attr("https://evil.example/f", f"www.evil.example {i}")
        past.optimize(_objective, n_trials=10)
    study = optuna.create_study(
        storage=storage, study_name="ours", sampler=MetaLLMiXSampler(llm=_Model(), seed=0)
    )
    study.set_user_attr("https://evil.example/f", "me@evil.example")
    study.optimize(_objective, n_trials=2)
    record = read_record(study.trials[0])
    assert record is not None
    assert record["proposal"] is not None, study.trials[0].user_attrs
    assert "www.evil" in record["proposal"]["why"]
    with serve_dashboard(place, folder) as address:
        yield Hostile(address, place, study)


def _foreign(page: Page) -> list[str]:
    """Return the targets of links and images that are in names, not the dashboard's own."""
    script = "nodes => nodes.map(node => node.href || node.src)"
    found = page.locator("a[href], img[src], iframe, object").evaluate_all(script)
    return [target for target in found if "evil" in str(target).lower()]


def test_the_note_has_no_link_to_elsewhere(hostile: Hostile, look: Callable[..., Look]) -> None:
    path = f"/dashboard/studies/{hostile.study._study_id}/note"
    looked = look(f"{hostile.address}{path}", "table")
    text = looked.page.locator("body").inner_text()
    for part in ("https://evil.example", "www.evil.example", "me@evil.example"):
        assert part in text
    assert "unverified" in text
    assert _foreign(looked.page) == []
    assert [url for url in looked.requests if "evil" in url] == []
    assert text.count("How the suggestion was made") == 1
    looked.page.set_viewport_size({"width": 1280, "height": 1900})
    looked.keep("note-hostile")


def test_an_address_in_a_note_would_be_a_link(hostile: Hostile, look: Callable[..., Look]) -> None:
    """Otherwise the test above could not fail."""
    from optuna_dashboard import save_note

    other = optuna.create_study(storage=hostile.place, study_name="other")
    save_note(other, "| a |\n| --- |\n| see https://evil.example and me@evil.example |")
    looked = look(f"{hostile.address}/dashboard/studies/{other._study_id}/note", "table")
    assert _foreign(looked.page) == [
        "https://evil.example/",
        "mailto:me@evil.example",
    ]


_SHOWN = {
    "": ".js-plotly-plot",
    "/trials?numbers=0": "text=metallmix:source",
}
"""Parts of pages that are shown once a page is whole."""


@pytest.mark.parametrize("part", _SHOWN)
def test_the_study_s_other_pages_have_no_link_to_elsewhere(
    hostile: Hostile, look: Callable[..., Look], part: str
) -> None:
    path = f"/dashboard/studies/{hostile.study._study_id}{part}"
    looked = look(f"{hostile.address}{path}", _SHOWN[part])
    assert _foreign(looked.page) == []
    assert [url for url in looked.requests if "evil" in url] == []


def test_our_own_page_has_no_link_to_elsewhere(
    hostile: Hostile, look: Callable[..., Look], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ["explain", "--storage", hostile.place, "--study", "ours", "--out", str(page)]
    assert main(words) == 0
    looked = look(page.as_uri(), "table")
    assert "www.evil.example" in looked.page.locator("body").inner_text()
    assert _foreign(looked.page) == []
    assert [url for url in looked.requests if not url.startswith(("file:", "data:"))] == []
