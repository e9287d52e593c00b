"""Run one study on several GPUs, with a process of `finetune_timm.py` for each.

    python examples/several_gpus.py --gpus 0 1 2 3 -- --data folder/ --train all --timeout 3600
    python examples/several_gpus.py --processes 2 -- --data folder/ --n-trials 100

The processes share only the storage, as Optuna recommends for parallel searches. On several
machines, start `finetune_timm.py` on each, with the same `--storage` and a different `--worker`
number.
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the processes, wait for them, and return how many failed."""
    args = parse(arguments)
    rest = [word for word in args.rest if word != "--"]
    options = finetune_options.parse(rest)  # print errors once, not from every process
    finetune_timm.open_storage(options.storage)  # create the tables only once
    devices: list[str | None] = args.gpus or [None] * args.processes
    devices = devices[: options.n_trials]  # no process without a trial
    started = [
        subprocess.Popen(
            command(rest, options.n_trials, worker, len(devices)), env=environment(device)
        )
        for worker, device in enumerate(devices)
    ]
    failed = 0
    for worker, process in enumerate(started):
        if process.wait():
            failed += 1
            print(
                f"Process {worker} failed with code {process.returncode}; see above.", flush=True
            )
    return failed


def command(rest: Sequence[str], total: int | None, worker: int, n: int) -> list[str]:
    """Return the command line of a process, with its share of the trials.

    Options that are given twice count as they are given last.
    """
    own = ["--worker", str(worker)]
    if total is not None:
        own += ["--n-trials", str(total // n + (worker < total % n))]
    quiet = ["--no-progress"] if worker else []  # several bars would overwrite each other
    return [sys.executable, str(SCRIPT), *rest, *own, *quiet]


def environment(device: str | None) -> dict[str, str]:
    """Return the environment of a process; its GPU is the only visible device, `cuda:0`."""
    return dict(os.environ) if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run one study on several GPUs.",
        usage="%(prog)s (--gpus 0 1 ... | --processes N) -- options of finetune_timm.py",
    )
    devices = parser.add_mutually_exclusive_group(required=True)
    devices.add_argument("--gpus", nargs="+", help="CUDA device numbers, a process for each")
    devices.add_argument("--processes", type=int, help="number of processes on the default device")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="options of finetune_timm.py")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
