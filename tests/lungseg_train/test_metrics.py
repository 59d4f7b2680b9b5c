import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg_train.evaluation.metrics import binary_cross_entropy, case_metrics, dice, iou, soft_dice
from lungseg_train.evaluation.summary import summarize
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
