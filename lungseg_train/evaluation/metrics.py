"""What a prediction is worth, one patient at a time."""

import numpy as np

from lungseg_train.config import DICE_SMOOTH
from lungseg_train.evaluation.surface import Spacing, surface_metrics

THRESHOLD = 0.5
"""A voxel is lung from this probability on."""
BCE_EPSILON = 1e-7


def dice(mask: np.ndarray, prediction: np.ndarray) -> float:
    """Hard Dice of two binary arrays of any equal shape: 2 |A and B| / (|A| + |B|); 1 if both are empty."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(prediction))
    return 2.0 * _overlap(mask, prediction) / total if total else 1.0


def iou(mask: np.ndarray, prediction: np.ndarray) -> float:
    """Intersection over union (Jaccard index) of two binary arrays: |A and B| / |A or B|; 1 if both are empty."""
    union = int(np.count_nonzero((mask > 0) | (prediction > 0)))
    return _overlap(mask, prediction) / union if union else 1.0


def soft_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of probabilities, as in the loss: (2 sum(p m) + 1) / (sum(p) + sum(m) + 1)."""
    mask, probability = mask.astype(np.float64), probability.astype(np.float64)
    return float((2.0 * (mask * probability).sum() + DICE_SMOOTH) / (mask.sum() + probability.sum() + DICE_SMOOTH))


def binary_cross_entropy(mask: np.ndarray, probability: np.ndarray) -> float:
    """Mean over the voxels of -(m log p + (1 - m) log(1 - p)), p kept 1e-7 from 0 and 1 as Keras does."""
    p = np.clip(probability.astype(np.float64), BCE_EPSILON, 1.0 - BCE_EPSILON)
    return float(-np.where(mask > 0, np.log(p), np.log1p(-p)).mean())


def volume_error_percent(mask: np.ndarray, prediction: np.ndarray) -> float | None:
    """Predicted minus reference volume in percent of the reference, of two binary arrays on one grid.

    Signed: above 0 the model draws too much lung. None if the reference is empty.
    """
    reference = int(np.count_nonzero(mask))
    return 100.0 * (int(np.count_nonzero(prediction)) - reference) / reference if reference else None


def case_metrics(mask: np.ndarray, probability: np.ndarray, bce_weight: float) -> dict[str, float]:
    """What a training validates with, cheap enough for every epoch; arrays (X, Y, Z) of one patient.

    `loss` has no L2 penalty: it compares across configurations.
    """
    prediction = probability >= THRESHOLD
    soft = soft_dice(mask, probability)
    return {
        "dice": dice(mask, prediction),
        "iou": iou(mask, prediction),
        "soft_dice": soft,
        "loss": (1.0 - bce_weight) * (1.0 - soft) + bce_weight * binary_cross_entropy(mask, probability),
    }


def full_case_metrics(
    mask: np.ndarray, probability: np.ndarray, spacing_mm: Spacing, bce_weight: float
) -> dict[str, float | None]:
    """All metrics of one patient, as a finished model is scored; arrays (X, Y, Z) on any one grid.

    To `case_metrics` it adds those of `surface.surface_metrics` and `volume_error_percent`; None where one is not defined.
    """
    prediction = probability >= THRESHOLD
    return {
        **case_metrics(mask, probability, bce_weight),
        **surface_metrics(mask, prediction, spacing_mm),
        "volume_error_percent": volume_error_percent(mask, prediction),
    }


def _overlap(mask: np.ndarray, prediction: np.ndarray) -> int:
    if mask.shape != prediction.shape:
        raise ValueError(f"mask {mask.shape} and prediction {prediction.shape} must have one shape")
    return int(np.count_nonzero((mask > 0) & (prediction > 0)))
