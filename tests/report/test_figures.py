"""The figures: their numbers, names shown as they are, limits on their size."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix import MetaLLMiXError
from optuna_metallmix import Suggestion
from optuna_metallmix import save_figures
from optuna_metallmix import suggest
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.history.similarity import study_distances
from optuna_metallmix.report.drawing import Axis
from optuna_metallmix.report.drawing import Bars
from optuna_metallmix.report.drawing import FigureSpec
from optuna_metallmix.report.drawing import Heatmap
from optuna_metallmix.report.drawing import Points
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.report.note import MAX_NOTE
from optuna_metallmix.report.note import render_note


if TYPE_CHECKING:
    from conftest import Learned

EVIL = "a$b_{ <b>c</b> <a href='javascript:x()'>$ 数 \x00 | `"


@pytest.fixture(scope="module")
def suggestion(learned: Learned) -> Suggestion:
    return suggest(learned.history, learned.space, {"modality": "CT", "n_instances": 800}, None)


def _spec(suggestion: Suggestion, name: str) -> FigureSpec:
    return next(spec for spec in describe_figures(suggestion) if spec.name == name)


def _draw_pictures(suggestion: Suggestion) -> list[bytes]:
    return [spec.to_png() for spec in describe_figures(suggestion)]


def test_waterfall_ends_at_the_prediction(suggestion: Suggestion) -> None:
    (bars,) = _spec(suggestion, "suggestion").layers
    assert isinstance(bars, Bars)
    assert suggestion.explanation is not None
    *ends, base = bars.starts + bars.lengths
    assert base == suggestion.explanation.base
    assert ends[1] == pytest.approx(suggestion.predicted, abs=1e-6)  # of the last step
    assert ends[0] == suggestion.predicted
    assert bars.starts[1:-1] == pytest.approx([*ends[2:], base])


def test_partial_dependence_is_the_mean_over_past_trials(suggestion: Suggestion) -> None:
    spec = _spec(suggestion, "dependence")
    heatmap, bests, star = spec.layers
    assert isinstance(heatmap, Heatmap)
    assert isinstance(bests, Points)
    assert isinstance(star, Points)
    assert suggestion.explanation is not None
    assert suggestion.learner is not None
    names = list(suggestion.explanation.importance)[:2]
    assert [spec.x.title, spec.y.title] == names
    x, y = (
        axis.ticks[i] if axis.ticks else float(centers[i])
        for axis, centers, i in ((spec.x, heatmap.x, 3), (spec.y, heatmap.y, 1))
    )
    configs = suggestion.explanation.configs
    rows = np.unique(np.linspace(0, len(configs) - 1, 30).round().astype(int))
    changed = [{**configs[row], names[0]: x, names[1]: y} for row in rows]
    mean = suggestion.learner.predict(changed).mean.mean()
    assert heatmap.values[1, 3] == pytest.approx(mean, abs=1e-4)
    assert set(bests.texts) == {"best of skin", "best of chest", "best of retina"}
    assert star.texts == ("suggestion",)


def test_effects_have_the_shap_values_of_the_past(suggestion: Suggestion) -> None:
    explanation = suggestion.explanation
    assert explanation is not None
    spec = _spec(suggestion, "effects")
    assert spec.y.ticks == tuple(reversed(explanation.importance))
    drawn = np.concatenate([layer.x for layer in spec.layers if isinstance(layer, Points)])
    assert sorted(drawn) == pytest.approx(sorted(explanation.values.round(4).ravel()))
    absent, active = spec.layers
    assert isinstance(absent, Points)
    assert set(absent.texts) <= {"(not active)"}
    assert isinstance(active, Points)
    assert (np.min(active.color), np.max(active.color)) == (0.0, 1.0)


def test_similar_studies_are_near_each_other(suggestion: Suggestion) -> None:
    alike = {"n_instances": 100, "modality": "CT"}
    unlike = {"n_instances": 90_000, "modality": "MRI"}
    trials = suggestion.history.studies[0].trials
    studies = tuple(
        PastStudy(name, suggestion.space, trials, features)
        for name, features in (("a", alike), ("b", {**alike, "n_instances": 110}), ("c", unlike))
    )
    asking = replace(suggestion, history=History(studies), meta_features=alike)
    past, here = _spec(asking, "studies").layers
    assert isinstance(past, Points)
    assert isinstance(here, Points)
    assert here.names == ("this study",)
    assert past.names == ("a", "b", "c")
    a, b, c = np.column_stack([past.x, past.y])
    distances = study_distances(asking.history, alike).to_target
    assert np.hypot(*c) == pytest.approx(distances[2], rel=0.1)  # as in the list
    assert np.hypot(*(a - b)) < 0.3 < np.hypot(*(a - c))
    without = _spec(replace(asking, meta_features={}), "studies").layers[1]
    assert isinstance(without, Points)
    assert len(without.x) == 0


def test_map_numbers_its_markers_and_lists_long_names_beside_them(suggestion: Suggestion) -> None:
    """Twelve studies are almost equal, and their names differ in the middle only."""
    trials = suggestion.history.studies[0].trials
    studies = tuple(
        PastStudy(f"a_long_name_of_task_{i:02}_of_openml_cc18", suggestion.space, trials, {"n": n})
        for i, n in enumerate([*range(1_000, 1_012), 1, 10**9])
    )
    spec = _spec(replace(suggestion, history=History(studies), meta_features={"n": 7}), "studies")
    past, here = spec.layers
    assert isinstance(past, Points)
    assert isinstance(here, Points)
    assert len(set(past.names)) == 14
    assert max(map(len, past.names)) <= 22
    assert spec.key[0].startswith("1  ")
    assert spec.key[-1] == "★  this study"
    points = np.column_stack([np.append(past.x, here.x), np.append(past.y, here.y)])
    gaps = np.hypot(*np.moveaxis(points[:, None] - points[None], 2, 0))
    width = np.ptp(points, axis=0).max()
    assert gaps[np.triu_indices(15, 1)].min() > 0.05 * width
    drawn = spec.to_plotly()
    assert list(drawn.data[0].text) == [str(i) for i in range(1, 15)]
    lines = [annotation.text for annotation in drawn.layout.annotations]
    assert lines == spec.key
    assert drawn.layout.margin.r > 6 * max(map(len, lines))


def test_map_names_the_nearest_of_many_studies(suggestion: Suggestion) -> None:
    trials = suggestion.history.studies[0].trials
    studies = tuple(
        PastStudy(f"s{i}", suggestion.space, trials, {"n": 2**i}) for i in range(1, 31)
    )
    asking = replace(suggestion, history=History(studies), meta_features={"n": 2})
    named, _, others = _spec(asking, "studies").layers
    assert isinstance(named, Points)
    assert isinstance(others, Points)
    assert named.names == tuple(f"s{i}" for i in range(1, 16))
    assert len(others.x) == 15
    assert others.names == ()


def test_waterfall_has_one_step_for_all_parameters_without_a_value(
    suggestion: Suggestion,
) -> None:
    effects = {**suggestion.effects, "branch_a": 0.01, "branch_b": -0.03}
    params = {name: suggestion.params[name] for name in ("lr", "optimizer")}
    spec = _spec(replace(suggestion, params=params, effects=effects), "suggestion")
    inactive = sum(effect for name, effect in effects.items() if name not in params)
    (bars,) = spec.layers
    assert isinstance(bars, Bars)
    place = spec.y.ticks.index(f"{len(effects) - 2} parameters without a value")
    assert bars.lengths[place] == pytest.approx(inactive)
    assert len(spec.y.ticks) == 5


def test_labels_are_short_and_different(suggestion: Suggestion) -> None:
    choices = [f"augmentation_policy_of_magnitude_{n}_then_cutout_16px" for n in (5, 9, 14)]
    space = {**suggestion.space, "optimizer": CategoricalDistribution(choices)}
    params = {**suggestion.params, "optimizer": choices[1]}
    spec = _spec(replace(suggestion, space=space, params=params), "suggestion")
    (label,) = (tick for tick in spec.y.ticks if tick.startswith("optimizer"))
    assert "_9_" in label
    assert max(map(len, spec.y.ticks)) <= 43


def test_files_are_saved_and_axes_named_with_units(suggestion: Suggestion, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = save_figures(suggestion, tmp_path / "new")
    names = {path.name for path in written}
    kinds = ("effects", "suggestion", "dependence", "studies")
    assert names == {f"{k}.png" for k in kinds} | {f"metallmix-{k}.html" for k in kinds}
    assert all(path.stat().st_size for path in written)
    assert "https://cdn" not in (tmp_path / "new" / "metallmix-effects.html").read_text("utf-8")
    titles = {
        spec.name: spec.to_plotly().layout.xaxis.title.text
        for spec in describe_figures(suggestion)
    }
    assert "SHAP effect (score units, 0 = worst, 1 = best)" in titles["effects"]
    assert "expected score (0 = worst, 1 = best)" in titles["suggestion"]


def test_a_picture_leaves_the_persons_pyplot_as_it_was(suggestion: Suggestion) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    pyplot.switch_backend("svg")
    mine = pyplot.figure()
    _draw_pictures(suggestion)
    assert pyplot.get_backend().lower() == "svg"
    assert pyplot.gcf() is mine
    assert pyplot.get_fignums() == [mine.number]
    pyplot.close("all")


@pytest.mark.parametrize(
    ("module", "package"),
    [("matplotlib.figure", "matplotlib"), ("plotly.graph_objects", "plotly")],
)
def test_missing_package_is_named_with_the_command_to_install_it(
    suggestion: Suggestion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MetaLLMiXError, match=f"Run: pip install {package}$"):
        save_figures(suggestion, tmp_path)


def test_pictures_do_not_need_shap(
    suggestion: Suggestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "shap", None)
    assert len(_draw_pictures(suggestion)) == 4


def test_pictures_can_be_drawn_by_several_threads(suggestion: Suggestion) -> None:
    pytest.importorskip("matplotlib")
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(_draw_pictures, [suggestion] * 3)
    assert others == [first] * 2


@pytest.mark.parametrize("rows", [[2.0], [1e-6, 1e-3, 1.0]])
def test_cells_of_a_heatmap_fill_the_picture(rows: list[float]) -> None:
    """Whether there is a single row, or rows on a log scale: all have the same height."""
    image = pytest.importorskip("matplotlib.image")
    cells = np.arange(len(rows) * 2.0).reshape(-1, 2)
    heatmap = Heatmap(np.array([-5.0, -4.0]), np.array(rows), cells, "score")
    y = Axis("y", is_log=len(rows) > 1)
    png = FigureSpec("dependence", "", Axis("x"), y, (heatmap,)).to_png()
    pixels = image.imread(BytesIO(png))[..., :3].reshape(-1, 3)
    _, counts = np.unique(pixels, axis=0, return_counts=True)
    largest = np.sort(counts)[::-1][1 : cells.size + 1]  # after the white background
    assert largest.min() > 0.8 * largest.max() > 0.8 * 0.4 * len(pixels) / cells.size


def test_other_peoples_names_are_drawn_as_text(suggestion: Suggestion) -> None:
    """Tags in plotly and formulas in matplotlib have no effect and raise nothing."""
    pytest.importorskip("matplotlib")
    crowded = _many(n_parameters=3, n_studies=3, name=EVIL)
    for spec in describe_figures(crowded):
        drawn = spec.to_plotly().to_json()
        assert "<b>" not in drawn
        assert "<a " not in drawn
    assert len(_draw_pictures(crowded)) == 3


def _many(n_parameters: int, n_studies: int, name: str) -> Suggestion:
    rng = np.random.default_rng(0)
    space = {f"{name} {i}": FloatDistribution(0, 1) for i in range(n_parameters)}
    space[name] = CategoricalDistribution([name, "b"])  # type: ignore[assignment]
    params = {**dict.fromkeys(list(space)[:-1], 0.5), name: name}
    values = rng.normal(size=(1_000, len(space))) / 10
    trial = PastTrial(params, 1.0, 1.0, None)
    studies = tuple(
        PastStudy(f"{name} {i}", space, (trial,) * 3, {"n": i}, study_id=i)
        for i in range(n_studies)
    )
    evidence = tuple(
        Evidence(f"E{i}", parameter, "= 0.5", 0.5, 0.5, None, 0.1, 9, 2)
        for i, parameter in enumerate(space)
    )
    explanation = Explanation(
        base=0.4,
        values=values,
        configs=(params,) * 1_000,
        space=space,
        importance=dict.fromkeys(space, 0.1),
        evidence=evidence[:10],
        nearest=tuple(NearestStudy(s.name, 0.1, params, 3, s.study_id) for s in studies[:3]),
        quality=0.5,
        parts=evidence,
    )
    effects = dict(zip(space, rng.normal(size=len(space)).tolist(), strict=True))
    left_out = {f"{name} left out {i}": f"because {name}" * 50 for i in range(n_studies)}
    return Suggestion(
        source="meta-learner",
        params=params,
        space=space,
        meta_features={"n": 3},
        history=History(studies, left_out),
        candidates=(Candidate(1, params, f"one of the best of {name!r}", 0.5, 0.1),),
        explanation=explanation,
        predicted=0.4 + sum(effects.values()),
        effects=effects,
        reasons=("an error page " * 1_000,) * 3,
    )


def test_a_hundred_parameters_and_300_studies_are_still_readable() -> None:
    crowded = _many(n_parameters=100, n_studies=300, name="a rather long name " * 20)
    moved = dict.fromkeys(list(crowded.space)[:100], (0.5, 0.6))
    note = render_note(replace(crowded, moved=moved), 0, {"picture": "/artifacts/1/2"})
    assert len(note) < MAX_NOTE
    assert note.count("\n") < 150
    for more in ("and 81 more parameters", "and 98 more values", "and 280 more", "![picture]"):
        assert more in note
    figures = [spec.to_plotly() for spec in describe_figures(crowded)]
    assert sum(len(figure.to_json()) for figure in figures) < 150_000
    assert _spec(crowded, "studies").title.endswith(", 240 more left out")
