"""`python -m benchmarks unseen`: places, and the page that is made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import unseen


def test_places_are_ranks_of_means_from_worst_to_best():
    names = np.array(["a", "b", "b", "c", "c"])
    assert unseen.places(names, np.array([0.5, 0.1, 0.3, 0.9, 0.9])) == {"b": 0, "a": 0.5, "c": 1}


def rows(method: str, own: list[float], regret: float) -> pd.DataFrame:
    """Three networks on two sets, whose true places are 0, 0.5 and 1."""
    table = pd.DataFrame({"network": list("abc"), "true": [0.0, 0.5, 1.0], "own": own})
    table = table.assign(swapped=own[::-1], regret=regret, best=[False, False, True], seed=0)
    return pd.concat([table.assign(method=method, set=name) for name in ("x", "y")])


def test_agreement_is_by_set_and_nothing_where_all_are_alike():
    found = unseen.by_set(rows("described", [0.0, 0.5, 1.0], 0.1))
    assert found["order, in its own runs"].to_dict() == {"x": 1.0, "y": 1.0}
    assert found["order, put into the same runs"].to_dict() == {"x": -1.0, "y": -1.0}
    assert found["error of the place"].to_dict() == {"x": 0.0, "y": 0.0}
    assert found["first pick, best held out"].to_dict() == {"x": 0.1, "y": 0.1}
    alike = unseen.by_set(rows("unknown", [0.5, 0.5, 0.5], 0.3))
    assert alike["order, in its own runs"].to_dict() == {"x": 0.0, "y": 0.0}
    assert alike["error of the place"].to_dict() == pytest.approx({"x": 1 / 3, "y": 1 / 3})


def test_the_page_has_each_measure_and_the_difference():
    table = pd.concat(
        [
            rows("unknown", [0.5, 0.5, 0.5], 0.3),
            rows("another", [1.0, 0.5, 0.0], 0.5),
            rows("described", [0.0, 0.5, 1.0], 0.1),
            rows("known", [0.0, 0.5, 1.0], 0.0),
        ]
    )
    lines = [one for one in unseen.page(table) if one.startswith("| order, in its own")]
    cells = [one.split(" (")[0].strip() for one in lines[0].split("|")[2:-1]]
    assert cells == ["0.000", "-1.000", "1.000", "1.000", "1.000"]
