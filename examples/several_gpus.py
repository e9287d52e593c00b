"""one study, one process a GPU: `finetune_timm.py` several times on one storage.

    python examples/several_gpus.py --gpus 0 1 2 3 -- --data folder/ --train all --timeout 3600
    python examples/several_gpus.py --processes 2 -- --data folder/ --n-trials 100

This is Optuna's own way to use many devices: processes that know of each other only by the
storage they share. On several machines start `finetune_timm.py` on each, with one `--storage` that
all of them reach and a `--worker` number each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import finetune_options
import finetune_timm


SCRIPT = Path(__file__).with_name("finetune_timm.py")


def main(words: Sequence[str] | None = None) -> int:
    """Start the processes and wait for them; returns how many of them failed."""
    args = parse(words)
    rest = [word for word in args.rest if word != "--"]
    asked = finetune_options.parse(rest)  # what is wrong is told once
    finetune_timm.open_storage(asked.storage)  # one process makes the tables
    devices: list[str | None] = args.gpus or [None] * args.processes
    devices = devices[: asked.n_trials]  # none is started for nothing
    started = [
        subprocess.Popen(
            command(rest, asked.n_trials, worker, len(devices)), env=environment(device)
        )
        for worker, device in enumerate(devices)
    ]
    failed = 0
    for worker, process in enumerate(started):
        if process.wait():
            failed += 1
            print(f"Process {worker} ended with code {process.returncode}; see above.", flush=True)
    return failed


def command(rest: Sequence[str], total: int | None, worker: int, n: int) -> list[str]:
    """Return one process's command line: the trials are divided, the last word counts."""
    own = ["--worker", str(worker)]
    if total is not None:
        own += ["--n-trials", str(total // n + (worker < total % n))]
    quiet = ["--no-progress"] if worker else []  # several bars would write over each other
    return [sys.executable, str(SCRIPT), *rest, *own, *quiet]


def environment(device: str | None) -> dict[str, str]:
    """Show a process its own GPU only: to it, that is `cuda:0`."""
    return dict(os.environ) if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run one study on several GPUs.",
        usage="%(prog)s (--gpus 0 1 ... | --processes N) -- options of finetune_timm.py",
    )
    many = parser.add_mutually_exclusive_group(required=True)
    many.add_argument("--gpus", nargs="+", help="as CUDA numbers them, one process each")
    many.add_argument("--processes", type=int, help="so many on whatever device there is")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="of finetune_timm.py")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
