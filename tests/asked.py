"""Build questions of any size with any texts, without fitting a meta-learner."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.prompt.context import DEFAULT_VARIANT
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.context import Variant
from optuna_metallmix.space.search_space import Config
from optuna_metallmix.space.search_space import SearchSpace
from optuna_metallmix.space.search_space import label_of
from optuna_metallmix.space.search_space import sample
from optuna_metallmix.text import format_number


Write = Callable[[str, int], str]
"""``write(kind, number)`` returns the name or text of an item."""

ORDINARY = ("learning_rate", "weight_decay", "batch_size", "optimizer", "dropout", "augmentation")
CHOICES = ("adam", "sgd", "cosine", "resnet", "efficientnet_b", "none", "step", "warmup_linear")


def ordinary(kind: str, i: int) -> str:
    """Write names as users would."""
    if kind == "parameter":
        return f"{ORDINARY[i % 6]}_{i}"
    if kind in ("choice", "value"):
        return f"{CHOICES[i % 8]}{i}"
    if kind == "feature":
        return f"n_{ORDINARY[i % 6]}_{i}"
    return f"{kind} of a project with a long name {i}"


ALPHABETS = {
    "letters": string.ascii_lowercase,
    "mixed": string.ascii_letters,
    "hexadecimal": "0123456789abcdef",
    "punctuation": string.punctuation,
    "chinese": "".join(map(chr, range(0x4E00, 0x9FA5))),
    "emoji": "".join(map(chr, range(0x1F300, 0x1F600))),
    "syllables": ["ba", "de", "ki", "lo", "mu", "rax", "tev", "zyn"],
}
LENGTHS = {"parameter": 200, "choice": 1_000, "feature": 100, "value": 64, "study": 500}


def hostile(alphabet: str) -> Write:
    """Return a writer of texts of maximum length in one alphabet."""

    def write(kind: str, i: int) -> str:
        letters = ALPHABETS[alphabet]
        drawn = random.Random(f"{kind} {i}").choices(letters, k=LENGTHS[kind])
        return "".join(drawn)[: LENGTHS[kind] - 5] + str(i)

    return write


def make_space(n: int, write: Write, n_choices: int) -> dict[str, BaseDistribution]:
    """Return a space with floats, integers and choices in turn."""
    space: dict[str, BaseDistribution] = {}
    for i in range(n):
        choices = [write("choice", 1_000 * i + j) for j in range(n_choices)]
        kinds = [
            FloatDistribution(1e-6, 1e-1, log=True),
            IntDistribution(1, 4096),
            CategoricalDistribution(choices),
        ]
        space[write("parameter", i)] = kinds[i % 3]
    return space


def make_evidence(space: SearchSpace, config: Config, n: int) -> tuple[Evidence, ...]:
    """Return lines about the first parameters of a space, best first."""
    evidence = []
    for i, (name, distribution) in enumerate(list(space.items())[:n]):
        label, effect = label_of(distribution, config[name]), (-1) ** i * 0.2 / (i + 1)
        if isinstance(distribution, CategoricalDistribution):
            part: Any = (f"= {label}", None, None, label)
        else:
            low, high = config[name] / 2, config[name] * 2
            part = (f"from {format_number(low)} to {format_number(high)}", low, high, None)
        evidence.append(Evidence(f"E{i + 1}", name, *part, effect, 40, 12))
    return tuple(evidence)


def make_question(
    write: Write = ordinary,
    *,
    n_parameters: int = 30,
    n_studies: int = 50,
    n_choices: int = 8,
    n_features: int = 12,
    n_tried: int = 0,
    past: bool = True,
    cost: bool = False,
    variant: Variant = DEFAULT_VARIANT,
) -> Question:
    """Return a question about six candidates."""
    rng = np.random.default_rng(0)
    space = make_space(n_parameters, write, n_choices)

    def draw() -> dict[str, Any]:
        return {name: sample(distribution, rng) for name, distribution in space.items()}

    candidates = tuple(
        Candidate(
            i,
            draw(),
            "near",
            0.9 - i / 20 if past else None,
            0.05 if past else None,
            0.3 + i / 10 if cost else None,
        )
        for i in range(1, 7)
    )
    explanation = Explanation(
        base=0.5,
        values=np.zeros((1, len(space))),
        configs=(candidates[0].params,),
        space=space,
        importance={name: 0.2 / (i + 1) for i, name in enumerate(space)},
        evidence=make_evidence(space, candidates[0].params, 10),
        nearest=tuple(
            NearestStudy(write("study", i), i / 10, draw(), 200) for i in range(n_studies)
        ),
        quality=0.62,
    )
    features = {
        write("feature", i): write("value", i) if i % 2 else 12345.678 * i
        for i in range(n_features)
    }
    tried = tuple((draw(), 0.1 * i) for i in range(n_tried))
    known = explanation if past else None
    return Question(space, features, candidates, known, None, tried, variant)
