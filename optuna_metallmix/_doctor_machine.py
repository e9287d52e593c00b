"""this machine -> findings: Python, packages, accelerator. Nothing heavy is imported for it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from packaging.version import Version

from optuna_metallmix._finding import Finding
from optuna_metallmix._finding import Level
from optuna_metallmix.llm import INSTALL_COMMAND


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
