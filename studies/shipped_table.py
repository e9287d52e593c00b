"""Write the tables of shipped studies in README.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


HEAD = (
    "Study",
    "Images",
    "Classes",
    "Modality",
    "Trials",
    "Best",
    "Median",
    "Worst",
    "Best, trained head",
    "Best, from scratch",
    "Test, of best",
    "Seconds",
    "Upstream licence",
)


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file of studies."""
    return JournalStorage(JournalFileBackend(str(path)))


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials."""
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def table(shipped: Path) -> str:
    """Return a Markdown table of the studies in a file."""
    storage = open_journal(shipped)
    studies = [
        optuna.load_study(study_name=name, storage=storage)
        for name in optuna.get_all_study_names(storage)
    ]
    rows = [HEAD, ("---",) * len(HEAD), *(_row(study) for study in studies)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def marks(name: str, command: str = "record.py --table") -> tuple[str, str]:
    """Return the lines of README.md before and after the table that a command writes."""
    start = f"<!-- table: python studies/{command} ({name}) -->\n"
    return start, "<!-- end of table -->\n"


def with_table(text: str, new: str, name: str, command: str = "record.py --table") -> str:
    """Return README.md's text with a table replaced."""
    start, end = marks(name, command)
    before, marker, rest = text.partition(start)
    if not marker:
        raise ValueError(f"README.md has no line {start.strip()!r}: add it where the table goes.")
    _, _, after = rest.partition(end)
    return before + start + new + end + after


def _row(study: optuna.Study) -> tuple[str, ...]:
    trials, attrs = complete(study), study.user_attrs
    values = [trial.values[0] for trial in trials]
    seconds = sum(trial.user_attrs["seconds"] for trial in trials)
    return (
        f"`{study.study_name}`",
        f"{attrs['n_images']:,}",
        str(attrs["n_classes"]),
        attrs["modality"],
        str(len(trials)),
        f"{max(values):.3f}",
        f"{statistics.median(values):.3f}",
        f"{min(values):.3f}",
        # The image size is searched only for pretrained networks.
        _best(trial for trial in trials if "image_size" in trial.params),
        _best(trial for trial in trials if "image_size" not in trial.params),
        f"{study.best_trial.user_attrs['test_balanced_accuracy']:.3f}",
        f"{seconds:.0f}",
        attrs["licence"],
    )


def _best(trials: Iterable[FrozenTrial]) -> str:
    values = [trial.values[0] for trial in trials]
    return f"{max(values):.3f}" if values else ""
