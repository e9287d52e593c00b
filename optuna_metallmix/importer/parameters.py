"""Find the columns of a table that are parameters, and read each run's configuration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from optuna_metallmix.importer.table import MISSING
from optuna_metallmix.importer.table import Table
from optuna_metallmix.importer.table import column_error
from optuna_metallmix.importer.table import list_names
from optuna_metallmix.importer.table import similar_names
from optuna_metallmix.importer.values import fit_value
from optuna_metallmix.importer.values import infer_distribution
from optuna_metallmix.importer.values import parse_value
from optuna_metallmix.space import describe
from optuna_metallmix.space import value_key


_PREFIXES = (
    *("params.", "config.", "config/", "param_", "params_"),
    *("hparams.", "hparams/", "hyperparameters."),
)
"""Prefixes of MLflow, W&B, Ray Tune, scikit-learn, Optuna, Lightning and Keras Tuner."""
_START = re.compile(r"[^./_]+[./_]")


@dataclass(frozen=True)
class Parameters:
    """The parameters of all runs.

    Attributes:
        columns: The columns of each parameter.
        space: Its distribution.
        configs: The configuration of each row, without parameters that it does not have.
        left_out: The reason for each column that is no parameter after all.
    """

    columns: dict[str, list[str]]
    space: dict[str, BaseDistribution]
    configs: list[dict[str, Any]]
    left_out: dict[str, str]


def find_parameters(table: Table, params: str | Iterable[str] | None) -> dict[str, str]:
    """Return the names of the parameters by their columns.

    Raises:
        ValueError: ``params`` names no columns; the message names those that it may mean.
    """
    wanted = _known_prefix(table) if params is None else params
    names: dict[str, str] = {}
    wrong: list[str] = []
    is_list = isinstance(wanted, Iterable) and not isinstance(wanted, str)
    for name in wanted if is_list else [wanted]:
        if not isinstance(name, str):
            raise ValueError(f"params={name!r} must be a prefix, or a list of columns.")
        found = dict(_matches(table, name))
        names |= found
        wrong += [] if found else [name]
    if wrong:
        raise _params_error(table, wrong)
    return names


def _known_prefix(table: Table) -> str:
    for prefix in _PREFIXES:
        if dict(_matches(table, prefix)):
            return prefix
    raise ValueError(
        'Name the columns of the parameters: `params` is their common prefix, such as "params.", '
        f"or a list of columns. The columns: {list_names(table)}."
    )


def _matches(table: Table, name: str) -> Iterator[tuple[str, str]]:
    """Yield the column that is called ``name``, or those that begin with it."""
    if name in table:
        prefix = next((p for p in _PREFIXES if name.startswith(p) and name != p), "")
        yield name, name.removeprefix(prefix)
        return
    if name == "param_" and any(column.startswith("params.") for column in table):
        name = "params."  # scikit-learn: in its dictionaries None is not an empty cell
    for column in table:
        if name and column.startswith(name):
            rest = column.removeprefix(name)
            if name[-1].isalnum():  # the separator is not part of the prefix
                rest = rest[1:] if rest[0] in "./_" else ""
            if rest and not rest.startswith("_"):  # W&B's own settings
                yield column, rest


def _params_error(table: Table, wrong: Iterable[str]) -> ValueError:
    prefixes = _prefixes(table)
    shown = []
    for name in wrong:
        similar = similar_names(name, prefixes)[:1] or similar_names(name, table)
        hint = f" (did you mean {' or '.join(map(repr, similar))}?)" if similar else ""
        shown.append(f"{name!r}{hint}")
    common = f" Common prefixes: {list_names(prefixes)}." if prefixes else ""
    return ValueError(
        f"params: no column is called or begins with {', '.join(shown)}.{common} The columns: "
        f"{list_names(table)}."
    )


def _prefixes(table: Table) -> list[str]:
    """Return the known prefixes that columns have, and others that several columns share."""
    known = [p for p in _PREFIXES if any(column.startswith(p) for column in table)]
    starts = Counter(match[0] for column in table if (match := _START.match(column)))
    shared = [start for start, n in starts.items() if n > 1 and start != "metrics."]
    return list(dict.fromkeys([*known, *shared]))


def read_parameters(
    table: Table,
    names: Mapping[str, str],
    rows: Sequence[int],
    aliases: Mapping[str, str],
    distributions: Mapping[str, BaseDistribution],
) -> Parameters:
    """Read the configurations of ``rows``, and infer the distributions that are not given.

    Args:
        table: The table.
        names: The names of the parameters by their columns.
        rows: The rows to read.
        aliases: Past name to present name.
        distributions: Known distributions by present name.

    Raises:
        ValueError: A name in ``aliases`` or ``distributions`` is unknown, a value is outside its
            distribution, or a run has two values of the same parameter.
    """
    columns = _rename(names, aliases)
    for name in distributions:
        if name not in columns:
            raise column_error("distributions", name, columns, "parameter")
    space: dict[str, BaseDistribution] = {}
    configs: list[dict[str, Any]] = [{} for _ in rows]
    left_out: dict[str, str] = {}
    for name, found in columns.items():
        cells = _merge_columns(table, found, rows)
        distribution = distributions.get(name) or _infer(cells)
        if isinstance(distribution, str):
            left_out[name] = distribution
            continue
        space[name] = distribution
        for config, value in zip(configs, _fit(name, distribution, cells), strict=True):
            if value is not MISSING:
                config[name] = value
    return Parameters(columns, space, configs, left_out)


def _rename(names: Mapping[str, str], aliases: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the columns of each parameter by its present name."""
    columns: dict[str, list[str]] = {}
    for column, name in names.items():
        columns.setdefault(aliases.get(name, name), []).append(column)
    for past, present in aliases.items():
        if present not in columns:
            raise column_error("aliases", past, names.values(), "parameter")
    return columns


def _merge_columns(table: Table, columns: Sequence[str], rows: Sequence[int]) -> list[Any]:
    """Return the cells of a parameter that was renamed: each run has it under one name."""
    merged: list[Any] = [MISSING] * len(rows)
    for column in columns:
        for i, row in enumerate(rows):
            if (cell := table[column][row]) is MISSING:
                continue
            if merged[i] is not MISSING and value_key(merged[i]) != value_key(cell):
                raise ValueError(
                    f"Row {row} has two values of one parameter, in the columns "
                    f"{list_names(columns)}. Drop one of the columns, or change `aliases`."
                )
            merged[i] = cell
    return merged


def _infer(cells: Sequence[Any]) -> BaseDistribution | str:
    """Return the distribution, or why the column is no parameter."""
    values = [parse_value(cell) for cell in cells if cell is not MISSING]
    if not values:
        return "no run has a value"
    return infer_distribution(values, len(values) < len(cells)) or (
        "almost every run has another text; keep it with `distributions`"
    )


def _fit(name: str, distribution: BaseDistribution, cells: Sequence[Any]) -> Iterator[Any]:
    outside: list[str] = []
    for cell in cells:
        try:
            yield MISSING if cell is MISSING else fit_value(distribution, cell)
        except ValueError as error:
            outside.append(str(error))
            yield MISSING
    if outside:
        raise ValueError(
            f"distributions[{name!r}] allows {describe(distribution)}, but {len(outside)} runs "
            f"have another value, such as {outside[0]}. Widen it, or drop these rows."
        )
