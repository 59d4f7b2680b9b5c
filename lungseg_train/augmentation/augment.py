"""Random changes made alike to a CT and its mask: a pure function of (ct, mask, rng, config).

First everything is drawn (`spatial.py`, `intensity.py`), then all that moves voxels is done in one resampling and all that
changes values in place.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from lungseg_train.augmentation.intensity import Intensity, change_values, draw_intensity
from lungseg_train.augmentation.spatial import CUBES, Pair, Spatial, Triple, draw_spatial, resample
from lungseg_train.config import TrainConfig


@dataclass(frozen=True)
class Augmentation:
    """Everything that is drawn for one volume, but the noise."""

    spatial: Spatial
    intensity: Intensity


def augment(
    ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig, spacing_mm: Triple = CUBES
) -> Pair:
    """CT (X, Y, Z) float32 and mask uint8, changed by chance; the inputs are left as they are."""
    return apply(ct, mask, draw(ct.shape, rng, config, spacing_mm), rng, spacing_mm)


def draw(shape: tuple[int, ...], rng: np.random.Generator, config: TrainConfig, spacing_mm: Triple = CUBES) -> Augmentation:
    """What will happen to a volume of this shape."""
    return Augmentation(draw_spatial(shape, rng, config, spacing_mm), draw_intensity(rng, config))


def apply(
    ct: np.ndarray, mask: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, spacing_mm: Triple = CUBES
) -> Pair:
    """Let it happen; `rng` gives the noise."""
    moved_ct, moved_mask = resample(ct, mask, augmentation.spatial, spacing_mm)
    return change_values(moved_ct, augmentation.intensity, rng), moved_mask


def case_rng(seed: int, epoch: int, case_id: str, repeat: int = 0) -> np.random.Generator:
    """The chance that a case meets in one epoch, whatever order or thread it comes in."""
    # Python's own hash of a string differs from process to process.
    return np.random.default_rng([seed, epoch, zlib.crc32(case_id.encode()), repeat])
