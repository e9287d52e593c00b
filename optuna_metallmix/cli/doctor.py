"""Check the installation, the language models and the past studies, and say what to fix."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import islice
from typing import Literal

import optuna
from optuna.storages import BaseStorage
from packaging.requirements import Requirement
from packaging.version import Version

from optuna_metallmix.cli.common import add_timeout_option
from optuna_metallmix.cli.common import model_spec
from optuna_metallmix.cli.example_past import EXAMPLE_FEATURES
from optuna_metallmix.cli.example_past import EXAMPLE_SPACE
from optuna_metallmix.cli.example_past import example_history
from optuna_metallmix.errors import LLMError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.history import BEYOND_BOUNDS
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_history
from optuna_metallmix.history import study_names
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import TimeBudget
from optuna_metallmix.llm import check_packaged
from optuna_metallmix.llm import format_usage
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.optuna_access import find_trial
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.report import record_problem
from optuna_metallmix.shipped import LIBRARIES
from optuna_metallmix.shipped import PREFIX
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import hide_passwords
from optuna_metallmix.trial_claim import suggested_number


_DISTRIBUTION = "optuna-metallmix"
_MAX_NAME = 100
_MAX_READ = 200  # studies whose record is read
_MAX_STUDIES = 20  # named in the output; a storage can have hundreds
_NO_PAST = (
    "finish a study in this storage first, or start from a past that comes with the package "
    f"({', '.join(PREFIX + library for library in LIBRARIES)})."
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; its text says what to do unless the level is ``ok``."""

    level: Literal["ok", "warning", "problem"]  # "warning" if the part is optional
    subject: str
    text: str


def add_command(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the commands."""
    parser = parsers.add_parser(
        "doctor",
        help="check the installation, language models and past studies",
        description="Checks Python, packages, GPU, language models and past studies, and prints "
        "how to fix what is missing. Writes nothing. The exit code is 1 if there is a problem.",
    )
    parser.add_argument(
        "--storage", metavar="URL-or-file", help="storage with past studies, as for Optuna"
    )
    parser.add_argument(
        "--llm", metavar="MODEL", type=model_spec,
        help='"ollama:qwen3:8b", "openai:http://localhost:8000/v1", "model.gguf", "embedded" or '
        '"none"; default: the model that a sampler would choose',
    )  # fmt: skip
    add_timeout_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    levels: list[str] = []
    for finding in _examine(arguments.storage, arguments.llm, arguments.llm_timeout):
        levels.append(finding.level)
        # Flush, because the next check may load a model for a minute.
        text = hide_passwords(finding.text)
        print(f"{finding.level:<8} {finding.subject}: {text}", flush=True)
    print(f"problems: {levels.count('problem')}, warnings: {levels.count('warning')}")
    return 1 if "problem" in levels else 0


def _examine(storage: str | None, llm: str | None, llm_timeout: float | None) -> Iterator[Finding]:
    """Run all checks; an expected error is a problem and does not stop the other checks."""
    level = _level_of_ollama(llm)
    said: list[str] = []
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "past": lambda: _check_past(storage),
        "packages": _check_packages,
        "GPU": _check_gpu,
        "Ollama": lambda: _check_ollama(level),
        "embedded model": _check_embedded,
        "model": lambda: _check_model(llm, TimeBudget(llm_timeout), said),
    }
    for subject, check in checks.items():
        try:
            yield from check()
        except (MetaLLMiXError, OSError) as error:
            said.append(str(error))
            # A model requested by name is checked as "model".
            yield Finding(level if subject == "Ollama" else "problem", subject, str(error))


def _level_of_ollama(llm: str | None) -> Literal["ok", "warning"]:
    """Return how much a missing server or model matters: little if nobody asked for it."""
    named = llm or os.environ.get(MODEL_VARIABLE) or ""
    is_asked = named.startswith("ollama") or bool(os.environ.get("OLLAMA_HOST"))
    return "warning" if is_asked else "ok"


def _check_packages() -> Iterator[Finding]:
    """Compare the installed versions with the requirements, without importing anything."""
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("ok", "Python", f"{platform.python_version()} on {system}")
    try:
        required = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or []]
        installed = {_DISTRIBUTION: metadata.version(_DISTRIBUTION)}
    except metadata.PackageNotFoundError:
        text = "not installed, so its requirements are not checked: run `pip install .`."
        yield Finding("warning", _DISTRIBUTION, text)
        return
    missing: list[str] = []
    for package in required:
        version = _installed_version(package.name)
        if version is not None and package.specifier.contains(version, prereleases=True):
            installed[package.name] = str(version)
        elif version is None and package.marker is not None:
            missing.append(package.name)
        else:
            yield _unmet(package, version)
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    yield Finding("ok", "packages", listed)
    if missing:
        text = f"{', '.join(dict.fromkeys(missing))} (see docs/install.md)"
        yield Finding("ok", "optional, not installed", text)


def _unmet(package: Requirement, version: Version | None) -> Finding:
    text = f"{package.specifier} is needed, {version or 'none'} is installed"
    command = f'pip install "{package.name}{package.specifier}"'
    if package.marker is None:
        return Finding("problem", package.name, f"{text}: run `{command}`.")
    extra = str(package.marker).split('"')[1]  # extra == "shap"
    # The extra "embedded" cannot contain the model itself.
    command = INSTALL_COMMAND if extra == "embedded" else command
    text = f"{text} (extra {extra!r}, optional): run `{command}`."
    return Finding("warning", package.name, text)


def _installed_version(name: str) -> Version | None:
    """Return a package's version; None if it is not installed or its metadata is broken."""
    try:
        return Version(metadata.version(name))
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None


def _check_gpu() -> Iterator[Finding]:
    """Ask `nvidia-smi`, because importing torch would take seconds."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except FileNotFoundError:
        yield Finding("ok", "GPU", "`nvidia-smi` is not installed: no NVIDIA GPU will be used")
        return
    except (subprocess.SubprocessError, OSError) as error:
        reason = " ".join(str(getattr(error, "stdout", None) or error).split())[:200]
        yield Finding("warning", "GPU", f"`nvidia-smi` failed ({reason}): check the driver.")
        return
    gpus = [line for line in done.stdout.splitlines() if line.count(", ") == 2]
    yield from (Finding("ok", "GPU", f"{gpu} free") for gpu in gpus)
    if gpus and (torch := _installed_version("torch")) and torch.local == "cpu":
        text = f"torch {torch} cannot use the GPU: install a CUDA build from https://pytorch.org."
        yield Finding("warning", "GPU", text)


def _check_ollama(level: Literal["ok", "warning"]) -> Iterator[Finding]:
    models, host = installed_models(), OllamaLLM("any").host
    if models:
        listed = ", ".join(f"{model.name} ({model.size / 1e9:.1f} GB)" for model in models)
        yield Finding("ok", "Ollama", f"{host} has {listed}")
    else:
        yield Finding(level, "Ollama", f"{host} has no model: run `ollama pull qwen3:8b`.")


def _check_embedded() -> Iterator[Finding]:
    text = f"not installed (optional): run `{INSTALL_COMMAND}`."
    if is_embedded_installed():
        llm = EmbeddedLLM()
        check_packaged(llm.path)
        text = f"{llm.path.name} is unchanged; asked if Ollama has no model"
    yield Finding("ok", "embedded model", text)


def _check_model(spec: str | None, budget: TimeBudget, said: Sequence[str]) -> Iterator[Finding]:
    """Report which model a sampler would ask and why, and ask it as a first trial would.

    What was ``said`` of Ollama before is not repeated.
    """
    try:
        resolved = budget.run(partial(resolve_llm, spec), "The search for a language model")
    except ValueError as error:  # the environment variable does not name a model
        raise LLMError(str(error)) from error
    if resolved.llm is not None:
        reason = _why_chosen(spec, resolved.llm)
        yield Finding("ok", "model", f"{model_name(resolved.llm)}: {reason}")
        yield from _check_answer(resolved.llm, budget)
    elif resolved.tried:
        tried = [reason for reason in resolved.tried if reason not in said]
        text = " ".join(["none; the meta-learner suggests alone.", *tried, NO_MODEL_HINT])
        yield Finding("ok", "model", text)
    else:
        yield Finding("ok", "model", "none, as requested; the meta-learner suggests alone")


def _why_chosen(spec: str | None, llm: LLM) -> str:
    named = spec or os.environ.get(MODEL_VARIABLE)
    if isinstance(llm, OllamaLLM) and named in (None, "", "ollama"):
        return next(model.why for model in rank_installed() if model.name == llm.model)
    return "set by --llm" if spec else f"set by {MODEL_VARIABLE}"


def _check_answer(llm: LLM, budget: TimeBudget) -> Iterator[Finding]:
    try:
        suggestion = suggest(
            example_history(), EXAMPLE_SPACE, EXAMPLE_FEATURES, llm, reviewer=llm, budget=budget
        )
        answer = _describe_answer(suggestion, budget)
    finally:  # after which the budget may be over
        budget.release(llm)
    yield answer
    if getattr(llm, "is_constrained", None) is False:
        text = "the server ignores the schema, so answers fail more often: update the server."
        yield Finding("warning", "answer", text)


def _describe_answer(suggestion: Suggestion, budget: TimeBudget) -> Finding:
    """Report whether a first trial would use the model, and how long it would wait."""
    reasons, seconds = " ".join(suggestion.reasons), suggestion.seconds["model"]
    if budget.is_over:
        text = f"a first trial would wait {seconds:.0f} s, and not use the model. {reasons}"
        return Finding("problem", "answer", text)
    if suggestion.verdict is None:
        return Finding("problem", "answer", " ".join(suggestion.attempts[-1].failures))
    limit = "no llm_timeout" if budget.seconds is None else f"llm_timeout={budget.seconds:g}"
    waits = (
        f"a first trial would wait {seconds:.1f} s, with {limit} "
        f"(prompt {suggestion.prompt_version}; answers: {format_usage(suggestion.attempts)})"
    )
    if suggestion.proposal is None:
        return Finding("warning", "answer", f"{waits}, and not use the model. {reasons}")
    return Finding("ok", "answer", f"{waits}, and use the model's choice")


def _check_past(source: str | None) -> Iterator[Finding]:
    """Read past studies as a sampler would, and list which are usable."""
    if source is None:
        yield Finding("ok", "past", "not checked: run with `--storage sqlite:///hpo.db`")
        return
    with open_source(source, "--storage") as storage:
        history = read_history(storage)
        damaged = list(islice(_damaged_records(storage), _MAX_STUDIES))
    left_out, names = dict(history.left_out), [repr(study.name) for study in history.studies]
    if (unread := left_out.pop(BEYOND_BOUNDS, None)) is not None:
        yield Finding("ok", "past", f"{unread}.")
    text = f"{len(names)} of {len(names) + len(left_out)} studies are usable"
    if names:
        listed = ", ".join(names[:_MAX_STUDIES]) + ", ..." * (len(names) > _MAX_STUDIES)
        yield Finding("ok", "past", f"{text}, with {history.n_trials} trials: {listed}")
    else:
        yield Finding("warning", "past", f"{text}: {_NO_PAST}")
    for name, reason in list(left_out.items())[:_MAX_STUDIES]:
        text = f"study {name!r} is left out: {reason}. Ignore this unless you need the study."
        yield Finding("warning", "past", text)
    yield from (Finding("warning", "record", text) for text in damaged)
    if (n_more := len(left_out) - _MAX_STUDIES) > 0:
        yield Finding("warning", "past", f"{n_more} more studies are left out.")


def _damaged_records(storage: BaseStorage) -> Iterator[str]:
    """Say which suggestions of a storage cannot be shown any more, a sentence each."""
    for name in list(study_names(storage))[:_MAX_READ]:
        study = optuna.load_study(study_name=name, storage=storage)
        number = suggested_number(study)
        trial = None if number is None else find_trial(study, number)
        if trial is not None and (problem := record_problem(trial)):
            yield f"study {cut_middle(name, _MAX_NAME)!r}: {problem}"
