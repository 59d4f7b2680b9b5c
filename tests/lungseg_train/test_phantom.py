import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg_train import phantom
from lungseg_train.phantoms.canvas import Ellipsoid, Tube, smooth_noise
from lungseg_train.phantoms.scanner import frame
from lungseg_train.phantoms.thorax import average_blocks, axis_mm, make_phantom

GRID_5MM = (64, 64, 64), (5.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_phantom(seed, *GRID_5MM) for seed in range(16)]


def run_command(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["phantom", *map(str, options)])
    phantom.main()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(*[st.integers(16, 30)] * 3),
    spacing_mm=st.tuples(*[st.floats(9, 20)] * 3),
)
def test_any_grid_holds_a_ct_and_a_mask_of_its_shape(
    seed: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    ct_hu, mask = make_phantom(seed, shape, spacing_mm)
    assert ct_hu.shape == mask.shape == shape
    assert (ct_hu.dtype, mask.dtype) == (np.int16, np.uint8)
    assert set(np.unique(mask)) == {0, 1}
    assert ct_hu.min() >= -2048 and ct_hu.max() <= 3071


@given(seed=st.integers(0, 2**32))
@settings(max_examples=3, deadline=None)
def test_one_seed_is_one_phantom(seed: int) -> None:
    first, second = (make_phantom(seed, (20, 20, 20), (14.0, 14.0, 14.0)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_another_seed_is_another_patient(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len({mask.tobytes() for _, mask in phantoms}) == len(phantoms)


@pytest.mark.parametrize("seed", range(4))
def test_one_seed_is_one_patient_on_every_grid(seed: int, phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    volume_ml = phantoms[seed][1].sum() * 5**3 / 1000
    for shape, spacing_mm in (((32, 32, 32), (10.0, 10.0, 10.0)), ((80, 80, 40), (4.0, 4.0, 8.0))):
        other = make_phantom(seed, shape, spacing_mm)[1]
        assert other.sum() * np.prod(spacing_mm) / 1000 == pytest.approx(volume_ml, rel=0.08)


def test_lungs_are_as_large_and_as_dark_as_in_patients(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    volumes_l = [mask.sum() * 5**3 / 1e6 for _, mask in phantoms]
    medians_hu = [np.median(ct_hu[mask == 1]) for ct_hu, mask in phantoms]
    assert min(volumes_l) > 0.8 and max(volumes_l) < 8
    assert max(volumes_l) > 1.5 * min(volumes_l)
    assert min(medians_hu) > -920 and max(medians_hu) < -450
    assert max(medians_hu) > min(medians_hu) + 100


def test_axes_point_right_anterior_and_superior(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    masks = np.mean([mask for _, mask in phantoms], axis=0)
    right, left = masks[32:].sum(), masks[:32].sum()
    assert right > 1.03 * left, "the heart takes room from the left lung"
    bones = np.mean([ct_hu[24:40] > 250 for ct_hu, _ in phantoms], axis=0)
    assert bones[:, :32].sum() > 3 * bones[:, 32:].sum(), "the spine lies behind"
    area = masks.sum(axis=(0, 1))
    highest, widest = np.flatnonzero(area > 0.1 * area.max())[-1], area.argmax()
    assert masks[:, :, highest].any(1).sum() < masks[:, :, widest].any(1).sum(), "lungs narrow towards the apex"


def test_most_airways_are_air_inside_the_body_but_not_lung(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    middle = (slice(24, 40), slice(20, 46), slice(30, 56))
    with_airway = [((ct_hu[middle] < -600) & (mask[middle] == 0)).any() for ct_hu, mask in phantoms]
    assert np.mean(with_airway) > 0.8


def test_padding_is_never_lung(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    x_mm, y_mm, z_mm = (axis_mm(64, 5.0) for _ in range(3))
    for seed in range(40):
        ct_hu, mask = np.zeros((64, 64, 64), np.float32), np.zeros((64, 64, 64), np.uint8)
        mask[4:60, 4:60, 10:50] = 1
        frame(ct_hu, mask, (x_mm, y_mm, z_mm), np.random.default_rng(seed))
        assert not mask[ct_hu <= -1000].any()
        assert mask.any()


def test_ellipsoid_is_zero_on_its_surface_and_negative_inside() -> None:
    solid = Ellipsoid((1, 2, 3), (10, 20, 30))
    x_mm, y_mm, z_mm = np.array([1.0, 11, 1, 1, 40]), np.array([2.0, 2, 22, 2, 2]), np.array([3.0, 3, 3, 33, 3])
    assert np.sign(np.round(solid.distance_mm(x_mm, y_mm, z_mm), 4)).tolist() == [-1, 0, 0, 0, 1]


def test_tube_distance_counts_from_its_tapered_wall() -> None:
    tube = Tube((0, 0, 0), (0, 0, 10), 4, 2)
    x_mm, y_mm, z_mm = np.array([0.0, 4, 3, 0]), np.zeros(4), np.array([0.0, 0, 5, 15])
    np.testing.assert_allclose(tube.distance_mm(x_mm, y_mm, z_mm), [-4, 0, 0, 3], atol=1e-5)


def test_blocks_are_averaged_along_each_axis() -> None:
    values = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(average_blocks(values, [1, 1, 2]), [[[0.5], [2.5]], [[4.5], [6.5]]])
    assert average_blocks(values, [2, 2, 2]).item() == 3.5


def test_smooth_noise_has_unit_deviation_and_does_not_depend_on_the_grid() -> None:
    fine, coarse = axis_mm(65, 5.0), axis_mm(33, 10.0)
    dense = smooth_noise(np.random.default_rng(0), (fine, fine, fine), 12)
    sparse = smooth_noise(np.random.default_rng(0), (coarse, coarse, coarse), 12)
    assert abs(dense.mean()) < 0.1 and 0.85 < dense.std() < 1.15
    np.testing.assert_allclose(dense[::2, ::2, ::2], sparse, atol=1e-4)


def test_drawing_needs_only_numpy_and_scipy() -> None:
    code = (
        "import sys; import lungseg_train.phantoms.thorax; "
        "sys.exit(str({'matplotlib', 'nibabel', 'tensorflow', 'keras', 'tyro'} & set(sys.modules) or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


def test_command_writes_cases_in_ras_millimetres(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_command(
        monkeypatch,
        "--out_dir",
        tmp_path / "new" / "cases",
        "--num_cases",
        2,
        "--size",
        20,
        "--spacing_mm",
        15,
        "--seed",
        7,
    )
    folders = sorted((tmp_path / "new" / "cases").iterdir())
    assert [folder.name for folder in folders] == ["phantom-0000", "phantom-0001"]
    ct, lung = (nibabel.load(folders[1] / name) for name in ("ct.nii.gz", "lung.nii.gz"))
    assert (ct.get_data_dtype(), lung.get_data_dtype()) == (np.int16, np.uint8)
    assert nibabel.aff2axcodes(ct.affine) == ("R", "A", "S")
    assert ct.header.get_zooms() == (15, 15, 15)
    np.testing.assert_array_equal(ct.affine, lung.affine)
    np.testing.assert_array_equal(ct.dataobj, make_phantom(8, (20, 20, 20), (15.0, 15.0, 15.0))[0])


def test_preview_needs_no_out_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    png_path = tmp_path / "pictures" / "phantoms.png"
    run_command(monkeypatch, "--preview", png_path, "--size", 16, "--spacing_mm", 20)
    assert png_path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num_cases", "0"], "num_cases"),
        (["--size", "15"], "size"),
        (["--size", "100000"], "size"),
        (["--spacing_mm", "0"], "spacing_mm"),
        (["--spacing_mm", "-5"], "spacing_mm"),
        (["--spacing_mm", "nan"], "spacing_mm"),
        (["--seed", "-1"], "seed"),
        (["--num_cases", "many"], "num"),
        (["--preview", "picture.doc"], "preview"),
    ],
)
def test_bad_option_is_one_line_and_writes_nothing(
    options: list[str], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch, "--out_dir", tmp_path / "cases", *options)
    complaint = capsys.readouterr().err
    assert stop.value.code == 2
    assert complaint.startswith("error: ") and complaint.count("\n") == 1 and named in complaint
    assert not list(tmp_path.iterdir())


def test_nothing_to_write_to_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch)
    assert stop.value.code == 2
    assert "--out_dir" in capsys.readouterr().err


def test_folder_with_other_files_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch, "--out_dir", tmp_path, "--num_cases", 1)
    assert stop.value.code == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_file_in_place_of_out_dir_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases").write_text("a file")
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch, "--out_dir", tmp_path / "cases")
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_interrupted_case_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save = nibabel.save

    def save_then_stop(image: nibabel.Nifti1Image, path: Path) -> None:
        if path.name == "lung.nii.gz":
            raise KeyboardInterrupt
        save(image, path)

    monkeypatch.setattr(nibabel, "save", save_then_stop)
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch, "--out_dir", tmp_path, "--size", 16, "--spacing_mm", 20)
    assert stop.value.code == 130
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_line_and_leaves_nothing_half_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", fail)
    with pytest.raises(SystemExit) as stop:
        run_command(monkeypatch, "--out_dir", tmp_path, "--size", 16, "--spacing_mm", 20)
    complaint = capsys.readouterr().err
    assert stop.value.code == 2
    assert complaint.count("\n") == 1 and "No space left" in complaint
    assert not list(tmp_path.iterdir())


def test_real_lungs_fall_within_the_range_of_phantoms(phantoms: list[tuple[np.ndarray, np.ndarray]]) -> None:
    folder = os.environ.get("LUNGSEG_REAL_CASES")
    if not folder:
        pytest.skip("LUNGSEG_REAL_CASES is unset: no real cases to compare with")
    medians_hu = [np.median(ct_hu[mask == 1]) for ct_hu, mask in phantoms]
    volumes_l = [mask.sum() * 5**3 / 1e6 for _, mask in phantoms]
    for case_dir in sorted(Path(folder).iterdir()):
        ct_hu, mask = (np.asarray(nibabel.load(case_dir / name).dataobj) for name in ("ct.nii.gz", "lung.nii.gz"))
        assert min(medians_hu) < np.median(ct_hu[mask == 1]) < max(medians_hu)
        assert min(volumes_l) < mask.sum() * 5**3 / 1e6 < max(volumes_l)
