"""Read a table with a row for each run, from a CSV file or a data frame."""

from __future__ import annotations

import ast
import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeAlias

import numpy as np

from optuna_metallmix.errors import HistoryError


if TYPE_CHECKING:
    from pandas import DataFrame


Table: TypeAlias = dict[str, list[Any]]
"""The cells of each column; an empty cell is :data:`MISSING`."""

MISSING: Any = object()
"""An empty cell. ``None`` is a value: scikit-learn and W&B tell the two apart in dictionaries."""

_MISSING_TEXTS = {"", "-", "nan", "na", "n/a", "<na>", "nat", "null"}
_SEPARATORS = ",;\t|"
_DECIMAL = re.compile(r"[+-]?\d*,?\d+([eE][+-]?\d+)?")
_NUMPY_SCALAR = re.compile(r"\bnp\.\w+\(([^()]*)\)")
_MAX_NAMES = 30


def read_csv(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read the columns of a CSV file as text.

    The separator, the encoding and decimal commas are recognized. A column without a name, such
    as the index of a data frame, is left out.

    Raises:
        HistoryError: The file cannot be read, or is no table with a header.
    """
    try:
        text = _decode(Path(path).read_bytes())
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be read ({error.strerror}). Pass a CSV file with a header and a row "
            "for each run."
        ) from error
    if text.startswith("sep="):  # written by Excel
        text = text.partition("\n")[2]
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    try:
        header, *rows = _read_rows(text, separator)
    except ValueError as error:
        raise HistoryError(
            f"{path} is not a CSV file with a header and a row for each run: {error}."
        ) from error
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=False))
    columns = {name: columns.get(name, []) for name in header if name}
    return columns if separator == "," else {n: _with_points(c) for n, c in columns.items()}


def _read_rows(text: str, separator: str) -> list[list[str]]:
    try:
        rows = [row for row in csv.reader(StringIO(text, None), delimiter=separator) if any(row)]
    except csv.Error as error:
        raise ValueError(error) from error
    if not rows:
        raise ValueError("it is empty")
    header = [name.strip() for name in rows[0]]
    if twice := [name for name, n in Counter(header).items() if n > 1 and name]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    for number, row in enumerate(rows):
        if any(row[len(header) :]):
            raise ValueError(
                f"row {number} has {len(row)} cells, but there are {len(header)} columns; text "
                "with a separator needs quotes"
            )
    n = len(header)
    return [header, *([*row[:n], *[""] * (n - len(row))] for row in rows[1:])]


def _decode(content: bytes) -> str:
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:  # saved by Excel without Unicode
            break
    return content.decode("latin-1")


def _with_points(cells: list[str]) -> list[str]:
    """Replace the decimal commas of a column that holds nothing but numbers."""
    present = [cell for cell in map(str.strip, cells) if cell.casefold() not in _MISSING_TEXTS]
    is_number = all(map(_DECIMAL.fullmatch, present))
    return [cell.replace(",", ".") for cell in cells] if is_number else cells


def read_table(frame: Any) -> Table:
    """Return the columns of a data frame, with columns of dictionaries expanded.

    Args:
        frame: A data frame, or what :class:`pandas.DataFrame` accepts. The cells of a column may
            be dictionaries, also as text: each entry becomes the column ``column.entry``.

    Raises:
        TypeError: ``frame`` is no table.
        ValueError: ``frame`` has no rows, or two columns have the same name.
    """
    data = _as_frame(frame)
    if not len(data):
        raise ValueError("The frame has no rows. Pass one with a row for each run.")
    table: Table = {}
    for place, label in enumerate(data.columns):
        name = str(label).strip()
        for column, cells in _expand(name, [_cell(cell) for cell in data.iloc[:, place].tolist()]):
            if column in table:
                raise ValueError(f"The frame has two columns {column!r}. Rename or drop one.")
            table[column] = cells
    return table


def _as_frame(frame: Any) -> DataFrame:
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return frame
    try:
        if isinstance(frame, str | os.PathLike):
            raise TypeError("read a file with pandas.read_csv first")
        return pd.DataFrame(frame)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"frame must be a pandas.DataFrame, or what it can be made from: {error}."
        ) from error


def _cell(cell: Any) -> Any:
    import pandas as pd

    if isinstance(cell, str):
        text = cell.strip()
        return MISSING if text.casefold() in _MISSING_TEXTS else text
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return MISSING
    return MISSING if isinstance(cell, float | Decimal) and math.isnan(cell) else cell


def _expand(name: str, cells: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield a column, or the columns of its dictionaries."""
    parsed = [_as_dict(cell) for cell in cells]
    present = [cell for cell in cells if cell is not MISSING]
    if not present or sum(cell is not None for cell in parsed) < len(present):
        yield name, list(cells)
        return
    rows = [dict(_flatten(cell, f"{name}.")) for cell in (parts or {} for parts in parsed)]
    for column in dict.fromkeys(column for row in rows for column in row):
        yield column, [row.get(column, MISSING) for row in rows]


def _as_dict(cell: Any) -> Mapping[str, Any] | None:
    """Return a cell that is a dictionary with text keys, or the text of such a dictionary."""
    if isinstance(cell, str) and cell.startswith("{"):
        cell = _parse(cell)
    is_dict = isinstance(cell, Mapping) and all(isinstance(key, str) for key in cell)
    return cell if is_dict else None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:  # as Python writes it, without the types that NumPy adds
        return ast.literal_eval(_NUMPY_SCALAR.sub(r"\1", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _flatten(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        inner = _as_dict(value) if isinstance(value, Mapping) else None
        if inner and set(inner) <= {"value", "desc"}:  # as in W&B's config.yaml
            yield prefix + key, inner.get("value")
        elif inner:
            yield from _flatten(inner, f"{prefix}{key}.")
        else:  # None is a value here, an empty cell is not
            yield prefix + key, None if value is None else _cell(value)


def column_error(
    argument: str, name: Any, names: Iterable[str], kind: str = "column"
) -> ValueError:
    """Return the error that there is no such column; its message names similar ones."""
    names = list(names)
    similar = similar_names(str(name), names)
    guess = f" Did you mean {' or '.join(map(repr, similar))}?" if similar else ""
    return ValueError(
        f"{argument}={name!r} is not a {kind}.{guess} The {kind}s: {list_names(names)}."
    )


def similar_names(name: str, names: Iterable[str]) -> list[str]:
    """Return up to three of ``names`` that resemble ``name``, those that end alike first.

    The last parts are compared, too: ``accuracy`` resembles ``metrics.val_accuracy``.
    """
    wanted = _last_part(name)
    parts = [(_last_part(other), other) for other in names]
    close = get_close_matches(wanted, [part for part, _ in parts], n=3)
    ranked = [
        *(other for part, other in parts if part == wanted),
        *(other for match in close for part, other in parts if part == match),
        *(
            other
            for part, other in parts
            if len(wanted) > 2 and (wanted in part or part in wanted)
        ),
        *get_close_matches(name, [other for _, other in parts], n=3),
    ]
    return list(dict.fromkeys(ranked))[:3]


def _last_part(name: str) -> str:
    return re.split(r"[./]", name.casefold().rstrip("./_"))[-1]


def list_names(names: Iterable[str]) -> str:
    """Return names for a message, at most 30 of them."""
    names = list(names)
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(repr, names[:_MAX_NAMES])) + more
