"""what a language model adds, measured on HPOBench's grid, where every true value is known.

    python -m benchmarks models [--llm embedded ...]     # which model should be used?
    python -m benchmarks ablation [--llm embedded ...]   # what is each part of the prompt worth?

`models` is the library's own ``compare-models`` with scripted models beside the real ones: one
that reads the evidence and nothing else, one that takes what stands first, one that takes the
last, one that draws. `ablation` asks the same model in all ways: no model, no reasoning, reasoning
without SHAP evidence, with it, with its effects shuffled, and with a past whose scores are
shuffled.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.families.hpobench import N_PAST
from benchmarks.families.hpobench import SPACE
from benchmarks.families.hpobench import load_tasks
from benchmarks.methods.hostile import HostileLLM
from benchmarks.methods.reader import ReaderLLM
from benchmarks.methods.reader import ShuffledEvidence
from benchmarks.methods.scripted import ScriptedChooser
from benchmarks.paths import RESULTS
from benchmarks.report.table import ran_with
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.past import Config
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import random_configs
from optuna_metallmix import LLM
from optuna_metallmix.evaluation import NO_MODEL
from optuna_metallmix.evaluation import ModelAnswer
from optuna_metallmix.evaluation import ModelAnswers
from optuna_metallmix.evaluation import as_markdown
from optuna_metallmix.evaluation import compare_models
from optuna_metallmix.evaluation import draw
from optuna_metallmix.evaluation import write_csv
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.prompt import PROMPT_VERSION


class FirstLLM(ScriptedChooser):
    """Takes what stands first."""

    name = "scripted: the first"

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Choose."""
        return candidates[0]


class DrawnLLM(ScriptedChooser):
    """Draws anew for every question."""

    name = "scripted: at random"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Choose."""
        return int(self._rng.choice(candidates))


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add ``models``."""
    _add_options(parser)
    parser.set_defaults(run=_models)


def add_ablation(parser: argparse.ArgumentParser) -> None:
    """Add ``ablation``."""
    _add_options(parser)
    parser.set_defaults(run=_ablation)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--llm", nargs="+", default=["embedded"], help="as the sampler takes them")
    parser.add_argument("--tasks", type=int, help="the first so many only")
    parser.add_argument("--seed", type=int, default=0)


def _models(args: argparse.Namespace) -> None:
    code = code_of_library()
    reader, last = ReaderLLM(), HostileLLM(worst=True, seed=args.seed)
    reader.name, last.name = "scripted: adds up the evidence", "scripted: the last"
    models = [*args.llm, reader, FirstLLM(), last, DrawnLLM(args.seed)]
    found = _compare(_past(args), models, n_orders=6)
    _write("models", "Which model should be used?", found, code)


def _ablation(args: argparse.Namespace) -> None:
    code = code_of_library()
    past = _past(args)
    rows: list[ModelAnswer] = []
    for spec in args.llm:
        llm = resolve_llm(spec).llm
        if llm is None:
            raise SystemExit(f"{spec!r} is no language model.")
        rows += _ways(past, llm, rows == [])
        release(llm)
    found = ModelAnswers(tuple(rows), {})
    _write("ablation", "What is each part of the prompt worth?", found, code)


def _ways(past: Past, llm: LLM, is_first: bool) -> Iterator[ModelAnswer]:
    """Yield the rows of all ways of asking, and before them, once, of not asking."""
    for prompt in ("plain", "cot", "cot+shap"):
        found = _compare(past, [llm], prompt=prompt, judge=False)
        yield from _renamed(found, f", {prompt}", with_none=is_first and prompt == "plain")
    found = _compare(past, [ShuffledEvidence(llm, past.seed)], judge=False)
    yield from _renamed(found, "", with_none=False)
    found = _compare(past, [llm], judge=False, permuted=True)
    yield from _renamed(found, ", permuted history", with_none=is_first)


def _renamed(found: ModelAnswers, suffix: str, *, with_none: bool) -> Iterator[ModelAnswer]:
    for one in found.answers:
        if one.model != NO_MODEL or with_none:
            is_true = one.model == NO_MODEL and suffix == ", plain"
            yield one if is_true else replace(one, model=one.model + suffix)


def _compare(
    past: Past,
    models: Sequence[object],
    *,
    permuted: bool = False,
    n_orders: int = 0,
    **options: object,
) -> ModelAnswers:
    tasks = {one.name: one for one in past.tasks}

    def evaluate(name: str, params: Config) -> float:
        return float(tasks[name].values([params])[0])

    return compare_models(
        models,  # type: ignore[arg-type]
        past.permuted if permuted else past.storage,
        evaluate=evaluate,
        n_orders=n_orders,
        seed=past.seed,
        report=lambda text: print(text, flush=True),
        **options,  # type: ignore[arg-type]
    )


def _past(args: argparse.Namespace) -> Past:
    tasks = list(load_tasks().values())[: args.tasks]
    return past_of(
        tasks,
        SPACE,
        lambda task: random_configs(SPACE, N_PAST, "past", task, args.seed),
        args.seed,
    )


def _write(name: str, title: str, found: ModelAnswers, code: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    head = [
        f"# {name}",
        f"{title} HPOBench, MLP tasks, exact grid, {N_PAST} random past trials on each; regrets "
        "are against the held-out study's own trials.",
        f"{ran_with()}, library code {code}, prompt version {PROMPT_VERSION}. "
        f"Written by:\n\n    {typed_command()}",
        as_markdown(found),
        f"![{title}]({name}.png)",
    ]
    (RESULTS / f"{name}.md").write_text("\n\n".join(head) + "\n", encoding="utf-8")
    write_csv(found, RESULTS / f"{name}.csv")
    draw(found).savefig(RESULTS / f"{name}.png", dpi=150)
    print(as_markdown(found))
