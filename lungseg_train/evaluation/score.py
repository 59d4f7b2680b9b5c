"""A model over patients: the one place where test patients are read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lungseg_train.data.cases import Case, load_case
from lungseg_train.evaluation.metrics import case_metrics
from lungseg_train.evaluation.predict import Predictor

OnCase = Callable[[Case, np.ndarray, np.ndarray, np.ndarray], None]
"""Called with case, CT in HU, mask and probability, each (X, Y, Z), once a patient is scored."""


def score_cases(model_path: Path, cases: Sequence[Case], on_case: OnCase | None = None) -> list[dict[str, float | str]]:
    """Metrics of each patient: `case_id`, `dice`, `iou`, `soft_dice`, `loss` (see `metrics.case_metrics`).

    Raises `InputError` if a file is no longer the one that was sealed.
    """
    predictor = Predictor(model_path)
    rows: list[dict[str, float | str]] = []
    for case in cases:
        ct, mask = load_case(case)
        probability = predictor.probability(ct.array)
        rows.append({"case_id": case.case_id, **case_metrics(mask, probability, predictor.config.loss_weight_bce)})
        if on_case is not None:
            on_case(case, ct.array, mask, probability)
    return rows
