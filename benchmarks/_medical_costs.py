"""what recording the past took, and after how many tasks that is paid for."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import _medical_features
from benchmarks._medical_numbers import Chosen
from benchmarks._medical_world import Bench
from benchmarks._medical_world import study_of
from benchmarks._table import section
from shipped_table import complete


def costs(found: Chosen, bench: Bench) -> Iterator[str]:
    """Yield the page's section."""
    studies = [study_of(bench, one.study) for one in bench.image_sets]
    n_trials = sum(len(complete(one)) for one in studies)
    seconds = sum(one.user_attrs["seconds"] for study in studies for one in complete(study))
    past = seconds * (len(studies) - 1) / len(studies)
    search = max((arm for arm in found if arm.method == "tpe"), key=lambda arm: arm.n_trials)
    ours = [arm for arm in found if arm.method == "meta-learner"]
    waits = {arm: float(found[arm]["waited"].mean()) for arm in (search, *ours)}
    yield from section("What the past cost", "Which the paper leaves out of its response times.")
    yield (
        f"- Recorded: {n_trials} trainings in {seconds:,.0f} s of one core, {past:,.0f} s of them "
        "the past of a held-out set; and about "
        f"{_medical_features.of_all(bench):,.0f} s for all frozen networks' features of all sets."
    )
    for arm in ours:
        saved = waits[search] - waits[arm]
        yield (
            f"- {search.label} takes {waits[search]:,.0f} s and {arm.label.replace('*', '')} "
            f"{waits[arm]:,.1f} s (mean, features left out on both sides): whoever takes the one "
            f"for the other has paid for the past after {past / saved:.0f} new tasks."
        )
    yield "- Where the past is what was trained anyway, as in one's own storage, it costs nothing."
