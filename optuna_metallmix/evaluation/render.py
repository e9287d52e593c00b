"""models' answers -> Markdown, CSV and a plot: which model should be used?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from optuna_metallmix.evaluation.models import WITHOUT
from optuna_metallmix.evaluation.models import ModelAnswers
from optuna_metallmix.evaluation.order_bias import Habit
from optuna_metallmix.evaluation.order_bias import habit_of
from optuna_metallmix.text import markdown_code
from optuna_metallmix.text import markdown_table


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOSS = {"regret_more": "regret more", "predicted_less": "predicted score less"}
_N_RESAMPLES = 2_000
# Okabe and Ito's, which stay apart for colour-blind readers.
_BLUE, _ORANGE = "#0072B2", "#E69F00"

_HEADS = (
    *("model", "valid at first", "accepted", "format", "accuracy", "completeness"),
    *("cited that agrees", "predicted", "predicted less", "regret"),
    *("regret more", "seconds", "tokens read", "tokens written", "reads"),
)
_LEGEND = {
    "valid at first": "first answers that were one JSON object as asked for, with nothing in it "
    "that does not exist",
    "accepted": "by code, the meta-learner and the reviewing model; else the first candidate is "
    "trained",
    "format, accuracy, completeness": "the reviewing model's scores, 1 to 5",
    "cited that agrees": "share of the SHAP evidence cited in its first valid answer that speaks "
    "for what it chose",
    "predicted": "score that the meta-learner expects of what is trained (0 worst, 1 best of a "
    "study); **less** than of `llm=False`",
    "regret": "(best - value) / (best - median) of the held-out study's own trials; **more** than "
    "that of `llm=False`, so below 0 the model helped; empty where nothing gives true values",
    "seconds, tokens": "a study's, reviews included",
}


def as_frame(found: ModelAnswers) -> pd.DataFrame:
    """Return a row for each model and study, with the attributes of :class:`ModelAnswer`."""
    return pd.DataFrame([asdict(one) for one in found.answers])


def as_markdown(found: ModelAnswers) -> str:
    """Return the comparison as a table, what its columns mean, and whether each model reads."""
    frame = as_frame(found)
    habits = {name: habit_of(one) for name, one in found.choices.items()}
    rows = [
        [
            *_line(name, frame[frame["model"] == name]),
            habits[name].reading if name in habits else "",
        ]
        for name in frame["model"].unique()
    ]
    parts = [
        markdown_table(_HEADS, rows),
        f"Means over {frame['study'].nunique()} studies, each held out from the others; in "
        "brackets 95 % bootstrap intervals over studies.",
        "\n".join(f"- **{head}**: {text}." for head, text in _LEGEND.items()),
    ]
    if found.choices:
        parts += [
            "**Does it read?** (last column) The same questions, candidates and evidence in "
            "other orders:",
            "\n".join(f"- {markdown_code(name)} {one.sentence}." for name, one in habits.items()),
        ]
    return "\n\n".join(parts) + "\n"


def write_csv(found: ModelAnswers, path: Path) -> None:
    """Write the rows of :func:`as_frame`."""
    as_frame(found).to_csv(path, index=False)


def draw(found: ModelAnswers) -> Figure:
    """Draw what each model costs or gains beside ``llm=False``, and what it reads.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    frame = as_frame(found)
    loss = "regret_more" if frame["regret_more"].notna().any() else "predicted_less"
    names = [one for one in frame["model"].unique() if one != WITHOUT]
    figure = Figure(figsize=(9, 1.5 + 0.5 * len(names)), layout="constrained")
    left, *rest = figure.subplots(1, 2 if found.choices else 1, sharey=True, squeeze=False)[0]
    _draw_losses(left, names, frame, loss)
    for right in rest:
        _draw_habits(right, names, found)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    return figure


def _draw_losses(axes: Any, names: Sequence[str], frame: pd.DataFrame, loss: str) -> None:
    for place, name in enumerate(names):
        mean, low, high = _interval(frame.loc[frame["model"] == name, loss])
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=_BLUE)
    axes.axvline(0.0, color="grey", linewidth=1)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{_LOSS[loss]} than {WITHOUT}'s\n(left is better)")


def _draw_habits(axes: Any, names: Sequence[str], found: ModelAnswers) -> None:
    for place, name in enumerate(names):
        habit = habit_of(found.choices.get(name, ()))
        axes.barh(place - 0.18, habit.place_share, 0.34, color=_ORANGE, hatch="//")
        axes.barh(place + 0.18, habit.candidate_share, 0.34, color=_BLUE)
    axes.set_xlim(0, 1)
    axes.set_xlabel(
        "share of answers in other orders:\nhatched the same place, plain the same one"
    )


def _line(name: str, own: pd.DataFrame) -> list[str]:
    cells = [name, _share(own["valid"]), _share(own["accepted"])]
    cells += [_mean(own[one], 1) for one in ("format", "accuracy", "completeness")]
    cells += [_share(own["agreement"]), _mean(own["predicted"], 2)]
    cells += [_between(own["predicted_less"]), _mean(own["regret"], 3)]
    cells += [_between(own["regret_more"]), _mean(own["seconds"], 1)]
    return cells + [_mean(own[one], 0) for one in ("prompt_tokens", "answer_tokens")]


def _reading(habit: Habit | None) -> str:
    return "" if habit is None else habit.reading


def _share(values: pd.Series[Any]) -> str:
    known = values.dropna()
    return f"{known.astype(float).mean():.0%}" if len(known) else ""


def _mean(values: pd.Series[Any], digits: int) -> str:
    known = values.dropna()
    return f"{known.astype(float).mean():.{digits}f}" if len(known) else ""


def _between(values: pd.Series[Any]) -> str:
    if values.isna().all():
        return ""
    mean, low, high = _interval(values)
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _interval(values: pd.Series[Any]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval over studies."""
    known = values.dropna().astype(float).to_numpy()
    draws = np.random.default_rng(0).integers(len(known), size=(_N_RESAMPLES, len(known)))
    low, high = np.percentile(known[draws].mean(axis=1), [2.5, 97.5])
    return float(known.mean()), float(low), float(high)
