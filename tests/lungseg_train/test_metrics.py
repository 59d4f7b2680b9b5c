import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg_train.evaluation.metrics import binary_cross_entropy, case_metrics, dice, iou, soft_dice, volume_error_percent
from lungseg_train.evaluation.summary import headline_lines, summarize
from lungseg_train.network import losses
from lungseg_train.network.losses import DiceBCELoss


def _halves() -> tuple[np.ndarray, np.ndarray]:
    """Two blocks of 32 voxels that share 16."""
    mask, prediction = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    mask[:2], prediction[1:3] = 1, 1
    return mask, prediction


def test_dice_of_half_overlap_is_one_half() -> None:
    assert dice(*_halves()) == 0.5


def test_iou_of_half_overlap_is_one_third() -> None:
    assert iou(*_halves()) == pytest.approx(1 / 3)


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty, full = np.zeros((2, 2, 2)), np.ones((2, 2, 2))
    assert (dice(empty, empty), iou(empty, empty)) == (1.0, 1.0)
    assert (dice(empty, full), iou(full, empty)) == (0.0, 0.0)


def test_arrays_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        dice(np.ones((2, 2, 2)), np.ones((2, 2, 3)))


@given(st.integers(0, 10_000))
def test_iou_and_dice_tell_the_same_story(seed: int) -> None:
    a, b = np.random.default_rng(seed).random((2, 5, 5, 5)) > 0.6
    assert iou(a, b) == pytest.approx(dice(a, b) / (2 - dice(a, b)))


def test_the_loss_of_the_network_is_the_loss_of_the_report() -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((3, 8, 8, 8, 1)) > 0.5).astype("float32")
    probability = rng.random((3, 8, 8, 8, 1)).astype("float32")
    ours = [case_metrics(m, p, bce_weight=0.3)["loss"] for m, p in zip(mask[..., 0], probability[..., 0], strict=True)]
    assert float(DiceBCELoss(bce_weight=0.3)(mask, probability)) == pytest.approx(np.mean(ours), rel=1e-5)
    for k, (m, p) in enumerate(zip(mask[..., 0], probability[..., 0], strict=True)):
        assert float(losses.soft_dice(mask, probability)[k]) == pytest.approx(soft_dice(m, p), rel=1e-5)
        assert float(losses.binary_cross_entropy(mask, probability)[k]) == pytest.approx(binary_cross_entropy(m, p), rel=1e-5)


def test_a_perfect_prediction_costs_nothing_and_a_certain_mistake_stays_finite() -> None:
    mask = np.ones((1, 4, 4, 4, 1), "float32")
    for weight in (0.0, 0.5, 1.0):
        loss = DiceBCELoss(bce_weight=weight)
        assert float(loss(mask, mask)) == pytest.approx(0.0, abs=1e-5)
        assert np.isfinite(float(loss(mask, 0 * mask)))


def test_an_empty_mask_predicted_empty_costs_nothing() -> None:
    empty = np.zeros((1, 4, 4, 4, 1), "float32")
    assert float(DiceBCELoss(bce_weight=0.5)(empty, empty)) == pytest.approx(0.0, abs=1e-5)


def test_the_loss_survives_serialisation() -> None:
    copy = keras.losses.deserialize(keras.losses.serialize(DiceBCELoss(bce_weight=0.2)))
    assert copy.bce_weight == 0.2


def test_a_summary_holds_mean_and_interval_of_every_metric() -> None:
    rows = [{"case_id": str(k), "dice": 0.9 + 0.01 * k, "iou": 0.8, "soft_dice": 0.9, "loss": 0.1} for k in range(6)]
    summary = summarize(rows)
    assert summary["num_cases"] == 6
    assert summary["dice"]["mean"] == pytest.approx(0.925)
    low, high = summary["dice"]["ci95"]
    # Standard error of these six: 0.00697; a bootstrap interval lies near the mean +- 1.96 of it.
    assert 0.908 < low < 0.916 and 0.934 < high < 0.942
    assert summary["iou"]["ci95"] == pytest.approx([0.8, 0.8])
    assert set(summary) == {"num_cases", "dice", "iou", "soft_dice", "loss"}


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_summary_leaves_out_who_has_no_value_and_counts_the_others(missing: float | None) -> None:
    rows = [{"dice": 0.9, "hd95_mm": 4.0}, {"dice": 0.0, "hd95_mm": missing}, {"dice": 0.9, "hd95_mm": 6.0}]
    summary = summarize(rows)
    assert summary["dice"]["mean"] == pytest.approx(0.6) and "num_cases" not in summary["dice"]
    assert summary["hd95_mm"] == {"mean": 5.0, "ci95": [4.0, 6.0], "num_cases": 2}
    assert headline_lines(summary) == [
        "test dice 0.6000 (95 % interval 0.0000 to 0.9000, n = 3)",
        "test hd95_mm 5.00 (95 % interval 4.00 to 6.00, n = 2 of 3)",
    ]


def test_a_metric_that_nobody_has_is_null_in_the_summary() -> None:
    summary = summarize([{"dice": 0.0, "hd95_mm": None}] * 2)
    assert summary["hd95_mm"] == {"mean": None, "ci95": [None, None], "num_cases": 0}
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert headline_lines(summary)[1] == "test hd95_mm: none of 2 patients has one"


def test_volume_error_is_positive_where_too_much_is_drawn() -> None:
    mask, prediction = np.zeros((2, 10))
    mask[:4], prediction[:5] = 1, 1
    assert volume_error_percent(mask, prediction) == 25.0
    assert volume_error_percent(prediction, mask) == -20.0
    assert volume_error_percent(0 * mask, mask) is None
