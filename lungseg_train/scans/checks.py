"""Is this a CT in Hounsfield units, and is that a mask of its lungs? One line for what is not."""

from pathlib import Path

import numpy as np

from lungseg_train.errors import InputError
from lungseg_train.scans.volume import Volume

AIR_BELOW_HU, BODY_ABOVE_HU = -600.0, -300.0
MIN_SHARE = 0.005
"""Of its voxels, a chest CT has at least this share of air or lung, and of body."""
MAX_HU = 100_000.0
"""Metal reaches tens of thousands where a scanner's scale is extended; beyond this the numbers are no HU."""
LOWEST_HU, MAX_LOW_SHARE = -1500.0, 0.05
"""A share of voxels may be lower: noise, and padding that was smoothed."""
MAX_LUNG_SHARE = 0.8
MAX_MEDIAN_LUNG_HU = -100.0
"""Half of a lung is lighter than this, however ill it is."""
DENSE_ABOVE_HU = -300.0
MIRRORED_SHARE = 0.1
"""Measured on real lungs 2.4 to 2.8 % of a mask are dense, of the same mask mirrored at least 30 %. A mask with more than
this is refused where its mirror image has less than half of it."""
MAX_OFFSET = 0.1
"""Affines may differ by this share of a voxel: exporters round."""
SPACING_LIMITS_MM = (0.1, 25.0)
FIELD_LIMITS_MM = (100.0, 2500.0)


def check_hounsfield(ct: Volume, path: Path) -> None:
    """Raise `InputError` unless the values of a CT can be HU of a chest."""
    low, high = float(ct.array.min()), float(ct.array.max())
    if low >= -2.0 and high <= 2.0:
        raise InputError(f"{path}: expected HU, got values from {low:g} to {high:g}: normalised. Export the CT in HU.")
    if low >= 0.0 and high <= 255.0:
        raise InputError(f"{path}: expected HU, got values from {low:g} to {high:g}: an 8-bit picture. Export the CT in HU.")
    if low >= 0.0:
        raise InputError(f"{path}: expected HU with air near -1000, got no value below 0: the rescale intercept is missing.")
    if high > MAX_HU:
        raise InputError(f"{path}: expected HU, got values up to {high:g}. Export the CT in HU.")
    # Scanners pad what lies outside of their field with one low value; air itself is never lower than noise makes it.
    if _share((ct.array < LOWEST_HU) & (ct.array > low)) > MAX_LOW_SHARE:
        raise InputError(f"{path}: expected HU, got many values below {LOWEST_HU:g} (lowest {low:g}). Export the CT in HU.")
    if _share(ct.array < AIR_BELOW_HU) < MIN_SHARE:
        raise InputError(
            f"{path}: expected air and lung near -1000 HU, found none to speak of (lowest {low:g}). Is it a chest CT?"
        )
    if _share(ct.array > BODY_ABOVE_HU) < MIN_SHARE:
        raise InputError(f"{path}: expected a body near 0 HU, found none (highest {high:g}). Is this a chest CT?")


def check_geometry(ct: Volume, path: Path) -> None:
    """Raise `InputError` unless a scan's voxels are bricks of a size that a scanner makes."""
    if not all(SPACING_LIMITS_MM[0] <= mm <= SPACING_LIMITS_MM[1] for mm in ct.spacing_mm):
        raise InputError(f"{path}: voxels of {_times(ct.spacing_mm)} mm are no CT's. Export the file again with its geometry.")
    extents_mm = [size * mm for size, mm in zip(ct.shape, ct.spacing_mm, strict=True)]
    if not all(FIELD_LIMITS_MM[0] <= extent <= FIELD_LIMITS_MM[1] for extent in extents_mm):
        raise InputError(f"{path}: a scan of {_times(extents_mm)} mm holds no chest. Export the file again with its geometry.")
    directions = ct.affine[:3, :3] / np.array(ct.spacing_mm)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 0.01:
        raise InputError(f"{path}: its axes are not at right angles (gantry tilt). Untilt the scan first.")


def check_mask(mask: Volume, ct: Volume, path: Path) -> None:
    """Raise `InputError` unless a mask lies on the voxels of its CT and has labels."""
    if ct.shape != mask.shape:
        raise InputError(f"{path}: mask grid {mask.shape} differs from its CT {ct.shape}. Export both on one grid.")
    if np.abs(ct.affine - mask.affine).max() > MAX_OFFSET * min(ct.spacing_mm):
        raise InputError(f"{path}: the mask's affine differs from its CT's. Export both on one grid.")
    labels = mask.array
    if float(labels.min()) < 0.0 or not np.array_equal(labels, np.rint(labels)):
        raise InputError(f"{path}: expected labels 0, 1, 2 ..., got fractions or negative values. Export a label mask.")


def check_lungs(lungs: np.ndarray, ct: Volume, path: Path) -> None:
    """Raise `InputError` if a mask on the voxels of `ct` is empty, full, or elsewhere."""
    if not lungs.any():
        raise InputError(f"{path}: the mask is empty; expected voxels > 0 in the lungs. Export the lung mask again.")
    if _share(lungs) > MAX_LUNG_SHARE:
        raise InputError(f"{path}: the mask covers {_share(lungs):.0%} of the scan; expected lungs alone. Export it again.")
    mirrored = _mirrored(lungs, ct)
    if mirrored:
        raise InputError(f"{path}: the mask lies mirrored {mirrored} in its CT. Export it with the geometry of the CT.")
    median = float(np.median(ct.array[lungs > 0]))
    if median > MAX_MEDIAN_LUNG_HU:
        raise InputError(
            f"{path}: half of the mask is denser than {median:.0f} HU, so it does not lie in the lungs. "
            "Check that it belongs to this CT and is not inverted, shifted or flipped."
        )


def _mirrored(lungs: np.ndarray, ct: Volume) -> str:
    """The directions in which a mask lies mirrored in its CT; empty if it does not."""
    # Every second voxel tells as much.
    mask, dense = lungs[::2, ::2, ::2] > 0, ct.array[::2, ::2, ::2] > DENSE_ABOVE_HU
    num_voxels = max(int(np.count_nonzero(mask)), 1)
    shares = {
        axes: np.count_nonzero(np.flip(mask, axes) & dense) / num_voxels
        for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    }
    best = min(shares, key=lambda axes: shares[axes])
    if shares[()] <= MIRRORED_SHARE or shares[best] >= shares[()] / 2:
        return ""
    return " and ".join(("left to right", "front to back", "head to foot")[axis] for axis in best)


def _share(voxels: np.ndarray) -> float:
    return float(np.count_nonzero(voxels)) / voxels.size


def _times(numbers: tuple[float, ...] | list[float]) -> str:
    return "x".join(f"{number:.3g}" for number in numbers)
