"""The command ``suggest``: print a study's first configuration as JSON, or enqueue it."""

from __future__ import annotations

import argparse
import json
from typing import Any

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.cli.common import add_study_options
from optuna_metallmix.cli.common import add_timeout_option
from optuna_metallmix.cli.common import check_single_objective
from optuna_metallmix.cli.common import load_study
from optuna_metallmix.cli.common import make_settings
from optuna_metallmix.cli.common import model_spec
from optuna_metallmix.cli.common import open_storage
from optuna_metallmix.cli.common import print_message
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import describe_renamed
from optuna_metallmix.history import find_renamed
from optuna_metallmix.history import study_names
from optuna_metallmix.history import unknown_names
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


def add_command(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``suggest`` to the commands."""
    parser = parsers.add_parser(
        "suggest",
        help="suggest a study's first configuration, without the sampler",
        description="Prints the configuration as a JSON object: values by parameter. The study "
        "need not exist, except for --enqueue. The exit code is 1 if nothing can be suggested.",
    )
    add_study_options(parser, is_storage_needed=False)
    parser.add_argument(
        "--llm", metavar="MODEL", type=model_spec,
        help='language model, as in `doctor --llm`; "none" to disable',
    )  # fmt: skip
    add_timeout_option(parser)
    parser.add_argument(
        "--search-space-from", metavar="STUDY",
        help="study whose search space is used (default: the spaces of the past studies and of "
        "the study's own trials)",
    )  # fmt: skip
    parser.add_argument(
        "--json", choices=("params", "full"), default="params",
        help='"full" to print also how the suggestion was made: candidates, evidence, past '
        "studies, answers and seconds (default: params, the configuration alone)",
    )  # fmt: skip
    parser.add_argument(
        "--enqueue", action="store_true", help="also make it the study's next trial"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    arguments.storage = arguments.storage or arguments.past
    if arguments.storage is None:
        raise HistoryError("name the storage of the study by --storage, or of its past by --past.")
    with open_storage(arguments) as storage:
        return _suggest(storage, arguments)


def _suggest(storage: BaseStorage, arguments: argparse.Namespace) -> int:
    study = _load_or_create(storage, arguments)
    check_single_objective(study)
    source = arguments.search_space_from
    space = None if source is None else _space_of(storage, source)
    llm = False if arguments.llm == "none" else arguments.llm
    settings = make_settings(arguments, llm, space, arguments.llm_timeout)
    suggestion = suggest_for_study(study, {}, settings)
    for reason in suggestion.reasons:
        print_message(reason)
    past = suggestion.history.past_space
    if renamed := find_renamed(space or suggestion.history.target_space, past):
        options = " ".join(f"--alias {old}={new}" for old, new in renamed.items())
        print_message(f"{describe_renamed(renamed)} On the command line: {options}")
    asked = space or suggestion.history.target_space
    is_unknown = bool(asked and past) and asked.keys().isdisjoint(past)
    if is_unknown and suggestion.params and suggestion.proposal is None:
        print_message(
            f"nothing to suggest: study {study.study_name!r} has only the parameters "
            f"{', '.join(asked)}, and past studies have none of them, but {', '.join(past)}. Pass "
            "--past with studies that share a parameter, or --alias for each renamed one."
        )
        return 1
    record = json.loads(as_json(suggestion))
    shown = record if arguments.json == "full" else record["params"]
    if shown:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    if not suggestion.params:
        print_message("nothing to suggest: finish a few studies first, or name a language model.")
        return 1
    if arguments.enqueue:
        _enqueue(study, suggestion)
    return 0


def _load_or_create(storage: BaseStorage, arguments: argparse.Namespace) -> Study:
    """Load the study; a missing study is created in memory, except for ``--enqueue``."""
    names = study_names(storage)
    if arguments.enqueue or arguments.study in names:
        return load_study(storage, arguments.study)
    if "did you mean" in (missing := unknown_names([arguments.study], names)):
        print_message(
            f"There is no study {missing}; the suggestion is for a new study of that name."
        )
    arguments.past = arguments.past or arguments.storage
    return optuna.create_study(
        storage=InMemoryStorage(), study_name=arguments.study, direction="maximize"
    )


def _space_of(storage: BaseStorage, name: str) -> SearchSpace:
    trials = all_trials(load_study(storage, name))
    if space := merge_spaces(trial.distributions for trial in trials):
        return space
    raise HistoryError(
        f"Study {name!r} has no trial with parameters, so its search space is unknown: choose "
        "another study for --search-space-from."
    )


def _enqueue(study: Study, suggestion: Suggestion) -> None:
    """Enqueue a suggestion, with its record and note as the sampler writes them."""
    params = dict(suggestion.params)
    before = {trial.number for trial in _waiting(study, params)}
    study.enqueue_trial(params, skip_if_exists=True)
    added = [trial for trial in _waiting(study, params) if trial.number not in before]
    if not added:
        print_message("the study already has this configuration, so it is not enqueued.")
        return
    write_record(storage_of(study), trial_id_of(added[0]), suggestion)
    for problem in StudyReport(study, added[0].number, suggestion).write(None):
        print_message(problem)
    print_message(f"enqueued as trial {added[0].number} of {study.study_name!r}.")


def _waiting(study: Study, params: dict[str, Any]) -> list[FrozenTrial]:
    trials = study.get_trials(states=(TrialState.WAITING,))
    return [trial for trial in trials if trial.system_attrs.get("fixed_params") == params]
