"""a look at one part -> findings: how it is, and what to do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import TypeAlias

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version

from optuna_metallmix.cli.common import model
from optuna_metallmix.errors import LLMError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.history import History
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_history
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import InstalledModel
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import Usage
from optuna_metallmix.llm import check_packaged
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm


if TYPE_CHECKING:
    from argparse import _SubParsersAction

Level: TypeAlias = Literal["ok", "warning", "problem"]
"""``problem``: something asked for cannot be had; ``warning``: less is had than could be."""


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        level: How bad it is.
        subject: What was looked at.
        text: What was found; where it is not ``ok``, with what to do.
    """

    level: Level
    subject: str
    text: str


def look(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; what it raises on purpose is a problem, and its last finding."""
    try:
        yield from check()
    except (MetaLLMiXError, OSError) as error:
        yield Finding("problem", subject, str(error))


_DISTRIBUTION = "optuna-metallmix"

_SMI = "nvidia-smi"
_SMI_SECONDS = 10.0


@dataclass(frozen=True)
class _Package:
    """A package that is of use here.

    Attributes:
        name: What ``pip`` calls it.
        module: What ``import`` calls it.
        gives: What it is for.
        extra: The extra that installs it; None where this package cannot do without.
    """

    name: str
    module: str
    gives: str
    extra: str | None = None

    @property
    def command(self) -> str:
        """What installs it."""
        if self.extra is None:
            return f"pip install {self.name}"
        if self.extra == "embedded":  # the extra has no model
            return INSTALL_COMMAND
        return f'pip install "{_DISTRIBUTION}[{self.extra}]"'


_PACKAGES = (
    _Package("optuna", "optuna", "the studies"),
    _Package("catboost", "catboost", "the meta-learner"),
    _Package("ollama", "ollama", "the client of an Ollama server"),
    _Package("optuna-dashboard", "optuna_dashboard", "notes and figures on a study", "dashboard"),
    _Package("shap", "shap", "the plots of SHAP values", "shap"),
    _Package("openai", "openai", "models of vLLM, llama.cpp and LM Studio", "openai"),
    _Package("xllamacpp", "xllamacpp", "a model inside this process", "embedded"),
    _Package("torch", "torch", "the example's training, and GPSampler", "torch"),
    _Package("timm", "timm", "what is known of pretrained networks", "torch"),
)


def check_python() -> Iterator[Finding]:
    """Say which Python this is, and where."""
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("ok", "Python", f"{platform.python_version()} on {system}")


def check_packages() -> Iterator[Finding]:
    """Look at each package without importing it: is it there, whole and new enough?"""
    with suppress(metadata.PackageNotFoundError):
        yield Finding("ok", _DISTRIBUTION, metadata.version(_DISTRIBUTION))
    wanted = _wanted()
    for package in _PACKAGES:
        yield _look_at(package, wanted.get(canonicalize_name(package.name), SpecifierSet()))


def check_accelerator() -> Iterator[Finding]:
    """Ask NVIDIA's own tool, for ``import torch`` alone would take seconds."""
    if shutil.which(_SMI) is None:
        yield Finding("ok", "GPU", _without_nvidia())
        return
    try:
        lines = _ask_smi()
    except (subprocess.SubprocessError, OSError) as error:
        yield Finding("warning", "GPU", f"{_why(error)}. Mend the driver until `{_SMI}` answers.")
        return
    for line in lines:
        yield Finding("ok", "GPU", line)
    torch = _version("torch")
    if lines and torch is not None and torch.local == "cpu":
        yield Finding(
            "warning",
            "GPU",
            f"torch {torch} is built for CPUs and will not use it: install the build for CUDA, "
            "as pytorch.org says.",
        )


def _wanted() -> dict[str, SpecifierSet]:
    """Read what this package asks of others, where it is installed as a package."""
    found: list[str] = []
    with suppress(metadata.PackageNotFoundError):
        found = metadata.requires(_DISTRIBUTION) or []
    asked = map(Requirement, found)
    return {canonicalize_name(one.name): one.specifier for one in asked}


def _look_at(package: _Package, wanted: SpecifierSet) -> Finding:
    version, is_there = _version(package.name), find_spec(package.module) is not None
    level: Level = "warning" if package.extra else "problem"
    if version is None and not is_there:
        return _absent(package)
    if version is None or not is_there:
        part = "version" if version is None else "module"
        again = f"pip install --force-reinstall --no-deps {package.name}"
        return Finding(level, package.name, f"broken, it has no {part}: run `{again}`.")
    if not wanted.contains(version, prereleases=True):
        command = f'pip install --upgrade "{package.name}{wanted}"'
        return Finding(level, package.name, f"{version} is not {wanted}: run `{command}`.")
    return Finding("ok", package.name, str(version))


def _absent(package: _Package) -> Finding:
    if package.extra is None:
        return Finding("problem", package.name, f"not installed: run `{package.command}`.")
    return Finding("ok", package.name, f"not installed; `{package.command}` gives {package.gives}")


def _version(name: str) -> Version | None:
    """Read a version; None where the package is not there, or its metadata make no sense."""
    try:
        return Version(metadata.version(name))
    except (metadata.PackageNotFoundError, InvalidVersion, KeyError, TypeError):
        return None


def _ask_smi() -> list[str]:
    done = subprocess.run(
        [_SMI, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=_SMI_SECONDS,
        check=True,
    )
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 2]
    return [f"{name}, {total}, {free} of it free" for name, total, free in rows]


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = " ".join(f"{error.stdout} {error.stderr}".split())[:200]
        return f"`{_SMI}` failed ({said or f'status {error.returncode}'})"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"`{_SMI}` did not answer within {_SMI_SECONDS:g} seconds"
    return f"`{_SMI}` cannot be run ({error})"


def _without_nvidia() -> str:
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        return "Apple's, through Metal"
    return f"none of NVIDIA's (there is no `{_SMI}`): models and trainings may run on the CPU"


_MESSAGES = [
    {"role": "system", "content": "You answer with one JSON object and nothing else."},
    {"role": "user", "content": 'Give "sum", which is 2 + 3, and then "state", which is "ready".'},
]
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer"},
        "state": {"type": "string", "enum": ["ready", "not ready"]},
    },
    "required": ["sum", "state"],
    "additionalProperties": False,
}


def check_ollama() -> Iterator[Finding]:
    """Ask Ollama for its models. It need not be there: a warning, where it is not."""
    try:
        models = installed_models()
    except LLMError as error:
        yield Finding("warning", "Ollama", str(error))
        return
    where = f"answers at {OllamaLLM('any').host}"
    if models:
        yield Finding("ok", "Ollama", f"{where} and has {', '.join(map(_sized, models))}")
    else:
        yield Finding(
            "warning", "Ollama", f"{where} and has no model: run `ollama pull qwen3:8b`."
        )


def check_embedded() -> Iterator[Finding]:
    """Look whether the packaged model is there and is the one that was reviewed."""
    if not is_embedded_installed():
        text = f"not installed; `{INSTALL_COMMAND}` gives a tiny model that always answers"
        yield Finding("ok", "embedded model", text)
        return
    path = EmbeddedLLM().path
    check_packaged(path)
    yield Finding("ok", "embedded model", f"{path.stem}, as it was reviewed")


def check_model(spec: str | None) -> Iterator[Finding]:
    """Say which model would be asked and why, and ask it for a small document.

    Args:
        spec: As for :func:`resolve_llm`.

    Raises:
        LLMError: The model that was named is not there, or does not answer.
    """
    try:
        check_spec(spec)
    except ValueError as error:  # of the variable: what was typed is checked as it is read
        yield Finding("problem", "model", str(error))
        return
    resolved = resolve_llm(spec)
    if resolved.llm is None:
        yield _no_model(resolved.tried)
        return
    name = getattr(resolved.llm, "name", type(resolved.llm).__name__)
    yield Finding("ok", "model", f"{name} would be asked: {_why_chosen(spec, resolved.llm)}")
    try:
        yield from _round_trip(resolved.llm)
    finally:
        release(resolved.llm)


def _no_model(tried: tuple[str, ...]) -> Finding:
    if not tried:
        return Finding("ok", "model", "none, as you say: the meta-learner suggests by itself")
    return Finding("warning", "model", f"none, so that the meta-learner suggests. {NO_MODEL_HINT}")


def _why_chosen(spec: str | None, llm: LLM) -> str:
    named = spec or os.environ.get(MODEL_VARIABLE)
    by = "you name it" if spec else f"{MODEL_VARIABLE} names it"
    if isinstance(llm, OllamaLLM) and named in (None, "", "ollama"):
        return next(one.why for one in rank_installed() if one.name == llm.model)
    if isinstance(llm, OpenAILLM) and named and "#" not in named:
        return "it is the first that the server lists"
    return by if named else "there is none of Ollama's to be had"


def _round_trip(llm: LLM) -> Iterator[Finding]:
    started = time.perf_counter()
    answer = llm.generate(_MESSAGES, schema=_SCHEMA)
    seconds = time.perf_counter() - started
    if not _is_kept(answer):
        text = f"its answer is not what the schema says ({answer[:60]!r}): choose another model."
        yield Finding("problem", "answer", text)
        return
    tokens = _tokens(getattr(llm, "last_usage", None))
    yield Finding("ok", "answer", f"within the schema, in {seconds:.1f} s{tokens}")
    if getattr(llm, "is_constrained", None) is False:
        text = "the server takes no schema and was told in words: update it, for fewer refusals."
        yield Finding("warning", "answer", text)


def _is_kept(answer: str) -> bool:
    try:
        document = json.loads(answer)
    except ValueError:
        return False
    if not isinstance(document, dict) or list(document) != _SCHEMA["required"]:
        return False
    whole = isinstance(document["sum"], int) and not isinstance(document["sum"], bool)
    return whole and document["state"] in _SCHEMA["properties"]["state"]["enum"]


def _tokens(usage: Usage | None) -> str:
    if usage is None or usage.prompt_tokens is None or usage.answer_tokens is None:
        return ""
    return f", {usage.prompt_tokens} tokens read and {usage.answer_tokens} written"


def _sized(model: InstalledModel) -> str:
    return f"{model.name} ({model.size / 1e9:.1f} GB)"


_MOST_LINES = 20
"""Most studies to name; a storage can have hundreds of unfit ones."""


def check_past(source: str | None) -> Iterator[Finding]:
    """Read the past as a study would.

    Args:
        source: A file or a URL; None where nothing was named.

    Raises:
        HistoryError: It cannot be read.
    """
    if source is None:
        yield Finding("ok", "past", "not looked at; name it: `--storage sqlite:///hpo.db`")
        return
    history = read_history(open_source(source))
    yield _summary(history)
    for name, reason in islice(history.left_out.items(), _MOST_LINES):
        text = f"study {name!r} is left out: {reason}. Nothing to do, unless you count on it."
        yield Finding("warning", "past", text)
    if (more := len(history.left_out) - _MOST_LINES) > 0:
        yield Finding("warning", "past", f"{more} more studies are left out: look into the first.")


def _summary(history: History) -> Finding:
    n = len(history.studies)
    n_all = n + len(history.left_out)
    if not n:
        text = f"none of {n_all} studies can be learned from: store a finished search there first."
        return Finding("warning", "past", text)
    names = ", ".join(f"{one.name!r}" for one in history.studies[:_MOST_LINES])
    more = ", ..." if n > _MOST_LINES else ""
    text = f"{n} of {n_all} studies can be learned from, {history.n_trials} configurations"
    return Finding("ok", "past", f"{text}: {names}{more}")


_COLOURS: dict[Level, str] = {"ok": "\033[32m", "warning": "\033[33m", "problem": "\033[31m"}
_PLAIN = "\033[0m"


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the commands."""
    parser = parsers.add_parser(
        "doctor",
        help="look whether everything is there, and say what to do where it is not",
        description="Looks at Python, packages, GPU, language models and past studies; writes "
        "nothing. The exit code is 1 where there is a problem, 0 otherwise.",
    )
    parser.add_argument(
        "--storage", metavar="URL-or-file", help="where past studies are, as for Optuna"
    )
    parser.add_argument(
        "--llm",
        metavar="MODEL",
        type=model,
        help='"ollama:qwen3:8b", "openai:http://localhost:8000/v1", "model.gguf", "embedded", '
        '"none"; by default what a sampler would choose',
    )
    parser.set_defaults(run=_run)


def examine(storage: str | None = None, llm: str | None = None) -> Iterator[Finding]:
    """Look at everything, one part after the other, whatever becomes of the others.

    Args:
        storage: A file or URL with past studies; None to leave them out.
        llm: As for :func:`resolve_llm`.
    """
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("Python", check_python),
        ("packages", check_packages),
        ("GPU", check_accelerator),
        ("Ollama", check_ollama),
        ("embedded model", check_embedded),
        ("model", lambda: check_model(llm)),
        ("past", lambda: check_past(storage)),
    )
    for subject, check in checks:
        yield from look(subject, check)


def _run(arguments: argparse.Namespace) -> int:
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    found: Counter[Level] = Counter()
    for finding in examine(arguments.storage, arguments.llm):
        found[finding.level] += 1
        # At once: a model may take a minute to load after this line.
        print(_line(finding, is_coloured=is_coloured), flush=True)
    print(f"{_counted(found['problem'], 'problem')}, {_counted(found['warning'], 'warning')}.")
    return 1 if found["problem"] else 0


def _line(finding: Finding, *, is_coloured: bool) -> str:
    level = f"{finding.level:<8}"
    if is_coloured:
        level = f"{_COLOURS[finding.level]}{level}{_PLAIN}"
    return f"{level} {finding.subject}: {finding.text}"


def _counted(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'s' if n > 1 else ''}"
