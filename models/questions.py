"""Write the questions to train on, with their answers: ``python -m models.questions``.

The library's own pipeline makes suggestions for LCBench and XGBoost tasks from the past of other
tasks, and its own prompt shows them. HPOBench, HPOLib and NAS-Bench-201 are not used: the model is
scored on them. Each suggestion is asked about in many ways: with other names, with some of the
candidates and of the evidence, in any order. The right answer is the candidate with the largest
sum of effects, and the first evidence that is listed for it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.families import lcbench
from benchmarks.families import xgboost
from benchmarks.families.search import Searches
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Task
from benchmarks.tasks.scenarios import SCENARIOS
from models import QUESTIONS
from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import evidence_sign
from optuna_metallmix.history import read_history
from optuna_metallmix.pipeline import question_of
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.prompt import SHORT
from optuna_metallmix.prompt import PromptView
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.prompt import suggestion_messages
from optuna_metallmix.prompt import suggestion_schema


FAMILIES = (lcbench, xgboost)
PASTS = ("random-3", "tpe-3", "random-10", "")
"""Scenarios of the past; each also has its own seed."""
WANTED = {2: 300, 3: 800, 4: 1_000, 5: 400, 6: 200}
"""Questions by number of candidates."""
MAX_ROUNDS = 60
SHARE_RENAMED, SHARE_WHOLE, SHARE_GAPS = 0.7, 0.4, 0.5
MAX_NUMBER, MAX_ID = 6, 10
"""The highest number of a candidate and of evidence in the library's questions."""
MAX_CITED = 3
NAMES = """lr learning_rate eta alpha beta gamma lambda dropout dropout_rate weight_decay momentum
batch_size n_layers num_layers depth max_depth width n_units hidden_size n_estimators nrounds
min_child_weight min_samples_leaf subsample colsample max_features C tol epsilon warmup_steps
label_smoothing mixup_alpha cutmix patience optimizer scheduler activation kernel booster backbone
image_size patch_size n_heads embed_dim temperature clip_norm ema_decay layer_decay init_scale l1
l2 reg_alpha reg_lambda num_leaves max_bin feature_fraction bagging_freq n_neighbors p degree nu
shrinkage leaf_size rotation noise_std rank stride filters kernel_size steps epochs lr_decay
step_size freeze_layers head_lr blur crop_scale""".split()  # noqa: SIM905


def main() -> None:
    """Write the questions; it takes some minutes, and shows its progress."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        questions = list(_suggestions())
    except SkippedError as error:
        raise SystemExit(f"The questions need LCBench and XGBoost tasks: {error}") from error
    written = write_questions(questions, QUESTIONS, seed=0)
    print(f"{written.total()} questions, by number of candidates {dict(written)}: {QUESTIONS}")


def write_questions(questions: Sequence[Question], path: Path, *, seed: int) -> Counter[int]:
    """Write variants of the questions in random order; return how many, by number of candidates.

    Each line of the file has the message, the answer and the number of candidates.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    counts: Counter[int] = Counter()
    for _, question in product(range(MAX_ROUNDS), questions):
        row = _row(_numbered(vary(question, rng), rng))
        if row and counts[row["candidates"]] < WANTED.get(row["candidates"], 0):
            rows.append(row)
            counts[row["candidates"]] += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(rows[i]) + "\n" for i in rng.permutation(len(rows))]
    path.write_text("".join(lines), encoding="utf-8")
    return counts


def vary(question: Question, rng: np.random.Generator) -> Question:
    """Return the question with other names, less evidence, fewer candidates, in any order."""
    if rng.random() < SHARE_RENAMED:
        question = _renamed(question, rng)
    explanation = question.explanation
    assert explanation is not None
    evidence, candidates = explanation.evidence, question.candidates
    n_evidence, n_candidates = len(evidence), len(candidates)
    if rng.random() >= SHARE_WHOLE:
        n_evidence, n_candidates = (
            int(rng.integers(2, max(2, n) + 1)) for n in (n_evidence, n_candidates)
        )
    evidence = tuple(evidence[i] for i in rng.permutation(len(evidence))[:n_evidence])
    candidates = [candidates[i] for i in rng.permutation(len(candidates))[:n_candidates]]
    return replace(
        question, candidates=candidates, explanation=replace(explanation, evidence=evidence)
    )


def answer_of(view: PromptView) -> dict[str, Any] | None:
    """Return the right answer; ``None`` if there is none, or more than one.

    Effects count as they are shown.
    """
    assert view.explanation is not None
    evidence = view.explanation.evidence
    if not evidence or len(view.candidates) < 2:
        return None
    effects = np.array([abs(round(item.effect, 2)) for item in evidence])
    signs = np.array([_signs(view, candidate) for candidate in view.candidates])
    sums = np.round(signs @ effects, 6)
    best, is_unique = int(sums.argmax()), int((sums == sums.max()).sum()) == 1
    ids = [item.id for item, sign in zip(evidence, signs[best], strict=True) if sign > 0]
    if not is_unique or not ids:
        return None
    return {"candidate": view.candidates[best].number, "evidence": ids[:MAX_CITED]}


def _suggestions() -> Iterator[Question]:
    for family, (seed, scenario) in product(FAMILIES, enumerate(PASTS)):
        searches = family.searches(Options())
        for task in searches.tasks.values():
            print(family.FOLDER, task.name, scenario or "all", flush=True)
            yield _suggestion(searches, task, scenario, seed)


def _suggestion(searches: Searches, target: Task, scenario: str, seed: int) -> Question:
    """Return the question that a new study of the task would ask, from a past of other tasks."""
    kind = SCENARIOS[scenario]
    past = searches.past(kind, seed, target)
    others = [task.name for task in past.tasks if task is not target]
    draw = seed_of("reader", searches.family, target.name, seed)
    order = np.random.default_rng(draw).permutation(len(others))[: kind.n_studies]
    history = read_history(past.storage, names=[others[i] for i in order])
    suggestion = suggest(history, searches.space.parameters, target.attributes, None, seed=draw)
    return question_of(suggestion, SHORT)


def _renamed(question: Question, rng: np.random.Generator) -> Question:
    drawn = rng.choice(NAMES, len(question.space), replace=False).tolist()
    new: dict[str, str] = dict(zip(question.space, drawn, strict=True))
    explanation = question.explanation
    assert isinstance(explanation, Explanation)
    evidence = tuple(replace(e, parameter=new[e.parameter]) for e in explanation.evidence)
    importance = {new[name]: value for name, value in explanation.importance.items()}
    candidates = [
        replace(c, params={new[name]: value for name, value in c.params.items()})
        for c in question.candidates
    ]
    return replace(
        question,
        space={new[name]: distribution for name, distribution in question.space.items()},
        candidates=candidates,
        explanation=replace(explanation, evidence=evidence, importance=importance),
    )


def _numbered(question: Question, rng: np.random.Generator) -> PromptView:
    """Select what is shown, and number it as shown, in half of the questions with gaps."""
    view = prompt_view(question)
    assert view.explanation is not None
    evidence = view.explanation.evidence
    has_gaps = rng.random() < SHARE_GAPS
    ids = _numbers(len(evidence), MAX_ID if has_gaps else len(evidence), rng)
    n = len(view.candidates)
    numbers = _numbers(n, MAX_NUMBER if has_gaps else n, rng)
    candidates: list[Candidate] = [
        replace(c, number=number) for c, number in zip(view.candidates, numbers, strict=True)
    ]
    shown: list[Evidence] = [
        replace(item, id=f"E{i}") for item, i in zip(evidence, ids, strict=True)
    ]
    explanation = replace(view.explanation, evidence=tuple(shown))
    return replace(view, candidates=tuple(candidates), explanation=explanation)


def _numbers(n: int, highest: int, rng: np.random.Generator) -> list[int]:
    return sorted(rng.choice(np.arange(1, highest + 1), n, replace=False).tolist())


def _signs(view: PromptView, candidate: Candidate) -> list[int]:
    assert view.explanation is not None
    space = view.question.space
    return [evidence_sign(item, space, candidate.params) for item in view.explanation.evidence]


def _row(view: PromptView) -> dict[str, Any] | None:
    answer = answer_of(view)
    if answer is None:
        return None
    (message,) = suggestion_messages(view)
    # In the order and without white space, as the schema makes the model write.
    ordered = {key: answer[key] for key in suggestion_schema(view)["properties"]}
    text = json.dumps(ordered, separators=(",", ":"))
    return {"question": message["content"], "answer": text, "candidates": len(view.candidates)}


if __name__ == "__main__":
    main()
