from dataclasses import replace

import numpy as np
import pytest

from lungseg_train.augmentation.augment import augment
from lungseg_train.augmentation.intensity import Intensity, add_noise, change_values, draw_intensity
from lungseg_train.config import TrainConfig


def test_brightness_counts_from_the_darkest_voxel() -> None:
    ct = np.float32([[[-1.0, 0.0, 3.0]]])
    changed = change_values(ct.copy(), Intensity(brightness=1.5), np.random.default_rng(0))
    np.testing.assert_allclose(changed, [[[-1.0, 0.5, 5.0]]], rtol=1e-6)


def test_contrast_counts_from_the_mean() -> None:
    ct = np.float32([[[-1.0, 1.0, 3.0]]])
    changed = change_values(ct.copy(), Intensity(contrast=0.5), np.random.default_rng(0))
    np.testing.assert_allclose(changed, [[[0.0, 1.0, 2.0]]], rtol=1e-6)


def test_an_intensity_shift_is_a_share_of_the_range() -> None:
    ct = np.float32([[[-1.0, 1.0, 3.0]]])
    changed = change_values(ct.copy(), Intensity(shift=0.25), np.random.default_rng(0))
    np.testing.assert_allclose(changed, [[[0.0, 2.0, 4.0]]], rtol=1e-6)


def test_noise_changes_the_ct_alone_and_is_as_strong_as_told() -> None:
    ct = np.zeros((32, 32, 32), np.float32)
    ct[0] = 2.0
    mask = np.ones_like(ct, np.uint8)
    still = TrainConfig(p_flip=0, p_rot90=0, p_shift=0, p_rotate=0, p_scale=0, p_elastic=0)
    noise_alone = replace(still, p_brightness=0, p_contrast=0, p_intensity_shift=0, p_jitter=1, jitter_sigma=0.05)
    noisy, same = augment(ct, mask, np.random.default_rng(0), noise_alone)
    np.testing.assert_array_equal(same, mask)
    assert (noisy - ct).std() == pytest.approx(0.1, rel=0.02)


def test_noise_is_gaussian_and_independent_from_voxel_to_voxel() -> None:
    noise = np.zeros((64, 64, 64), np.float32)
    add_noise(noise, 1.0, np.random.default_rng(0))
    assert noise.mean() == pytest.approx(0, abs=0.01)
    for deviations, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (np.abs(noise) < deviations).mean() == pytest.approx(share, abs=0.003)
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.01


def test_no_change_of_values_exceeds_what_the_configuration_tells() -> None:
    certain = TrainConfig(p_brightness=1.0, p_contrast=1.0, p_intensity_shift=1.0)
    config = replace(certain, max_brightness=0.3, max_contrast=0.2, max_intensity_shift=0.1)
    drawn = [draw_intensity(np.random.default_rng(seed), config) for seed in range(300)]
    for values, centre, limit in (
        ([intensity.brightness for intensity in drawn], 1, 0.3),
        ([intensity.contrast for intensity in drawn], 1, 0.2),
        ([intensity.shift for intensity in drawn], 0, 0.1),
    ):
        assert 0.9 * limit < np.abs(np.array(values) - centre).max() <= limit
