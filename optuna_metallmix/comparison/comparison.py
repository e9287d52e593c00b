"""Compare finished studies by best value, and by the trials and seconds saved."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from itertools import cycle
from itertools import permutations
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import requires
from optuna_metallmix.history import read_storage
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import is_feasible
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import local_time
from optuna_metallmix.optuna_access import same_storage
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.progress import progress_bar
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import format_number
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import markdown_to_html


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Floats: TypeAlias = NDArray[np.float64]
Compared: TypeAlias = Study | Mapping[str, Study | Sequence[Study]]
"""A study, or the study or studies of each side by its name."""

_CHECKPOINTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_TRIALS, _SECONDS = ("fewer", "as many", "more"), ("s less", "as long", "s more")
_DIGITS = 5  # Searches that end close to each other differ in the fourth digit.
# Okabe and Ito's colors for color-blind readers (https://jfly.uni-koeln.de/color/), those first
# that are visible on white and on black.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_GREY, _TRANSPARENT = "#808080", "rgba(0, 0, 0, 0)"


@dataclass(frozen=True, eq=False)
class Side:
    """The studies that are compared under one name.

    Attributes:
        name: The name.
        best: Best value so far of each study after each finished trial, as long as the shortest
            study; larger is better, ``-inf`` before the first value. Shape (n_studies, n_trials).
        seconds: Cumulative wall-clock seconds during which at least one trial was running. All
            ``nan`` if a storage has no durations. Same shape as ``best``.
        samples: The studies of each bootstrap sample; row 0 is all studies, and the only row for
            a single study. Shape (1 + n_resamples, n_studies).
    """

    name: str
    best: Floats
    seconds: Floats
    samples: NDArray[np.int64]

    @property
    def n_trials(self) -> int:
        """Number of finished trials of each study that count."""
        return len(self.best[0])

    def after(self, n_trials: int) -> Floats:
        """Return the median best value of each sample, shape (1 + n_resamples,)."""
        return _medians(self.best[:, n_trials - 1][self.samples])

    def reached(self, target: Floats, x: Floats | None = None) -> Floats:
        """Return when the median of each sample reaches its target; ``inf`` if it does not.

        Args:
            target: Larger is better, shape (1 + n_resamples,) or (1,).
            x: What to count: the number of trials by default, or ``seconds``.
        """
        x = np.broadcast_to(np.arange(1.0, 1 + self.n_trials), self.best.shape) if x is None else x
        best = np.pad(self.best, ((0, 0), (1, 0)), constant_values=-math.inf)
        at = np.unique(x[best[:, 1:] > best[:, :-1]])  # a median changes nowhere else
        places = [np.searchsorted(count, at, side="right") for count in x]
        medians = _medians(np.take_along_axis(best, np.array(places), 1)[self.samples])
        is_reached = medians >= target[:, np.newaxis]
        return np.where(is_reached.any(axis=1), at[is_reached.argmax(axis=1)], math.inf)


@dataclass(frozen=True)
class Measure:
    """A number of a comparison, with its bootstrap interval over studies.

    Attributes:
        measure: ``"best value"``, ``"trials to be as good"``, ``"trials saved"`` or ``"seconds
            saved"``; the last three are measured up to the point where the side matches the other
            side's best value.
        side: Name of the side.
        compared_with: Name of the other side; empty for a best value.
        after_trials: Trials after which the best value was taken, or the other side found it.
        value: In the objective's unit, in trials or in seconds as in :class:`Side`. If not
            reached, ``inf`` trials are needed and ``-inf`` saved; ``nan`` is unknown.
        low, high: The interval; ``nan`` if there is none, as for single studies.
    """

    measure: str
    side: str
    compared_with: str
    after_trials: int
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """The result of :func:`compare`.

    Attributes:
        sides: What was compared, in the order given.
        direction: ``"maximize"`` or ``"minimize"``.
        metric: Name of the objective's value.
        confidence: Share of the bootstrap samples in an interval, in (0, 1).
        best: The best values after 1, 2, 5, 10, ... trials and at the end of each side.
        savings: For each ordered pair of sides the trials to be as good, and what is saved.
        dashboard_path: Page of optuna-dashboard that shows the studies together; ``None`` if they
            are in different storages.
    """

    sides: tuple[Side, ...]
    direction: str
    metric: str
    confidence: float
    best: tuple[Measure, ...]
    savings: tuple[Measure, ...]
    dashboard_path: str | None

    def __str__(self) -> str:
        """Return a sentence for each ordered pair of sides: when was the first as good?"""
        sentences = []
        for needed in self.savings[::3]:
            side, other = needed.side, needed.compared_with
            best = f"the best value of {other} ({self._final(other)})"
            if math.isinf(needed.value):
                sentences.append(f"{side} did not reach {best} in {self._n_trials(side)}.")
            else:
                sentences.append(f"{side} reached {best} after {self._reached_after(needed)}.")
        return "\n".join(sentences)

    def to_markdown(self) -> str:
        """Return tables of the best values and the savings, and how to read them."""
        names = [side.name for side in self.sides]
        cells = {(best.after_trials, best.side): _format(best) for best in self.best}
        counts = sorted({n for n, _ in cells})
        rows = [[str(n), *(cells.get((n, name), "") for name in names)] for n in counts]
        head = ("side", "best value of", "value", "reached after", "trials", "seconds")
        studies = ", ".join(f"{side.name} {len(side.best)}" for side in self.sides)
        parts = [
            f"### Best {escape_markdown(self.metric)} after n trials ({self.direction}d)",
            markdown_table(("trials", *map(escape_markdown, names)), rows),
            "### Trials and seconds saved at equal quality",
            markdown_table(head, self._saving_rows()),
            f"Medians over studies ({escape_markdown(studies)}), with {self.confidence:.0%} "
            "bootstrap intervals in parentheses; with a single study, chance decides a lot. A "
            "side ends with its shortest study. Pruned and failed trials count, but reach "
            "nothing. Seconds are those in which a trial was running.",
        ]
        if self.dashboard_path is not None:
            parts += [f"In optuna-dashboard: [{self.dashboard_path}]({self.dashboard_path})"]
        return "\n\n".join(parts)

    def _saving_rows(self) -> Iterator[tuple[str, ...]]:
        for needed, trials, seconds in zip(*[iter(self.savings)] * 3, strict=True):
            side, other = needed.side, needed.compared_with
            saved = (_format_saving(trials, _TRIALS), _format_saving(seconds, _SECONDS))
            yield side, other, self._final(other), self._reached_after(needed), *saved

    def _reached_after(self, needed: Measure) -> str:
        if math.isinf(needed.value):
            n_other = f"{needed.compared_with}: {needed.after_trials}"
            return f"not reached in {self._n_trials(needed.side)} ({n_other})"
        return f"{_count_trials(int(needed.value))} instead of {needed.after_trials}"

    def _n_trials(self, side: str) -> str:
        return _count_trials({s.name: s.n_trials for s in self.sides}[side])

    def _final(self, side: str) -> str:
        return format_number({best.side: best for best in self.best}[side].value, _DIGITS)

    def to_csv(self) -> str:
        """Return each :class:`Measure` as a line; unknown values are empty."""
        import pandas as pd

        return pd.DataFrame([*self.best, *self.savings]).to_csv(index=False, lineterminator="\n")

    def plot(self) -> Figure:
        """Draw the best value over trials, with intervals, for a light and a dark page.

        Raises:
            MetaLLMiXError: plotly is not installed.
        """
        with requires("plotly", failure="The figure cannot be drawn"):
            from plotly.graph_objects import Figure

        figure, sign = Figure(), _sign(self.direction)
        for side, color, dash in zip(self.sides, cycle(_COLORS), cycle(_DASHES), strict=False):
            counts = range(1, 1 + side.n_trials)
            rows = [(n, *_estimate(sign * side.after(n), self.confidence)) for n in counts]
            # Lists, because plotly encodes arrays in a form that old dashboards cannot read.
            x, y, *_ = np.array([row for row in rows if math.isfinite(row[1])]).T.tolist()
            common = {"mode": "lines", "line_shape": "hv", "legendgroup": side.name}
            if band := [row for row in rows if np.isfinite(row).all()]:
                at, _, low, high = np.array(band).T.tolist()
                edge = {**common, "x": at, "line_width": 0, "showlegend": False}
                figure.add_scatter(y=low, **edge)
                figure.add_scatter(y=high, fill="tonexty", fillcolor=f"{color}33", **edge)
            line = {"line_color": color, "line_dash": dash, "line_width": 2.5}
            figure.add_scatter(x=x, y=y, name=side.name, **common, **line)
        better = "larger" if self.direction == "maximize" else "smaller"
        axis = {"gridcolor": "rgba(128, 128, 128, 0.25)", "zeroline": False, "linecolor": _GREY}
        return figure.update_layout(
            template="none",
            title_text=" and ".join(side.name for side in self.sides),
            font_color=_GREY,
            paper_bgcolor=_TRANSPARENT,  # shows the background of the page
            plot_bgcolor=_TRANSPARENT,
            xaxis={"title_text": "finished trials", "rangemode": "tozero", **axis},
            yaxis={"title_text": f"best {self.metric} ({better} is better)", **axis},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        )

    def _repr_html_(self) -> str:
        return markdown_to_html(replace(self, dashboard_path=None).to_markdown())


def compare(
    *studies: Compared, confidence: float = 0.95, n_resamples: int = 1_000, seed: int = 0
) -> Comparison:
    """Compare studies of the same task by best value, and by trials and seconds saved.

    Savings are measured at a fixed target, the best value of the other side, as in COCO (Hansen
    et al. 2021, https://doi.org/10.1080/10556788.2020.1808977).

    Args:
        studies: Studies to compare individually: ``compare(study_a, study_b)``; or the studies of
            each side by name, such as those of a sampler under several seeds:
            ``compare({"metallmix": [s1, s2], "tpe": [s3, s4]})``. At least two sides.
        confidence: Share of the bootstrap samples in an interval, in (0, 1).
        n_resamples: Number of bootstrap samples, at least 1.
        seed: Seed of the bootstrap.

    Raises:
        HistoryError: A study has several objectives or no finished trial, a side has no value, or
            the directions differ.
        TypeError: An argument is neither a study nor a mapping of names to studies.
        ValueError: There are fewer than two sides, a side has no study or the same study twice,
            two sides have the same name, or a number is out of range.
    """
    if not (0 < confidence < 1 and n_resamples >= 1):
        raise ValueError(
            f"confidence={confidence} must be between 0 and 1 and n_resamples={n_resamples} at "
            "least 1."
        )
    named = _studies_by_side(studies)
    flat = [study for group in named.values() for study in group]
    directions = {study.directions[0].name.lower(): study.study_name for study in flat}
    if len(directions) > 1:
        each = " and ".join(f"{name!r} is to {d}" for d, name in directions.items())
        raise HistoryError(f"{each}. Compare studies of the same objective.")
    direction, rng = next(iter(directions)), np.random.default_rng(seed)
    names, sign = progress_bar(list(named), "Reading studies", "side"), _sign(direction)
    sides = tuple(_read_side(name, named[name], sign, n_resamples, rng) for name in names)
    is_shared = all(same_storage(storage_of(study), storage_of(flat[0])) for study in flat)
    ids = ",".join(str(study_id_of(study)) for study in flat)
    return Comparison(
        sides,
        direction,
        (flat[0].metric_names or ["objective value"])[0],
        confidence,
        tuple(_best_values(sides, confidence, sign)),
        tuple(saving for pair in permutations(sides, 2) for saving in _savings(*pair, confidence)),
        f"/dashboard/compare-studies?ids={ids}" if is_shared else None,  # optuna-dashboard 0.21
    )


def _medians(values: Floats) -> Floats:
    """Return the medians along axis 1. Halves, because the sum of two huge penalties overflows."""
    with np.errstate(under="ignore"):
        medians: Floats = 2 * np.median(values / 2, axis=1)
    return medians


def _studies_by_side(compared: Sequence[Compared]) -> dict[str, list[Study]]:
    named: dict[str, list[Study]] = {}
    for item in compared:
        if not isinstance(item, Study | Mapping):
            raise TypeError(f"{item!r} is neither a study nor a mapping of names to studies.")
        for name, group in ({item.study_name: item} if isinstance(item, Study) else item).items():
            if name in named:
                raise ValueError(
                    f"Two sides have the name {name!r}. Pass each study once, and name the sides "
                    "differently."
                )
            named[name] = [group] if isinstance(group, Study) else list(group)
            if len(set(map(study_key, named[name]))) < len(named[name]):
                raise ValueError(f"Side {name!r} has a study twice. Pass each study once.")
    if len(named) < 2 or not all(named.values()):
        given = f" in {', '.join(map(repr, named))}" if named else ""
        raise ValueError(
            f"Nothing to compare{given}. Pass at least two sides, each with at least one study."
        )
    return named


def _sign(direction: str) -> float:
    return 1.0 if direction == "maximize" else -1.0


def _read_side(
    name: str, studies: Sequence[Study], sign: float, n_resamples: int, rng: np.random.Generator
) -> Side:
    trials = [_finished_trials(study) for study in studies]
    n_trials = min(map(len, trials))
    values = [[_signed_value(trial, sign) for trial in group[:n_trials]] for group in trials]
    seconds = np.array([_elapsed_seconds(group[:n_trials]) for group in trials])
    if not (seconds[:, -1] > 0).all():
        seconds = np.full_like(seconds, math.nan)
    drawn = rng.integers(len(studies), size=(n_resamples * (len(studies) > 1), len(studies)))
    samples = np.vstack([np.arange(len(studies)), drawn])
    side = Side(name, np.maximum.accumulate(values, axis=1), seconds, samples)
    if not math.isfinite(side.after(n_trials)[0]):
        some = "half of its studies or more have" if len(studies) > 1 else "it has"
        raise HistoryError(
            f"{name!r} has no value to compare: {some} no complete trial with a finite value "
            f"among the first {n_trials} (pruned trials have none). Run more trials, or leave it "
            "out."
        )
    return side


def _finished_trials(study: Study) -> list[FrozenTrial]:
    """Return the finished trials in the order of their starts."""
    name = f"Study {study.study_name!r} in {describe_storage(storage_of(study))}"
    if not is_single_objective(study):
        raise HistoryError(
            f"{name} has {len(study.directions)} objectives, so it has no single best value. Use "
            "optuna.visualization.plot_pareto_front to look at it."
        )
    trials = read_storage(storage_of(study), all_trials, study)
    finished = [
        (local_time(trial.datetime_start), trial.number, trial)
        for trial in trials
        if trial.state.is_finished() and trial.datetime_start
    ]
    if not finished:
        raise HistoryError(f"{name} has no finished trial. Run it first, then compare again.")
    return [trial for *_, trial in sorted(finished, key=lambda item: item[:2])]


def _signed_value(trial: FrozenTrial, sign: float) -> float:
    """Return the value, larger is better; ``-inf`` if it does not count."""
    is_complete = trial.state is TrialState.COMPLETE and is_feasible(trial)
    value = sign * trial.values[0] if is_complete else -math.inf
    return value if math.isfinite(value) else -math.inf


def _elapsed_seconds(trials: Sequence[FrozenTrial]) -> Floats:
    starts = _times(trial.datetime_start for trial in trials)
    ends = _times(trial.datetime_complete for trial in trials)
    starts[1:] = np.maximum(starts[1:], np.maximum.accumulate(ends)[:-1])
    return np.cumsum(np.maximum((ends - starts) / np.timedelta64(1, "s"), 0.0))


def _times(moments: Iterable[datetime | None]) -> NDArray[Any]:
    local = [None if moment is None else local_time(moment) for moment in moments]
    return np.array(local, "datetime64[us]")


def _best_values(sides: Sequence[Side], confidence: float, sign: float) -> Iterator[Measure]:
    ends = {side.n_trials for side in sides}
    counts = sorted({n for n in _CHECKPOINTS if n < max(ends)} | ends)
    for side in sides:
        for n in counts[: counts.index(side.n_trials) + 1]:
            value, *interval = _estimate(sign * side.after(n), confidence)
            value = value if math.isfinite(value) else math.nan
            yield Measure("best value", side.name, "", n, value, *interval)


def _savings(side: Side, other: Side, confidence: float) -> Iterator[Measure]:
    target = other.after(other.n_trials)
    n_other, n_side = other.reached(target), side.reached(target)
    seconds = other.reached(target, other.seconds) - side.reached(target, side.seconds)
    names = (side.name, other.name, int(n_other[0]))
    yield Measure("trials to be as good", *names, float(n_side[0]))
    for what, saved in {"trials saved": n_other - n_side, "seconds saved": seconds}.items():
        # A sample of failed studies has no target: every side is as good from the start.
        samples = np.where(np.isfinite(target), saved, 0.0)
        yield Measure(what, *names, *_estimate(samples, confidence))


def _estimate(samples: Floats, confidence: float) -> tuple[float, float, float]:
    """Return ``samples[0]`` and the central interval of the others, ``nan`` if unknown.

    Its ends are samples, because interpolated quantiles are ``nan`` next to ``inf``.
    """
    value, *others = samples.tolist()
    if not others or np.isnan(others).any():
        return value, math.nan, math.nan
    others.sort()
    cut = int((1 - confidence) / 2 * (len(others) - 1))
    return value, others[cut], others[-1 - cut]


def _format_saving(saving: Measure, words: tuple[str, str, str]) -> str:
    """Format what is saved, such as "8 fewer (4 fewer to 9 fewer)", or lost: "8 more"."""
    value, low, high = (_in_words(n, words) for n in (saving.value, saving.low, saving.high))
    if math.isfinite(saving.value) and not math.isnan(saving.low):
        return f"{value} ({low} to {high})"
    return f"{value} (at best {high})" if math.isfinite(saving.high) else value


def _in_words(saved: float, words: tuple[str, str, str]) -> str:
    if not math.isfinite(saved):
        return "unknown" if math.isnan(saved) else "not reached"
    less, equal, more = words
    number = format_number(abs(saved), 3)
    return f"{number} {less}" if saved > 0 else f"{number} {more}" if saved < 0 else equal


def _count_trials(n: int) -> str:
    return f"{n} trial" if n == 1 else f"{n} trials"


def _format(measure: Measure) -> str:
    numbers = (measure.value, measure.low, measure.high)
    value, low, high = (format_number(number, _DIGITS) for number in numbers)
    if math.isnan(measure.value):
        value = "none yet"
    if math.isfinite(measure.low) and math.isfinite(measure.high):
        return f"{value} ({low} to {high})"
    # An infinite end belongs to samples that have no value yet.
    if math.isfinite(measure.high):
        return f"{value} (at most {high})"
    return f"{value} (at least {low})" if math.isfinite(measure.low) else value
