"""Synthetic thorax CTs with lung masks, as varied as patients and scanners are."""

import numpy as np

from lungseg_train.phantoms.anatomy import sample_anatomy
from lungseg_train.phantoms.canvas import Canvas, smooth_noise
from lungseg_train.phantoms.lungs import diaphragm_mm, lung_solid_mm
from lungseg_train.phantoms.organs import draw_airways, draw_heart, draw_hila, draw_interior, hila_mm
from lungseg_train.phantoms.parenchyma import draw_disease, draw_vessels, tissue_hu
from lungseg_train.phantoms.scanner import frame, scan
from lungseg_train.phantoms.torso import cage_mm, draw_bones, draw_table, draw_torso

PHANTOM_VERSION = 2
"""Raise it whenever the same seed gives another phantom: caches depend on it."""

COARSEST_STEP_MM = 6.0
"""Coarser grids are drawn on a finer one and averaged, or thin walls and vessels would vanish."""


def make_phantom(
    seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """One synthetic patient: CT, int16 HU, and lung mask, uint8 0/1, both of `shape` with RAS+ axes.

    The patient is drawn in millimetres around the centre of the grid, so one seed is one patient on any grid.
    """
    patient_rng, scanner_rng, frame_rng = np.random.default_rng(seed).spawn(3)
    finer = [int(np.ceil(step / COARSEST_STEP_MM)) for step in spacing_mm]
    axes_mm = [axis_mm(n * k, step / k) for n, k, step in zip(shape, finer, spacing_mm, strict=True)]
    canvas = _blank_canvas(patient_rng, (axes_mm[0], axes_mm[1], axes_mm[2]))
    lung = draw_patient(canvas, patient_rng)
    ct_hu = average_blocks(canvas.ct_hu, finer)
    # Outlines drawn by hand lie a little outside of the half intensity.
    outline_mm = scanner_rng.uniform(0, 1.2)
    mask = (average_blocks(canvas.coverage(lung - outline_mm), finer) >= 0.5).astype(np.uint8)
    grid_mm = tuple(axis_mm(n, step) for n, step in zip(shape, spacing_mm, strict=True))
    ct_hu = scan(ct_hu, grid_mm, scanner_rng)
    frame(ct_hu, mask, grid_mm, frame_rng)
    return np.rint(np.clip(ct_hu, -2048, 3071)).astype(np.int16), mask


def draw_patient(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Paint one patient from the outside inwards; returns the signed distance from the lungs' surface, (X, Y, Z)."""
    anatomy = sample_anatomy(rng)
    cage = cage_mm(canvas, anatomy)
    diaphragm = diaphragm_mm(canvas, anatomy, rng)
    table_rng, rng = rng.spawn(2)
    body, back_y = draw_torso(canvas, anatomy, rng, cage)
    draw_table(canvas, table_rng, back_y)
    draw_interior(canvas, anatomy, rng, cage, diaphragm + 2)
    draw_bones(canvas, anatomy, rng, cage, body)
    lung = lung_solid_mm(canvas, anatomy, rng, cage, diaphragm)
    draw_heart(canvas, anatomy, rng, lung)
    hila = hila_mm(anatomy, rng)
    draw_hila(canvas, anatomy, rng, lung, hila)
    draw_disease(canvas, anatomy, rng, lung)
    canvas.paint(lung, tissue_hu(canvas, anatomy, rng))
    # How many numbers the vessels draw depends on the grid, and what follows must not.
    draw_vessels(canvas, rng.spawn(1)[0], lung, hila, anatomy.blood_hu)
    draw_airways(canvas, anatomy, rng, lung, hila)
    return lung


def _blank_canvas(rng: np.random.Generator, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Canvas:
    """Air, seen in coordinates that are shifted, turned and bent a little."""
    x_mm, y_mm, z_mm = np.meshgrid(*axes_mm, indexing="ij", sparse=True)
    roll, lean = np.float32(rng.normal(0, 0.05)), np.float32(rng.normal(0, 0.04))
    bend_mm = np.float32(rng.uniform(2, 4.5))
    x_mm = x_mm - np.float32(rng.normal(0, 6))
    bent_x = x_mm + roll * y_mm + lean * z_mm + bend_mm * smooth_noise(rng, axes_mm, 60)
    bent_y = y_mm - roll * x_mm + bend_mm * smooth_noise(rng, axes_mm, 60)
    edge_mm = float(np.mean([axis[1] - axis[0] for axis in axes_mm]))
    return Canvas(np.full(bent_x.shape, -1000, np.float32), axes_mm, bent_x, bent_y, z_mm, edge_mm)


def axis_mm(count: int, step_mm: float) -> np.ndarray:
    return ((np.arange(count) - (count - 1) / 2) * step_mm).astype(np.float32)


def average_blocks(values: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Mean over blocks of sizes[0] x sizes[1] x sizes[2] voxels."""
    for axis, size in enumerate(sizes):
        if size > 1:
            split = (*values.shape[:axis], -1, size, *values.shape[axis + 1 :])
            values = values.reshape(split).mean(axis=axis + 1)
    return values
