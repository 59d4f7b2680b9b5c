"""The shape of the lungs: the chest cage less diaphragm, heart and mediastinum."""

import numpy as np

from lungseg_train.phantoms.anatomy import Anatomy
from lungseg_train.phantoms.canvas import Canvas, smooth_noise


def diaphragm_mm(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Signed distance, negative below the diaphragm, (X, Y, Z)."""
    x_mm, y_mm = (canvas.axes_mm[0][:, None], canvas.axes_mm[1][None, :] - anatomy.cage_center_y)
    right, left = (_dome_z(x_mm * side, y_mm, anatomy, rng) for side in (1, -1))
    left -= rng.normal(10, 9)
    surface_z = np.where(x_mm > 0, right, left) + smooth_noise(rng, canvas.axes_mm[:2], 45) * rng.uniform(1.5, 4.5)
    surface_z = surface_z.astype(np.float32)
    steps_mm = [float(axis[1] - axis[0]) for axis in canvas.axes_mm[:2]]
    slope_x, slope_y = np.gradient(surface_z, *steps_mm)
    slant = np.sqrt(1 + np.minimum(slope_x**2 + slope_y**2, 9))
    return (canvas.z_mm - surface_z[..., None]) / slant[..., None]


def _dome_z(outward_mm: np.ndarray, y_mm: np.ndarray, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Height of one dome over the plane, (X, Y); `outward_mm` grows from the midline to that side."""
    peak_y, peak_x = (rng.uniform(0, 0.35) * anatomy.cage_half_depth, rng.uniform(0.4, 0.6) * anatomy.cage_half_width)
    behind = np.clip((peak_y - y_mm) / (peak_y + anatomy.cage_half_depth), 0, 1.3)
    ahead = np.clip((y_mm - peak_y) / (anatomy.cage_half_depth - peak_y), 0, 1.3)
    outside = np.clip((outward_mm - peak_x) / (anatomy.cage_half_width - peak_x), 0, 1.3)
    inside = np.clip((peak_x - outward_mm) / peak_x, 0, 1)
    return (
        anatomy.dome_z
        - rng.uniform(60, 115) * behind ** rng.uniform(1.8, 3)
        - rng.uniform(5, 45) * ahead ** rng.uniform(1.8, 3)
        - rng.uniform(20, 65) * outside ** rng.uniform(2, 3.2)
        - rng.uniform(0, 18) * inside**2
    )


def lung_solid_mm(
    canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray, diaphragm: np.ndarray
) -> np.ndarray:
    """Signed distance from the surface of both lungs before heart and vessels are carved out, (X, Y, Z)."""
    rise = np.clip(anatomy.rise(canvas.z_mm), 0, 0.999)
    closing = (1 - rise ** rng.uniform(1.8, 2.5)) ** rng.uniform(0.5, 0.62)
    outward = np.abs(canvas.x_mm)
    tip_x = rng.uniform(0.36, 0.44) * anatomy.cage_half_width
    half_width = (0.72 * anatomy.cage_half_width * closing).astype(np.float32)
    half_depth = (1.25 * anatomy.cage_half_depth * closing).astype(np.float32)
    tip_y = anatomy.center_y(canvas.z_mm) - np.float32(rng.uniform(0, 12)) * rise
    u, v = (outward - tip_x) / half_width, (canvas.y_mm - tip_y) / half_depth
    tip = (np.sqrt(u * u + v * v) - 1) * half_width
    tip = np.maximum(tip, canvas.z_mm - anatomy.apex_z)
    lung = np.maximum(np.maximum(cage, tip), -diaphragm)
    np.maximum(lung, _mediastinum_mm(canvas, anatomy, rng), out=lung)
    return lung + smooth_noise(rng, canvas.axes_mm, 24) * np.float32(rng.uniform(0.5, 1.6))


def _mediastinum_mm(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Positive inside the tissue between the lungs, (X, Y, Z): septum, vessels above, fat before the heart, spine."""
    rise = anatomy.rise(canvas.z_mm)
    y_mm = canvas.y_mm - anatomy.center_y(canvas.z_mm)
    x_mm = canvas.x_mm - np.float32(rng.normal(-3, 5))
    septum = np.float32(rng.uniform(2, 9)) - np.abs(x_mm)
    upper = np.clip((rise - 0.3) / 0.35, 0, 1)
    width = (rng.uniform(12, 18) + rng.uniform(14, 26) * upper).astype(np.float32)
    depth = np.float32(rng.uniform(0.5, 0.72) * anatomy.cage_half_depth)
    vessels = width - np.sqrt(x_mm**2 + ((y_mm - rng.uniform(-8, 10)) * (width / depth)) ** 2)
    spine_y = canvas.y_mm - anatomy.spine_y(canvas.z_mm)
    spine = np.float32(rng.uniform(21, 27)) - np.sqrt(canvas.x_mm**2 + spine_y**2)
    front = np.float32(rng.uniform(10, 42)) * (1 - upper) - np.abs(x_mm + 14)
    front = np.minimum(front, 0.7 * (y_mm - 0.3 * anatomy.cage_half_depth) - 0.4 * np.abs(x_mm + 14))
    behind = np.float32(rng.uniform(19, 27)) - np.sqrt((x_mm + 6) ** 2 + (0.65 * (spine_y - 24)) ** 2)
    return np.max(np.broadcast_arrays(septum, vessels, front, spine, behind), axis=0)
