"""Import runs that were recorded elsewhere, as a past study: tables of CSV files and pandas."""

from optuna_metallmix.importer.study import ImportedRuns
from optuna_metallmix.importer.study import create_study
from optuna_metallmix.importer.study import read_runs
from optuna_metallmix.importer.study import study_from_dataframe
from optuna_metallmix.importer.table import read_csv
from optuna_metallmix.importer.values import parse_value


__all__ = [
    "ImportedRuns",
    "create_study",
    "parse_value",
    "read_csv",
    "read_runs",
    "study_from_dataframe",
]
