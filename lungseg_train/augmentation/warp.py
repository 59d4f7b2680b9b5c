"""The one resampling of an augmentation, compiled: CT and mask sampled together along a map of source coordinates.

All compiled functions stand in this file: the cache on disk notices a change of the file of the function that it keeps, not
of the files of the functions that one calls.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32, int32, njit, uint32

BELOW, ABOVE = 1, 2
"""Voxels of padding before and behind each axis: whatever lies outside is then sampled as every other voxel is."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL; kept on disk beside the source or in the user's cache folder, if either can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # A read-only home in a read-only container: each process compiles for itself.
        return njit(nogil=True)(function)


def sample(
    ct: np.ndarray,
    mask: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    control: np.ndarray | None = None,
    spacing: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """CT (X, Y, Z) float32 and mask (X, Y, Z) uint8, sampled at `matrix` @ voxel + `offset` + displacement (voxels).

    CT: trilinear. Mask: 1 where its trilinear value is at least one half. Outside: the CT's minimum, and 0. The displacement
    is the cubic B-spline of `control`, (X', Y', Z', 3) voxels, whose points lie `spacing` output voxels apart.
    Coordinates that are whole numbers give the voxels themselves.
    """
    low = ct.min()
    # Always fresh arrays of one type and layout: one compilation, whether the volumes are memory-mapped, read-only or views.
    padded = [np.full([size + BELOW + ABOVE for size in ct.shape], fill, np.float32) for fill in (low, 0)]
    inner = tuple(slice(BELOW, BELOW + size) for size in ct.shape)
    for target, source in zip(padded, (ct, mask), strict=True):
        target[inner] = source
    if control is None:
        control = np.empty((0, 0, 0, 3), np.float32)
    basis_x, basis_y, basis_z = (bspline_basis(size, spacing) for size in ct.shape)
    out_ct, out_mask = np.empty(ct.shape, np.float32), np.empty(ct.shape, np.uint8)
    matrix, offset = matrix.astype(np.float32), (offset + BELOW).astype(np.float32)
    _sample(*padded, matrix, offset, control, basis_x, basis_y, basis_z, spacing, out_ct, out_mask)
    return out_ct, out_mask


def bspline_basis(size: int, spacing: int) -> np.ndarray:
    """(4, size) float32: weights of the control points i // spacing ... i // spacing + 3 at voxel i.

    The uniform cubic B-spline of free-form deformations (Rueckert et al. 1999, IEEE TMI 18:712). The weights are positive
    and sum to 1, so no voxel moves further than the control points do.
    """
    t = (np.arange(size) % spacing) / spacing
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return (np.stack(weights) / 6).astype(np.float32)


@compiled
def _sample(
    ct: np.ndarray,
    mask: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    control: np.ndarray,
    basis_x: np.ndarray,
    basis_y: np.ndarray,
    basis_z: np.ndarray,
    spacing: int,
    out_ct: np.ndarray,
    out_mask: np.ndarray,
) -> None:
    """Fill the output row by row; `ct` and `mask` are padded float32, and `offset` counts from the padding."""
    size_x, size_y, size_z = out_ct.shape
    num_x, num_y, num_z = control.shape[:3]
    by_x = control.reshape(num_x, num_y * num_z * 3)
    slab = np.empty((num_y, num_z, 3), np.float32)
    bands = np.empty((num_y, 3 * size_z), np.float32)
    places = np.zeros((3, size_z), np.float32)
    corners, shares = np.empty(size_z, np.int32), np.empty((3, size_z), np.float32)
    for x in range(size_x):
        if num_x > 0:
            _blend(by_x, basis_x, x, spacing, slab.reshape(-1))
            _stretch(slab, basis_z, spacing, bands.reshape(num_y, 3, size_z))
        for y in range(size_y):
            places[:] = 0
            if num_x > 0:
                _blend(bands, basis_y, y, spacing, places.reshape(-1))
            for axis in range(3):
                start = offset[axis] + matrix[axis, 0] * float32(x) + matrix[axis, 1] * float32(y)
                for z in range(size_z):
                    places[axis, z] += start + matrix[axis, 2] * float32(z)
            _locate(places, ct.shape, corners, shares)
            _sample_row(ct, mask, corners, shares, out_ct[x, y], out_mask[x, y])


@compiled
def _blend(values: np.ndarray, basis: np.ndarray, voxel: int, spacing: int, out: np.ndarray) -> None:
    """The spline through `values`, (control points, N), at one voxel -> (N)."""
    first = voxel // spacing
    b0, b1, b2, b3 = basis[0, voxel], basis[1, voxel], basis[2, voxel], basis[3, voxel]
    v0, v1, v2, v3 = values[first], values[first + 1], values[first + 2], values[first + 3]
    for i in range(out.size):
        out[i] = b0 * v0[i] + b1 * v1[i] + b2 * v2[i] + b3 * v3[i]


@compiled
def _stretch(slab: np.ndarray, basis: np.ndarray, spacing: int, bands: np.ndarray) -> None:
    """The splines along the last axis: `slab`, (Y', Z', 3) -> `bands`, (Y', 3, Z)."""
    for y in range(bands.shape[0]):
        for axis in range(3):
            for z in range(bands.shape[2]):
                first = z // spacing
                value = float32(0)
                for i in range(4):
                    value += basis[i, z] * slab[y, first + i, axis]
                bands[y, axis, z] = value


@compiled
def _locate(places: np.ndarray, shape: tuple[int, int, int], corners: np.ndarray, shares: np.ndarray) -> None:
    """Of every place in a row, (3, Z) padded voxels: the flat index of the voxel below, and how far beyond it the place lies.

    A loop of its own, because the compiler can then do many places at one time.
    """
    size_x, size_y, size_z = shape
    step_x, step_y = int32(size_y * size_z), int32(size_z)
    last_x, last_y, last_z = float32(size_x - ABOVE), float32(size_y - ABOVE), float32(size_z - ABOVE)
    for z in range(corners.size):
        place_x = min(max(places[0, z], float32(0)), last_x)
        place_y = min(max(places[1, z], float32(0)), last_y)
        place_z = min(max(places[2, z], float32(0)), last_z)
        voxel_x, voxel_y, voxel_z = int32(place_x), int32(place_y), int32(place_z)
        corners[z] = int32(voxel_x * step_x) + int32(voxel_y * step_y) + voxel_z
        shares[0, z] = place_x - float32(voxel_x)
        shares[1, z] = place_y - float32(voxel_y)
        shares[2, z] = place_z - float32(voxel_z)


@compiled
def _sample_row(
    ct: np.ndarray, mask: np.ndarray, corners: np.ndarray, shares: np.ndarray, out_ct: np.ndarray, out_mask: np.ndarray
) -> None:
    """Trilinear values at the places that `_locate` found."""
    step_x, step_y = int32(ct.shape[1] * ct.shape[2]), int32(ct.shape[2])
    flat_ct, flat_mask = ct.reshape(-1), mask.reshape(-1)
    for z in range(corners.size):
        out_ct[z] = _trilinear(flat_ct, corners[z], step_x, step_y, shares[0, z], shares[1, z], shares[2, z])
    for z in range(corners.size):
        lung = _trilinear(flat_mask, corners[z], step_x, step_y, shares[0, z], shares[1, z], shares[2, z])
        out_mask[z] = lung >= float32(0.5)


@compiled
def _trilinear(
    flat: np.ndarray, corner: int, step_x: int, step_y: int, share_x: float, share_y: float, share_z: float
) -> float:
    # Unsigned: a signed index would be checked for being counted from the end.
    near = _bilinear(flat, uint32(corner), uint32(corner + step_y), share_y, share_z)
    far = _bilinear(flat, uint32(corner + step_x), uint32(corner + step_x + step_y), share_y, share_z)
    return _between(near, far, share_x)


@compiled
def _bilinear(flat: np.ndarray, low: int, high: int, share_y: float, share_z: float) -> float:
    first = _between(flat[low], flat[uint32(low + uint32(1))], share_z)
    second = _between(flat[high], flat[uint32(high + uint32(1))], share_z)
    return _between(first, second, share_y)


@compiled
def _between(low: float, high: float, share: float) -> float:
    """Exact at share 0 and between equal values: whole coordinates give voxels, and outside is all of one value."""
    return low + share * (high - low)
