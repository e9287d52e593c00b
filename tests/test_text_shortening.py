"""Long names and choices are shortened, and stay different from each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optuna_metallmix.text import sanitize
from optuna_metallmix.text import shorten


def test_short_texts_are_kept() -> None:
    assert shorten(["adam", "sgd", "adam"], 10) == {"adam": "adam", "sgd": "sgd"}
    assert shorten([], 10) == {}


def test_a_long_text_is_cut_in_the_middle() -> None:
    long = "a_rather_long_name_of_a_parameter"
    assert shorten([long, "lr"], 15) == {long: sanitize(long, 15), "lr": "lr"}


@pytest.mark.parametrize("limit", [16, 20, 28])
def test_texts_that_differ_in_the_middle_keep_the_difference(limit: int) -> None:
    texts = {f"augmentation_policy_magnitude_{n}_then_cutout_of_16_pixels": n for n in (5, 9, 14)}
    short = shorten(texts, limit)
    assert len(set(short.values())) == 3
    for text, n in texts.items():
        assert f"_{n}_" in short[text]
        assert len(short[text]) <= limit


def test_texts_that_cannot_be_told_apart_are_numbered() -> None:
    short = shorten(["a" * 50, "a" * 51], 8)
    assert [text[:2] for text in short.values()] == ["#1", "#2"]


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(2, 30))
def test_different_texts_stay_different(texts: list[str], limit: int) -> None:
    short = shorten(texts, limit)
    assert set(short) == set(texts)
    assert len(set(short.values())) == len(set(texts))
    assert all(len(text) <= limit + len("#5 ") for text in short.values())
