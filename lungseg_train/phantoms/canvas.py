"""The drawing surface of a phantom: a CT under construction and the patient coordinates of its voxels."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Point = tuple[float, float, float]
Window = tuple[slice, slice, slice]

LATTICE_NODES = 32
EVERYWHERE: Window = (slice(None), slice(None), slice(None))


class Shape(Protocol):
    """A solid given by its signed distance (negative inside) and a box that encloses it, in patient millimetres."""

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]: ...

    def distance_mm(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Ellipsoid:
    center_mm: Point
    semi_axes_mm: Point
    turn_rad: float = 0.0
    """Rotation about the Superior axis."""

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        wide = max(self.semi_axes_mm[:2])
        reach = np.array([wide, wide, self.semi_axes_mm[2]])
        return np.array(self.center_mm) - reach, np.array(self.center_mm) + reach

    def distance_mm(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        x, y, z = (x_mm - self.center_mm[0], y_mm - self.center_mm[1], z_mm - self.center_mm[2])
        cos, sin = np.float32(np.cos(self.turn_rad)), np.float32(np.sin(self.turn_rad))
        a, b, c = (np.float32(1 / semi) for semi in self.semi_axes_mm)
        level = np.sqrt(((cos * x + sin * y) * a) ** 2 + ((cos * y - sin * x) * b) ** 2 + (z * c) ** 2)
        return (level - 1) * np.float32(np.prod(self.semi_axes_mm) ** (1 / 3))


@dataclass(frozen=True)
class Tube:
    """A round rod from start to end whose radius changes linearly."""

    start_mm: Point
    end_mm: Point
    start_radius_mm: float
    end_radius_mm: float

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        ends = np.array([self.start_mm, self.end_mm])
        reach = max(self.start_radius_mm, self.end_radius_mm)
        return ends.min(0) - reach, ends.max(0) + reach

    def distance_mm(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        dx, dy, dz = (np.float32(end - start) for start, end in zip(self.start_mm, self.end_mm, strict=True))
        x, y, z = (x_mm - self.start_mm[0], y_mm - self.start_mm[1], z_mm - self.start_mm[2])
        along = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0, 1)
        radius = self.start_radius_mm + along * (self.end_radius_mm - self.start_radius_mm)
        return np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2 + (z - along * dz) ** 2) - radius


@dataclass(frozen=True)
class Canvas:
    """A CT in HU, float32 (X, Y, Z), with patient coordinates that are gently bent so that no organ is a perfect solid.

    `x_mm` and `y_mm` are (X, Y, Z), `z_mm` is (1, 1, Z); `axes_mm` are the straight coordinates along each axis.
    """

    ct_hu: np.ndarray
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    x_mm: np.ndarray
    y_mm: np.ndarray
    z_mm: np.ndarray
    edge_mm: float
    """Width of the transition across a surface: one voxel, which imitates partial volume."""

    def coverage(self, distance_mm: np.ndarray) -> np.ndarray:
        """Occupancy 0 to 1 of voxels at a signed distance from a surface, any shape."""
        return np.clip(np.float32(0.5) - distance_mm * np.float32(1 / self.edge_mm), 0, 1)

    def paint(self, distance_mm: np.ndarray, hu: float | np.ndarray, window: Window = EVERYWHERE) -> None:
        self.blend(self.coverage(distance_mm), hu, window)

    def blend(self, amount: np.ndarray, hu: float | np.ndarray, window: Window = EVERYWHERE) -> None:
        view = self.ct_hu[window]
        view += amount * (hu - view)

    def window(self, shape: Shape, margin_mm: float = 0.0) -> Window:
        low, high = shape.bounds_mm()
        # The coordinates are bent by up to about 15 mm, so a tight box would clip the shape.
        reach = margin_mm + 15 + self.edge_mm
        edges = (np.searchsorted(axis, (a - reach, b + reach)) for axis, a, b in zip(self.axes_mm, low, high, strict=True))
        x, y, z = (slice(int(start), int(stop)) for start, stop in edges)
        return x, y, z

    def distance_mm(self, shape: Shape, window: Window) -> np.ndarray:
        return shape.distance_mm(self.x_mm[window], self.y_mm[window], self.z_mm[:, :, window[2]])

    def paint_shape(self, shape: Shape, hu: float) -> None:
        window = self.window(shape)
        self.paint(self.distance_mm(shape, window), hu, window)

    def paint_within(self, shape: Shape, solid_mm: np.ndarray, hu: float) -> None:
        """Paint what of a shape lies in a solid (X, Y, Z) of signed distances."""
        window = self.window(shape)
        self.paint(np.maximum(self.distance_mm(shape, window), solid_mm[window]), hu, window)

    def carve(self, solid_mm: np.ndarray, shape: Shape, margin_mm: float = 0.0) -> None:
        """Take a shape, grown by the margin, out of a solid (X, Y, Z) of signed distances."""
        window = self.window(shape, margin_mm)
        view = solid_mm[window]
        np.maximum(view, margin_mm - self.distance_mm(shape, window), out=view)


def smooth_noise(rng: np.random.Generator, axes_mm: tuple[np.ndarray, ...], scale_mm: float) -> np.ndarray:
    """Noise of mean 0 and deviation about 1 that varies over `scale_mm`, one value per point of the axes' grid.

    It lives on a periodic lattice fixed in the patient, so that one seed gives one patient on every grid.
    """
    noise = rng.standard_normal((LATTICE_NODES,) * len(axes_mm), dtype=np.float32)
    for axis_mm in axes_mm:
        noise = np.tensordot(noise, _spline_weights(axis_mm, scale_mm), axes=(0, 1))
    # A cubic B-spline keeps 0.48 of the variance per axis.
    return noise * np.float32(0.479 ** (-len(axes_mm) / 2))


def _spline_weights(axis_mm: np.ndarray, scale_mm: float) -> np.ndarray:
    """Cubic B-spline weights of every lattice node at every position, float32 (N, LATTICE_NODES)."""
    position = axis_mm / scale_mm
    node = np.floor(position).astype(int)
    t = position - node
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((axis_mm.size, LATTICE_NODES), np.float32)
    for offset, part in enumerate(parts):
        weights[np.arange(axis_mm.size), (node + offset) % LATTICE_NODES] += part / 6
    return weights


def superellipse_mm(
    u_mm: np.ndarray, v_mm: np.ndarray, a_mm: float | np.ndarray, b_mm: float | np.ndarray, power: float
) -> np.ndarray:
    """Signed distance, about, from |u/a|^p + |v/b|^p = 1; the arrays broadcast."""
    level = np.abs(u_mm / a_mm) ** np.float32(power) + np.abs(v_mm / b_mm) ** np.float32(power)
    return (level ** np.float32(1 / power) - 1) * np.minimum(a_mm, b_mm)
