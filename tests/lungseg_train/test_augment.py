from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg_train.config import TrainConfig
from lungseg_train.data.augment import augment, flip, jitter, rotate90, shift
from lungseg_train.data.cache import TrainingVolume
from lungseg_train.data.sequence import CaseSequence, epoch_order

ALWAYS = TrainConfig(p_flip=1.0, p_rot90=1.0, p_shift=1.0, p_jitter=1.0, batch_size=2)
SPATIAL = replace(ALWAYS, p_jitter=0.0)


def _pair(shape: tuple[int, int, int] = (8, 8, 8)) -> tuple[np.ndarray, np.ndarray]:
    """A CT whose voxels above 0 are exactly its mask: whatever moves one must move the other."""
    ct = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    return ct, (ct > 0).astype(np.uint8)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(8, 8, 8), (8, 12, 16), (8, 8, 16)]))
def test_the_mask_moves_exactly_with_the_ct(seed: int, shape: tuple[int, int, int]) -> None:
    ct, mask = _pair(shape)
    moved_ct, moved_mask = augment(ct, mask, np.random.default_rng(seed), replace(SPATIAL, p_flip=0.5, p_rot90=0.5))
    assert moved_ct.shape == shape and moved_mask.dtype == np.uint8
    np.testing.assert_array_equal(moved_ct > 0, moved_mask > 0)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_flips_and_rotations_only_move_voxels(seed: int) -> None:
    ct, mask = _pair()
    config = replace(SPATIAL, p_shift=0.0, p_flip=0.5)
    moved, _ = augment(ct, mask, np.random.default_rng(seed), config)
    np.testing.assert_array_equal(np.sort(moved, axis=None), np.sort(ct, axis=None))


def test_flips_reach_all_eight_mirror_images_and_rotations_all_nine_turns() -> None:
    ct, mask = _pair()
    mirrored = {flip(ct, mask, np.random.default_rng(s), replace(SPATIAL, p_flip=0.5))[0].tobytes() for s in range(200)}
    turned = {rotate90(ct, mask, np.random.default_rng(seed), SPATIAL)[0].tobytes() for seed in range(200)}
    assert (len(mirrored), len(turned)) == (8, 9)


def test_a_shift_brings_in_air_without_lung() -> None:
    ct, mask = np.ones((6, 6, 6), np.float32), np.ones((6, 6, 6), np.uint8)
    ct[0, 0, 0] = -2.0
    moved_ct, moved_mask = shift(ct, mask, np.random.default_rng(1), replace(ALWAYS, max_shift_voxels=3))
    outside = moved_mask == 0
    assert outside.any() and (moved_ct[outside] == -2.0).all()


def test_noise_changes_the_ct_alone_and_is_as_strong_as_told() -> None:
    ct = np.zeros((32, 32, 32), np.float32)
    ct[0] = 2.0
    mask = np.ones_like(ct, np.uint8)
    noisy, same = jitter(ct, mask, np.random.default_rng(0), replace(ALWAYS, jitter_sigma=0.05))
    np.testing.assert_array_equal(same, mask)
    assert (noisy - ct).std() == pytest.approx(0.1, rel=0.02)


def test_nothing_happens_at_probability_zero() -> None:
    ct, mask = _pair()
    never = TrainConfig(p_flip=0.0, p_rot90=0.0, p_shift=0.0, p_jitter=0.0)
    for before, after in zip((ct, mask), augment(ct, mask, np.random.default_rng(0), never), strict=True):
        np.testing.assert_array_equal(before, after)


def _volumes(num_real: int, num_phantoms: int = 0) -> list[TrainingVolume]:
    ct, mask = _pair()
    real = [TrainingVolume(f"real-{n}", ct + 10 * n, mask) for n in range(num_real)]
    return real + [TrainingVolume(f"phantom-{n}", ct - 10 * n, mask, is_phantom=True) for n in range(num_phantoms)]


def test_an_epoch_is_the_same_again_in_another_sequence_and_the_next_is_not() -> None:
    one, two = CaseSequence(_volumes(5), ALWAYS), CaseSequence(_volumes(5), ALWAYS)
    one.on_epoch_end()
    two.set_epoch(1)
    for index in range(len(one)):
        np.testing.assert_array_equal(one[index][0], two[index][0])
    two.set_epoch(2)
    assert not np.array_equal(one[0][0], two[0][0])


def test_all_batches_are_of_one_size() -> None:
    sequence = CaseSequence(_volumes(5), ALWAYS)
    assert len(sequence) == 3
    for index in range(3):
        ct, mask = sequence[index]
        assert ct.shape == mask.shape == (2, 8, 8, 8, 1)
        assert ct.dtype == mask.dtype == np.float32


@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 50), st.integers(0, 99))
def test_an_epoch_holds_every_real_case_and_at_least_half_real_cases(real: int, phantoms: int, epoch: int, seed: int) -> None:
    volumes = _volumes(real, phantoms)
    order = epoch_order(volumes, epoch, seed)
    assert len(order) == len(set(order)) == real + phantoms
    drawn = [volumes[number].case_id for number, _ in order if not volumes[number].is_phantom]
    assert len(set(drawn)) == real
    assert len(drawn) >= len(order) // 2


def test_phantoms_take_turns_until_all_were_seen() -> None:
    volumes = _volumes(4, 12)
    seen = {volumes[number].case_id for epoch in range(2) for number, _ in epoch_order(volumes, epoch, 0)}
    assert len(seen) == 4 + 12
