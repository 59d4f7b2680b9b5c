"""Rows of patients -> mean and bootstrap interval of each metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np

METRICS = ("dice", "iou", "soft_dice", "loss")
NUM_RESAMPLES = 10_000


def summarize(rows: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    """`{"num_cases": n, metric: {"mean": m, "ci95": [low, high]}}`, the content of `metrics.json`.

    The interval is the percentile bootstrap of the mean over patients (Efron 1979), 10,000 resamples.
    """
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(rows), size=(NUM_RESAMPLES, len(rows)))
    summary: dict[str, Any] = {"num_cases": len(rows)}
    for metric in METRICS:
        values = np.array([float(row[metric]) for row in rows])
        low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
        summary[metric] = {"mean": float(values.mean()), "ci95": [float(low), float(high)]}
    return summary
