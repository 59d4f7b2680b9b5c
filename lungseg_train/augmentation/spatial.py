"""Where an augmentation moves things: all its spatial changes drawn first, then done in one resampling."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lungseg_train.augmentation.warp import sample
from lungseg_train.config import TrainConfig

Pair = tuple[np.ndarray, np.ndarray]
"""CT (X, Y, Z) float32, preprocessed, and mask (X, Y, Z) uint8 0/1, on one grid."""
Shape = tuple[int, ...]
Triple = tuple[float, float, float]

CUBES: Triple = (1.0, 1.0, 1.0)
"""Voxels with equal sides."""

PLANES = tuple(combinations(range(3), 2))


@dataclass(frozen=True, kw_only=True)
class Spatial:
    """What happens to the places of a volume, in the order of the fields. By default nothing."""

    control_voxels: np.ndarray | None = None
    """(X', Y', Z', 3) float32: displacements of the control points of the elastic deformation."""
    control_spacing: int = 1
    """Voxels from one control point to the next."""
    flips: tuple[bool, bool, bool] = (False, False, False)
    """Mirrored along which axes."""
    plane: tuple[int, int] = (0, 1)
    """Axes of the plane of the quarter turns."""
    quarters: int = 0
    """Quarter turns, from the plane's first axis towards its second, as in `numpy.rot90`."""
    angles_degrees: Triple = (0.0, 0.0, 0.0)
    """Free rotation about the first, then the second, then the third axis, through the centre of the volume."""
    scale: float = 1.0
    """What a length is multiplied by; the centre of the volume stays."""
    shift_voxels: tuple[int, int, int] = (0, 0, 0)
    """Moved by so many whole voxels."""


def draw_spatial(shape: Shape, rng: np.random.Generator, config: TrainConfig, spacing_mm: Triple = CUBES) -> Spatial:
    """Draw every spatial change of one volume, each with its own probability."""
    first, second = plane = PLANES[rng.integers(3)]
    square = shape[first] == shape[second] and math.isclose(spacing_mm[first], spacing_mm[second], rel_tol=0.01)
    return Spatial(
        control_voxels=_control_points(shape, rng, config) if rng.random() < config.p_elastic else None,
        control_spacing=config.elastic_spacing_voxels,
        flips=_three(rng.random(3) < config.p_flip),
        plane=plane,
        quarters=_quarters(rng, square) if rng.random() < config.p_rot90 else 0,
        angles_degrees=_angles(rng, config.max_rotate_degrees) if rng.random() < config.p_rotate else (0.0, 0.0, 0.0),
        scale=1 + rng.uniform(-config.max_scale, config.max_scale) if rng.random() < config.p_scale else 1.0,
        shift_voxels=_shifts(rng, config),
    )


def resample(ct: np.ndarray, mask: np.ndarray, spatial: Spatial, spacing_mm: Triple = CUBES) -> Pair:
    """CT and mask as `spatial` moves them: new arrays, float32 and uint8. What comes in from outside is air without lung.

    Flips, quarter turns and shifts alone move voxels as they are: the coordinates are then whole numbers.
    """
    matrix, offset = source_map(spatial, ct.shape, spacing_mm)
    return sample(ct, mask, matrix, offset, spatial.control_voxels, spatial.control_spacing)


def source_map(spatial: Spatial, shape: Shape, spacing_mm: Triple) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3): output voxel -> voxel of the volume that has been deformed already.

    The moves are undone, last one first, about the centre c: source = F^-1 Q^-1 R^-1 (voxel - shift - c) / scale + c, where
    the free rotation R turns millimetres: in voxels that are no cubes it would shear.
    """
    centre = (np.array(shape) - 1) / 2
    # What is multiplied by 1 stays exact: sides are compared with the first one, so cubes have ratios of 1.
    ratios = np.array(spacing_mm) / spacing_mm[0]
    rotation = _rotation(spatial.angles_degrees)
    # The inverse of a rotation or a reflection is its transpose, without any rounding.
    whole = (_quarter_turns(spatial.plane, spatial.quarters) @ _mirror(spatial.flips)).T
    matrix = whole @ (rotation.T * ratios / ratios[:, np.newaxis]) / spatial.scale
    return matrix, centre - matrix @ (centre + np.array(spatial.shift_voxels))


def _mirror(flips: tuple[bool, bool, bool]) -> np.ndarray:
    return np.diag([-1.0 if flipped else 1.0 for flipped in flips])


def _quarter_turns(plane: tuple[int, int], quarters: int) -> np.ndarray:
    """(3, 3), exactly 0, 1 and -1, as the cosine and sine of a right angle are not in floating point."""
    turn = np.eye(3)
    first, second = plane
    turn[[first, second]] = turn[[second, first]]
    turn[first] *= -1
    return np.linalg.matrix_power(turn, quarters % 4)


def _rotation(angles_degrees: Triple) -> np.ndarray:
    """(3, 3): about the first, then the second, then the third axis."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles_degrees):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        first, second = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[[first, second], [first, second]] = cosine
        about[second, first], about[first, second] = sine, -sine
        rotation = about @ rotation
    return rotation


def _control_points(shape: Shape, rng: np.random.Generator, config: TrainConfig) -> np.ndarray:
    """Displacements of all control points that reach into the volume, each alike along the three axes."""
    counts = [(size - 1) // config.elastic_spacing_voxels + 4 for size in shape]
    return rng.uniform(-config.max_elastic_voxels, config.max_elastic_voxels, (*counts, 3)).astype(np.float32)


def _quarters(rng: np.random.Generator, square: bool) -> int:
    """One to three quarter turns; two where the sides of the plane differ, as shape and spacing must stay."""
    quarters = int(rng.integers(1, 4))
    return quarters if square else 2


def _angles(rng: np.random.Generator, limit: float) -> Triple:
    return _three(rng.uniform(-limit, limit, 3))


def _shifts(rng: np.random.Generator, config: TrainConfig) -> tuple[int, int, int]:
    """Whole voxels along each axis, each axis with probability p_shift."""
    drawn = rng.integers(-config.max_shift_voxels, config.max_shift_voxels + 1, 3)
    return _three(np.where(rng.random(3) < config.p_shift, drawn, 0))


def _three(values: np.ndarray) -> tuple[Any, Any, Any]:
    x, y, z = values.tolist()
    return x, y, z
