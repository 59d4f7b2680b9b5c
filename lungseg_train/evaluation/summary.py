"""Rows of patients -> mean and bootstrap interval of each metric."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

METRICS = ("dice", "iou", "soft_dice", "loss", "hd95_mm", "asd_mm", "surface_dice", "volume_error_percent")
"""Columns of cases.csv and keys of metrics.json."""
HEADLINE = ("dice", "iou", "hd95_mm", "surface_dice")
"""What a command prints of them."""
NUM_RESAMPLES = 10_000


def summarize(rows: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    """`{"num_cases": n, metric: {"mean": m, "ci95": [low, high]}}`, the content of `metrics.json`.

    The interval is the percentile bootstrap of the mean over patients (Efron 1979), 10,000 resamples. A metric that
    some patients do not have, as the distance to an empty prediction, is the mean over the others and says over how
    many with a `num_cases` of its own; if nobody has it, mean and interval are null.
    """
    present = [metric for metric in METRICS if any(metric in row for row in rows)]
    return {"num_cases": len(rows), **{metric: _summary([row.get(metric) for row in rows], seed) for metric in present}}


def headline_lines(summary: dict[str, Any]) -> list[str]:
    """`test dice 0.9512 (95 % interval 0.9321 to 0.9644, n = 6)`: a line for each metric of `HEADLINE`."""
    return [_line(metric, summary[metric], summary["num_cases"]) for metric in HEADLINE if metric in summary]


def _summary(values: Sequence[float | None], seed: int) -> dict[str, Any]:
    known = np.array([value for value in values if value is not None and math.isfinite(value)])
    count = {} if known.size == len(values) else {"num_cases": known.size}
    if not known.size:
        return {"mean": None, "ci95": [None, None], **count}
    # From the seed for each metric: those of equal patients are resampled alike.
    picks = np.random.default_rng(seed).integers(known.size, size=(NUM_RESAMPLES, known.size))
    low, high = np.percentile(known[picks].mean(axis=1), [2.5, 97.5])
    return {"mean": float(known.mean()), "ci95": [float(low), float(high)], **count}


def _line(metric: str, values: dict[str, Any], num_cases: int) -> str:
    known = values.get("num_cases", num_cases)
    if not known:
        return f"test {metric}: none of {num_cases} patients has one"
    digits = 2 if metric.endswith("_mm") else 4
    low, high = (f"{value:.{digits}f}" for value in values["ci95"])
    count = f"{known}" if known == num_cases else f"{known} of {num_cases}"
    return f"test {metric} {values['mean']:.{digits}f} (95 % interval {low} to {high}, n = {count})"
