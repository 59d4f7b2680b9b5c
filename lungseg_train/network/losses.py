"""Losses on probabilities, in `keras.ops` so that they run on every backend."""

from typing import Any

import keras
from keras import ops

from lungseg_train.config import DICE_SMOOTH, TrainConfig


def soft_dice(mask: Any, probability: Any) -> Any:
    """Soft Dice of each volume, (B, X, Y, Z, 1) -> (B,): (2 sum(p m) + 1) / (sum(p) + sum(m) + 1)."""
    axes = (1, 2, 3, 4)
    overlap = ops.sum(mask * probability, axis=axes)
    total = ops.sum(mask, axis=axes) + ops.sum(probability, axis=axes)
    return (2.0 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)


def binary_cross_entropy(mask: Any, probability: Any) -> Any:
    """Mean binary cross-entropy of each volume, (B, X, Y, Z, 1) -> (B,)."""
    return ops.mean(keras.losses.binary_crossentropy(mask, probability), axis=(1, 2, 3))


@keras.saving.register_keras_serializable("lungseg")
class DiceBCELoss(keras.losses.Loss):
    """(1 - bce_weight) * (1 - soft Dice) + bce_weight * BCE, volume by volume; bce_weight 0 is the Dice loss alone."""

    def __init__(self, bce_weight: float = 0.5, name: str = "dice_bce", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.bce_weight = bce_weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        mask = ops.cast(y_true, "float32")
        probability = ops.cast(y_pred, "float32")
        dice_loss = 1.0 - soft_dice(mask, probability)
        if self.bce_weight == 0.0:
            return dice_loss
        return (1.0 - self.bce_weight) * dice_loss + self.bce_weight * binary_cross_entropy(mask, probability)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bce_weight": self.bce_weight}


@keras.saving.register_keras_serializable("lungseg")
class DeepSupervisionLoss(DiceBCELoss):
    """`DiceBCELoss` of every channel of the prediction (B, X, Y, Z, 1 + k), averaged with weights 1, 1/2, 1/4 and so on.

    The weights halve with the resolution as in nnU-Net (Isensee et al., Nature Methods 18:203, 2021) and sum to 1, so that
    the loss has the scale of the one without deep supervision.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        weights = supervision_weights(y_pred.shape[-1])
        channels = [super(DeepSupervisionLoss, self).call(y_true, y_pred[..., i : i + 1]) for i in range(len(weights))]
        return sum(weight * loss for weight, loss in zip(weights, channels, strict=True))


def supervision_weights(num_outputs: int) -> list[float]:
    """Weights of the full and the coarser predictions: 3 -> [4/7, 2/7, 1/7]."""
    halves = [0.5**level for level in range(num_outputs)]
    return [weight / sum(halves) for weight in halves]


def build_loss(config: TrainConfig) -> DiceBCELoss:
    loss = DeepSupervisionLoss if config.deep_supervision else DiceBCELoss
    return loss(bce_weight=config.loss_weight_bce)
