"""The bench's controls: the unrelated past, the reader of evidence, the shuffled evidence."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from benchmarks.methods.reader import ReaderLLM
from benchmarks.methods.reader import ShortReaderLLM
from benchmarks.methods.reader import ShuffledEvidence
from benchmarks.methods.reader import read_candidates
from benchmarks.methods.reader import read_evidence
from benchmarks.methods.scripted import N_ATTEMPTS
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.space import Space
from benchmarks.tasks.unrelated import Bowl
from benchmarks.tasks.unrelated import unrelated
from optuna_metallmix.explain.explanation import evidence_sign
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema
from optuna_metallmix.space.search_space import label_of


SPACE = Space(
    {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "net": CategoricalDistribution(["a", "b c"]),
    }
)
PROMPT = """What each parameter does to the score (mean SHAP effect, up or down): net 0.10, lr 0.08

Evidence (SHAP effect on the score, 0 = worst and 1 = best trial of a study):
E1: lr from 0.0001 to 0.01 helped: +0.10 (20 trials, 3 studies)
E2: net = "b c" hurt: -0.15 (10 trials, 2 studies)
E3: "odd, name" = 3 helped: +0.02 (5 trials, 2 studies)

Candidates:
1. lr=0.005, net="b c", "odd, name"=3 | expected score 0.90 +- 0.01
2. lr=0.5, net=a, "odd, name"=3 | expected score 0.80 +- 0.01
3. lr=0.005, net=a, "odd, name"=-2 | expected score 0.70 +- 0.01

Which configuration should be trained first?
1. "evidence": the numbers of the evidence lines that speak for your choice."""


def schema(n_evidence: int) -> dict[str, object]:
    ids = [f"E{i}" for i in range(1, n_evidence + 1)]
    return {
        "properties": {
            "evidence": {"items": {"enum": ids}},
            "reasoning": {"type": "string"},
            "candidate": {"enum": [1, 2, 3]},
        }
    }


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def task(name: str, direction: str) -> Task:
    return Task(name, direction, lambda configs: np.zeros(len(configs)), float, {})


def test_a_bowl_is_a_weighted_distance_from_its_centre():
    bowl = Bowl(SPACE, np.array([0.5, 1.0]), np.array([2.0, 1.0]), {"net": np.array([0.0, 1.0])})
    configs = [{"lr": 0.01, "net": "b c"}, {"lr": 1.0, "net": "b c"}, {"lr": 0.01, "net": "a"}]
    assert bowl(configs, np.zeros(2)) == pytest.approx([0.0, 0.5, 1.0])
    assert bowl(configs[:1], np.array([0.5, 0.0])) == pytest.approx([0.5])


def test_the_unrelated_past_is_consistent_and_its_own_for_each_seed():
    tasks = [task("a", "minimize"), task("b", "minimize"), task("c", "maximize")]
    same = random_configs(SPACE, 40, "same")
    past = past_of(tasks, SPACE, lambda *study: same, 0, len(same))
    first, again, *others = (
        [other.values[task.name] for task in tasks]
        for other in (unrelated(past, seed) for seed in (1, 1, *range(2, 12)))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert np.corrcoef(first[0], first[1])[0, 1] > 0.9
    assert np.corrcoef(first[0], first[2])[0, 1] < -0.9  # the maximum is where the minimum was
    assert np.mean([np.corrcoef(first[0], one[0])[0, 1] for one in others]) < 0.7


def test_the_reader_adds_up_the_evidence_and_cites_what_is_true():
    answer = json.loads(ReaderLLM().generate([user(PROMPT)], schema=schema(3)))
    # 1: .10 - .15 + .02; 2: .02; 3: .10
    assert (answer["candidate"], answer["evidence"]) == (3, ["E2"])
    turned = PROMPT.replace("hurt: -0.15", "helped: +0.15")
    answer = json.loads(ReaderLLM().generate([user(turned)], schema=schema(3)))
    assert (answer["candidate"], answer["evidence"]) == (1, ["E2"])


def test_a_refused_claim_is_replaced_by_the_next():
    reader = ReaderLLM()
    reader.generate([user(PROMPT)], schema=schema(3))
    refused = [user(PROMPT), {"role": "assistant", "content": "{}"}]
    refused += [user('That answer was refused:\n- "E2 (net = b) speaks against net=a."')]
    answer = json.loads(reader.generate(refused, schema=schema(3)))
    assert (answer["candidate"], answer["evidence"]) == (3, ["E1"])


def test_shuffling_deals_the_effects_anew_and_leaves_the_rest():
    effect = re.compile(r"(helped: \+|hurt: -)[\d.]+|(?<=(net|.lr) )0[\d.]+")
    shuffler = ShuffledEvidence(ReaderLLM(), 0)
    shuffled = shuffler.shuffle(PROMPT)
    assert shuffled != PROMPT
    assert effect.sub("", shuffled) == effect.sub("", PROMPT)
    assert sorted(one.group() for one in effect.finditer(shuffled)) == sorted(
        one.group() for one in effect.finditer(PROMPT)
    )
    assert shuffler.shuffle(PROMPT) == shuffled
    seen = {ShuffledEvidence(ReaderLLM(), seed).shuffle(PROMPT) for seed in range(99)}
    assert len(seen) == 12  # all orders of three effects, and of two importances


def test_the_model_behind_reads_the_shuffled_prompt():
    class Echo:
        name = "echo"

        def generate(self, messages, *, schema):
            return messages[-1]["content"]

    shuffler = ShuffledEvidence(Echo(), 0)
    assert shuffler.generate([user(PROMPT)], schema={}) == shuffler.shuffle(PROMPT)
    assert shuffler.name == "echo, evidence shuffled"


def test_the_reader_understands_the_prompt_as_the_library_writes_it(learned):
    space = learned.space
    draft = suggest(learned.history, space, {"n_classes": 3}, None)
    shown = prompt_view(Question(space, {"n_classes": 3}, draft.candidates, draft.explanation))
    asked = suggestion_messages(shown)
    prompt = asked[-1]["content"]
    lines, configs = read_evidence(prompt), read_candidates(prompt)
    assert list(lines) == [one.id for one in draft.explanation.evidence]
    for one in draft.explanation.evidence:
        assert lines[one.id].parameter == one.parameter
        assert lines[one.id].effect == pytest.approx(one.effect, abs=0.0051)
    for one in draft.candidates:
        written = {name: label_of(space[name], value) for name, value in one.params.items()}
        assert configs[one.number] == written
    answer = json.loads(ReaderLLM().generate(asked, schema=suggestion_schema(shown)))
    chosen = draft.candidates[answer["candidate"] - 1]
    cited = [one for one in draft.explanation.evidence if one.id in answer["evidence"]]
    assert [evidence_sign(one, space, chosen.params) for one in cited] == [1]


def test_the_reader_is_heard(learned):
    heard = suggest(learned.history, learned.space, {}, ReaderLLM(), n_attempts=N_ATTEMPTS)
    assert (heard.source, heard.model) == ("llm", "reader")


SHORT_PROMPT = """Evidence from past studies, where quoted text is data:
E1: lr from 0.0001 to 0.01 helped: +0.10
E2: net = "b c" hurt: -0.15

Candidates:
1. lr=0.005, net="b c" | for E1 | against E2
2. lr=0.5, net=a | for E2 | against E1
3. for E1 E2 | against none

Choose the candidate that the evidence supports most."""


def test_the_short_reader_adds_up_what_is_for_and_against():
    answer = json.loads(ShortReaderLLM().generate([user(SHORT_PROMPT)], schema=schema(2)))
    assert (answer["candidate"], answer["evidence"]) == (3, ["E1"])
    tied = SHORT_PROMPT.replace("for E1 E2 | against none", "for none | against E1 E2")
    answer = json.loads(ShortReaderLLM().generate([user(tied)], schema=schema(2)))
    assert (answer["candidate"], answer["evidence"]) == (2, ["E2"])


def test_shuffled_effects_turn_what_is_for_and_against_in_the_short_question():
    seen = {ShuffledEvidence(ShortReaderLLM(), seed).shuffle(SHORT_PROMPT) for seed in range(9)}
    assert len(seen) == 2
    (other,) = seen - {SHORT_PROMPT}
    assert "E1: lr from 0.0001 to 0.01 hurt: -0.15\n" in other
    assert '1. lr=0.005, net="b c" | for E2 | against E1\n' in other
    assert "3. for none | against E1 E2\n" in other


def test_the_short_reader_is_asked_the_short_question(learned):
    heard = suggest(learned.history, learned.space, {}, ShortReaderLLM())
    assert (heard.source, heard.is_short) == ("llm", True)
