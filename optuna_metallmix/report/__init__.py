"""Report a suggestion: its record on the trial, the study's note, figures and log lines."""

from optuna_metallmix.report.dashboard import StudyReport
from optuna_metallmix.report.dashboard import save_figures
from optuna_metallmix.report.drawing import FigureSpec
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.report.log import SuggestionLog
from optuna_metallmix.report.note import render_note
from optuna_metallmix.report.record import REASON_ATTR
from optuna_metallmix.report.record import as_json
from optuna_metallmix.report.record import read_record
from optuna_metallmix.report.record import record_missing
from optuna_metallmix.report.record import record_missing_note
from optuna_metallmix.report.record import record_passed
from optuna_metallmix.report.record import record_problem
from optuna_metallmix.report.record import restore_suggestion
from optuna_metallmix.report.record import write_record


__all__ = [
    "REASON_ATTR",
    "FigureSpec",
    "StudyReport",
    "SuggestionLog",
    "as_json",
    "describe_figures",
    "read_record",
    "record_missing",
    "record_missing_note",
    "record_passed",
    "record_problem",
    "render_note",
    "restore_suggestion",
    "save_figures",
    "write_record",
]
