from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg_train.augmentation.augment import augment, case_rng
from lungseg_train.augmentation.spatial import PLANES, Spatial, draw_spatial, resample
from lungseg_train.augmentation.warp import bspline_basis
from lungseg_train.config import TrainConfig

PROBABILITIES = [field.name for field in fields(TrainConfig) if field.name.startswith("p_")]
NEVER = TrainConfig(**dict.fromkeys(PROBABILITIES, 0.0))
ALWAYS = TrainConfig(**dict.fromkeys(PROBABILITIES, 1.0))
WHOLE_VOXELS = replace(NEVER, p_flip=0.5, p_rot90=0.5, p_shift=1.0)
SPATIAL = replace(WHOLE_VOXELS, p_rotate=0.7, p_scale=0.7, p_elastic=0.7, elastic_spacing_voxels=8)
SHAPES = st.sampled_from([(16, 16, 16), (16, 24, 32), (8, 8, 16)])
Shape = tuple[int, int, int]


def _pair(shape: Shape = (8, 8, 8)) -> tuple[np.ndarray, np.ndarray]:
    """A CT whose voxels above 0 are exactly its mask: whatever moves one must move the other."""
    ct = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    return ct, (ct > 0).astype(np.uint8)


def _ramp(shape: Shape, axis: int) -> np.ndarray:
    """Every voxel holds its own coordinate along one axis: a moved ramp tells where its voxels came from."""
    return np.indices(shape, np.float32)[axis]


def _ball(size: int, radius: float) -> np.ndarray:
    places = np.indices((size, size, size)) - (size - 1) / 2
    return ((places**2).sum(axis=0) <= radius**2).astype(np.uint8)


def _moved(ct: np.ndarray, **changes: Any) -> np.ndarray:
    return resample(ct, (ct > 0).astype(np.uint8), Spatial(**changes))[0]


# Flips, quarter turns and shifts: voxels as they are


@settings(deadline=None)
@given(st.integers(0, 10_000), SHAPES)
def test_flips_quarter_turns_and_shifts_move_whole_voxels_of_ct_and_mask_alike(seed: int, shape: Shape) -> None:
    ct, mask = _pair(shape)
    moved_ct, moved_mask = augment(ct, mask, np.random.default_rng(seed), WHOLE_VOXELS)
    assert moved_ct.shape == shape and moved_ct.dtype == np.float32 and moved_mask.dtype == np.uint8
    np.testing.assert_array_equal(moved_ct > 0, moved_mask > 0)
    assert np.isin(moved_ct, ct).all()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(plane: tuple[int, int], quarters: int) -> None:
    ct, _ = _pair()
    np.testing.assert_array_equal(_moved(ct, plane=plane, quarters=quarters), np.rot90(ct, quarters, plane))


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
def test_flips_are_those_of_numpy(flips: tuple[bool, bool, bool]) -> None:
    ct, _ = _pair((8, 12, 16))
    np.testing.assert_array_equal(_moved(ct, flips=flips), np.flip(ct, np.flatnonzero(flips)))


def test_a_shift_brings_in_air_without_lung() -> None:
    ct, mask = np.ones((6, 6, 6), np.float32), np.ones((6, 6, 6), np.uint8)
    ct[5, 5, 5] = -2.0
    moved_ct, moved_mask = resample(ct, mask, Spatial(shift_voxels=(2, 0, -1)))
    np.testing.assert_array_equal(moved_ct[2:, :, :5], ct[:4, :, 1:])
    outside = np.ones((6, 6, 6), bool)
    outside[2:, :, :5] = False
    assert (moved_ct[outside] == -2.0).all() and not moved_mask[outside].any()
    assert moved_mask[~outside].all()


def test_flips_come_before_turns_and_turns_before_shifts() -> None:
    ct, _ = _pair()
    moved = _moved(ct, flips=(True, False, False), plane=(0, 1), quarters=1, shift_voxels=(3, 0, 0))
    np.testing.assert_array_equal(moved[3:], np.rot90(np.flip(ct, 0), 1, (0, 1))[:5])


def test_draws_reach_all_eight_mirror_images_and_all_nine_turns() -> None:
    config = replace(NEVER, p_flip=0.5, p_rot90=1.0)
    drawn = [draw_spatial((8, 8, 8), np.random.default_rng(seed), config) for seed in range(200)]
    assert len({spatial.flips for spatial in drawn}) == 8
    assert len({(spatial.plane, spatial.quarters) for spatial in drawn}) == 9


def test_only_square_planes_are_turned_by_90_degrees() -> None:
    config = replace(NEVER, p_rot90=1.0)
    drawn = [draw_spatial((8, 8, 16), np.random.default_rng(seed), config) for seed in range(200)]
    assert {spatial.quarters for spatial in drawn if spatial.plane == (0, 1)} == {1, 2, 3}
    assert {spatial.quarters for spatial in drawn if spatial.plane != (0, 1)} == {2}


# Free rotation, scaling, elastic deformation


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_free_rotation_by_a_right_angle_is_a_quarter_turn(axis: int, plane: tuple[int, int], degrees: int) -> None:
    ct, mask = _pair((12, 12, 12))
    angles = tuple(float(degrees) if other == axis else 0.0 for other in range(3))
    moved_ct, moved_mask = resample(ct, mask, Spatial(angles_degrees=angles))  # type: ignore[arg-type]
    np.testing.assert_allclose(moved_ct, np.rot90(ct, degrees // 90, plane), atol=1e-4)
    np.testing.assert_array_equal(moved_mask, np.rot90(mask, degrees // 90, plane))


def test_voxels_that_are_no_cubes_are_rotated_in_millimetres() -> None:
    """A ball of 12 mm in voxels of 1 x 1 x 3 mm stays a ball, whichever way it is turned about a point beside it."""
    spacing_mm = (1.0, 1.0, 3.0)

    def ball(centre_mm: np.ndarray) -> np.ndarray:
        places_mm = (np.indices((48, 48, 16)).T - [23.5, 23.5, 7.5]) * spacing_mm - centre_mm
        return np.maximum(12 - np.linalg.norm(places_mm, axis=-1), 0).T.astype(np.float32)

    cosine, sine = np.cos(np.radians(30)), np.sin(np.radians(30))
    spatial = Spatial(angles_degrees=(0.0, 30.0, 0.0))
    before = ball(np.array([8.0, 0.0, 0.0]))
    moved, _ = resample(before, (before > 0).astype(np.uint8), spatial, spacing_mm)
    expected = ball(np.array([8 * cosine, 0.0, -8 * sine]))
    assert np.abs(moved - expected).mean() < 0.05 < np.abs(before - expected).mean()


def test_planes_of_oblong_voxels_are_turned_by_180_degrees_alone() -> None:
    config = replace(NEVER, p_rot90=1.0)
    drawn = [draw_spatial((8, 8, 8), np.random.default_rng(seed), config, (2.0, 2.0, 5.0)) for seed in range(200)]
    assert {spatial.quarters for spatial in drawn if spatial.plane == (0, 1)} == {1, 2, 3}
    assert {spatial.quarters for spatial in drawn if spatial.plane != (0, 1)} == {2}


def test_the_three_rotations_follow_one_another_about_the_first_second_and_third_axis() -> None:
    ct, _ = _pair((8, 8, 8))
    turned = np.rot90(np.rot90(np.rot90(ct, 1, (1, 2)), 1, (2, 0)), 1, (0, 1))
    np.testing.assert_allclose(_moved(ct, angles_degrees=(90.0, 90.0, 90.0)), turned, atol=1e-4)


@pytest.mark.parametrize("scale", [0.8, 0.93, 1.1, 1.25])
def test_a_ball_scaled_by_s_has_s_cubed_times_its_volume_about_the_same_centre(scale: float) -> None:
    mask = _ball(48, 16.0)
    _, scaled = resample(mask.astype(np.float32), mask, Spatial(scale=scale))
    assert scaled.sum() / mask.sum() == pytest.approx(scale**3, rel=0.02)
    np.testing.assert_allclose(np.argwhere(scaled).mean(axis=0), 23.5, atol=0.02)


def test_an_elastic_deformation_of_strength_zero_changes_nothing() -> None:
    ct, mask = _pair((16, 24, 32))
    config = replace(NEVER, p_elastic=1.0, max_elastic_voxels=0.0, elastic_spacing_voxels=8)
    for before, after in zip((ct, mask), augment(ct, mask, np.random.default_rng(0), config), strict=True):
        np.testing.assert_array_equal(before, after)


def test_control_points_displaced_alike_shift_the_volume() -> None:
    ct, _ = _pair((16, 24, 32))
    control = np.broadcast_to(np.float32([2, 0, -1]), (5, 6, 7, 3)).copy()
    moved = _moved(ct, control_voxels=control, control_spacing=8)
    np.testing.assert_allclose(moved, _moved(ct, shift_voxels=(-2, 0, 1)), atol=2e-5)


def test_the_weights_of_the_spline_are_positive_and_sum_to_one() -> None:
    basis = bspline_basis(50, 7)
    assert (basis >= 0).all()
    np.testing.assert_allclose(basis.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(basis[:, 0], [1 / 6, 4 / 6, 1 / 6, 0], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 2), st.floats(0.5, 6.0), st.integers(4, 40))
def test_no_voxel_is_displaced_further_than_told_nor_torn_from_its_neighbour(
    seed: int, axis: int, limit: float, spacing: int
) -> None:
    shape = (24, 32, 40)
    config = replace(NEVER, p_elastic=1.0, max_elastic_voxels=limit, elastic_spacing_voxels=spacing)
    spatial = draw_spatial(shape, np.random.default_rng(seed), config)
    displacement = _moved(_ramp(shape, axis), control_voxels=spatial.control_voxels, control_spacing=spacing)
    displacement -= _ramp(shape, axis)
    margin = int(np.ceil(limit)) + 1
    inner = displacement[tuple(slice(margin, -margin) for _ in shape)]
    assert np.abs(inner).max() <= limit + 1e-4
    for along in range(3):
        # The slope of a cubic B-spline never exceeds that between neighbouring control points.
        assert np.abs(np.diff(inner, axis=along)).max() <= 2 * limit / spacing + 1e-4


def test_an_elastic_deformation_is_as_strong_as_told() -> None:
    shape = (64, 64, 64)
    config = replace(NEVER, p_elastic=1.0, max_elastic_voxels=3.0)
    spatial = draw_spatial(shape, np.random.default_rng(0), config)
    moved = _moved(_ramp(shape, 0), control_voxels=spatial.control_voxels, control_spacing=16)
    assert 1.0 < np.abs(moved - _ramp(shape, 0))[8:-8, 8:-8, 8:-8].max() < 3.0


@settings(deadline=None)
@given(st.integers(0, 10_000), SHAPES)
def test_the_mask_moves_exactly_with_the_ct(seed: int, shape: Shape) -> None:
    """A CT that equals its mask is resampled to the mask's occupancy: half and more is lung, less is none."""
    _, mask = _pair(shape)
    mask[0, 0, 0] = 0
    moved_ct, moved_mask = augment(mask.astype(np.float32), mask, np.random.default_rng(seed), SPATIAL)
    assert moved_ct.shape == moved_mask.shape == shape
    assert moved_ct.dtype == np.float32 and moved_mask.dtype == np.uint8
    np.testing.assert_array_equal(moved_ct >= 0.5, moved_mask == 1)
    assert moved_ct.min() >= 0 and moved_ct.max() <= 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_a_round_lung_stays_where_its_ct_shows_it(seed: int) -> None:
    mask = _ball(32, 9.0)
    ct = np.linalg.norm(np.indices(mask.shape) - 15.5, axis=0).astype(np.float32) * -1
    moved_ct, moved_mask = augment(ct, mask, np.random.default_rng(seed), SPATIAL)
    lung = moved_mask == 1
    assert lung.sum() > 1000
    assert moved_ct[lung].min() > -10.0 and moved_ct[~lung].max() < -8.0


# All together


@pytest.mark.parametrize("name", PROBABILITIES)
def test_a_change_comes_as_often_as_its_probability(name: str) -> None:
    ct, mask = _pair()
    config = replace(NEVER, elastic_spacing_voxels=4, **{name: 0.25})
    changed = [not np.array_equal(augment(ct, mask, np.random.default_rng(seed), config)[0], ct) for seed in range(400)]
    # Flips and shifts have one chance for each axis; one shift in nine is by nothing.
    chances = {"p_flip": 1 - 0.75**3, "p_shift": 1 - (0.75 + 0.25 / 9) ** 3}
    assert np.mean(changed) == pytest.approx(chances.get(name, 0.25), abs=0.07)


def test_nothing_happens_at_probability_zero_and_the_inputs_stay_as_they_are() -> None:
    ct, mask = _pair((8, 12, 16))
    for before, after in zip((ct, mask), augment(ct, mask, np.random.default_rng(0), NEVER), strict=True):
        np.testing.assert_array_equal(before, after)
    kept = ct.copy(), mask.copy()
    ct.flags.writeable = mask.flags.writeable = False
    augment(ct, mask, np.random.default_rng(0), ALWAYS)
    for before, after in zip(kept, (ct, mask), strict=True):
        np.testing.assert_array_equal(before, after)


def test_equal_chances_give_equal_volumes_whatever_the_layout_of_the_input() -> None:
    ct, mask = _pair((8, 12, 16))
    one = augment(ct, mask, case_rng(1, 2, "a"), ALWAYS)
    two = augment(np.asfortranarray(ct), np.asfortranarray(mask), case_rng(1, 2, "a"), ALWAYS)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    for other in (case_rng(2, 2, "a"), case_rng(1, 3, "a"), case_rng(1, 2, "b"), case_rng(1, 2, "a", 1)):
        assert not np.array_equal(augment(ct, mask, other, ALWAYS)[0], one[0])
