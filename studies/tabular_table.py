"""Write the tables of the tabular studies in README.md.

python studies/tabular_table.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from statistics import mean

from optuna_metallmix.shipped import read_studies
from optuna_metallmix.shipped.packed_studies import PackedStudy
from recipes import ROOT
from shipped_table import with_table
from tabular_sets import SETS


DATA = ROOT / "optuna_metallmix" / "shipped" / "data"
README = ROOT / "studies" / "README.md"
COMMAND = "tabular_table.py"
FILE_HEAD = (
    "File",
    "Sets",
    "Trials",
    "Failed",
    "Better than the default",
    "CPU hours",
    "Licences of the data (sets)",
)
SET_HEAD = ("Set", "Rows", "Columns", "Classes", "Recorded from", "Package", "Licence of the data")

Files = Mapping[str, Sequence[PackedStudy]]


def shipped_files() -> Files:
    """Return the studies of each shipped file."""
    return {path.name: list(read_studies(path)) for path in sorted(DATA.glob("tabular-*.gz"))}


def file_table(files: Files) -> str:
    """Return a table with a row for each file."""
    return _table(FILE_HEAD, (_file_row(name, studies) for name, studies in files.items()))


def set_table(files: Files) -> str:
    """Return a table with a row for each data set."""
    by_set = {study.attributes["data_set"]: study for name in files for study in files[name]}
    rows = (_set_row(by_set[data.name]) for data in SETS if data.name in by_set)
    return _table(SET_HEAD, rows)


def with_tables(text: str, files: Files) -> str:
    """Return README.md's text with both tables replaced."""
    text = with_table(text, file_table(files), "files", COMMAND)
    return with_table(text, set_table(files), "sets", COMMAND)


def write_tables() -> None:
    """Update the tables in README.md."""
    README.write_text(with_tables(README.read_text("utf-8"), shipped_files()), "utf-8")


def _file_row(name: str, studies: Sequence[PackedStudy]) -> tuple[str, ...]:
    trials = [trial for study in studies for trial in study.trials]
    licences = Counter(study.attributes["licence"].partition(" (")[0] for study in studies)
    return (
        f"`{name}`",
        str(len(studies)),
        f"{len(trials):,}",
        str(sum(trial.value is None for trial in trials)),
        f"{mean(map(_is_better, studies)):.0%}",
        f"{sum(trial.user_attrs['seconds'] for trial in trials) / 3600:.2f}",
        "; ".join(f"{licence} ({n})" for licence, n in licences.most_common()),
    )


def _is_better(study: PackedStudy) -> bool:
    """Return whether the best of the random trials is better than the library's default."""
    random = (trial for trial in study.trials if trial.user_attrs["sampler"] == "random")
    values = [trial.value for trial in random if trial.value is not None]
    return bool(max(values) > study.attributes["default_value"])


def _set_row(study: PackedStudy) -> tuple[str, ...]:
    attributes = study.attributes
    return (
        f"`{attributes['data_set']}`",
        f"{attributes['n_rows_upstream']:,}",
        str(attributes["n_features"]),
        str(attributes["n_classes"] or "regression"),
        attributes["origin"],
        attributes["source"],
        attributes["licence"],
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    write_tables()
