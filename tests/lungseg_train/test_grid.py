"""The training grid: known answers, the way back, and agreement with files made independently."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg_train.scans.grid import covering_grid, resample_ct, resample_mask, to_scan, training_grid
from lungseg_train.scans.nifti_file import read_nifti
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header


def _scan(array: np.ndarray, spacing_mm: tuple[float, float, float], origin: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return in_canonical_orientation(array, affine, new_header(affine))


def _block(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """Air with a block of water."""
    array = np.full(shape, -1000.0, np.float32)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 0.0
    return array


def test_the_grid_is_centred_on_the_body_across_and_on_the_scan_along() -> None:
    ct = _scan(_block((60, 50, 40), (10, 20, 5), (30, 44, 9)), (2.0, 2.0, 3.0))
    grid = training_grid(ct, (16, 16, 16), (8.0, 8.0, 8.0))
    centre = grid.affine(ct) @ [7.5, 7.5, 7.5, 1.0]
    np.testing.assert_allclose(centre[:3], [19.5 * 2, 31.5 * 2, 19.5 * 3])


def test_a_sheet_of_cloth_beside_the_body_does_not_move_the_grid() -> None:
    body = _block((60, 50, 40), (10, 20, 5), (30, 44, 35))
    cloth = body.copy()
    cloth[50, 5:45, :] = 0.0
    grids = [training_grid(_scan(array, (2.0, 2.0, 3.0)), (16, 16, 16), (8.0,) * 3) for array in (body, cloth)]
    assert grids[0] == grids[1]


def test_a_linear_ramp_stays_the_same_ramp() -> None:
    x, y, z = np.meshgrid(np.arange(80), np.arange(80), np.arange(60), indexing="ij")
    ramp = (-900.0 + 3.0 * x + 5.0 * y + 2.0 * z).astype(np.float32)
    ct = _scan(ramp, (1.0, 1.0, 2.0))
    grid = training_grid(ct, (8, 8, 8), (5.0, 5.0, 5.0))
    affine = grid.affine(ct)
    places = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    expected = -900.0 + places @ [3.0, 5.0, 1.0]
    inside = ((places > 6.0) & (places < [73.0, 73.0, 112.0])).all(axis=-1)
    assert inside.sum() > 200
    np.testing.assert_allclose(resample_ct(ct, grid)[inside], expected[inside], atol=0.05)


def test_outside_of_the_scan_is_air_without_lung() -> None:
    ct = _scan(np.full((10, 10, 10), 40.0, np.float32), (5.0, 5.0, 5.0))
    grid = training_grid(ct, (16, 16, 16), (5.0, 5.0, 5.0))
    small, lungs = resample_ct(ct, grid), resample_mask(np.ones((10, 10, 10)), ct, grid)
    assert small.shape == lungs.shape == (16, 16, 16)
    assert (small[0] == -1000.0).all() and small[8, 8, 8] == pytest.approx(40.0, abs=0.01)
    assert lungs.sum() == 10**3


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.7, 3.0), (2.0, 2.5, 10.0)])
def test_the_volume_of_a_ball_survives_there_and_back(spacing_mm: tuple[float, float, float]) -> None:
    shape = tuple(int(160 / mm) for mm in spacing_mm)
    places = np.stack(np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, spacing_mm, strict=True)), indexing="ij"), -1)
    centre = (np.array(shape) - 1) / 2 * spacing_mm
    ball = np.linalg.norm(places - centre, axis=-1) < 50.0
    ct = _scan(np.where(ball, 0.0, -1000.0), spacing_mm)
    grid = training_grid(ct, (40, 40, 40), (4.0, 4.0, 4.0))
    expected_ml = 4 / 3 * np.pi * 5.0**3
    small = resample_mask(ball, ct, grid)
    assert small.sum() * 0.064 == pytest.approx(expected_ml, rel=0.02)
    back = to_scan(small, grid, ct) >= 0.5
    assert back.shape == ball.shape
    assert 2 * np.count_nonzero(back & ball) / (back.sum() + ball.sum()) > 0.95


@settings(deadline=None, max_examples=25)
@given(st.tuples(st.integers(4, 40), st.integers(4, 40), st.integers(4, 40)), st.integers(1, 9), st.integers(1, 9))
def test_any_scan_fits_any_grid(shape: tuple[int, int, int], fine: int, coarse: int) -> None:
    rng = np.random.default_rng(0)
    ct = _scan(rng.uniform(-1000, 500, shape).astype(np.float32), (float(fine), float(fine), 2.0))
    grid = training_grid(ct, (16, 8, 8), (float(coarse),) * 3)
    small = resample_ct(ct, grid)
    assert small.shape == (16, 8, 8) and small.dtype == np.float32
    # Weights that add up to at most one cannot leave the range of the values.
    assert small.min() >= -1000.001 and small.max() <= ct.array.max() + 0.001
    back = to_scan(np.ones(grid.shape, np.float32), grid, ct)
    assert back.shape == shape and set(np.unique(np.round(back, 4))) <= {0.0, 1.0}


def test_a_long_scan_makes_the_grid_longer_in_whole_steps_and_never_shorter() -> None:
    long = _scan(np.full((20, 20, 100), -1000.0, np.float32), (5.0, 5.0, 5.0))
    short = _scan(np.full((20, 20, 10), -1000.0, np.float32), (5.0, 5.0, 5.0))
    assert covering_grid(long, (16, 16, 16), (5.0, 5.0, 5.0), 8).shape == (16, 16, 104)
    assert covering_grid(short, (16, 16, 16), (5.0, 5.0, 5.0), 8) == training_grid(short, (16, 16, 16), (5.0, 5.0, 5.0))


def test_a_real_native_scan_becomes_the_files_made_of_it_elsewhere(real_cases: Path) -> None:
    native, small = real_cases.parent / "lctsc_native" / "S1-201", real_cases / "S1-201"
    if not native.is_dir():
        pytest.skip("no native scan beside the real cases")
    ct, lungs = read_nifti(native / "ct.nii.gz"), read_nifti(native / "lung.nii.gz")
    expected_ct, expected = read_nifti(small / "ct.nii.gz"), read_nifti(small / "lung.nii.gz").array > 0
    grid = training_grid(ct, (64, 64, 64), (5.0, 5.0, 5.0))
    np.testing.assert_allclose(grid.affine(ct), expected_ct.affine, atol=0.01)
    mask = resample_mask(lungs.array, ct, grid) > 0
    dice = 2 * np.count_nonzero(mask & expected) / (mask.sum() + expected.sum())
    difference = np.abs(resample_ct(ct, grid) - expected_ct.array)[expected_ct.array > -300].mean()
    print(f"native S1-201 at 64^3, 5 mm: mask Dice {dice:.4f}, CT differs by {difference:.2f} HU inside of the body")
    assert dice >= 0.99 and difference <= 15.0
