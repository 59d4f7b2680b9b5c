"""A model over patients: the one place where test patients are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.data.cases import Case, load_case, load_native
from lungseg_train.evaluation.metrics import full_case_metrics
from lungseg_train.evaluation.predict import Predictor
from lungseg_train.evaluation.surface import tolerance_mm
from lungseg_train.scans.volume import Volume

Row = dict[str, float | str | None]


@dataclass(frozen=True)
class ScoredCase:
    """A patient as scored: on the scanner's own voxels where the case has them, else on the training grid."""

    case: Case
    ct: Volume
    mask: np.ndarray
    """(X, Y, Z) uint8 0/1."""
    probability: np.ndarray
    """(X, Y, Z) float32."""


OnCase = Callable[[ScoredCase], None]
"""Called once a patient is scored."""


def score_cases(model_path: Path, cases: Sequence[Case], on_case: OnCase | None = None) -> list[Row]:
    """`case_id`, all metrics of each patient (see `metrics.full_case_metrics`) and the `tolerance_mm` of its surface Dice.

    Raises `InputError` if a file is no longer the one that was sealed.
    """
    predictor = Predictor(model_path)
    rows: list[Row] = []
    for case in cases:
        scored = _predicted(case, predictor)
        spacing_mm = scored.ct.spacing_mm
        metrics = full_case_metrics(scored.mask, scored.probability, spacing_mm, predictor.config.loss_weight_bce)
        rows.append({"case_id": case.case_id, **metrics, "tolerance_mm": round(tolerance_mm(spacing_mm), 4)})
        if on_case is not None:
            on_case(scored)
    return rows


def _predicted(case: Case, predictor: Predictor) -> ScoredCase:
    native = load_native(case)
    if native is None:
        ct, mask = load_case(case)
        return ScoredCase(case, ct, mask, predictor.probability(ct.array))
    ct, mask = native
    return ScoredCase(case, ct, mask, predictor.scan_probability(ct))
