"""Milliseconds to augment one volume, against the augmentation of the first reference project: make bench.

Both sides run in turn in this process, on one thread and one core, on the same synthetic thorax. The reference's pipeline
resamples CT and mask anew for every step, by scipy.ndimage: elastic deformation, rotation, scaling with crop or pad; then
noise and brightness. Ours draws all spatial changes first and resamples once. Interpolation is linear for the CT on both
sides; for the mask the reference takes the nearest voxel, ours thresholds the linear value.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungseg_train.augmentation.augment import Pair, augment
from lungseg_train.command_line import parse
from lungseg_train.config import TrainConfig
from lungseg_train.data.preprocess import preprocess
from lungseg_train.errors import InputError, command
from lungseg_train.phantoms.thorax import make_phantom
from lungseg_train.scans.volume import write_atomically

DEFAULT = TrainConfig()
EVERYTHING = replace(DEFAULT, **{field.name: 1.0 for field in fields(DEFAULT) if field.name.startswith("p_")})
SPATIAL = replace(EVERYTHING, p_brightness=0.0, p_contrast=0.0, p_intensity_shift=0.0, p_jitter=0.0)
CHEST_MM = 320.0
REFERENCE = "reference, every step"
OURS_EVERYTHING = "ours, every step"


@dataclass(frozen=True, kw_only=True)
class AugmentationBench:
    """Options of the benchmark."""

    size: int = 64
    """Voxels along each axis of the volume."""
    rounds: int = 30
    """How often each side runs; the median counts."""
    out: Path = Path("runs/bench/augmentation_speed.json")
    """Where the numbers are written."""


@command
def main() -> None:
    options = parse(AugmentationBench, "python tests/benchmarks/augmentation_speed.py", "Speed of the augmentation.")
    if not 16 <= options.size <= 256 or options.rounds < 1:
        raise InputError(f"expected a size of 16 to 256 and a round or more, got {options.size} and {options.rounds}.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    milliseconds = measure(options.size, options.rounds)
    ratios = {name: milliseconds[REFERENCE] / value for name, value in milliseconds.items() if name != REFERENCE}
    write_atomically(options.out, json.dumps({"milliseconds": milliseconds, "times_faster": ratios}, indent=2) + "\n")
    for name, value in milliseconds.items():
        print(f"{name:28}{value:9.1f} ms" + (f"{ratios[name]:8.1f} times faster" if name in ratios else ""))
    print(f"median of {options.rounds} volumes of {options.size}^3, one core; written to {options.out}")


def measure(size: int, rounds: int) -> dict[str, float]:
    """Median milliseconds per volume of each side, one after the other in each round."""
    ct_hu, mask = make_phantom(0, (size, size, size), (CHEST_MM / size,) * 3)
    ct = preprocess(ct_hu, DEFAULT)

    def ours(config: TrainConfig) -> Callable[[np.random.Generator], Pair]:
        return lambda rng: augment(ct, mask, rng, config)

    sides = {
        REFERENCE: lambda rng: reference_augment(ct, mask, rng),
        OURS_EVERYTHING: ours(EVERYTHING),
        "ours, every spatial step": ours(SPATIAL),
        "ours, default probabilities": ours(DEFAULT),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    # The first round compiles and warms the caches.
    for number in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side(np.random.default_rng(number))
            seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(values[1:]) for name, values in seconds.items()}


def reference_augment(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
    """The steps of the first reference project, each a resampling of its own."""
    ct, mask = _elastic(ct, mask, rng)
    ct, mask = _rotated(ct, mask, rng)
    ct, mask = _flipped(ct, mask, rng)
    ct, mask = _scaled(ct, mask, rng)
    ct = ct + rng.normal(0.0, DEFAULT.jitter_sigma * float(np.ptp(ct)), ct.shape)
    return (ct * rng.uniform(0.9, 1.1)).astype(np.float32), mask


def _elastic(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator, strength: float = 20.0, sigma: float = 4.0) -> Pair:
    """A random displacement of every voxel, smoothed by a Gaussian."""
    places = np.meshgrid(*(np.arange(size) for size in ct.shape), indexing="ij")
    moved = [place + strength * ndimage.gaussian_filter(rng.uniform(-1, 1, ct.shape), sigma) for place in places]
    moved_ct = ndimage.map_coordinates(ct, moved, order=1, mode="nearest")
    return moved_ct, ndimage.map_coordinates(mask, moved, order=0, mode="nearest")


def _rotated(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
    angle, axes = rng.uniform(-10, 10), ((0, 1), (0, 2), (1, 2))[rng.integers(3)]
    turned = ndimage.rotate(ct, angle, axes=axes, reshape=False, order=1, mode="nearest")
    return turned, ndimage.rotate(mask, angle, axes=axes, reshape=False, order=0, mode="nearest")


def _flipped(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
    axis = int(rng.integers(3))
    return np.flip(ct, axis), np.flip(mask, axis)


def _scaled(ct: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Pair:
    factor = rng.uniform(0.9, 1.1)
    return _fitted(ndimage.zoom(ct, factor, order=1), ct.shape), _fitted(ndimage.zoom(mask, factor, order=0), ct.shape)


def _fitted(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cropped or padded about the centre to `shape`."""
    for axis, size in enumerate(shape):
        excess = array.shape[axis] - size
        if excess > 0:
            array = array.take(range(excess // 2, excess // 2 + size), axis)
        elif excess < 0:
            before = -excess // 2
            array = np.pad(array, [(before, -excess - before) if a == axis else (0, 0) for a in range(3)], mode="edge")
    return array


if __name__ == "__main__":
    main()
