import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungseg_train.config import TrainConfig
from lungseg_train.data.cases import read_case
from lungseg_train.data.dataset import open_dataset, phantom_spacing_mm
from lungseg_train.data.preprocess import preprocess
from lungseg_train.data_options import DataOptions

HU = np.array([-2000, -1000, -350, 300, 400, 3000], dtype=np.int16).reshape(1, 2, 3)


def test_minmax_maps_the_window_to_zero_and_one() -> None:
    ct = preprocess(HU, TrainConfig(hu_window=(-1000, 300), intensity="minmax"))
    np.testing.assert_allclose(ct.ravel(), [0, 0, 0.5, 1, 1, 1])
    assert ct.dtype == np.float32


def test_zscore_has_mean_zero_and_deviation_one_after_clipping() -> None:
    ct = preprocess(HU, TrainConfig(hu_window=(-1000, 400), intensity="zscore"))
    clipped = np.clip(HU.astype(float), -1000, 400)
    np.testing.assert_allclose(ct, (clipped - clipped.mean()) / clipped.std(), rtol=1e-6)


def test_a_uniform_volume_stays_finite() -> None:
    assert not preprocess(np.full((4, 4, 4), 40.0), TrainConfig(intensity="zscore")).any()


def test_smoothing_keeps_the_mean_and_lowers_the_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 100, (16, 16, 16))
    plain = TrainConfig(intensity="minmax", hu_window=(-1000, 1000))
    rough, smooth = preprocess(noise, plain), preprocess(noise, replace(plain, smoothing_sigma_voxels=1.0))
    assert smooth.std() < rough.std() / 3
    assert smooth.mean() == pytest.approx(rough.mean(), abs=1e-3)


def test_the_cache_is_made_once_and_another_preprocessing_is_another_entry(phantom_cases: Path, tmp_path: Path) -> None:
    config = TrainConfig(num_phantoms=2)
    dataset = open_dataset(DataOptions(data_dir=phantom_cases, cache_dir=tmp_path / "cache"), config)
    first = dataset.train_volumes(config)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    again = dataset.train_volumes(replace(config, learning_rate=0.5, p_flip=0.1))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == made
    assert isinstance(again[0].ct, np.memmap)
    np.testing.assert_array_equal(first[0].ct, again[0].ct)
    assert [volume.is_phantom for volume in first] == [False] * 6 + [True] * 2
    other = dataset.train_volumes(replace(config, intensity="minmax"))
    assert other[0].ct.min() >= 0 and len(list((tmp_path / "cache").iterdir())) == 2 * len(made)


def test_phantoms_mixed_into_a_training_are_not_those_of_the_phantom_command(phantom_cases: Path, tmp_path: Path) -> None:
    config = TrainConfig(num_phantoms=10, intensity="minmax")
    options = DataOptions(data_dir=phantom_cases, test_fraction=0.0, val_fraction=0.0, cache_dir=tmp_path)
    volumes = open_dataset(options, config).train_volumes(config)
    cases, phantoms = volumes[:10], volumes[10:]
    assert not any(np.array_equal(case.mask, phantom.mask) for case in cases for phantom in phantoms)


@pytest.mark.parametrize(("spacing", "expected"), [(20.0, 20.0), (1.0, 350 / 16), (100.0, 350 / 16)])
def test_phantoms_fit_a_chest_even_where_the_files_claim_no_spacing(
    spacing: float, expected: float, phantom_cases: Path
) -> None:
    case = replace(read_case(phantom_cases / "phantom-0000"), spacing_mm=(spacing,) * 3)
    assert phantom_spacing_mm(case) == pytest.approx((expected,) * 3)


def test_a_read_only_cache_is_one_line(phantom_cases: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    options = DataOptions(data_dir=phantom_cases, cache_dir=blocked / "cache")
    with pytest.raises(ValueError, match="cannot be written"):
        open_dataset(options, TrainConfig()).train_volumes(TrainConfig())
    assert os.listdir(tmp_path) == ["file"]
