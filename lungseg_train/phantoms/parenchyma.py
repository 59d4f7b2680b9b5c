"""What fills the lungs: aerated tissue, vessels and disease."""

import numpy as np

from lungseg_train.phantoms.anatomy import Anatomy, chance
from lungseg_train.phantoms.canvas import Canvas, Ellipsoid, Point, smooth_noise

BRANCHES = ((6, 4.2), (30, 2.8), (140, 2.1), (520, 1.4))
"""Per generation: number of branches and their radius in mm."""


def tissue_hu(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """HU of aerated lung, denser towards the back where it hangs, with patches of disease, (X, Y, Z)."""
    mean_hu = float(np.clip(rng.normal(-800, 60), -900, -640))
    aerated = mean_hu - rng.uniform(0, 0.45) * (mean_hu + 1000) / anatomy.cage_half_depth * canvas.y_mm
    fine = smooth_noise(rng, canvas.axes_mm, 15) * rng.uniform(4, 22)
    coarse = smooth_noise(rng, canvas.axes_mm, 38)
    hu = aerated + fine + coarse * rng.uniform(0, 25)
    disease = rng.random()
    if disease < 0.18:
        hu -= np.clip(coarse - rng.uniform(-0.3, 0.9), 0, 1) * rng.uniform(40, 150)
    elif disease < 0.36:
        hu += np.clip(coarse - rng.uniform(0, 1.2), 0, 1) * rng.uniform(100, 480)
    elif disease < 0.46:
        low = np.clip((0.25 * anatomy.height + anatomy.dome_z - canvas.z_mm - canvas.y_mm * 0.8) / 40, 0, 1)
        hu += low * np.clip(0.6 + fine / 12, 0, 2) * rng.uniform(80, 260)
    return np.clip(hu, -985, 20)


def draw_vessels(canvas: Canvas, rng: np.random.Generator, lung: np.ndarray, hila: tuple[Point, Point], hu: float) -> None:
    """Grow a tree from each hilum and add its share of every voxel; thick vessels are carved out of the lungs."""
    density, thickest = rng.uniform(0.55, 1.25), np.float32(rng.uniform(0.65, 1.3))
    fraction = np.zeros(canvas.ct_hu.size, np.float32)
    inside = canvas.coverage(lung)
    for hilum in hila:
        tree_rng, cloud_rng = rng.spawn(2)
        starts, ends, radii = _grow_tree(canvas, tree_rng, inside, np.array(hilum))
        _splat(canvas, cloud_rng, fraction, starts, ends, radii * density)
    share = np.minimum(fraction, 1).reshape(inside.shape)
    canvas.blend(share * inside, hu)
    # Annotators differ in which vessels they leave out of the lung.
    np.maximum(lung, (share - thickest) * canvas.edge_mm, out=lung)


def _grow_tree(
    canvas: Canvas, rng: np.random.Generator, inside: np.ndarray, hilum: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends, (N, 3) in mm, and radii, (N,), of branches that fill one lung.

    Every new tip is a random point of the lung, joined to the nearest earlier tip that lies closer to the hilum.
    """
    side = np.sign(hilum[0])
    low, high = hilum - (30, 110, 130), hilum + (30, 110, 150)
    low[0], high[0] = sorted((side * 15, side * 150))
    tips, reach = hilum[None], np.zeros(1)
    starts, ends, radii = [], [], []
    for count, radius in BRANCHES:
        points = rng.uniform(low, high, (count * 6, 3))
        thickness = radius * rng.uniform(0.6, 1.3, count)
        points = points[_lookup(canvas, inside, points) > 0.9][:count]
        distance = np.linalg.norm(points - hilum, axis=1)
        # The first branches end near the hilum, the last ones near the pleura.
        if radius > 2:
            points = hilum + (points - hilum) * (0.35 if radius > 4 else 0.65)
            distance = distance * (0.35 if radius > 4 else 0.65)
        cost = np.linalg.norm(points[:, None] - tips[None], axis=2) + 1000 * (reach[None] > distance[:, None])
        parents = cost.argmin(axis=1)
        starts.append(tips[parents])
        ends.append(points)
        radii.append(thickness[: len(points)])
        tips, reach = np.concatenate([tips, points]), np.concatenate([reach, distance])
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(radii)


def _lookup(canvas: Canvas, values: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Values (X, Y, Z) at the voxels nearest to points (N, 3), 0 outside the grid; returns (N,)."""
    steps = [axis[1] - axis[0] for axis in canvas.axes_mm]
    index = np.rint((points_mm - [axis[0] for axis in canvas.axes_mm]) / steps).astype(int)
    valid = ((index >= 0) & (index < values.shape)).all(axis=1)
    found = np.zeros(len(points_mm), values.dtype)
    found[valid] = values[tuple(index[valid].T)]
    return found


def _splat(
    canvas: Canvas,
    rng: np.random.Generator,
    fraction: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    radii: np.ndarray,
) -> None:
    """Add to `fraction`, flat (X·Y·Z), the volume share of rods, as clouds of points spread over the nearest voxels."""
    steps = np.array([axis[1] - axis[0] for axis in canvas.axes_mm])
    origin, shape = np.array([axis[0] for axis in canvas.axes_mm]), canvas.ct_hu.shape
    count = int(np.clip(60 / steps.min(), 10, 60))
    t = (np.arange(count) + 0.5) / count
    length = np.linalg.norm(ends - starts, axis=1)
    bow = rng.normal(0, 0.12, starts.shape) * length[:, None]
    points = starts[:, None] + t[:, None] * (ends - starts)[:, None] + (4 * t * (1 - t))[:, None] * bow[:, None]
    points += rng.normal(0, 0.45, points.shape) * radii[:, None, None]
    share = np.repeat(np.pi * radii**2 * length / (count * steps.prod()), count)
    position = (points.reshape(-1, 3) - origin) / steps
    base = np.floor(position).astype(int)
    valid = ((base >= 0) & (base < np.array(shape) - 1)).all(axis=1)
    base, part, share = base[valid], (position - base)[valid], share[valid]
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, part, 1 - part).prod(axis=1) * share
        voxel = np.ravel_multi_index((base + corner).T, shape)
        fraction += np.bincount(voxel, weight, fraction.size).astype(np.float32)


def draw_disease(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray) -> None:
    """Tumours, collapsed or filled lung and fluid; all are soft tissue and are carved out of the lungs."""
    chest = lung.copy()
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])):
        _draw_tumour(canvas, anatomy, rng, lung, chest)
    if chance(rng, 0.2):
        _draw_effusion(canvas, anatomy, rng, lung, chest)


def _draw_tumour(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray, chest: np.ndarray) -> None:
    side, radius_mm = rng.choice([-1, 1]), float(np.clip(rng.gamma(2, 8), 5, 48))
    center_mm = (
        side * rng.uniform(0.2, 0.95) * anatomy.cage_half_width,
        anatomy.cage_center_y + rng.uniform(-0.75, 0.6) * anatomy.cage_half_depth,
        rng.uniform(anatomy.dome_z - 15, anatomy.apex_z - 10),
    )
    for _ in range(rng.integers(1, 4)):
        offset = rng.normal(0, 0.5 * radius_mm, 3)
        center = (center_mm[0] + offset[0], center_mm[1] + offset[1], center_mm[2] + offset[2])
        semi = (radius_mm * rng.uniform(0.7, 1.3), radius_mm * rng.uniform(0.7, 1.3), radius_mm)
        lump = Ellipsoid(center, semi, rng.uniform(0, 3))
        canvas.paint_within(lump, chest, rng.uniform(15, 65))
        canvas.carve(lung, lump)


def _draw_effusion(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray, chest: np.ndarray) -> None:
    """Fluid that gathers at the back and the base of one lung."""
    side, slope = rng.choice([-1, 1]), rng.uniform(0.1, 0.7)
    level = rng.uniform(-0.95, -0.4) * anatomy.cage_half_depth
    top = canvas.y_mm - anatomy.center_y(canvas.z_mm) - level + slope * (canvas.z_mm - anatomy.dome_z)
    fluid = np.maximum(np.maximum(top, chest), -side * canvas.x_mm)
    canvas.paint(fluid, rng.uniform(-5, 30))
    np.maximum(lung, -np.maximum(top, -side * canvas.x_mm), out=lung)
