"""The training grid laid into a scan, and the way there and back.

The grid's axes are the scan's own, so that every resampling is one small matrix per axis.
"""

import math
from dataclasses import dataclass

import numpy as np

from lungseg_train.scans.volume import Volume

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

AIR_HU = -1000.0
"""What lies outside of a scan."""
BODY_HU = -300.0
"""Denser than this is body, or table."""
OPENING_RADIUS_VOXELS = (2, 2, 1)
"""The body is opened by this ellipsoid first, so that specks and sheets such as clothes do not widen it."""
SMOOTHING = 0.8 / 2.355
"""Sigma of the anti-aliasing Gaussian in voxels of the grid: a full width at half maximum of 0.8 voxels."""
MIN_OCCUPANCY = 0.5
"""A voxel of the grid belongs to the mask if at least this share of it does."""


@dataclass(frozen=True)
class Grid:
    """Voxels at equal distances along the axes of a scan."""

    shape: Shape
    spacing_mm: Spacing
    origin: tuple[float, float, float]
    """Where its voxel (0, 0, 0) lies, in voxel indices of the scan (X, Y, Z) in RAS+."""

    def affine(self, scan: Volume) -> np.ndarray:
        """(4, 4): voxel index of the grid -> mm."""
        step = np.array(self.spacing_mm) / scan.spacing_mm
        to_scan = np.diag([*step, 1.0])
        to_scan[:3, 3] = self.origin
        affine: np.ndarray = scan.affine @ to_scan
        return affine


def training_grid(ct: Volume, shape: Shape, spacing_mm: Spacing) -> Grid:
    """A grid centred on the body in X and Y and on the scan in Z. `ct` in HU, RAS+."""
    return _centred(ct, shape, spacing_mm)


def covering_grid(ct: Volume, shape: Shape, spacing_mm: Spacing, multiple: int) -> Grid:
    """The training grid, made longer along Z in steps of `multiple` voxels where the scan reaches beyond it."""
    x_size, y_size, z_size = shape
    # A border of less than half a voxel of the grid at either end is not worth more voxels.
    needed = ct.shape[2] * ct.spacing_mm[2] / spacing_mm[2] - 1.0
    return _centred(ct, (x_size, y_size, max(z_size, math.ceil(needed / multiple) * multiple)), spacing_mm)


def resample_ct(ct: Volume, grid: Grid) -> np.ndarray:
    """The CT on the grid, (X, Y, Z) float32 in HU: smoothed against aliasing, then linear; air outside of the scan."""
    # Relative to air, what lies outside counts as zero, which is what the matrices make of it.
    return _resample(ct.array - np.float32(AIR_HU), ct.spacing_mm, grid) + np.float32(AIR_HU)


def resample_mask(mask: np.ndarray, ct: Volume, grid: Grid) -> np.ndarray:
    """A mask on the scan's own voxels, (X, Y, Z), -> on the grid, uint8 0/1, by occupancy."""
    occupancy = _resample((mask > 0).astype(np.float32), ct.spacing_mm, grid)
    return (occupancy >= MIN_OCCUPANCY).astype(np.uint8)


def to_scan(array: np.ndarray, grid: Grid, scan: Volume) -> np.ndarray:
    """An array on the grid -> on the scan's own voxels, (X, Y, Z) float32, linear; zero beyond the grid."""
    array = array.astype(np.float32)
    for axis in range(3):
        step = scan.spacing_mm[axis] / grid.spacing_mm[axis]
        places = (np.arange(scan.shape[axis]) - grid.origin[axis]) * step
        array = _along(axis, _linear_weights(places, grid.shape[axis]), array)
    return array


def _resample(array: np.ndarray, spacing_mm: Spacing, grid: Grid) -> np.ndarray:
    # The longest axis first: it loses most voxels, and the next products are cheaper for it.
    for axis in sorted(range(3), key=lambda axis: grid.shape[axis] / array.shape[axis]):
        step = grid.spacing_mm[axis] / spacing_mm[axis]
        places = grid.origin[axis] + np.arange(grid.shape[axis]) * step
        weights = _linear_weights(places, array.shape[axis]) @ _gaussian_weights(SMOOTHING * step, array.shape[axis])
        array = _along(axis, weights.astype(np.float32), array)
    return array


def _along(axis: int, weights: np.ndarray, array: np.ndarray) -> np.ndarray:
    """(new, old) weights applied to one axis; the axes keep their order."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(weights, array, axes=(1, axis)), 0, axis), dtype=np.float32)


def _linear_weights(places: np.ndarray, size: int) -> np.ndarray:
    """(len(places), size) float32: linear interpolation at `places` among voxels 0 .. size - 1.

    The outermost voxels reach half a voxel outwards; further out all weights are zero.
    """
    inside = (places >= -0.5) & (places <= size - 0.5)
    clipped = np.clip(places, 0, size - 1)
    below = np.minimum(np.floor(clipped).astype(int), max(size - 2, 0))
    weights = np.zeros((len(places), size), np.float32)
    rows = np.arange(len(places))
    weights[rows, below] = np.where(inside, 1.0 - (clipped - below), 0.0)
    if size > 1:
        weights[rows, below + 1] += np.where(inside, clipped - below, 0.0)
    return weights


def _gaussian_weights(sigma_voxels: float, size: int) -> np.ndarray:
    """(size, size): what `gaussian_filter1d` does along an axis, as a matrix."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size, dtype=np.float32), sigma_voxels, axis=0, mode="nearest")


def _centred(ct: Volume, shape: Shape, spacing_mm: Spacing) -> Grid:
    step = np.array(spacing_mm) / ct.spacing_mm
    x, y, z = np.array(_centre(ct)) - (np.array(shape) - 1) / 2 * step
    return Grid(shape, spacing_mm, (float(x), float(y), float(z)))


def _centre(ct: Volume) -> tuple[float, float, float]:
    """Centre of the body in X and Y and of the scan in Z, in voxel indices."""
    core = _eroded(ct.array > BODY_HU)
    centre = [(size - 1) / 2 for size in ct.shape]
    for axis in (0, 1):
        hit = np.flatnonzero(core.any(axis=(1 - axis, 2)))
        if len(hit):
            radius = OPENING_RADIUS_VOXELS[axis]
            first, last = max(hit[0] - radius, 0), min(hit[-1] + radius, ct.shape[axis] - 1)
            centre[axis] = float(first + last) / 2
    return centre[0], centre[1], centre[2]


def _eroded(body: np.ndarray) -> np.ndarray:
    """Eroded by an ellipsoid; beyond the border all counts as body. Shifted views are ten times faster than SciPy here."""
    eroded = body.copy()
    for offset in np.ndindex(*(2 * radius + 1 for radius in OPENING_RADIUS_VOXELS)):
        steps = np.array(offset) - OPENING_RADIUS_VOXELS
        if ((steps / (np.array(OPENING_RADIUS_VOXELS) + 0.5)) ** 2).sum() > 1.0:
            continue
        here = tuple(slice(max(-step, 0), size + min(-step, 0)) for step, size in zip(steps, body.shape, strict=True))
        there = tuple(slice(max(step, 0), size + min(step, 0)) for step, size in zip(steps, body.shape, strict=True))
        eroded[here] &= body[there]
    return eroded
