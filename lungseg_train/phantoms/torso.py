"""Everything around the organs: skin, fat, muscle, bones, breasts, arms and the table below."""

import numpy as np

from lungseg_train.phantoms.anatomy import Anatomy, chance
from lungseg_train.phantoms.canvas import Canvas, Ellipsoid, Tube, smooth_noise, superellipse_mm

FAT_HU = -100.0


def cage_mm(canvas: Canvas, anatomy: Anatomy) -> np.ndarray:
    """Signed distance from the inner chest wall, open above and below, (X, Y, Z)."""
    rise = np.clip(anatomy.rise(canvas.z_mm), -1.2, 1.1)
    half_width = anatomy.cage_half_width * (1 - anatomy.taper * np.where(rise > 0, rise**2, 0.08 * rise**2))
    half_depth = anatomy.cage_half_depth * (1 - 0.36 * np.where(rise > 0, rise**2, 0.1 * rise**2))
    v_mm = canvas.y_mm - anatomy.center_y(canvas.z_mm)
    return superellipse_mm(canvas.x_mm, v_mm, half_width.astype("f4"), half_depth.astype("f4"), anatomy.cage_power)


def draw_table(canvas: Canvas, rng: np.random.Generator, back_y_mm: float) -> None:
    """A mattress and a board, flat or curved, that run the whole length of the scan."""
    if chance(rng, 0.1):
        return
    x_mm, y_mm = canvas.axes_mm[0][:, None, None], canvas.axes_mm[1][None, :, None]
    sag = rng.uniform(0.0003, 0.0025) if chance(rng, 0.5) else 0.0
    depth_mm = back_y_mm - rng.uniform(0, 14) + sag * x_mm**2 - y_mm
    pad_mm, pad_hu = rng.uniform(4, 30), rng.uniform(-985, -880)
    board_mm, board_hu = rng.uniform(1.5, 6), rng.uniform(-800, 100)
    core_mm, core_hu = rng.uniform(10, 50), rng.uniform(-990, -900)
    sides = np.abs(x_mm) - rng.uniform(170, 270)
    # A curved table would otherwise cut through the flanks.
    air = canvas.ct_hu < -600
    top_mm = 0.0
    for thick_mm, hu in ((pad_mm, pad_hu), (board_mm, board_hu), (core_mm, core_hu), (board_mm, board_hu)):
        layer = np.maximum(np.abs(depth_mm - top_mm - thick_mm / 2) - thick_mm / 2, sides)
        canvas.blend(canvas.coverage(layer) * air, hu)
        top_mm += thick_mm


def draw_torso(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray) -> tuple[np.ndarray, float]:
    """Paint skin, fat and muscle; returns the signed distance from the skin, (X, Y, Z), and the Y of the back."""
    fat_mm = float(np.clip(rng.gamma(2.4, 7.5), 3, 50))
    wall_mm = rng.uniform(17, 27)
    rise = anatomy.rise(canvas.z_mm)
    shoulder = np.clip((rise - 0.3) / 0.6, 0, 1) ** 2
    neck = np.clip((canvas.z_mm - anatomy.apex_z - rng.uniform(0, 40)) / rng.uniform(60, 110), 0, 1)
    broad_mm = rng.uniform(15, 80)
    half_width = anatomy.cage_half_width + wall_mm + 6 + 0.9 * fat_mm + broad_mm * shoulder
    half_width = half_width - (half_width - 65) * neck**1.5
    front = anatomy.cage_half_depth + 12 + 0.8 * fat_mm - 42 * np.clip(rise - 0.4, 0, 1.2) ** 1.5
    front = front + rng.uniform(-18, 0.9 * fat_mm + 6) * np.clip(-rise, 0, 1)
    back = anatomy.cage_half_depth + wall_mm + rng.uniform(10, 20) + 0.6 * fat_mm - 14 * np.clip(rise - 0.6, 0, 1)
    y_mm = canvas.y_mm - anatomy.center_y(canvas.z_mm)
    body = np.where(
        y_mm > 0,
        superellipse_mm(canvas.x_mm, y_mm, half_width.astype("f4"), front.astype("f4"), rng.uniform(2.0, 2.6)),
        superellipse_mm(canvas.x_mm, y_mm, half_width.astype("f4"), back.astype("f4"), rng.uniform(2.5, 3.6)),
    )
    canvas.paint(body, FAT_HU + rng.uniform(-12, 12))
    _draw_breasts(canvas, anatomy, rng, float(front.max()), fat_mm)
    _draw_arms(canvas, anatomy, rng, float(half_width.max()))
    streaks = smooth_noise(rng, canvas.axes_mm, 17) * 4
    muscle = np.maximum(np.minimum(cage - 0.75 * wall_mm, body + 2 * fat_mm + 10 * shoulder), body + fat_mm) + streaks
    canvas.paint(np.maximum(muscle, body + 3), rng.uniform(30, 62))
    return body, anatomy.cage_center_y - float(back.max())


def _draw_breasts(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, front_mm: float, fat_mm: float) -> None:
    if not chance(rng, 0.35):
        return
    z_mm, aside_mm = anatomy.dome_z + rng.uniform(15, 70), rng.uniform(58, 85)
    semi_mm = (rng.uniform(45, 65), rng.uniform(18, 45), rng.uniform(45, 70))
    gland_hu = rng.uniform(-90, 40)
    for side in (-1, 1):
        center_mm = (side * aside_mm, anatomy.cage_center_y + front_mm * 0.82, z_mm + rng.normal(0, 4))
        canvas.paint_shape(Ellipsoid(center_mm, semi_mm), FAT_HU)
        gland_mm = (0.5 * semi_mm[0], 0.5 * semi_mm[1], 0.5 * semi_mm[2])
        canvas.paint_shape(Ellipsoid((center_mm[0], center_mm[1] + 8, center_mm[2]), gland_mm), gland_hu)


def _draw_arms(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, half_width_mm: float) -> None:
    if not chance(rng, 0.2):
        return
    radius_mm, gap_mm = rng.uniform(32, 46), rng.uniform(0, 15)
    for side in (-1, 1):
        x_mm = side * (half_width_mm + gap_mm + radius_mm)
        start = (x_mm, -10.0, anatomy.apex_z)
        end = (x_mm * 1.04, -25.0, anatomy.dome_z - 200)
        canvas.paint_shape(Tube(start, end, radius_mm + 8, radius_mm), FAT_HU)
        canvas.paint_shape(Tube(start, end, radius_mm - 2, radius_mm - 10), 50)
        canvas.paint_shape(Tube(start, end, 12, 9), 700)


def draw_bones(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray, body: np.ndarray) -> None:
    strength = rng.uniform(0.6, 1.3)
    _draw_ribs(canvas, anatomy, rng, cage, 420 * strength)
    _draw_spine(canvas, anatomy, rng, 200 * strength)
    top_y = float(anatomy.center_y(np.array(anatomy.apex_z))) + 0.62 * anatomy.cage_half_depth
    sternum = Tube(
        (0, top_y + 8, anatomy.apex_z - rng.uniform(25, 45)),
        (0, anatomy.cage_center_y + anatomy.cage_half_depth + 4, anatomy.dome_z + rng.uniform(-10, 25)),
        11,
        9,
    )
    canvas.paint_shape(sternum, 190 * strength)
    for side in (-1, 1):
        medial = (side * 20, top_y + 6, anatomy.apex_z - rng.uniform(10, 35))
        lateral = (side * rng.uniform(135, 175), top_y - rng.uniform(30, 70), anatomy.apex_z + rng.uniform(-15, 40))
        canvas.paint_shape(Tube(medial, lateral, 8, 7), 480 * strength)
        head = (lateral[0] * 1.04, lateral[1] - 20, lateral[2] - 20)
        canvas.paint_shape(Ellipsoid(head, (25, 24, 26)), 260 * strength)
    _draw_scapulae(canvas, anatomy, rng, cage, body, 420 * strength)


def _draw_ribs(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray, hu: float) -> None:
    pitch_mm = anatomy.height / rng.uniform(5.6, 7.2)
    along = canvas.z_mm + rng.uniform(0.35, 0.75) * canvas.y_mm - rng.uniform(0, 0.2) * np.abs(canvas.x_mm)
    stripe = np.abs((along / pitch_mm + rng.uniform()) % 1 - 0.5) * pitch_mm - rng.uniform(5, 7.5)
    ribs = np.maximum(np.abs(cage - 8) - rng.uniform(3.2, 4.6), stripe)
    ends = np.maximum(canvas.z_mm - anatomy.apex_z - 8, anatomy.dome_z - 75 + 0.6 * canvas.y_mm - canvas.z_mm)
    # Ribs turn to cartilage, less dense, towards the sternum.
    bony = np.clip((0.7 * anatomy.cage_half_depth - canvas.y_mm) / 25, 0.25, 1)
    canvas.paint(np.maximum(ribs, ends), hu * bony)


def _draw_spine(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, hu: float) -> None:
    y_mm = canvas.y_mm - anatomy.spine_y(canvas.z_mm)
    x_mm = canvas.x_mm - rng.normal(0, 4) * np.sin(canvas.z_mm / 60 + rng.uniform(0, 6))
    radius_mm = np.float32(rng.uniform(16, 20)) - 4 * np.clip(anatomy.rise(canvas.z_mm), -0.5, 1.2)
    middle = slice(*np.searchsorted(canvas.axes_mm[0], (-90, 90)))
    x_mm, y_mm, window = x_mm[middle], y_mm[middle], (middle, slice(None), slice(None))
    body = np.sqrt(x_mm**2 + (1.15 * y_mm) ** 2) - radius_mm
    discs = np.abs((canvas.z_mm / rng.uniform(20, 27)) % 1 - 0.5) < 0.13
    canvas.paint(body, hu + rng.uniform(60, 160) * ~discs, window)
    arch = np.abs(np.sqrt(x_mm**2 + (y_mm + 27) ** 2) - 12) - 3.5
    process = np.maximum(np.abs(x_mm) - 4, np.abs(y_mm + 46) - 14)
    wings = np.maximum(np.abs(y_mm + 22) - 5, np.abs(x_mm) - 32)
    rhythm = 5 * np.cos(canvas.z_mm * np.float32(2 * np.pi / 26)) - 1
    canvas.paint(np.minimum(arch, np.minimum(process, wings) - rhythm), 1.6 * hu, window)


def _draw_scapulae(
    canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray, body: np.ndarray, hu: float
) -> None:
    inner_mm, tilt = rng.uniform(60, 95), rng.uniform(0.1, 0.35)
    outward = np.abs(canvas.x_mm)
    blade = np.maximum(np.abs(cage - 22 - tilt * (outward - inner_mm)) - 3, body + 6)
    extent = np.maximum(np.abs(outward - inner_mm - 40) - 40, canvas.y_mm - anatomy.cage_center_y + 12)
    low_mm, high_mm = anatomy.dome_z + rng.uniform(20, 70), anatomy.apex_z + 15
    length = np.maximum(low_mm - canvas.z_mm, canvas.z_mm - high_mm)
    canvas.paint(np.maximum(blade, np.maximum(extent, length)), hu)
