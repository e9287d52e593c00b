"""Measure what a language model adds on complete tables, where every true value is known.

    python -m benchmarks models [--llm embedded ...]     # which model should be used?
    python -m benchmarks ablation [--llm embedded ...]   # what is each part of the prompt worth?

`models` runs the library's ``compare_models`` on HPOBench, HPOLib and NAS-Bench-201 with real
models, as they are and with shuffled evidence, the embedded one with and without its adapter, and
with scripted ones: readers of the evidence in the full and in the short question, the first
candidate, the last, and a random one. `ablation`, on HPOBench alone, asks the same model without
reasoning, without SHAP evidence, with both, with shuffled evidence and with a permuted history.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.families import hpobench
from benchmarks.families import hpolib
from benchmarks.families import nasbench201
from benchmarks.methods.reader import ReaderLLM
from benchmarks.methods.reader import ShortReaderLLM
from benchmarks.methods.reader import ShuffledEvidence
from benchmarks.methods.scripted import ScriptedChooser
from benchmarks.paths import RESULTS
from benchmarks.report.table import ran_with
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import permuted
from benchmarks.tasks.past import random_trials
from benchmarks.tasks.space import Config
from optuna_metallmix import LLM
from optuna_metallmix.evaluation import NO_MODEL
from optuna_metallmix.evaluation import Choice
from optuna_metallmix.evaluation import ModelAnswer
from optuna_metallmix.evaluation import ModelAnswers
from optuna_metallmix.evaluation import as_frame
from optuna_metallmix.evaluation import as_markdown
from optuna_metallmix.evaluation import compare_models
from optuna_metallmix.evaluation import draw
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.prompt import PROMPT_VERSION


N_PAST = 60
FAMILIES = {"HPOBench": hpobench, "HPOLib": hpolib, "NAS-Bench-201": nasbench201}


class FixedPositionLLM(ScriptedChooser):
    """Chooses the first candidate (``index=0``) or the last (``index=-1``)."""

    def __init__(self, index: int, name: str) -> None:
        super().__init__()
        self._index, self.name = index, name

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the candidate at the position."""
        return candidates[self._index]


class RandomLLM(ScriptedChooser):
    """Chooses a random candidate for every question."""

    name = "scripted: at random"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return a random candidate."""
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
    parser.add_argument(
        "--llm", nargs="+", default=["embedded"], help="models, as for the sampler"
    )
    parser.add_argument("--tasks", type=int, help="number of tasks (default: all)")
    parser.add_argument("--seed", type=int, default=0)


def _models(args: argparse.Namespace) -> None:
    code = code_of_library()
    llms = [_resolve(spec) for spec in args.llm]
    llms += [EmbeddedLLM(adapter=None) for llm in llms if getattr(llm, "adapter", None)]
    reader, short_reader = ReaderLLM(), ShortReaderLLM()
    reader.name = "scripted: adds up the evidence"
    short_reader.name = f"{reader.name} of the short question"
    first = FixedPositionLLM(0, "scripted: the first")
    last = FixedPositionLLM(-1, "scripted: the last")
    readers = [*llms, reader, short_reader]
    shuffled = [ShuffledEvidence(llm, args.seed) for llm in readers]
    others = [first, last, RandomLLM(args.seed)]
    results = []
    for family in FAMILIES:
        past = _past(args, family)
        results.append(_of_family(family, _compare(past, [*readers, *others], n_orders=10)))
        results.append(_of_family(family, _compare(past, shuffled)))
    for llm in llms:
        release(llm)
    title = "Which model should be used? HPOBench, HPOLib and NAS-Bench-201"
    _write("models", title, _merge(results), code)


def _of_family(family: str, result: ModelAnswers) -> ModelAnswers:
    """Add the family to the names of the studies, which are unique within it only."""
    return ModelAnswers(
        tuple(replace(answer, study=f"{family} {answer.study}") for answer in result.answers),
        {
            model: tuple(replace(c, study=f"{family} {c.study}") for c in chosen)
            for model, chosen in result.choices.items()
        },
    )


def _merge(results: Sequence[ModelAnswers]) -> ModelAnswers:
    """Join results; where a model was asked twice about a study, the first answer counts."""
    answers: dict[tuple[str, str], ModelAnswer] = {}
    choices: dict[str, tuple[Choice, ...]] = {}
    for result in results:
        for answer in result.answers:
            answers.setdefault((answer.model, answer.study), answer)
        for model, chosen in result.choices.items():
            choices[model] = (*choices.get(model, ()), *chosen)
    return ModelAnswers(tuple(answers.values()), choices)


def _ablation(args: argparse.Namespace) -> None:
    code = code_of_library()
    past = _past(args, "HPOBench")
    answers: dict[tuple[str, str], ModelAnswer] = {}
    for spec in args.llm:
        llm = _resolve(spec)
        for answer in _ablate(past, llm):  # the baselines are the same for each model
            answers.setdefault((answer.model, answer.study), answer)
        release(llm)
    result = ModelAnswers(tuple(answers.values()), {})
    _write("ablation", "What is each part of the prompt worth? HPOBench", result, code)


def _resolve(spec: str) -> LLM:
    llm = resolve_llm(spec).llm
    if llm is None:
        raise SystemExit(f"{spec!r} is not a language model.")
    return llm


def _ablate(past: Past, llm: LLM) -> Iterator[ModelAnswer]:
    """Yield the answers to each form of the prompt, named after it."""
    for prompt in ("plain", "cot", "cot+shap"):
        result = _compare(past, [llm], prompt=prompt, judge=False)
        yield from _rename(result, f", {prompt}", baseline=NO_MODEL)
    shuffled = _compare(past, [ShuffledEvidence(llm, past.seed)], judge=False)
    yield from _rename(shuffled, "", baseline=NO_MODEL)
    without = _compare(permuted(past), [llm], judge=False)
    suffix = ", permuted history"
    yield from _rename(without, suffix, baseline=NO_MODEL + suffix)


def _rename(result: ModelAnswers, suffix: str, *, baseline: str) -> Iterator[ModelAnswer]:
    for answer in result.answers:
        is_baseline = answer.model == NO_MODEL
        yield replace(answer, model=baseline if is_baseline else answer.model + suffix)


def _compare(
    past: Past,
    models: Sequence[object],
    *,
    n_orders: int = 0,
    **options: object,
) -> ModelAnswers:
    tasks = {task.name: task for task in past.tasks}

    def evaluate(name: str, params: Config) -> float:
        return float(tasks[name].values([params])[0])

    return compare_models(
        models,  # type: ignore[arg-type]
        past.storage,
        evaluate=evaluate,
        n_orders=n_orders,
        llm_timeout=None,
        seed=past.seed,
        report=lambda text: print(text, flush=True),
        **options,  # type: ignore[arg-type]
    )


def _past(args: argparse.Namespace, name: str) -> Past:
    family = FAMILIES[name]
    tasks = list(family.load_tasks().values())[: args.tasks]
    return past_of(tasks, family.SPACE, random_trials, args.seed, N_PAST)


def _write(name: str, title: str, result: ModelAnswers, code: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    parts = [
        f"# {name}",
        f"{title}, exact tables, {N_PAST} random past trials on each task; regrets are relative "
        "to the held-out study's own trials.",
        f"{ran_with()}, library code {code}, prompt version {PROMPT_VERSION}. "
        f"Written by:\n\n    {typed_command()}",
        as_markdown(result),
        f"![{title}]({name}.png)",
    ]
    (RESULTS / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    as_frame(result).to_csv(RESULTS / f"{name}.csv", index=False)
    draw(result).savefig(RESULTS / f"{name}.png", dpi=150)
    print(as_markdown(result))
