"""Pack recorded studies into the files that are shipped, and update their tables in README.md.

python studies/pack_tabular.py cache/tabular                       # all libraries
python studies/pack_tabular.py cache/tabular --library svm xgboost
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterable
from pathlib import Path

import optuna

from optuna_metallmix.shipped import pack_study
from record_tabular import CELLS
from record_tabular import N_TRIALS
from record_tabular import Cell
from record_tabular import n_recorded
from shipped_table import open_journal
from tabular_libraries import LIBRARIES
from tabular_table import DATA
from tabular_table import write_tables


def pack_library(library: str, raw: Path, packed: Path) -> None:
    """Write the complete studies of a library, and say how many there are."""
    cells = [cell for cell in CELLS if cell.library.name == library]
    complete = [cell for cell in cells if n_recorded(cell, raw) >= N_TRIALS]
    print(f"{library}: {len(complete)} of {len(cells)} studies are complete")
    if complete:
        studies = (recorded_study(cell, raw) for cell in complete)
        write(studies, packed / f"tabular-{library}.jsonl.gz")


def recorded_study(cell: Cell, raw: Path) -> optuna.Study:
    """Open the journal of a study."""
    return optuna.load_study(study_name=cell.name, storage=open_journal(cell.journal(raw)))


def write(studies: Iterable[optuna.Study], path: Path) -> None:
    """Write a packed file; the same studies give the same bytes."""
    lines = "".join(f"{pack_study(study)}\n" for study in studies)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


def main() -> None:
    names = [library.name for library in LIBRARIES]
    parser = argparse.ArgumentParser(description="Pack the tabular studies.")
    parser.add_argument("raw", type=Path, help="folder of the journals")
    parser.add_argument("--library", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    for library in args.library:
        pack_library(library, args.raw, DATA)
    write_tables()


if __name__ == "__main__":
    main()
