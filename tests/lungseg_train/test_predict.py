"""Scans of any grid -> probabilities on their own voxels."""

from pathlib import Path

import numpy as np
import pytest

from lungseg_train.errors import InputError
from lungseg_train.evaluation import predict
from lungseg_train.evaluation.predict import FLIPS, Predictor
from lungseg_train.training_grid import TrainingGrid
from tests.lungseg_train.models import GRID, LUNG_HU, as_volume, save_known_model, save_random_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_known_model(tmp_path_factory.mktemp("model") / "best_model.keras")


def test_no_slice_of_a_scan_longer_than_the_training_grid_is_left_out(model: Path) -> None:
    for num_slices in (10, 33, 61):
        lung = as_volume(np.full((80, 80, num_slices), np.mean(LUNG_HU)), (4.0, 4.0, 10.0))
        assert (Predictor(model).scan_probability(lung) > 0.5).all()


def test_beyond_the_training_grid_nothing_is_lung(model: Path) -> None:
    lung = as_volume(np.full((100, 100, 20), np.mean(LUNG_HU)), (5.0, 5.0, 10.0))
    probability = Predictor(model).scan_probability(lung)
    inside = probability > 0.5
    # 320 mm of 500 mm.
    assert inside[18:82, 18:82].all() and inside.sum() == 64 * 64 * 20
    assert 0 < probability.min() < 0.002


def test_a_volume_on_the_training_grid_is_not_resampled(tmp_path: Path) -> None:
    predictor = Predictor(save_random_model(tmp_path / "m.keras"))
    ct_hu = np.random.default_rng(0).normal(-500, 400, GRID.shape)
    np.testing.assert_array_equal(
        predictor.scan_probability(as_volume(ct_hu, (20.0, 20.0, 20.0))), predictor.probability(ct_hu)
    )


def test_a_model_without_a_spacing_takes_its_own_grid_only(tmp_path: Path) -> None:
    predictor = Predictor(save_known_model(tmp_path / "m.keras", TrainingGrid((16, 16, 16), None)))
    assert predictor.scan_probability(as_volume(np.zeros((16, 16, 16)), (1.0, 2.0, 3.0))).shape == (16, 16, 16)
    with pytest.raises(InputError, match="without a common spacing.*16x16x16"):
        predictor.scan_probability(as_volume(np.zeros((20, 20, 20)), (16.0, 16.0, 16.0)))


def test_a_spacing_that_no_chest_has_is_refused(model: Path) -> None:
    for spacing_mm in ((1.0, 1.0, 1.0), (40.0, 40.0, 10.0)):
        with pytest.raises(InputError, match="true voxel spacing"):
            Predictor(model).scan_probability(as_volume(np.zeros((32, 32, 32)), spacing_mm))


def test_augmentation_is_the_mean_over_the_flipped_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_random_model(tmp_path / "m.keras", TrainingGrid((8, 12, 16), None))
    ct_hu = np.random.default_rng(0).normal(-500, 400, (8, 12, 16))
    plain, augmented = Predictor(path), Predictor(path, tta=True)
    assert len(set(FLIPS)) == 8
    expected = np.mean([np.flip(plain.probability(np.flip(ct_hu, axes)), axes) for axes in FLIPS], axis=0)
    probability = augmented.probability(ct_hu)
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    assert np.abs(probability - plain.probability(ct_hu)).max() > 1e-3
    for axes in FLIPS:
        np.testing.assert_allclose(augmented.probability(np.flip(ct_hu, axes)), np.flip(probability, axes), atol=1e-5)
    monkeypatch.setattr(predict, "MAX_FEATURE_BYTES", 1)
    np.testing.assert_allclose(augmented.probability(ct_hu), probability, atol=1e-5)


def test_a_model_that_saw_no_flips_is_not_asked_about_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without flips"):
        Predictor(save_random_model(tmp_path / "m.keras", p_flip=0.0), tta=True)
