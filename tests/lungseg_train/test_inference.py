"""Scans of any kind and grid -> masks on their own voxels."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pydicom
import pytest

from lungseg_train import inference
from lungseg_train.scans.contours import read_dicom_seg
from lungseg_train.scans.nifti_file import read_nifti
from lungseg_train.scans.scan import read_scan
from lungseg_train.scans.volume import to_nifti, write_nifti
from tests.conftest import Run
from tests.dicom_files import PLANTED_ID, PLANTED_NAME, write_ct_series
from tests.lungseg_train.models import LUNG_HU, save_known_model

Infer = Callable[..., int]
Capsys = pytest.CaptureFixture[str]
SHAPE, SPACING_MM = (80, 80, 36), (4.0, 4.0, 10.0)
"""Anisotropic, and longer than the training grid: 360 mm of 320."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_known_model(tmp_path_factory.mktemp("model") / "best_model.keras")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two unlike lungs in a body of water, on a native grid."""
    folder = tmp_path_factory.mktemp("native") / "S1-900"
    lung = np.zeros(SHAPE, np.uint8)
    lung[8:32, 20:64, 4:30], lung[44:75, 15:60, 6:33] = 1, 1
    write_nifti(folder / "ct.nii.gz", to_nifti(np.where(lung, -700, 0).astype(np.int16), SPACING_MM))
    write_nifti(folder / "lung.nii.gz", to_nifti(lung, SPACING_MM))
    return folder


@pytest.fixture(scope="module")
def dicom(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_ct_series(folder, read_nifti(case / "ct.nii.gz"))
    return folder


@pytest.fixture
def infer(monkeypatch: pytest.MonkeyPatch, model: Path) -> Infer:
    """The command in this process, to save the import of the backend."""

    def run(*args: object, model: Path = model) -> int:
        monkeypatch.setattr("sys.argv", ["inference", "--model", str(model), *map(str, args)])
        try:
            inference.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


def read(path: Path) -> np.ndarray:
    """In RAS+."""
    return read_nifti(path).array


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * ((one > 0) & (other > 0)).sum() / ((one > 0).sum() + (other > 0).sum()))


def test_an_anisotropic_scan_is_segmented_on_its_own_voxels(infer: Infer, case: Path, tmp_path: Path, capsys: Capsys) -> None:
    mask, prob = tmp_path / "mask.nii.gz", tmp_path / "prob.nii.gz"
    assert infer("--input", case, "--output_mask", mask, "--output_prob", prob, "--thr", "0.4") == 0
    written, source = nib.load(mask), nib.load(case / "ct.nii.gz")
    assert written.shape == SHAPE and written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, source.affine)
    np.testing.assert_array_equal(read(mask) > 0, read(prob) >= 0.4)
    assert dice(read(mask), read(case / "lung.nii.gz")) > 0.9
    lung_ml = read(mask).sum() * np.prod(SPACING_MM) / 1000
    assert capsys.readouterr().out == f"lung volume {lung_ml:.0f} ml, mask: {mask}\n"


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR"])
def test_the_mask_lies_on_the_inputs_own_grid_whatever_its_axes(
    infer: Infer, orientation: str, case: Path, tmp_path: Path
) -> None:
    ct = nib.load(case / "ct.nii.gz")
    target = nib.orientations.axcodes2ornt(orientation)
    turned = ct.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(ct.affine), target))
    nib.save(turned, tmp_path / "turned.nii.gz")
    assert infer("--input", case, "--output_mask", tmp_path / "straight.nii") == 0
    assert infer("--input", tmp_path / "turned.nii.gz", "--output_mask", tmp_path / "mask.nii.gz") == 0
    written = nib.load(tmp_path / "mask.nii.gz")
    assert written.shape == turned.shape
    np.testing.assert_allclose(written.affine, turned.affine)
    np.testing.assert_array_equal(read(tmp_path / "mask.nii.gz"), read(tmp_path / "straight.nii"))


def test_a_dicom_folder_and_the_same_nifti_give_one_mask_without_a_name_in_it(
    infer: Infer, case: Path, dicom: Path, tmp_path: Path
) -> None:
    assert infer("--input", dicom, case, "--output_mask", tmp_path / "masks") == 0
    masks = [tmp_path / "masks" / name for name in ("series.nii.gz", "S1-900.nii.gz")]
    np.testing.assert_array_equal(read(masks[0]), read(masks[1]))
    payload = nib.load(masks[0]).to_bytes()
    assert not any(text.encode() in payload for text in (PLANTED_NAME, PLANTED_ID))


def test_a_dicom_seg_holds_exactly_the_mask_and_says_what_made_it(
    infer: Infer, model: Path, case: Path, dicom: Path, tmp_path: Path
) -> None:
    assert infer("--input", dicom, "--output_mask", tmp_path / "m.dcm", "--output_prob", tmp_path / "p.nii.gz") == 0
    ct = read_scan(dicom)
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "m.dcm", ct) > 0, read(tmp_path / "p.nii.gz") >= 0.5)
    seg, source = pydicom.dcmread(tmp_path / "m.dcm"), pydicom.dcmread(ct.dicom_files[0], stop_before_pixels=True)
    (segment,) = seg.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "lungseg-search"
    assert hashlib.sha256(model.read_bytes()).hexdigest() in algorithm.AlgorithmParameters
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value


def test_the_mask_does_not_replace_a_slice_of_the_input(infer: Infer, dicom: Path, capsys: Capsys) -> None:
    slices = sorted(dicom.iterdir())
    before = slices[0].read_bytes()
    assert infer("--input", dicom, "--output_mask", slices[0]) == 2
    assert "is a slice of the input" in capsys.readouterr().err and slices[0].read_bytes() == before


def test_components_and_holes_are_tidied_by_option(infer: Infer, tmp_path: Path) -> None:
    air, lung, vessel = -1000, round(np.mean(LUNG_HU)), 200
    ct = np.full((16, 16, 16), air, np.int16)
    ct[2:6, 3:12, 3:12], ct[9:13, 3:12, 3:12], ct[15, 15, 15] = lung, lung, lung
    ct[4, 6, 6] = ct[2:13, 13:15, 3:12] = vessel
    write_nifti(tmp_path / "ct.nii.gz", to_nifti(ct, (20.0, 20.0, 20.0)))
    parts = {(): (True, False), ("--largest_components",): (False, False), ("--fill_holes",): (True, True)}
    for options, (speck, filled) in parts.items():
        assert infer("--input", tmp_path / "ct.nii.gz", "--output_mask", tmp_path / "m.nii.gz", *options) == 0
        mask = read(tmp_path / "m.nii.gz")
        assert (mask[15, 15, 15] > 0, mask[4, 6, 6] > 0) == (speck, filled)
        assert mask[3, 4, 4] and mask[10, 4, 4] and not mask[7, 4, 4]


def test_the_figure_shows_three_planes_and_the_cases_own_mask(infer: Infer, case: Path, tmp_path: Path) -> None:
    for source, name in ((case, "both.png"), (case / "ct.nii.gz", "alone.png")):
        assert infer("--input", source, "--output_mask", tmp_path / "m.nii.gz", "--overlay", tmp_path / name) == 0
    both, alone = (matplotlib.image.imread(tmp_path / name) for name in ("both.png", "alone.png"))
    assert both.shape == alone.shape
    height, width = both.shape[:2]
    # Three squares of 320 mm across; in height coronal and sagittal show 360 mm.
    assert width == 3 * 504 and height == pytest.approx(504 * 360 / 320 + 42, abs=2)
    assert (both != alone).any()


def test_a_reference_on_another_grid_is_one_line(infer: Infer, case: Path, tmp_path: Path, capsys: Capsys) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "ct.nii.gz").symlink_to(case / "ct.nii.gz")
    write_nifti(own / "lung.nii.gz", to_nifti(np.ones((4, 4, 4), np.uint8), (20.0, 20.0, 20.0)))
    assert infer("--input", own, "--output_mask", tmp_path / "m.nii.gz", "--overlay", tmp_path / "f.png") == 2
    assert "mask grid" in capsys.readouterr().err and not (tmp_path / "m.nii.gz").exists()


@pytest.fixture
def three(phantom_cases: Path, tmp_path: Path) -> list[Path]:
    """Three cases, the second of which is damaged."""
    good = [phantom_cases / f"phantom-000{n}" for n in (0, 1)]
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "ct.nii.gz").write_bytes((good[0] / "ct.nii.gz").read_bytes()[:-50])
    return [good[0], bad, good[1]]


def test_the_first_bad_input_ends_the_command(infer: Infer, three: list[Path], tmp_path: Path, capsys: Capsys) -> None:
    assert infer("--input", *three, "--output_mask", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "bad/ct.nii.gz" in message
    assert "1 of 3 scans are segmented" in message and "--skip_bad_inputs" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["phantom-0000.nii.gz"]


def test_bad_inputs_are_skipped_by_name_on_request(infer: Infer, three: list[Path], tmp_path: Path, capsys: Capsys) -> None:
    assert infer("--input", *three, "--output_mask", tmp_path / "out", "--skip_bad_inputs") == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"skipped {three[1]}: ") and said.err.count("\n") == 1
    assert said.out.splitlines()[-1] == "2 of 3 scans segmented" and said.out.count("lung volume") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["phantom-0000.nii.gz", "phantom-0001.nii.gz"]
    assert infer("--input", three[1], "--output_mask", tmp_path / "m.nii.gz", "--skip_bad_inputs") == 2


def test_a_user_types_it_and_reads_one_line_a_scan(
    model: Path, case: Path, dicom: Path, tmp_path: Path, run_python: Run
) -> None:
    done = run_python(
        "-m", "lungseg_train.inference", "--model", model, "--input", case, dicom, "--output_mask", tmp_path / "out", "--tta"
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[0].endswith("S1-900.nii.gz") and lines[1].endswith("series.nii.gz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ct: (ct + 1000.0) / 1400.0, "normalised"),
        (lambda ct: ct + 1024.0, "rescale intercept is missing"),
        (lambda ct: np.full_like(ct, -1000.0), "expected a body"),
        (lambda ct: ct[:, :, :1], "several slices"),
    ],
)
def test_numbers_that_are_no_scan_of_a_chest_make_no_mask(
    change: Callable[[np.ndarray], np.ndarray], words: str, infer: Infer, case: Path, tmp_path: Path, capsys: Capsys
) -> None:
    ct = read(case / "ct.nii.gz").astype(np.float32)
    write_nifti(tmp_path / "ct.nii.gz", to_nifti(change(ct), (20.0, 20.0, 20.0)))
    outputs = ("--output_mask", tmp_path / "m.nii.gz", "--overlay", tmp_path / "o.png")
    assert infer("--input", tmp_path / "ct.nii.gz", *outputs) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists() and not (tmp_path / "o.png").exists()
