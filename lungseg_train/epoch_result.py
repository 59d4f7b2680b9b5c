"""What an epoch of training ends with."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochResult:
    """Losses, metrics and times; validation values are None where there is no validation share."""

    epoch: int
    """Epochs done, counted from 1."""
    loss: float
    """Mean over the steps, L2 penalty included."""
    learning_rate: float
    """The rate this epoch was trained with."""
    train_seconds: float
    """Wall time of the training steps, waiting for data included."""
    wait_seconds: float
    """Of that, the time in which no batch was ready."""
    val_seconds: float
    """Wall time of the validation."""
    val_dice: float | None = None
    val_iou: float | None = None
    val_soft_dice: float | None = None
    val_loss: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}
