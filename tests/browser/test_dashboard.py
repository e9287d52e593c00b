"""What optuna-dashboard shows of a study, read from the page that Chromium renders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from optuna_metallmix.text import format_number


if TYPE_CHECKING:
    from conftest import Look
    from conftest import PromptView
    from playwright.sync_api import Locator

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIGURES = (
    "Effect of parameter values on the score in past studies",
    "From the average of past trials to the suggestion",
    "Partial dependence",
    "Map of past studies (closer = more similar)",
)
"""Titles of the interactive figures of a suggestion on its study's page."""

PLOT = ".js-plotly-plot"

_CONTRASTS = """plot => {
    const rgba = text => (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = rgb => rgb.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    let behind = plot;
    const colour = () => rgba(getComputedStyle(behind).backgroundColor);
    while (behind.parentElement && colour()[3] === 0) behind = behind.parentElement;
    const page = light(colour());
    const ratio = text => (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
    return [...plot.querySelectorAll("text")].map(text => getComputedStyle(text).fill)
        .concat(plot.data.filter(trace => trace.name).map(trace => {
            const probe = document.createElement("i");
            probe.style.color = trace.line.color;
            document.body.append(probe);
            const shown = getComputedStyle(probe).color;
            probe.remove();
            return shown;
        })).map(shown => ratio(light(rgba(shown))));
}"""
"""Contrast of a figure's texts and lines with the background, as WCAG 2.2 defines it
(https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""


def figure(looked: Look, title: str) -> Locator:
    drawn = looked.page.locator(PLOT).filter(has=looked.page.locator(".gtitle", has_text=title))
    drawn.wait_for()
    return drawn


def cells(table: Locator) -> list[list[str]]:
    rows = table.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def check_local(looked: Look, address: str) -> None:
    """Check that the page requests nothing from elsewhere, not even a font."""
    assert [
        url for url in looked.requests if not url.startswith((address, "data:", "blob:"))
    ] == []
    assert looked.errors == []


def test_note_is_a_table_with_the_trials_own_values(
    shown: PromptView, look: Callable[..., Look]
) -> None:
    looked = look(f"{shown.address}/dashboard/studies/{shown.ours._study_id}/note", "table")
    page = looked.page
    assert page.get_by_role("heading", name="How trial 0 was chosen").is_visible()
    table = page.locator("table").filter(has_text="SHAP effect on the score")
    rows = cells(table)
    params = shown.ours.trials[0].params
    shown_as = {k: v if isinstance(v, str) else format_number(v) for k, v in params.items()}
    assert {row[0]: row[1] for row in rows if row[0] in params} == shown_as
    assert all(row[3][0] in "+-" for row in rows)
    images = page.locator('img[src*="/artifacts/"]')
    assert images.count() == len(FIGURES)
    for image in images.all():
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 300
    check_local(looked, shown.address)
    page.set_viewport_size({"width": 1280, "height": 1900})  # the note scrolls by itself
    looked.keep(f"note-{shown.kind}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_of_the_suggestion_are_drawn(
    shown: PromptView, look: Callable[..., Look], theme: str
) -> None:
    looked = look(f"{shown.address}/dashboard/studies/{shown.ours._study_id}", PLOT, theme)
    for title in FIGURES:
        drawn = figure(looked, title)
        assert drawn.locator(".xtitle").text_content()
        assert drawn.locator(".points path, .point path, .hm image").count() > 2
    check_local(looked, shown.address)
    looked.keep(f"figures-{theme}-{shown.kind}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figure_of_a_comparison_can_be_read(
    shown: PromptView, look: Callable[..., Look], theme: str
) -> None:
    looked = look(f"{shown.address}/dashboard/studies/{shown.ours._study_id}", PLOT, theme)
    drawn = figure(looked, "metallmix and tpe")
    contrasts = drawn.evaluate(_CONTRASTS)
    assert len(contrasts) > 10
    assert min(contrasts) >= 3  # WCAG 1.4.11, of graphical objects
    looked.keep(f"study-{theme}-{shown.kind}")


def test_figure_of_a_comparison_has_its_numbers(
    shown: PromptView, look: Callable[..., Look]
) -> None:
    looked = look(f"{shown.address}/dashboard/studies/{shown.ours._study_id}", PLOT)
    drawn = figure(looked, "metallmix and tpe")
    last = "plot => plot.data.map(trace => [trace.name, trace.y.at(-1)])"
    best = [[study.study_name, study.best_value] for study in (shown.ours, shown.tpe)]
    assert drawn.evaluate(last) == best
    titles = drawn.locator(".xtitle, .ytitle").all_text_contents()
    assert titles == ["finished trials", "best objective value (larger is better)"]


def test_comparison_leads_to_both_studies(shown: PromptView, look: Callable[..., Look]) -> None:
    looked = look(f"{shown.address}{shown.comparison.dashboard_path}", ".legendtext")
    legend = looked.page.locator(PLOT).first.locator(".legendtext").all_text_contents()
    assert {"Best Value of metallmix", "Best Value of tpe"} <= set(legend)
    check_local(looked, shown.address)
    looked.keep(f"compare-{shown.kind}")
