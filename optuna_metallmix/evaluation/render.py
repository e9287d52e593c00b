"""Show a comparison of language models as Markdown, CSV and a figure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_metallmix.evaluation.models import NO_MODEL
from optuna_metallmix.evaluation.models import ModelAnswers
from optuna_metallmix.evaluation.order_bias import order_bias
from optuna_metallmix.text import markdown_code
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import one_line


if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_N_RESAMPLES = 2_000

_COLUMNS = {
    "valid": ("valid at first", "{:.0%}"),
    "accepted": ("accepted", "{:.0%}"),
    "format": ("format", "{:.1f}"),
    "accuracy": ("accuracy", "{:.1f}"),
    "completeness": ("completeness", "{:.1f}"),
    "agreement": ("citations that agree", "{:.0%}"),
    "predicted": ("predicted", "{:.2f}"),
    "predicted_less": ("predicted less", "{:.3f} ({:.3f} to {:.3f})"),
    "regret": ("regret", "{:.3f}"),
    "regret_more": ("regret more", "{:.3f} ({:.3f} to {:.3f})"),
    "seconds": ("seconds", "{:.1f}"),
    "prompt_tokens": ("tokens read", "{:.0f}"),
    "answer_tokens": ("tokens written", "{:.0f}"),
}
"""Head and format of each attribute of an answer: its mean, then the ends of the interval."""
_LEGEND = f"""- **valid at first**: first answers that were the requested JSON object.
- **accepted**: by code, the meta-learner and the reviewing model; otherwise the first candidate is
  used.
- **format, accuracy, completeness**: scores of the reviewing model, 1 to 5.
- **citations that agree**: share of the SHAP evidence cited in the first valid answer that
  supports its choice.
- **predicted**: score that the meta-learner expects of the configuration used (0 the worst, 1 the
  best trial of a study); **less** than for `{NO_MODEL}`.
- **regret**: (best - value) / (best - median) of the held-out study's own trials; **more** than
  for `{NO_MODEL}`, so negative if the model helped; empty without true values.
- **seconds, tokens**: per study, including reviews.
- **prompt**: the variant of the question; `short`, with one answer and no review, for models with
  fewer than 1.5 billion parameters."""


def as_frame(result: ModelAnswers) -> pd.DataFrame:
    """Return a row per model and study, with the attributes of :class:`ModelAnswer`."""
    import pandas as pd

    return pd.DataFrame([asdict(answer) for answer in result.answers])


def as_markdown(result: ModelAnswers) -> str:
    """Return the comparison as a table, what its columns mean, and the order bias.

    Models that never answered are listed below the table, with the reason.
    """
    frame = as_frame(result)
    biases = {model: order_bias(choices) for model, choices in result.choices.items()}
    heads = ["model", *(head for head, _ in _COLUMNS.values()), "prompt", "reads"]
    rows = []
    for model in _answering(result):
        graded = frame[frame["model"] == model]
        cells = [_format_mean(graded[name], text) for name, (_, text) in _COLUMNS.items()]
        prompt = next(iter(graded["prompt"].dropna()), "")
        rows.append([model, *cells, prompt, biases[model].reads if model in biases else ""])
    parts = [
        markdown_table(heads, rows),
        f"Means over {frame['study'].nunique()} studies, each held out from the others, with 95 % "
        "bootstrap intervals over studies in parentheses.",
        _LEGEND,
    ]
    if result.silent:
        lines = [
            f"- {markdown_code(name)}: {one_line(why)}" for name, why in result.silent.items()
        ]
        parts.insert(1, "\n".join(["Not in the table, because they never answered:\n", *lines]))
    if biases:
        parts += [
            "**Does it read the prompt?** (last column) The same questions with candidates and "
            "evidence in other orders:",
            "\n".join(
                f"- {markdown_code(name)} {bias.sentence}." for name, bias in biases.items()
            ),
        ]
    return "\n\n".join(parts) + "\n"


def draw(result: ModelAnswers) -> Figure:
    """Draw what each model gains or loses compared to no model.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    frame = as_frame(result)
    models = [model for model in _answering(result) if model != NO_MODEL]
    has_regret = frame["regret_more"].notna().any()
    width = 5 + 0.09 * max(map(len, models), default=0)  # names of models are long
    figure = Figure(figsize=(width, 1.5 + 0.4 * len(models)), layout="constrained")
    axes = figure.subplots()
    for y, model in enumerate(models):
        column = "regret_more" if has_regret else "predicted_less"
        mean, low, high = _interval(frame.loc[frame["model"] == model, column])
        axes.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="o", color="#0072B2")
    axes.axvline(0.0, color="grey", linewidth=1)
    loss = "regret above" if has_regret else "predicted score below"
    axes.set_xlabel(f"{loss} that of {NO_MODEL} (left is better)")
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    return figure


def _answering(result: ModelAnswers) -> list[str]:
    """Return the models that answered, in the order given, each once."""
    return [
        model
        for model in dict.fromkeys(answer.model for answer in result.answers)
        if model not in result.silent
    ]


def _format_mean(values: pd.Series[Any], text: str) -> str:
    return "" if values.isna().all() else text.format(*_interval(values))


def _interval(values: pd.Series[Any]) -> tuple[float, float, float]:
    """Return the mean of the known values and its 95 % bootstrap interval over studies."""
    known = values.dropna().astype(float).to_numpy()
    samples = np.random.default_rng(0).integers(len(known), size=(_N_RESAMPLES, len(known)))
    low, high = np.percentile(known[samples].mean(axis=1), [2.5, 97.5])
    return float(known.mean()), float(low), float(high)
