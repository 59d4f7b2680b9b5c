"""What an augmentation does to the values of a CT: brightness, contrast, an added value, noise. The mask stays."""

import functools
from dataclasses import dataclass

import numpy as np

from lungseg_train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """What happens to the values of a volume, in the order of the fields. By default nothing."""

    brightness: float = 1.0
    """Factor of the distance from the darkest voxel."""
    contrast: float = 1.0
    """Factor of the distance from the mean."""
    shift: float = 0.0
    """Added, as a share of the range of values."""
    jitter_sigma: float = 0.0
    """Standard deviation of Gaussian noise, as a share of the range of values."""


def draw_intensity(rng: np.random.Generator, config: TrainConfig) -> Intensity:
    """Draw every change of values of one volume, each with its own probability; the noise itself is drawn as it is added."""

    def drawn(probability: float, limit: float) -> float:
        return rng.uniform(-limit, limit) if rng.random() < probability else 0.0

    return Intensity(
        brightness=1 + drawn(config.p_brightness, config.max_brightness),
        contrast=1 + drawn(config.p_contrast, config.max_contrast),
        shift=drawn(config.p_intensity_shift, config.max_intensity_shift),
        jitter_sigma=config.jitter_sigma if rng.random() < config.p_jitter else 0.0,
    )


def change_values(ct: np.ndarray, intensity: Intensity, rng: np.random.Generator) -> np.ndarray:
    """Change `ct`, (X, Y, Z) float32, in place and return it."""
    if intensity == Intensity():
        return ct
    low, high = float(ct.min()), float(ct.max())
    # A preprocessed CT ranges over its HU window, in whatever unit the normalisation left it.
    window = high - low
    change_brightness(ct, intensity.brightness, low)
    change_contrast(ct, intensity.contrast)
    shift_values(ct, intensity.shift * window)
    add_noise(ct, intensity.jitter_sigma * window, rng)
    return ct


def change_brightness(ct: np.ndarray, factor: float, darkest: float) -> None:
    """darkest + factor x (value - darkest), in place."""
    if factor != 1.0:
        ct *= np.float32(factor)
        ct += np.float32((1 - factor) * darkest)


def change_contrast(ct: np.ndarray, factor: float) -> None:
    """mean + factor x (value - mean), in place."""
    if factor != 1.0:
        mean = float(ct.mean(dtype=np.float64))
        ct *= np.float32(factor)
        ct += np.float32((1 - factor) * mean)


def shift_values(ct: np.ndarray, amount: float) -> None:
    """value + amount, in place."""
    if amount != 0.0:
        ct += np.float32(amount)


def add_noise(ct: np.ndarray, sigma: float, rng: np.random.Generator) -> None:
    """Gaussian noise of standard deviation `sigma`, independent in every voxel, in place."""
    if sigma > 0.0:
        # Four times faster than rng.standard_normal: a random quantile of the normal distribution for every voxel.
        numbers = np.frombuffer(rng.bytes(2 * ct.size), np.uint16)
        ct += (_normal_quantiles() * np.float32(sigma)).take(numbers).reshape(ct.shape)


@functools.cache
def _normal_quantiles() -> np.ndarray:
    """(65536,) float32: the middles of as many equally probable parts of the standard normal distribution, to +-4.3."""
    from scipy.special import ndtri

    return ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
