"""DICOM made of a known volume comes back as that volume: CT series, contours, segmentations, and their names."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from lungseg_train.errors import InputError
from lungseg_train.phantoms.thorax import make_phantom
from lungseg_train.scans.contours import read_dicom_seg, read_rtstruct
from lungseg_train.scans.lung_names import choose_lungs
from lungseg_train.scans.scan import read_scan
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header
from tests.dicom_files import write_ct_series, write_rtstruct, write_seg

SHAPE, SPACING_MM = (48, 40, 30), (7.0, 8.0, 10.0)


@pytest.fixture(scope="module")
def phantom() -> tuple[Volume, np.ndarray]:
    """An anisotropic phantom of unequal sides; its CT in whole HU."""
    ct_hu, mask = make_phantom(5, SHAPE, SPACING_MM)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-160.5, -140.25, 33.0]
    return in_canonical_orientation(np.rint(ct_hu), affine, new_header(affine)), mask


@pytest.fixture(scope="module")
def series(phantom: tuple[Volume, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_ct_series(tmp_path_factory.mktemp("dicom") / "a study" / "series", phantom[0])


@pytest.fixture(scope="module")
def scan(series: list[Path]) -> Volume:
    return read_scan(series[0].parent)


def _halves(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Right lung at low X in RAS+, left at high X."""
    middle = mask.shape[0] // 2
    left, right = mask.copy(), mask.copy()
    left[:middle], right[middle:] = 0, 0
    return {"Lung_L": left, "Lung_R": right}


def test_a_series_has_the_voxels_and_the_place_of_its_volume(phantom: tuple[Volume, np.ndarray], scan: Volume) -> None:
    np.testing.assert_array_equal(scan.array, phantom[0].array)
    np.testing.assert_allclose(scan.affine, phantom[0].affine, atol=1e-4)
    heights = [float(pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2]) for p in scan.dicom_files]
    assert heights == sorted(heights) and len(heights) == SHAPE[2]


def test_contours_become_the_mask_they_were_drawn_around(
    phantom: tuple[Volume, np.ndarray], series: list[Path], scan: Volume, tmp_path: Path
) -> None:
    masks = _halves(phantom[1]) | {"Heart": np.roll(phantom[1], 3, axis=0)}
    write_rtstruct(tmp_path / "rt.dcm", series, phantom[0], masks)
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "rt.dcm", scan), phantom[1])
    left = read_rtstruct(tmp_path / "rt.dcm", scan, ["lung_l"])
    np.testing.assert_array_equal(left, masks["Lung_L"])


def test_a_contour_within_a_contour_is_a_hole(series: list[Path], scan: Volume, tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    radius = np.hypot(x - 24, y - 20)
    ring = np.zeros(SHAPE, np.uint8)
    ring[:, :, 10:13] = ((radius < 12) & (radius >= 6))[..., np.newaxis]
    write_rtstruct(tmp_path / "rt.dcm", series, scan, {"Lungs": ring})
    found = read_rtstruct(tmp_path / "rt.dcm", scan)
    np.testing.assert_array_equal(found, ring)
    assert found[24, 20, 11] == 0


def test_a_circle_of_fine_contour_points_has_the_area_of_the_circle(series: list[Path], scan: Volume, tmp_path: Path) -> None:
    """The points do not lie on voxel borders: half-voxel errors of a reader would show as 10 % of the area."""
    write_rtstruct(tmp_path / "rt.dcm", series, scan, {"Lungs": _box(slice(4, 6))})
    dataset = pydicom.dcmread(tmp_path / "rt.dcm")
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        height = float(contour.ContourData[2])
        circle = np.column_stack([-3.3 + 90.0 * np.cos(angles), 8.8 + 90.0 * np.sin(angles), np.full(400, height)])
        contour.ContourData = [f"{number:.5f}" for number in circle.ravel()]
    dataset.save_as(tmp_path / "rt.dcm")
    found = read_rtstruct(tmp_path / "rt.dcm", scan)
    area_mm2 = found.sum() / 2 * SPACING_MM[0] * SPACING_MM[1]
    assert area_mm2 == pytest.approx(np.pi * 90.0**2, rel=0.01)
    # LPS in the file, RAS+ here: the centre is where the circle was.
    centre = scan.affine @ [*(np.argwhere(found).mean(axis=0)), 1.0]
    np.testing.assert_allclose(centre[:2], [3.3, -8.8], atol=0.7)


def _box(slices: slice) -> np.ndarray:
    box = np.zeros(SHAPE, np.uint8)
    box[10:20, 10:20, slices] = 1
    return box


def test_a_segmentation_becomes_the_mask_it_was_made_of(
    phantom: tuple[Volume, np.ndarray], series: list[Path], scan: Volume, tmp_path: Path
) -> None:
    write_seg(tmp_path / "seg.dcm", series, {"Heart": _box(slice(3, 5)), **_halves(phantom[1])})
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm", scan), phantom[1])


def test_a_segmentation_of_another_scan_is_refused(
    series: list[Path], phantom: tuple[Volume, np.ndarray], tmp_path: Path
) -> None:
    write_seg(tmp_path / "seg.dcm", series, {"Lungs": phantom[1]})
    other = phantom[0].affine.copy()
    other[:3, 3] += 3.0
    moved = in_canonical_orientation(phantom[0].array, other, new_header(other))
    with pytest.raises(InputError, match=r"not those of the CT"):
        read_dicom_seg(tmp_path / "seg.dcm", moved)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["Heart", "Lung_L", "Lung_R", "SpinalCord"], ["Lung_L", "Lung_R"]),
        (["LUNG_LT", "LUNG_RT", "Lungs"], ["LUNG_LT", "LUNG_RT"]),
        (["Left Lung", "Right Lung"], ["Left Lung", "Right Lung"]),
        (["LungLeft", "LungRight"], ["LungLeft", "LungRight"]),
        (["lungl", "lungr"], ["lungl", "lungr"]),
        (["l_lung", "R-Lung"], ["l_lung", "R-Lung"]),
        (["Lungs", "Lungs-GTV", "PTV_Lung"], ["Lungs"]),
        (["Lungs_Total", "Lung_L"], ["Lungs_Total"]),
        (["Both lungs"], ["Both lungs"]),
        (["Lunge links", "Lunge rechts"], ["Lunge links", "Lunge rechts"]),
    ],
)
def test_the_usual_spellings_are_lungs_and_targets_in_the_lung_are_not(names: list[str], chosen: list[str]) -> None:
    assert choose_lungs(names, [], "rt.dcm") == chosen


def test_one_lung_alone_is_not_taken_for_both() -> None:
    with pytest.raises(InputError, match=r"only Lung_L among Heart, Lung_L.*--roi"):
        choose_lungs(["Heart", "Lung_L"], [], "rt.dcm")
    assert choose_lungs(["Heart", "Lung_L"], ["LUNG*"], "rt.dcm") == ["Lung_L"]
    with pytest.raises(InputError, match=r"no structure fits --roi pulmo; it has Heart"):
        choose_lungs(["Heart"], ["pulmo"], "rt.dcm")
