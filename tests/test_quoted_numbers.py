from __future__ import annotations

import pytest

from optuna_metallmix._quoted_numbers import find_numbers
from optuna_metallmix._quoted_numbers import number_at


READ = {
    "0.001": [0.001],
    "lr=.5, 5e-4": [0.5, 0.0005],
    "+0.12 and -0.05": [0.12, -0.05],
    "\u22120.05": [-0.05],
    "0.90 +- 0.02, 0.9 \u00b10.1": [0.9, 0.02, 0.9, 0.1],
    "0.0005-0.002": [0.0005, 0.002],
    "1,000 or 12,345,678.5": [1_000, 12_345_678.5],
    "0,12": [0.12],
    "20 %": [20],
    "It is 3.": [3],
    "1e999": [float("inf")],
    "resnet50, resnet-50, v2, x1e3, 3x3, 1st": [],
    "1.2.3, 1.1.1.1, 10:30, 2026/11/25": [],
    "no number": [],
}


@pytest.mark.parametrize("text", READ)
def test_numbers_are_read_as_they_are_quoted(text: str) -> None:
    assert [one.readings[0][0] for one in find_numbers(text)] == READ[text]


@pytest.mark.parametrize(
    ("quoted", "known", "is_about"),
    [
        ("0.0012", 0.00123456, True),
        ("0.001", 0.00123456, True),
        ("0.0013", 0.00123456, False),
        ("1.2e-3", 0.00123456, True),
        ("1.3e-3", 0.00123456, False),
        ("0.10", 0.12, False),
        ("0.1", 0.12, True),
        ("about 0.11", 0.12, True),
        ("about 0.2", 0.12, False),
        ("0.05", -0.05, True),
        ("+0.05", -0.05, False),
        ("-0.05", -0.05, True),
        ("1,235", 1_235, True),
        ("1,235", 1.235, True),
        ("2,000", 2, False),
        ("12%", 0.12, True),
        ("12%", 12, True),
        ("12%", 0.13, False),
        ("1e999", 1e308, False),
    ],
)
def test_a_number_is_one_to_the_precision_it_is_quoted_with(
    quoted: str, known: float, is_about: bool
) -> None:
    (number,) = find_numbers(quoted)
    assert number.is_about(known) is is_about


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("20 trials", ["trial"]),
        ("3 past studies", ["stud"]),
        ("candidate 2", ["candidate"]),
        ("candidates 1, 2 and 3", ["candidate"] * 3),
        ("evidence 4", ["evidence"]),
        ("2 of them", ["thing"]),
        ("lr 0.5", [""]),
    ],
)
def test_what_counts_or_names_something_is_no_value(text: str, things: list[str]) -> None:
    numbers = find_numbers(text)
    assert [one.things for one in numbers] == things
    assert [number_at(numbers, one.start) is one for one in numbers] == [not t for t in things]
