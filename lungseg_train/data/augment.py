"""Random changes made alike to a CT and its mask: pure functions of (ct, mask, rng). One more goes into STEPS."""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from lungseg_train.config import TrainConfig

Pair = tuple[np.ndarray, np.ndarray]
"""CT (X, Y, Z) float32, preprocessed, and mask (X, Y, Z) 0/1, on one grid."""


def augment(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> Pair:
    """All steps in turn; the inputs are left as they are."""
    for step in STEPS:
        ct, mask = step(ct, mask, rng, config)
    return np.ascontiguousarray(ct), np.ascontiguousarray(mask)


def flip(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> Pair:
    """Mirror along each axis with probability p_flip."""
    axes = tuple(axis for axis in range(3) if rng.random() < config.p_flip)
    return np.flip(ct, axes), np.flip(mask, axes)


def rotate90(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> Pair:
    """Turn by 90, 180 or 270 degrees in one of the three planes; by 180 only where the plane is not square."""
    if rng.random() >= config.p_rot90:
        return ct, mask
    plane = list(combinations(range(3), 2))[rng.integers(3)]
    quarters = int(rng.integers(1, 4))
    if ct.shape[plane[0]] != ct.shape[plane[1]]:
        quarters = 2
    return np.rot90(ct, quarters, plane), np.rot90(mask, quarters, plane)


def shift(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> Pair:
    """Move by whole voxels along each axis with probability p_shift; what comes in is air without lung."""
    offsets = [
        int(rng.integers(-config.max_shift_voxels, config.max_shift_voxels + 1)) if rng.random() < config.p_shift else 0
        for _ in range(3)
    ]
    if not any(offsets):
        return ct, mask
    return _moved(ct, offsets, ct.min()), _moved(mask, offsets, 0)


def jitter(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> Pair:
    """Gaussian noise on the CT with probability p_jitter."""
    if rng.random() >= config.p_jitter:
        return ct, mask
    # The range of a preprocessed CT is its HU window, in whatever unit the normalisation left it.
    sigma = config.jitter_sigma * float(np.ptp(ct))
    return ct + rng.standard_normal(ct.shape, dtype=np.float32) * np.float32(sigma), mask


STEPS: tuple[Callable[[np.ndarray, np.ndarray, np.random.Generator, TrainConfig], Pair], ...] = (
    flip,
    rotate90,
    shift,
    jitter,
)


def _moved(array: np.ndarray, offsets: list[int], fill: float) -> np.ndarray:
    moved = np.full_like(array, fill)
    target = tuple(slice(max(o, 0), size + min(o, 0)) for o, size in zip(offsets, array.shape, strict=True))
    source = tuple(slice(max(-o, 0), size - max(o, 0)) for o, size in zip(offsets, array.shape, strict=True))
    moved[target] = array[source]
    return moved
