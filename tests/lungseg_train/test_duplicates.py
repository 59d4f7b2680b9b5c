"""The same scan under another name is found however it was turned, and different patients are not confused."""

import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom

from lungseg_train.data.cases import read_cases
from lungseg_train.data.duplicates import find_copies, thumbnail
from lungseg_train.phantoms.thorax import make_phantom


@pytest.fixture(scope="module")
def scans() -> list[np.ndarray]:
    return [make_phantom(seed, (32, 32, 32), (10.0, 10.0, 10.0))[0].astype(np.float32) for seed in range(16)]


COPIES = {
    "equal": lambda ct: ct,
    "mirrored": lambda ct: ct[::-1],
    "turned": lambda ct: np.rot90(ct, 1, (0, 2)),
    "other axes": lambda ct: ct.transpose(2, 0, 1)[:, ::-1],
    "noise of 40 HU": lambda ct: ct + np.random.default_rng(0).normal(0.0, 40.0, ct.shape),
    "smoothed": lambda ct: gaussian_filter(ct, 1.0),
    "windowed": lambda ct: np.clip(ct, -950.0, 350.0),
    "resampled": lambda ct: zoom(ct, 0.5, order=1, grid_mode=True, mode="nearest"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(kind: str, scans: list[np.ndarray]) -> None:
    thumbnails = {str(number): thumbnail(ct) for number, ct in enumerate(scans)}
    thumbnails["copy"] = thumbnail(COPIES[kind](scans[7]))
    assert find_copies(thumbnails) == {"copy": "7"}
    assert find_copies({"copy": thumbnails["copy"]}, {"known": thumbnails["7"], "else": thumbnails["8"]}) == {"copy": "known"}


def test_different_patients_are_no_copies(scans: list[np.ndarray]) -> None:
    assert find_copies({str(number): thumbnail(ct) for number, ct in enumerate(scans)}) == {}


def test_real_patients_of_one_scanner_are_no_copies(real_cases: Path) -> None:
    cases = read_cases(real_cases).cases
    assert len(cases) >= 5 and find_copies({case.case_id: case.thumbnail for case in cases}) == {}


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 99))
def test_a_thumbnail_is_made_of_any_volume_and_keeps_its_mean(shape: tuple[int, int, int], seed: int) -> None:
    ct = np.random.default_rng(seed).uniform(-1000, 400, shape).astype(np.float32)
    text = thumbnail(ct)
    assert len(text) == 4 * 12**3 // 3
    levels = np.frombuffer(base64.b64decode(text), np.uint8) / 255 * 1400 - 1000
    assert levels.mean() == pytest.approx(ct.mean(), abs=3.0)
