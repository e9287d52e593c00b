"""`optuna-metallmix suggest`: a study -> its first configuration as JSON, or enqueued."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.cli.common import add_study_options
from optuna_metallmix.cli.common import load
from optuna_metallmix.cli.common import model
from optuna_metallmix.cli.common import run_told
from optuna_metallmix.cli.common import settings_of
from optuna_metallmix.cli.common import tell
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import open_source
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.pipeline import suggest_for_study
from optuna_metallmix.report import StudyReport
from optuna_metallmix.report import as_json
from optuna_metallmix.report import write_record
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.suggestion import Suggestion


if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``suggest`` to the commands."""
    parser = parsers.add_parser(
        "suggest",
        help="suggest a study's first configuration, without the sampler",
        description="Writes the suggestion and all that led to it as one JSON object. The study "
        "need not exist, unless it is enqueued into. The exit code is 1 where nothing can be "
        "suggested.",
    )
    add_study_options(parser)
    parser.add_argument(
        "--llm", metavar="MODEL", type=model, help='as for doctor; "none" for no language model'
    )
    parser.add_argument(
        "--search-space-from",
        metavar="STUDY",
        help="the study in the storage whose parameters are suggested; by default what the past "
        "and the study's own trials have",
    )
    parser.add_argument(
        "--enqueue", action="store_true", help="make it the study's next trial, with its note"
    )
    parser.set_defaults(run=partial(run_told, _run))


def _run(arguments: argparse.Namespace) -> int:
    storage = open_source(arguments.storage)
    study = _study(storage, arguments)
    space = _space(storage, arguments.search_space_from)
    llm = False if arguments.llm == "none" else arguments.llm
    suggestion = suggest_for_study(study, {}, settings_of(arguments, llm, space))
    for reason in suggestion.reasons:
        tell(reason)
    print(json.dumps(json.loads(as_json(suggestion)), indent=2, ensure_ascii=False))
    if not suggestion.params:
        tell("nothing could be suggested: finish a few studies first, or name a language model.")
        return 1
    if arguments.enqueue:
        _enqueue(study, suggestion)
    return 0


def _study(storage: BaseStorage, arguments: argparse.Namespace) -> Study:
    """Return the study; one that is not there yet is made in memory, its past in the storage."""
    present = {one.study_name for one in storage.get_all_studies()}
    if arguments.enqueue or arguments.study in present:
        return load(storage, arguments.study)
    arguments.past = arguments.past or arguments.storage
    memory = InMemoryStorage()
    memory.create_new_study([optuna.study.StudyDirection.MAXIMIZE], arguments.study)
    return load(memory, arguments.study)


def _space(storage: BaseStorage, name: str | None) -> SearchSpace | None:
    if name is None:
        return None
    trials = all_trials(load(storage, name))
    if space := merge_spaces(one.distributions for one in trials):
        return space
    raise HistoryError(
        f"Study {name!r} has no trial with a parameter, and so no search space: name another for "
        "--search-space-from."
    )


def _enqueue(study: Study, suggestion: Suggestion) -> None:
    """Make a suggestion the next trial, with its record and note as the sampler writes them."""
    params = dict(suggestion.params)
    before = {one.number for one in _waiting(study, params)}
    study.enqueue_trial(params, skip_if_exists=True)
    new = [one for one in _waiting(study, params) if one.number not in before]
    if not new:
        tell("it is among the study's trials already, and was not enqueued again.")
        return
    write_record(storage_of(study), trial_id_of(new[0]), suggestion)
    for problem in StudyReport(study, new[0].number, suggestion).write(None):
        tell(problem)
    tell(f"enqueued as trial {new[0].number} of {study.study_name!r}.")


def _waiting(study: Study, params: dict[str, Any]) -> list[FrozenTrial]:
    trials = study.get_trials(states=(TrialState.WAITING,))
    return [one for one in trials if one.system_attrs.get("fixed_params") == params]
