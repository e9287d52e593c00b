"""what a person passes to be compared -> sides with names, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TypeAlias

from optuna import Study
from optuna.study import StudyDirection

from optuna_metallmix._errors import HistoryError
from optuna_metallmix._optuna_access import same_storage
from optuna_metallmix._optuna_access import storage_of
from optuna_metallmix._optuna_access import study_id_of
from optuna_metallmix._optuna_access import study_key
from optuna_metallmix._progress import counted
from optuna_metallmix._run import read_run
from optuna_metallmix._side import Side
from optuna_metallmix._side import make_side


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
