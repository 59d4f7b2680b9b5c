"""What a scanner makes of a patient: sharpness, noise, streaks, calibration, field of view and padding."""

import numpy as np
from scipy import ndimage

from lungseg_train.phantoms.anatomy import chance


def scan(ct_hu: np.ndarray, axes_mm: tuple[np.ndarray, ...], rng: np.random.Generator) -> np.ndarray:
    """Degrade a drawn CT, (X, Y, Z) float32 HU, as one of many scanners would; returns a new array."""
    noise_hu, share = float(np.clip(rng.gamma(1.6, 6), 1, 40)), rng.uniform(0.2, 0.9)
    streak_hu = rng.uniform(2, 25) if chance(rng, 0.5) else 0.0
    shoulders = np.clip((axes_mm[2] - rng.uniform(20, 90)) / 50, 0, 1)
    blur_mm = np.hypot(rng.uniform(0.8, 2.6), [0, 0, rng.uniform(0, 2.2)])
    # A sharp kernel overshoots at edges.
    overshoot = rng.uniform(0.1, 0.5) if chance(rng, 0.3) else 0.0
    gain, offset_hu = rng.normal(1, 0.012), rng.normal(0, 8)
    noisy = ct_hu + rng.standard_normal(ct_hu.shape, dtype=np.float32) * np.float32(noise_hu * share * 2.5)
    streaks = rng.standard_normal((1, *ct_hu.shape[1:]), dtype=np.float32) * (streak_hu * shoulders).astype(np.float32)
    noisy += streaks * (ct_hu > -500)
    blurred = ndimage.gaussian_filter(noisy, blur_mm / [axis[1] - axis[0] for axis in axes_mm], truncate=2.5)
    blurred += np.float32(overshoot) * (noisy - blurred)
    blurred += rng.standard_normal(ct_hu.shape, dtype=np.float32) * np.float32(noise_hu * (1 - share))
    return blurred * np.float32(gain) + np.float32(offset_hu)


def frame(ct_hu: np.ndarray, inside_mask: np.ndarray, axes_mm: tuple[np.ndarray, ...], rng: np.random.Generator) -> None:
    """Cut the field of view, in place: what lies outside becomes padding and leaves the mask."""
    x_mm, y_mm, z_mm = axes_mm
    padding_hu = rng.choice([-1000, -1024, -2000], p=[0.75, 0.15, 0.1])
    outside = np.zeros(ct_hu.shape, bool)
    if chance(rng, 0.3):
        radius_mm = rng.uniform(150, 250)
        outside |= np.hypot(x_mm[:, None] - rng.normal(0, 5), y_mm[None] - rng.normal(0, 5))[..., None] > radius_mm
    inside_z = z_mm[inside_mask.any((0, 1))]
    if inside_z.size:
        outside |= z_mm < inside_z[0] + _cut_mm(rng, inside_z)
        outside |= z_mm > inside_z[-1] - _cut_mm(rng, inside_z)
    floor_hu = -1000 if chance(rng, 0.6) else -1024
    np.maximum(ct_hu, floor_hu, out=ct_hu)
    ct_hu[outside] = padding_hu
    inside_mask[outside] = 0


def _cut_mm(rng: np.random.Generator, inside_z: np.ndarray) -> float:
    """How far one end of the scan reaches into the lungs (negative: how far it goes beyond them)."""
    if chance(rng, 0.12):
        return rng.uniform(0, 0.25) * float(np.ptp(inside_z))
    return -rng.uniform(5, 50) if chance(rng, 0.4) else -1000.0
