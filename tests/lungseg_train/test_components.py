from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lungseg_train.evaluation.components import fill_holes, largest_components


def blocks(*sizes: int) -> np.ndarray:
    """Bars of the given numbers of voxels along x, two voxels apart in y."""
    mask = np.zeros((max(sizes), 3 * len(sizes), 5), bool)
    for place, size in enumerate(sizes):
        mask[:size, 3 * place, 2] = True
    return mask


def kept_sizes(mask: np.ndarray) -> list[int]:
    return [int(size) for size in mask.sum(axis=(0, 2)) if size]


@pytest.mark.parametrize(
    ("sizes", "num", "kept"),
    [
        ((40, 50), 2, [40, 50]),
        ((40, 50, 30), 2, [40, 50]),
        ((40, 50, 30), 3, [40, 50, 30]),
        ((40, 50, 30), 1, [50]),
        ((3, 50, 2), 2, [50]),
        ((5, 50, 4), 2, [5, 50]),
        ((7,), 2, [7]),
    ],
)
def test_the_largest_parts_stay_and_specks_go(sizes: tuple[int, ...], num: int, kept: list[int]) -> None:
    assert kept_sizes(largest_components(blocks(*sizes), num)) == kept


def test_lungs_that_touch_are_one_part_and_no_speck_takes_the_others_place() -> None:
    mask = np.zeros((20, 10, 10), bool)
    mask[1:9, 1:9, 1:9] = mask[9:18, 2:9, 1:9] = True
    lungs = mask.copy()
    mask[19, 0, 0] = True
    assert np.array_equal(largest_components(mask, num=2), lungs)


def test_parts_that_meet_in_a_corner_are_one() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[:2, :2, :2] = mask[2:, 2:, 2:] = True
    assert np.array_equal(largest_components(mask, num=1), mask)


def test_of_equal_parts_the_first_stays() -> None:
    kept = largest_components(blocks(6, 6, 6), num=1)
    assert kept[:, 0].sum() == 6 and kept.sum() == 6


def test_a_share_of_one_tenth_is_the_least_for_a_second_part_and_can_be_changed() -> None:
    assert kept_sizes(largest_components(blocks(100, 10))) == [100, 10]
    assert kept_sizes(largest_components(blocks(100, 9))) == [100]
    assert kept_sizes(largest_components(blocks(100, 9), min_share=0.0)) == [100, 9]


@pytest.mark.parametrize("tidy", [largest_components, fill_holes])
def test_nothing_stays_nothing_and_everything_everything(tidy: Callable[[np.ndarray], np.ndarray]) -> None:
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    assert np.array_equal(tidy(empty), empty) and np.array_equal(tidy(full), full)


def test_fewer_than_one_part_is_refused() -> None:
    with pytest.raises(ValueError, match="num must be at least 1"):
        largest_components(np.ones((2, 2, 2), bool), num=0)


def test_a_cavity_is_filled_and_a_pit_is_not() -> None:
    ball = np.zeros((12, 12, 12), bool)
    ball[2:10, 2:10, 2:10] = True
    hollow = ball.copy()
    hollow[4:6, 4:6, 4:6] = hollow[7, 7, 7] = False
    assert np.array_equal(fill_holes(hollow), ball)
    hollow[4:6, 4:6, :6] = False
    assert np.array_equal(fill_holes(hollow), hollow | (ball & (np.indices(ball.shape) == 7).all(axis=0)))


def test_a_cavity_at_the_end_of_the_scan_is_open() -> None:
    mask = np.ones((6, 6, 6), bool)
    mask[2:4, 2:4, :3] = False
    assert np.array_equal(fill_holes(mask), mask)


def test_a_wall_of_diagonal_voxels_holds_what_it_encloses() -> None:
    mask = np.zeros((5, 5, 5), bool)
    for x, y, z in ((1, 2, 2), (3, 2, 2), (2, 1, 2), (2, 3, 2), (2, 2, 1), (2, 2, 3)):
        mask[x, y, z] = True
    filled = fill_holes(mask)
    assert filled[2, 2, 2] and filled.sum() == 7
    assert np.array_equal(largest_components(mask, num=1), mask)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scipy_fills_the_same_cavities_and_a_second_time_changes_nothing(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((9, 10, 11)), 0.7)
    mask = noise > np.quantile(noise, 0.3)
    before = mask.copy()
    filled = fill_holes(mask)
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))
    kept = largest_components(mask, num=2)
    assert not (kept & ~mask).any() and np.array_equal(largest_components(kept, num=2), kept)
    assert np.array_equal(mask, before)


def test_masks_of_any_numeric_type_are_taken() -> None:
    mask = blocks(40, 50, 2)
    for kind in (np.uint8, np.float32):
        assert largest_components(mask.astype(kind)).dtype == fill_holes(mask.astype(kind)).dtype == bool
        assert np.array_equal(largest_components(mask.astype(kind)), largest_components(mask))
