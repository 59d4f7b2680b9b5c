"""Organs between and below the lungs: mediastinal fat, heart, great vessels, airways, liver, spleen and gut gas."""

import numpy as np

from lungseg_train.phantoms.anatomy import Anatomy, chance
from lungseg_train.phantoms.canvas import Canvas, Ellipsoid, Point, Tube, smooth_noise
from lungseg_train.phantoms.torso import FAT_HU


def draw_interior(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, cage: np.ndarray, below: np.ndarray) -> None:
    """Fill the cage with a mix of fat and soft tissue, then the abdomen below the diaphragm."""
    mix = smooth_noise(rng, canvas.axes_mm, 16)
    leanness = rng.uniform(-0.9, 1.2)
    tissue_hu = np.clip(-30 + 75 * (mix + leanness), FAT_HU, anatomy.soft_hu)
    canvas.paint(cage + 1, tissue_hu)
    abdomen = np.maximum(cage + 1, below)
    liver = np.maximum(abdomen, -canvas.x_mm - rng.uniform(20, 70) + 12 * smooth_noise(rng, canvas.axes_mm, 40))
    liver = np.maximum(liver, anatomy.dome_z - rng.uniform(110, 190) - canvas.z_mm)
    canvas.paint(liver, anatomy.soft_hu + rng.uniform(0, 0.25) * anatomy.blood_hu)
    half_width, half_depth = anatomy.cage_half_width, anatomy.cage_half_depth
    under_left: Point = (
        -0.55 * half_width,
        anatomy.cage_center_y - 0.35 * half_depth,
        anatomy.dome_z - rng.uniform(55, 80),
    )
    canvas.paint_within(Ellipsoid(under_left, (35, 45, 48)), abdomen, anatomy.soft_hu + 0.3 * anatomy.blood_hu)
    for _ in range(rng.integers(0, 7)):
        _draw_gas(canvas, anatomy, rng, abdomen)


def _draw_gas(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, abdomen: np.ndarray) -> None:
    """One gas-filled loop of gut or stomach with its wall and, below the gas, fluid."""
    center_mm = (
        rng.uniform(-0.8, 0.35) * anatomy.cage_half_width,
        anatomy.cage_center_y + rng.uniform(-0.1, 0.75) * anatomy.cage_half_depth,
        anatomy.dome_z - rng.uniform(15, 120),
    )
    size_mm = rng.uniform(6, 38)
    semi_mm = (size_mm * rng.uniform(0.7, 1.6), size_mm * rng.uniform(0.7, 1.2), size_mm * rng.uniform(0.7, 1.2))
    turn = rng.uniform(0, 3)
    wall_mm = (semi_mm[0] + 4, semi_mm[1] + 4, semi_mm[2] + 4)
    canvas.paint_within(Ellipsoid(center_mm, wall_mm, turn), abdomen, 40)
    gas = Ellipsoid(center_mm, semi_mm, turn)
    window = canvas.window(gas)
    fluid_level = center_mm[1] + rng.uniform(-1.2, 0.5) * semi_mm[1] - canvas.y_mm[window]
    inside = np.maximum(canvas.distance_mm(gas, window), abdomen[window] + 4)
    canvas.paint(np.maximum(inside, fluid_level), rng.uniform(-1000, -850), window)


def draw_heart(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray) -> None:
    """Paint heart and great vessels and carve them out of the lungs."""
    size = rng.uniform(0.78, 1.14) * anatomy.cage_half_width / 128
    center = (
        -rng.uniform(12, 36) * size,
        anatomy.cage_center_y + rng.uniform(0.2, 0.45) * anatomy.cage_half_depth,
        anatomy.dome_z + rng.uniform(15, 38),
    )
    semi = (66 * size, 50 * size, rng.uniform(48, 66) * size)
    turn = rng.uniform(0.2, 0.75)
    for shape, margin in (
        (Ellipsoid(center, semi, turn), rng.uniform(1, 5)),
        (Ellipsoid((24 * size, center[1] - 6, center[2] + 12), (32 * size, 36 * size, 48 * size)), 2),
    ):
        canvas.carve(lung, shape, margin)
        canvas.paint_shape(shape, anatomy.soft_hu + 0.35 * (anatomy.blood_hu - anatomy.soft_hu))
    for offset in ((-20, 8, -8), (18, -4, 6), (-2, -20, 10)):
        chamber = (center[0] + size * offset[0], center[1] + size * offset[1], center[2] + size * offset[2])
        semi_mm = (22 * size, 20 * size, 26 * size)
        canvas.paint_shape(Ellipsoid(chamber, semi_mm, turn), anatomy.blood_hu * rng.uniform(0.75, 1.1))
    _draw_great_vessels(canvas, anatomy, rng, lung)


def _draw_great_vessels(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray) -> None:
    carina, aorta_mm = anatomy.carina_z, rng.uniform(10, 16)
    center_y = float(anatomy.center_y(np.array(carina)))
    spine_low, spine_high = (float(anatomy.spine_y(np.array(z))) for z in (anatomy.dome_z - 120, carina))
    arch_z = carina + rng.uniform(12, 30)
    down = (-24, spine_high + 22, arch_z)
    arch = (-6, center_y + 18, arch_z + 8)
    vessels = [
        Tube(down, (-16, spine_low + 30, anatomy.dome_z - 120), aorta_mm, aorta_mm * 0.85),
        Tube(arch, down, aorta_mm, aorta_mm),
        Tube((8, center_y + 22, anatomy.dome_z + 55), arch, aorta_mm + 3, aorta_mm),
        Tube((24, center_y + 12, anatomy.dome_z + 60), (18, center_y + 14, anatomy.apex_z - 10), 10, 8),
    ]
    for side in (-1, 1):
        vessels.append(Tube((side * 6, center_y + 12, arch_z), (side * 28, center_y + 10, anatomy.apex_z + 20), 8, 6))
    for vessel in vessels:
        canvas.carve(lung, vessel, 2)
        canvas.paint_shape(vessel, anatomy.blood_hu)


def hila_mm(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Point, Point]:
    """Where vessels and bronchi enter the right and the left lung."""
    y_mm = float(anatomy.center_y(np.array(anatomy.carina_z))) - rng.uniform(2, 14)
    below_mm = rng.uniform(18, 34)
    right = (rng.uniform(38, 50), y_mm, anatomy.carina_z - below_mm)
    return right, (-rng.uniform(42, 54), y_mm - rng.uniform(0, 8), anatomy.carina_z - below_mm - rng.uniform(-8, 8))


def draw_hila(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray, hila: tuple[Point, Point]) -> None:
    """Paint the stems of the pulmonary vessels and carve them out of the lungs."""
    for x_mm, y_mm, z_mm in hila:
        side = np.sign(x_mm)
        root = (side * 10, y_mm + 8, z_mm + 6)
        for _ in range(rng.integers(3, 6)):
            tip = (x_mm + side * rng.uniform(-4, 16), y_mm + rng.uniform(-22, 26), z_mm + rng.uniform(-34, 22))
            stem = Tube(root, tip, rng.uniform(9, 13), rng.uniform(4, 8))
            canvas.carve(lung, stem, 0.5)
            canvas.paint_shape(stem, anatomy.blood_hu)


def draw_airways(
    canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray, hila: tuple[Point, Point]
) -> None:
    """Trachea, main and lower bronchi and sometimes gas in the oesophagus; all are carved out of the lungs."""
    radius_mm, wall_mm = rng.uniform(7, 11.5), rng.uniform(1.5, 3)
    center_y = float(anatomy.center_y(np.array(anatomy.carina_z)))
    carina = (rng.normal(2, 3), center_y - rng.uniform(4, 16), anatomy.carina_z)
    throat = (rng.normal(0, 4), carina[1] + anatomy.hunch * 0.6 + rng.uniform(0, 16), anatomy.apex_z + 110)
    airways = [Tube(carina, throat, radius_mm, radius_mm)]
    for hilum in hila:
        airways.append(Tube(carina, hilum, 0.8 * radius_mm, 0.65 * radius_mm))
        lower = (hilum[0] * rng.uniform(1.05, 1.3), hilum[1] - rng.uniform(8, 25), hilum[2] - rng.uniform(20, 40))
        airways.append(Tube(hilum, lower, 0.6 * radius_mm, 0.3 * radius_mm))
    for airway in airways:
        thick = Tube(airway.start_mm, airway.end_mm, airway.start_radius_mm + wall_mm, airway.end_radius_mm + wall_mm)
        canvas.carve(lung, thick)
        canvas.paint_shape(thick, 20)
    air_hu = rng.uniform(-1000, -930)
    for airway in airways:
        canvas.paint_shape(airway, air_hu)
    if chance(rng, 0.3):
        height = rng.uniform(anatomy.dome_z, anatomy.apex_z)
        gullet_y = float(anatomy.spine_y(np.array(height))) + 28
        canvas.paint_shape(Ellipsoid((-6, gullet_y, height), (5, 4, rng.uniform(10, 40))), -800)
