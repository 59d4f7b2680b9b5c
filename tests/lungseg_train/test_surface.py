"""Known answers in mm on grids whose voxels are not cubes, and an independent computation of the same distances."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from lungseg_train.evaluation.metrics import full_case_metrics
from lungseg_train.evaluation.summary import METRICS
from lungseg_train.evaluation.surface import surface_metrics, tolerance_mm

SPACING_MM = (1.0, 2.0, 3.0)
AXES = ("x", "y", "z")


def slab(axis: int, start: int, thickness: int = 4) -> np.ndarray:
    """Voxels `start` to `start + thickness` along one axis; the two other sides fill the array."""
    mask = np.zeros((20, 20, 20), bool)
    np.moveaxis(mask, axis, 0)[start : start + thickness] = True
    return mask


def ball(radius_mm: float, spacing_mm: tuple[float, float, float], center_mm: float = 31.0) -> np.ndarray:
    """Voxels whose centre lies within the radius, in a cube of 62 mm."""
    places = [(np.arange(round(62.0 / mm)) + 0.5) * mm - center_mm for mm in spacing_mm]
    x, y, z = np.meshgrid(*places, indexing="ij")
    return x**2 + y**2 + z**2 <= radius_mm**2


def random_blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping rough shapes (9, 10, 11) with a margin of air, neither empty."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((2, 7, 8, 9)), (0, 1, 1, 1))
    rough = noise > np.median(noise, axis=(1, 2, 3), keepdims=True)
    first, second = np.pad(rough, ((0, 0), (1, 1), (1, 1), (1, 1)))
    return first, second


@pytest.mark.parametrize("num_voxels", [1, 2, 3])
@pytest.mark.parametrize("axis", range(3), ids=AXES)
def test_a_shifted_slab_is_as_far_as_its_shift_in_mm(axis: int, num_voxels: int) -> None:
    metrics = surface_metrics(slab(axis, 6), slab(axis, 6 + num_voxels), SPACING_MM)
    assert metrics["hd95_mm"] == pytest.approx(num_voxels * SPACING_MM[axis])


@pytest.mark.parametrize("axis", range(3), ids=AXES)
def test_surfaces_one_longest_edge_apart_agree_and_farther_ones_do_not(axis: int) -> None:
    spacing_mm = (1.0, 1.0, 1.0)
    one, two = (surface_metrics(slab(axis, 6), slab(axis, 6 + shift), spacing_mm) for shift in (1, 2))
    assert one["surface_dice"] == 1.0
    assert two["surface_dice"] is not None and 0.0 < two["surface_dice"] < 0.4


def test_the_tolerance_is_the_longest_edge_of_a_voxel() -> None:
    assert tolerance_mm(SPACING_MM) == 3.0
    # 3 mm along x are three voxels, along z one: both are within the tolerance; 4 mm along x and y are not.
    within = [(0, 3), (1, 1), (2, 1)]
    beyond = [(0, 4), (1, 2), (2, 2)]
    for axis, shift in within:
        assert surface_metrics(slab(axis, 6), slab(axis, 6 + shift), SPACING_MM)["surface_dice"] == 1.0
    for axis, shift in beyond:
        share = surface_metrics(slab(axis, 6), slab(axis, 6 + shift), SPACING_MM)["surface_dice"]
        assert share is not None and share < 0.7


@pytest.mark.parametrize("edge_mm", [0.1, 0.7, 0.9766, 0.9765625, 1.1, 2.3, 4.9999995])
def test_one_voxel_is_within_one_voxel_whatever_its_decimals(edge_mm: float) -> None:
    spacing_mm = (edge_mm, edge_mm, edge_mm)
    for axis in range(3):
        assert surface_metrics(slab(axis, 6), slab(axis, 7), spacing_mm)["surface_dice"] == 1.0


def test_equal_masks_have_no_distance() -> None:
    mask = ball(15.0, SPACING_MM)
    assert surface_metrics(mask, mask, SPACING_MM) == {"hd95_mm": 0.0, "asd_mm": 0.0, "surface_dice": 1.0}


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("radius_mm", [14.0, 20.0])
def test_concentric_balls_are_the_difference_of_their_radii_apart(
    radius_mm: float, spacing_mm: tuple[float, float, float]
) -> None:
    metrics = surface_metrics(ball(25.0, spacing_mm), ball(radius_mm, spacing_mm), spacing_mm)
    # Between corners of voxels, oblique surfaces come out half a voxel too near.
    assert metrics["asd_mm"] == pytest.approx(25.0 - radius_mm, abs=0.55 * max(spacing_mm))
    assert metrics["hd95_mm"] == pytest.approx(25.0 - radius_mm, abs=max(spacing_mm))
    assert metrics["surface_dice"] == pytest.approx(0.0, abs=0.12)


def test_half_of_the_surface_in_agreement_is_a_surface_dice_of_one_half() -> None:
    # Of two thin plates, one is drawn right and the other not at all or far off: areas count, not voxels.
    mask, prediction = np.zeros((2, 30, 30, 30), bool)
    mask[2:26, 2:26, 2:4] = mask[2:26, 2:26, 20:22] = True
    prediction[2:26, 2:26, 2:4] = prediction[2:26, 2:26, 10:12] = True
    metrics = surface_metrics(mask, prediction, SPACING_MM)
    assert metrics["surface_dice"] == pytest.approx(0.5)
    assert metrics["hd95_mm"] == pytest.approx(10 * 3.0)


def test_of_a_ball_and_nothing_only_the_surface_dice_is_known() -> None:
    full = ball(15.0, SPACING_MM)
    empty = np.zeros_like(full)
    worst = {"hd95_mm": None, "asd_mm": None, "surface_dice": 0.0}
    assert surface_metrics(full, empty, SPACING_MM) == worst
    assert surface_metrics(empty, full, SPACING_MM) == worst
    assert surface_metrics(empty, empty, SPACING_MM) == {**worst, "surface_dice": 1.0}


def test_masks_that_fill_the_array_have_a_surface_at_its_end() -> None:
    full = np.ones((4, 5, 6), bool)
    assert surface_metrics(full, full, SPACING_MM) == {"hd95_mm": 0.0, "asd_mm": 0.0, "surface_dice": 1.0}
    corner = np.zeros_like(full)
    corner[0, 0, 0] = True
    distance_mm = surface_metrics(full, corner, SPACING_MM)["hd95_mm"]
    assert distance_mm is not None and 10.0 < distance_mm <= np.linalg.norm([3 * 1, 4 * 2, 5 * 3])


def test_masks_of_any_numeric_type_are_taken_and_of_different_shape_refused() -> None:
    mask = slab(0, 6)
    assert surface_metrics(mask.astype(np.uint8), mask.astype(np.float32), SPACING_MM)["hd95_mm"] == 0.0
    with pytest.raises(ValueError, match="one shape"):
        surface_metrics(mask, mask[:-1], SPACING_MM)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_reference_and_prediction_can_be_exchanged(seed: int) -> None:
    first, second = random_blobs(seed)
    assert_same(surface_metrics(first, second, SPACING_MM), surface_metrics(second, first, SPACING_MM))


@given(
    seed=st.integers(0, 10_000),
    order=st.permutations(range(3)),
    flipped=st.sets(st.integers(0, 2)),
)
@settings(max_examples=40, deadline=None)
def test_neither_the_order_nor_the_direction_of_the_axes_matters(seed: int, order: list[int], flipped: set[int]) -> None:
    first, second = random_blobs(seed)
    moved = (np.flip(np.transpose(mask, order), tuple(flipped)) for mask in (first, second))
    spacing_mm = (SPACING_MM[order[0]], SPACING_MM[order[1]], SPACING_MM[order[2]])
    assert_same(surface_metrics(*moved, spacing_mm), surface_metrics(first, second, SPACING_MM))


@given(seed=st.integers(0, 10_000), factor=st.floats(0.2, 7.0))
@settings(max_examples=20, deadline=None)
def test_twice_the_voxel_is_twice_the_distance(seed: int, factor: float) -> None:
    first, second = random_blobs(seed)
    plain = surface_metrics(first, second, SPACING_MM)
    x_mm, y_mm, z_mm = (factor * mm for mm in SPACING_MM)
    scaled = surface_metrics(first, second, (x_mm, y_mm, z_mm))
    distances = {name: plain[name] and factor * plain[name] for name in ("hd95_mm", "asd_mm")}
    assert_same(scaled, {**plain, **distances})


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_another_computation_finds_the_same_distances(seed: int) -> None:
    first, second = random_blobs(seed)
    assert_same(surface_metrics(first, second, SPACING_MM), brute_force(first, second), rel=1e-6)


def test_a_patient_is_scored_with_every_metric_in_its_units() -> None:
    mask = slab(2, 6, thickness=10)
    metrics = full_case_metrics(mask, 0.9 * slab(2, 6, thickness=12), SPACING_MM, bce_weight=0.5)
    assert set(metrics) == set(METRICS)
    assert metrics["volume_error_percent"] == pytest.approx(20.0)
    assert metrics["dice"] == pytest.approx(2 * 10 / 22)
    # One of the two faces is two slices off: 6 mm.
    assert metrics["hd95_mm"] == pytest.approx(6.0)


def test_a_patient_without_a_prediction_has_all_its_volume_missing() -> None:
    mask = slab(2, 6)
    metrics = full_case_metrics(mask, np.zeros(mask.shape), SPACING_MM, bce_weight=0.5)
    assert (metrics["dice"], metrics["surface_dice"], metrics["volume_error_percent"]) == (0.0, 0.0, -100.0)
    assert metrics["hd95_mm"] is None and metrics["asd_mm"] is None
    assert full_case_metrics(0 * mask, 1.0 * mask, SPACING_MM, bce_weight=0.5)["volume_error_percent"] is None


def assert_same(ours: dict[str, float | None], other: dict[str, float | None], rel: float = 1e-9) -> None:
    assert ours.keys() == other.keys()
    for name, value in ours.items():
        assert value == pytest.approx(other[name], rel=rel), name


def brute_force(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """The three metrics from every pair of surface corners, with areas from scikit-image's marching cubes."""
    points, areas = zip(*(surface_corners(mask) for mask in (first, second)), strict=True)
    pairs_mm = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    distances = pairs_mm.min(axis=1), pairs_mm.min(axis=0)
    pooled, weights = np.concatenate(distances), np.concatenate(areas)
    return {
        "hd95_mm": max(weighted_percentile(d, a) for d, a in zip(distances, areas, strict=True)),
        "asd_mm": float((pooled * weights).sum() / weights.sum()),
        "surface_dice": float(weights[pooled <= max(SPACING_MM) + 1e-6].sum() / weights.sum()),
    }


def weighted_percentile(distances_mm: np.ndarray, areas: np.ndarray) -> float:
    """The smallest distance within which 95 % of the area lies."""
    return next(mm for mm in np.unique(distances_mm) if areas[distances_mm <= mm].sum() >= 0.95 * areas.sum())


def surface_corners(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where eight voxels meet of which some are in the mask: places in mm, (N, 3), and area of surface there, (N,)."""
    padded = np.pad(mask, 1)
    places, areas = [], []
    for corner in itertools.product(*(range(size - 1) for size in padded.shape)):
        cell = padded[tuple(slice(start, start + 2) for start in corner)]
        if cell.any() and not cell.all():
            places.append(np.array(corner) * SPACING_MM)
            areas.append(cell_area(cell.tobytes()))
    return np.array(places), np.array(areas)


@functools.cache
def cell_area(voxels: bytes) -> float:
    """Area in mm² of the surface within a cube of eight voxel centres."""
    cell = np.frombuffer(voxels, bool).reshape(2, 2, 2)
    # Where voxels touch in an edge only, the surface can join or part them: the smaller one parts what is thinner.
    meshes = (marching_cubes(side.astype(float), 0.5, spacing=SPACING_MM, method="lorensen")[:2] for side in (cell, ~cell))
    return min(mesh_surface_area(*mesh) for mesh in meshes)
