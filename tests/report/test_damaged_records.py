"""A record is whole or absent, and a damaged one is a sentence, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from optuna_metallmix import Suggestion
from optuna_metallmix import read_record
from optuna_metallmix import suggest
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.report import describe_figures
from optuna_metallmix.report import render_note
from optuna_metallmix.report.record import as_json
from optuna_metallmix.report.record import restore_suggestion
from optuna_metallmix.report.record import write_record


if TYPE_CHECKING:
    from conftest import Learned
    from conftest import LogRecords

ANSWER = json.dumps({"evidence": ["E1"], "reasoning": "It helped.", "candidate": 1, "why": "So."})
OTHERS: list[Any] = [
    *(None, -1, 10**30, float("nan"), "x", [], {}, [3], ["x"], [{}], {"x": []}),
    *({"learning_rate": "x"}, {"learning_rate": None}),
]
"""What a part of a record is replaced by."""


@pytest.fixture(scope="module")
def suggestion(learned: Learned) -> Suggestion:
    llm = ScriptedLLM(["not JSON", ANSWER])
    made = suggest(learned.history, learned.space, {"modality": "CT"}, llm, reviewer=llm)
    assert made.proposal is not None or made.params
    return made


class _KilledError(Exception):
    pass


class _KillingStorage(InMemoryStorage):
    """A storage whose process ends before the n-th attribute of a trial is written."""

    def __init__(self) -> None:
        super().__init__()
        self.n_left = 10**9

    def _write(self, *arguments: Any, user: bool = False) -> None:
        if self.n_left == 0:
            raise _KilledError
        self.n_left -= 1
        method = super().set_trial_user_attr if user else super().set_trial_system_attr
        method(*arguments)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(trial_id, key, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(trial_id, key, value, user=True)


def _trial() -> tuple[_KillingStorage, optuna.Trial]:
    storage = _KillingStorage()
    return storage, optuna.create_study(storage=storage).ask()


def _killed_after(n: int, storage: _KillingStorage, trial_id: int, record: Suggestion) -> bool:
    storage.n_left = n
    try:
        write_record(storage, trial_id, record)
    except _KilledError:
        return True
    finally:
        storage.n_left = 10**9
    return False


def test_a_process_killed_between_writes_leaves_no_record_or_a_whole_one(
    suggestion: Suggestion,
) -> None:
    for n in range(100):
        storage, trial = _trial()
        was_killed = _killed_after(n, storage, trial._trial_id, suggestion)
        record = read_record(storage.get_trial(trial._trial_id))
        assert (record is None) is was_killed
        if not was_killed:
            assert record == json.loads(as_json(suggestion))
            return
    pytest.fail("the record was never written")


def test_a_process_killed_while_it_replaces_a_record_leaves_one_of_both(
    suggestion: Suggestion,
) -> None:
    second = replace(suggestion, reasons=("other " * 2_000,), model="other")
    third = replace(suggestion, reasons=(), model="third")
    wholes = [json.loads(as_json(one)) for one in (suggestion, second, third)]
    for earlier in ((suggestion,), (suggestion, second)):
        before, after = wholes[len(earlier) - 1 : len(earlier) + 1]
        replacement = (second, third)[len(earlier) - 1]
        seen = set()
        for n in range(100):
            storage, trial = _trial()
            for one in earlier:
                write_record(storage, trial._trial_id, one)
            was_killed = _killed_after(n, storage, trial._trial_id, replacement)
            record = read_record(storage.get_trial(trial._trial_id))
            assert record in (before, after)
            seen.add(record == after)
            if not was_killed:
                assert record == after
                break
        assert seen == {True, False}


def _with_record(text: Any) -> optuna.Study:
    study = optuna.create_study()
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, "metallmix:record:0", text)
    return study


def _check_that_it_is_shown_or_explained(study: optuna.Study, logs: LogRecords) -> bool:
    """Return whether the record is used."""
    problems: list[str] = []
    restored = restore_suggestion(study, problems=problems)
    logs.records.clear()
    record = read_record(study.trials[0])
    if record is None:
        assert len(logs.warnings) == 1
    if restored is None:
        assert len(problems) == 1
        assert problems[0].startswith("The record of trial 0, which says how")
        assert len(problems[0]) < 1_000
    else:
        assert problems == []
        assert render_note(restored.suggestion, restored.number)
        describe_figures(restored.suggestion)
    return restored is not None


def _changed(value: Any) -> Iterator[Any]:
    """Yield a JSON value with one part, at any depth, missing or replaced by anything."""
    if isinstance(value, dict):
        for key in value:
            yield {other: item for other, item in value.items() if other != key}
            yield from ({**value, key: other} for other in _changed(value[key]))
    elif isinstance(value, list) and value:
        yield from ([other, *value[1:]] for other in _changed(value[0]))
    yield from OTHERS


@pytest.mark.slow
def test_any_part_of_a_record_may_be_anything(suggestion: Suggestion, logs: LogRecords) -> None:
    record = json.loads(as_json(suggestion))
    used = [
        _check_that_it_is_shown_or_explained(_with_record(json.dumps(changed)), logs)
        for changed in islice(_changed(record), 0, None, 3)
    ]
    assert 0.05 < sum(used) / len(used) < 0.95


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", "null", "7", '"x"', "NaN", "[" * 100_000, "\x00", '{"space": {}}', 7,
     ["x"], {"a": 1}, True],
)  # fmt: skip
def test_foreign_content_is_explained(text: Any, logs: LogRecords) -> None:
    assert not _check_that_it_is_shown_or_explained(_with_record(text), logs)


@pytest.mark.parametrize("head", [[0], [2, 3], [0, 99], "x", 7, {}, [0, "x"], [None, 1], [0, -1]])
def test_a_wrong_head_is_explained(suggestion: Suggestion, head: Any, logs: LogRecords) -> None:
    study = optuna.create_study()
    trial = study.ask()
    write_record(study._storage, trial._trial_id, suggestion)
    study._storage.set_trial_system_attr(trial._trial_id, "metallmix:record", head)
    assert not _check_that_it_is_shown_or_explained(study, logs)


def test_a_missing_piece_is_explained(suggestion: Suggestion, logs: LogRecords) -> None:
    whole = optuna.create_study()
    trial = whole.ask()
    write_record(whole._storage, trial._trial_id, suggestion)
    stored: FrozenTrial = whole.trials[0]
    pieces = [key for key in stored.system_attrs if key.startswith("metallmix:record:")]
    assert len(pieces) >= 3
    for piece in pieces:
        study = optuna.create_study()
        kept = {key: value for key, value in stored.system_attrs.items() if key != piece}
        study.add_trial(optuna.trial.create_trial(value=1.0, system_attrs=kept))
        assert not _check_that_it_is_shown_or_explained(study, logs)


def test_a_damaged_record_is_passed_over(suggestion: Suggestion) -> None:
    study = _with_record("{")
    trial = study.ask()
    write_record(study._storage, trial._trial_id, suggestion)
    problems: list[str] = []
    restored = restore_suggestion(study, problems=problems)
    assert restored is not None
    assert restored.number == 1
    assert len(problems) == 1


def test_a_record_whose_writing_was_interrupted_can_be_written_again(
    suggestion: Suggestion,
) -> None:
    storage, trial = _trial()
    assert _killed_after(8, storage, trial._trial_id, suggestion)
    write_record(storage, trial._trial_id, suggestion)
    assert read_record(storage.get_trial(trial._trial_id)) == json.loads(as_json(suggestion))


def test_a_damaged_head_does_not_stop_a_new_record(suggestion: Suggestion) -> None:
    heads: list[Any] = ["x", 7, [5, "y"], None, [0, 10**9]]
    for head in heads:
        study = optuna.create_study()
        trial = study.ask()
        study._storage.set_trial_system_attr(trial._trial_id, "metallmix:record", head)
        write_record(study._storage, trial._trial_id, suggestion)
        assert read_record(study.trials[0]) == json.loads(as_json(suggestion))
