"""study -> run: the best value after each of its trials, and after how many seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import permutations
from typing import TYPE_CHECKING
from typing import Literal
from typing import TypeAlias

import numpy as np
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.comparison.render import BestAfter
from optuna_metallmix.comparison.render import Interval
from optuna_metallmix.comparison.render import Line
from optuna_metallmix.comparison.render import Saving
from optuna_metallmix.comparison.render import Table
from optuna_metallmix.comparison.render import best_table
from optuna_metallmix.comparison.render import draw
from optuna_metallmix.comparison.render import saving_table
from optuna_metallmix.comparison.render import to_csv
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import read_storage
from optuna_metallmix.optuna_access import PREFERENTIAL_ATTR
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import is_feasible
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import same_storage
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.progress import counted
from optuna_metallmix.text import escape_markdown


if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Run:
    """What one study had reached after each of its finished trials, in the order of their starts.

    A pruned or failed trial counts, for it was paid for, but reaches nothing; nor does one whose
    value is infinite, or that violates a constraint. Waiting and running trials do not count yet.

    Attributes:
        name: The study's name.
        best: (n,) the best so far, turned round where less is better: more is better; ``-inf`` as
            long as there is none.
        seconds: (n,) seconds until then in which a trial was running: trials side by side count
            once, and a pause between two sessions not at all. All ``nan`` where the storage does
            not say, as of trials that were added.
    """

    name: str
    best: np.ndarray
    seconds: np.ndarray

    def first(self, n_trials: int) -> Run:
        """Return what it was after ``n_trials``."""
        return Run(self.name, self.best[:n_trials], self.seconds[:n_trials])


def read_run(study: Study) -> Run:
    """Read the trials of a study; nothing is written.

    Raises:
        HistoryError: It cannot be read, has no finished trial, or no one order of its trials.
    """
    name = _described(study)
    if storage_of(study).get_study_system_attrs(study_id_of(study)).get(PREFERENTIAL_ATTR):
        raise HistoryError(f"{name} is preferential: its trials have no values to compare.")
    if not is_single_objective(study):
        raise HistoryError(
            f"{name} has {len(study.directions)} objectives, and so no one best value: compare "
            "studies of one objective, or look at optuna.visualization.plot_pareto_front."
        )
    trials = _finished(study)
    if not trials:
        raise HistoryError(f"{name} has no finished trial yet: run it first, then compare again.")
    sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
    worths = [_worth(one, sign) for one in trials]
    return Run(study.study_name, np.maximum.accumulate(worths), _seconds(trials))


def _described(study: Study) -> str:
    return f"Study {study.study_name!r} in {describe_storage(storage_of(study))}"


def _finished(study: Study) -> list[FrozenTrial]:
    trials = read_storage(storage_of(study), all_trials, study)
    found = [one for one in trials if one.state.is_finished() and one.datetime_start]
    return sorted(found, key=lambda one: (one.datetime_start, one.number))


def _worth(trial: FrozenTrial, sign: float) -> float:
    is_measured = (
        trial.state is TrialState.COMPLETE
        and trial.value is not None
        and math.isfinite(trial.value)
        and is_feasible(trial)
    )
    return sign * trial.values[0] if is_measured else -math.inf


def _seconds(trials: Sequence[FrozenTrial]) -> np.ndarray:
    """Measure the union of the trials' times, which are in the order of their starts."""
    total, until, seconds = 0.0, None, []
    for trial in trials:
        start, end = trial.datetime_start, trial.datetime_complete
        if start is not None and end is not None:
            start = start if until is None else max(start, until)
            total += max((end - start).total_seconds(), 0.0)
            until = end if until is None else max(end, until)
        seconds.append(total)
    return np.array(seconds) if total > 0 else np.full(len(seconds), math.nan)


Axis: TypeAlias = Literal["trials", "seconds"]


@dataclass(frozen=True)
class Side:
    """One or more runs under one name.

    Attributes:
        name: What it is called.
        runs: All of the same length, that of the shortest study.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def n_trials(self) -> int:
        """How many trials every run of it has."""
        return len(self.runs[0].best)

    @property
    def has_seconds(self) -> bool:
        """Whether all its storages say how long the trials took."""
        return not any(np.isnan(run.seconds).any() for run in self.runs)

    def best_after(self, n_trials: int) -> float:
        """Return the median of the best after so many trials, more is better."""
        return float(np.median([run.best[n_trials - 1] for run in self.runs]))

    @property
    def best(self) -> float:
        """The median of the best at its end, more is better; ``-inf`` where there is none."""
        return self.best_after(self.n_trials)

    def curve(self, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
        """Return where the median of the best may change, and what it is from there on.

        Returns:
            (k,) numbers of trials, or seconds, ascending; (k,) the medians, more is better.
        """
        steps = [_steps(run, axis) for run in self.runs]
        at = np.unique(np.concatenate([x for x, _ in steps]))
        levels = np.full((len(steps), len(at)), -math.inf)
        for row, (x, y) in zip(levels, steps, strict=True):
            place = np.searchsorted(x, at, side="right") - 1
            row[place >= 0] = y[place[place >= 0]]
        return at, np.median(levels, axis=0)

    def reached(self, worth: float, axis: Axis) -> float:
        """Return the trials or seconds until the median was as good; ``inf`` where it never was,
        ``nan`` where seconds are not known."""
        if axis == "seconds" and not self.has_seconds:
            return math.nan
        at, levels = self.curve(axis)
        there = at[levels >= worth]
        return float(there[0]) if len(there) else math.inf

    def drawn(self, rng: np.random.Generator) -> Side:
        """Draw as many runs, with replacement: one sample of a bootstrap."""
        picked = rng.integers(len(self.runs), size=len(self.runs))
        return Side(self.name, tuple(self.runs[i] for i in picked))


def make_side(name: str, runs: Sequence[Run]) -> Side:
    """Make a side of runs, cut to the length of the shortest."""
    n_trials = min(len(run.best) for run in runs)
    return Side(name, tuple(run.first(n_trials) for run in runs))


def middle(values: Sequence[float], confidence: float) -> Interval | None:
    """Return what holds the middle share ``confidence`` of samples; ``None`` where one is unknown.

    Taken from the sorted samples themselves: between two of them, one infinite, there is nothing
    (``numpy.quantile`` and ``scipy.stats.bootstrap`` say ``nan`` there).
    """
    if any(map(math.isnan, values)):
        return None
    ordered, cut = sorted(values), (1 - confidence) / 2 * (len(values) - 1)
    return ordered[math.floor(cut)], ordered[len(ordered) - 1 - math.floor(cut)]


def _steps(run: Run, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return where the run became better, and how good: a long run has few such places."""
    places = np.flatnonzero(run.best > np.concatenate([[-math.inf], run.best[:-1]]))
    x = run.seconds[places] if axis == "seconds" else places + 1.0
    return x, run.best[places]


def savings(
    sides: Sequence[Side], samples: Sequence[Sequence[Side]], confidence: float, sign: float
) -> Iterator[Saving]:
    """Compare each side with each other.

    Args:
        sides: At least two.
        samples: Bootstrap samples of them all; empty for no intervals.
        confidence: Share of the samples that an interval holds, in (0, 1).
        sign: -1 where less is better, else 1.
    """
    for i, j in permutations(range(len(sides)), 2):
        bar, side = sides[i], sides[j]
        drawn = [(sample[i], sample[j]) for sample in samples]
        yield Saving(
            bar.name,
            sign * bar.best,
            int(bar.reached(bar.best, "trials")),
            side.name,
            side.n_trials,
            side.reached(bar.best, "trials"),
            _saved(bar, side, "trials"),
            _saved_between(drawn, "trials", confidence),
            _saved(bar, side, "seconds"),
            _saved_between(drawn, "seconds", confidence),
        )


def _saved_between(
    drawn: Sequence[tuple[Side, Side]], axis: Axis, confidence: float
) -> Interval | None:
    if not any(len(one.runs) > 1 for pair in drawn[:1] for one in pair):
        return None
    return middle([_saved(bar, side, axis) for bar, side in drawn], confidence)


def _saved(bar: Side, side: Side, axis: Axis) -> float:
    if not math.isfinite(bar.best):  # a sample may hold failed runs alone: as good from the start
        return 0.0
    return bar.reached(bar.best, axis) - side.reached(bar.best, axis)


Compared: TypeAlias = Study | Mapping[str, Study | Sequence[Study]]
"""A study, or names with the study or studies of each."""


def named_studies(compared: Sequence[Compared]) -> dict[str, list[Study]]:
    """Return the studies of each side by its name; a plain study is a side of its own name.

    Raises:
        TypeError: Something is neither a study nor a mapping of names to studies.
        ValueError: See :func:`compare`.
    """
    named: dict[str, list[Study]] = {}
    for one in compared:
        if not isinstance(one, Study | Mapping):
            raise TypeError(
                f"{one!r} is no study: pass optuna.Study objects, as optuna.load_study returns "
                'them, or names with them: {"tpe": [study_a, study_b]}.'
            )
        for name, some in one.items() if isinstance(one, Mapping) else [(one.study_name, one)]:
            if name in named:
                raise ValueError(
                    f"Two sides are called {name!r}: name them, as in "
                    'compare({"metallmix": study_a, "tpe": study_b}).'
                )
            named[name] = [some] if isinstance(some, Study) else list(some)
    _check_sides(named)
    return named


def _check_sides(named: Mapping[str, Sequence[Study]]) -> None:
    if len(named) < 2 or not all(named.values()):
        raise ValueError(
            f"There is nothing to compare in {', '.join(map(repr, named)) or 'no study'}: pass at "
            "least two sides, each with a study."
        )
    for name, some in named.items():
        if len({study_key(one) for one in some}) < len(some):
            raise ValueError(f"Side {name!r} has a study twice: pass each seed's study once.")


def read_sides(named: Mapping[str, Sequence[Study]]) -> tuple[Side, ...]:
    """Read what each side had reached.

    Raises:
        HistoryError: A study cannot be compared, or a side has no value.
    """
    flat = [study for some in named.values() for study in some]
    runs = iter([read_run(one) for one in counted(flat, "Reading studies", "study")])
    sides = tuple(make_side(name, [next(runs) for _ in some]) for name, some in named.items())
    for side in sides:
        if not math.isfinite(side.best):
            where = f" in half of its {n} studies" if (n := len(side.runs)) > 1 else ""
            raise HistoryError(
                f"{side.name!r} has no value to compare: no complete trial with a finite value "
                f"among the first {side.n_trials}{where}. Run it further, or leave it out."
            )
    return sides


def common_direction(studies: Sequence[Study]) -> StudyDirection:
    """Return the direction of all studies.

    Raises:
        HistoryError: They differ.
    """
    found = {one.direction: one for one in studies}
    if len(found) > 1:
        told = [f"{one.study_name!r} is to {d.name.lower()}" for d, one in found.items()]
        raise HistoryError(f"{' and '.join(told)}: compare studies of one and the same objective.")
    return studies[0].direction


def dashboard_path(studies: Sequence[Study]) -> str | None:
    """Return where optuna-dashboard (0.21) lays studies over each other."""
    first = storage_of(studies[0])
    if not all(same_storage(storage_of(one), first) for one in studies):
        return None
    ids = ",".join(str(study_id_of(one)) for one in studies)
    return f"/dashboard/compare-studies?ids={ids}"


_ROUND = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


@dataclass(frozen=True, repr=False)
class Comparison:
    """How far the sides came, and how soon; made by :func:`compare`.

    Attributes:
        sides: What was compared, in the order given.
        direction: ``"maximize"`` or ``"minimize"``.
        metric: What the objective's value is called.
        confidence: Share of the bootstrap samples that an interval holds.
        best: The best values after 1, 2, 5, 10, ... trials and at the end of each side.
        savings: For each pair of sides, how soon one was as good as the other at its best.
        dashboard_path: Where optuna-dashboard lays the studies over each other; ``None`` where
            they are in different storages, which no dashboard shows at once.
    """

    sides: tuple[Side, ...]
    direction: str
    metric: str
    confidence: float
    best: tuple[BestAfter, ...]
    savings: tuple[Saving, ...]
    dashboard_path: str | None
    _samples: tuple[tuple[Side, ...], ...] = ()

    @property
    def tables(self) -> tuple[Table, Table]:
        """The best values and the savings, as texts."""
        names = [one.name for one in self.sides]
        title = f"Best {self.metric} ({self.direction}d) after so many trials"
        return best_table(self.best, names, title), saving_table(self.savings)

    def to_markdown(self) -> str:
        """Write it as Markdown, as a study's note or a README shows it."""
        parts = [*(one.to_markdown() for one in self.tables), escape_markdown(self._how_to_read())]
        if self.dashboard_path is not None:
            parts += [f"In optuna-dashboard: [{self.dashboard_path}]({self.dashboard_path})"]
        return "\n\n".join(parts)

    def to_csv(self) -> str:
        """Write all its numbers, one a line, with the side, the measure and the interval."""
        return to_csv(self.best, self.savings)

    def plot(self) -> Figure:
        """Draw the best value over trials and, where the storage tells, over wall seconds.

        Raises:
            MetaLLMiXError: plotly is not installed.
        """
        panels = [("finished trials", [self._line(one, "trials") for one in self.sides])]
        if all(one.has_seconds for one in self.sides):
            lines = [self._line(one, "seconds") for one in self.sides]
            panels += [("wall seconds", lines)]
        better = "more" if self.direction == "maximize" else "less"
        value_axis = f"best {self.metric} ({better} is better)"
        return draw(" and ".join(one.name for one in self.sides), value_axis, panels)

    def _repr_html_(self) -> str:
        return (
            "\n".join(one.to_html() for one in self.tables)
            + f"\n<p>{escape(self._how_to_read())}</p>"
        )

    def __repr__(self) -> str:
        sides = ", ".join(f"{one.name!r}: {len(one.runs)} x {one.n_trials}" for one in self.sides)
        return f"Comparison({sides} trials)"

    def _how_to_read(self) -> str:
        n_runs = [len(one.runs) for one in self.sides]
        text = (
            "A pruned or failed trial counts and reaches nothing. Seconds are those in which a "
            "trial was running."
        )
        if max(n_runs) == 1:
            return f"{text} One study a side: chance decides much of this; run several seeds."
        runs = ", ".join(f"{one.name} {n}" for one, n in zip(self.sides, n_runs, strict=True))
        return (
            f"{text} Medians over studies ({runs}); in brackets the {self.confidence:.0%} "
            "bootstrap interval over them."
        )

    def _line(self, side: Side, axis: Axis) -> Line:
        """Give a side's median, from its first value to its end; its interval over trials."""
        sign = _sign(self.direction)
        at, levels = side.curve(axis)
        is_there = np.isfinite(levels)
        end = side.n_trials if axis == "trials" else max(run.seconds[-1] for run in side.runs)
        x, y = [*at[is_there].tolist(), float(end)], [*levels[is_there].tolist(), side.best]
        band = self._band(side, x) if axis == "trials" else []
        return Line(side.name, x, [sign * worth for worth in y], band)

    def _band(self, side: Side, numbers: Sequence[float]) -> list[tuple[float, float, float]]:
        drawn = _samples_of(side, self.sides, self._samples)
        sign = _sign(self.direction)
        ends = [(n, _between(drawn, int(n), self.confidence, sign)) for n in numbers]
        return [(n, *between) for n, between in ends if between is not None]


def compare(
    *studies: Compared, confidence: float = 0.95, n_resamples: int = 1_000, seed: int = 0
) -> Comparison:
    """Compare studies of one task: how good after how many trials, and what is saved.

    Source of the measures: trials and seconds to the best value of the other, as in COCO's
    fixed-target view (Hansen et al. 2021, https://doi.org/10.1080/10556788.2020.1808977); the
    intervals are a percentile bootstrap over the studies of a side.

    Args:
        studies: Studies, each a side of its own: ``compare(study_a, study_b)``; or names with the
            studies of each, such as one sampler's under several seeds:
            ``compare({"metallmix": [s1, s2], "tpe": [s3, s4]})``. At least two sides.
        confidence: Share of the samples that an interval holds, in (0, 1).
        n_resamples: How many bootstrap samples to draw, from 1.
        seed: Seeds them.

    Raises:
        HistoryError: A study has several objectives or no finished trial, a side has no value, or
            the directions differ.
        TypeError: Something is neither a study nor a mapping of names to studies.
        ValueError: There are fewer than two sides, a side without a study or with one twice, or
            two of one name; a number is out of its range.
    """
    if not (0 < confidence < 1 and n_resamples >= 1):
        raise ValueError(
            f"confidence={confidence} must be between 0 and 1 and n_resamples={n_resamples} at "
            "least 1."
        )
    named = named_studies(studies)
    flat = [study for some in named.values() for study in some]
    sides = read_sides(named)
    direction = common_direction(flat).name.lower()
    samples = _drawn(sides, n_resamples, np.random.default_rng(seed))
    return Comparison(
        sides,
        direction,
        (flat[0].metric_names or ["objective value"])[0],
        confidence,
        tuple(_best(sides, samples, confidence, _sign(direction))),
        tuple(savings(sides, samples, confidence, _sign(direction))),
        dashboard_path(flat),
        samples,
    )


def _drawn(
    sides: Sequence[Side], n_resamples: int, rng: np.random.Generator
) -> tuple[tuple[Side, ...], ...]:
    if all(len(side.runs) == 1 for side in sides):
        return ()
    return tuple(tuple(side.drawn(rng) for side in sides) for _ in range(n_resamples))


def _sign(direction: str) -> float:
    return 1.0 if direction == "maximize" else -1.0


def _best(
    sides: Sequence[Side], samples: Sequence[Sequence[Side]], confidence: float, sign: float
) -> Iterator[BestAfter]:
    ends = {side.n_trials for side in sides}
    numbers = sorted({n for n in _ROUND if n < max(ends)} | ends)
    for side in sides:
        drawn = _samples_of(side, sides, samples)
        for n in numbers:
            if n <= side.n_trials:
                worth = side.best_after(n)
                value = sign * worth if math.isfinite(worth) else None
                yield BestAfter(side.name, n, value, _between(drawn, n, confidence, sign))


def _samples_of(
    side: Side, sides: Sequence[Side], samples: Sequence[Sequence[Side]]
) -> list[Side]:
    """Return the samples of one side; none where it has one run, which tells of no spread."""
    place = [one.name for one in sides].index(side.name)
    return [sample[place] for sample in samples] if len(side.runs) > 1 else []


def _between(drawn: Sequence[Side], n: int, confidence: float, sign: float) -> Interval | None:
    """Return the interval of the best after n trials, in the objective's own unit."""
    between = middle([one.best_after(n) for one in drawn], confidence) if drawn else None
    if between is None or not all(map(math.isfinite, between)):
        return None
    low, high = sorted(sign * end for end in between)
    return low, high
