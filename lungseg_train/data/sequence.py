"""CaseSequence: the training volumes of one epoch in batches, augmented anew each epoch and the same again on a resume."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from lungseg_train.augmentation.augment import augment, case_rng
from lungseg_train.augmentation.spatial import CUBES
from lungseg_train.config import TrainConfig
from lungseg_train.data.cache import TrainingVolume

Batch = tuple[np.ndarray, np.ndarray]
"""CT (B, X, Y, Z, 1) float32 and mask (B, X, Y, Z, 1) float32."""


class CaseSequence(keras.utils.Sequence):
    """Batches of augmented volumes. What becomes of a case depends on (seed, epoch, case, repeat) alone, so any number of
    threads may make batches of one epoch at one time."""

    def __init__(self, volumes: Sequence[TrainingVolume], config: TrainConfig) -> None:
        super().__init__()
        self._volumes = list(volumes)
        self._config = config
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of the volumes of an epoch, counted from 0."""
        self._epoch = epoch
        self._order = epoch_order(self._volumes, epoch, self._config.seed)

    def on_epoch_end(self) -> None:
        self.set_epoch(self._epoch + 1)

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._config.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """The batch `index`; the last one is filled up from the start of the epoch, so all batches are of one size."""
        size = self._config.batch_size
        places = [place % len(self._order) for place in range(index * size, (index + 1) * size)]
        pairs = [self._augmented(place) for place in places]
        cts, masks = zip(*pairs, strict=True)
        return np.stack(cts)[..., np.newaxis], np.stack(masks)[..., np.newaxis].astype(np.float32)

    def _augmented(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        number, repeat = self._order[place]
        volume = self._volumes[number]
        rng = case_rng(self._config.seed, self._epoch, volume.case_id, repeat)
        return augment(volume.ct, volume.mask, rng, self._config, volume.spacing_mm or CUBES)


def epoch_order(volumes: Sequence[TrainingVolume], epoch: int, seed: int) -> list[tuple[int, int]]:
    """(volume, repeat) in the order of an epoch, which is as long as there are volumes.

    Every real case comes at least once. Beside phantoms, few real cases are repeated, each time augmented differently,
    to fill half of the epoch; the phantoms take turns over the epochs in the other half.
    """
    real = [number for number, volume in enumerate(volumes) if not volume.is_phantom]
    phantoms = [number for number, volume in enumerate(volumes) if volume.is_phantom]
    num_real = max(len(real), len(volumes) // 2) if real and phantoms else len(real)
    num_phantoms = len(volumes) - num_real
    order = [(real[i % len(real)], i // len(real)) for i in range(num_real)]
    order += [(phantoms[(epoch * num_phantoms + i) % len(phantoms)], 0) for i in range(num_phantoms)]
    np.random.default_rng([seed, epoch]).shuffle(order)
    return [(int(number), int(repeat)) for number, repeat in order]
