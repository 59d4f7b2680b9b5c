import io

import matplotlib.image
import numpy as np
import pytest

from lungseg_train.evaluation.overlay import PREDICTION_COLOR, REFERENCE_COLOR, Plane, overlay_planes, plane_png, planes_png

SHAPE = (6, 8, 10)
SPACING_MM = (1.0, 2.0, 4.0)


def planes_with(marked: tuple[int, int, int]) -> dict[str, Plane]:
    """The planes of an empty CT in which one voxel, the whole mask, is marked."""
    ct_hu = np.full(SHAPE, -1000.0)
    ct_hu[marked] = 100.0
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[marked] = 1
    return {plane.name: plane for plane in overlay_planes(ct_hu, mask, np.zeros(SHAPE, dtype=bool), SPACING_MM)}


def where(plane: Plane) -> tuple[str, str]:
    """In which half of the picture the marked voxel lies."""
    ((row, column),) = np.argwhere(plane.mask)
    assert plane.ct_hu[row, column] == 100.0
    rows, columns = plane.mask.shape
    return ("top" if row < rows / 2 else "bottom", "left" if column < columns / 2 else "right")


def test_right_anterior_superior_is_where_radiologists_expect_it() -> None:
    planes = planes_with((5, 7, 9))
    assert where(planes["coronal"]) == ("top", "left")
    assert where(planes["axial"]) == ("top", "left")
    assert where(planes["sagittal"]) == ("top", "left")


def test_left_posterior_inferior_is_opposite() -> None:
    assert {where(plane) for plane in planes_with((0, 0, 0)).values()} == {("bottom", "right")}


@pytest.mark.parametrize(
    ("name", "shape", "pixel_mm", "num_slices", "slice_number"),
    [
        ("coronal", (10, 6), (4.0, 1.0), 8, 3),
        ("axial", (8, 6), (2.0, 1.0), 10, 4),
        ("sagittal", (10, 8), (4.0, 2.0), 6, 2),
    ],
)
def test_each_plane_has_the_pixels_of_its_two_axes(
    name: str, shape: tuple[int, int], pixel_mm: tuple[float, float], num_slices: int, slice_number: int
) -> None:
    plane = planes_with((1, 2, 3))[name]
    assert (plane.ct_hu.shape, plane.pixel_mm) == (shape, pixel_mm)
    assert (plane.num_slices, plane.slice_number) == (num_slices, slice_number)


def test_the_slice_is_the_one_with_most_lung() -> None:
    mask = np.zeros(SHAPE)
    mask[1:5, 2, 1:9], mask[1:3, 5, 1:3] = 1, 1
    coronal = overlay_planes(np.zeros(SHAPE), mask, mask, SPACING_MM)[0]
    assert (coronal.slice_number, coronal.mask.sum()) == (3, 32)


def picture_of(plane: Plane) -> np.ndarray:
    """(rows, columns, 3) from 0 to 1."""
    return matplotlib.image.imread(io.BytesIO(plane_png(plane)))[..., :3]


def has_color(picture: np.ndarray, color: str) -> bool:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return bool((np.abs(picture - rgb).max(axis=-1) < 0.02).any())


def test_the_picture_has_the_patients_proportions_and_both_outlines() -> None:
    mask, prediction = np.zeros(SHAPE), np.zeros(SHAPE)
    mask[1:5, 1:6, 2:8], prediction[1:4, 1:5, 2:7] = 1, 1
    for plane in overlay_planes(np.full(SHAPE, -800.0), mask, prediction, SPACING_MM):
        picture = picture_of(plane)
        strip = 42
        aspect = (picture.shape[0] - strip) / picture.shape[1]
        height_mm, width_mm = (size * mm for size, mm in zip(plane.ct_hu.shape, plane.pixel_mm, strict=True))
        assert aspect == pytest.approx(height_mm / width_mm, rel=0.02)
        slice_only = picture[:-strip]
        assert has_color(slice_only, REFERENCE_COLOR) and has_color(slice_only, PREDICTION_COLOR)


def test_an_empty_prediction_and_a_full_mask_can_be_drawn() -> None:
    for plane in overlay_planes(np.zeros(SHAPE), np.ones(SHAPE), np.zeros(SHAPE), SPACING_MM):
        assert not has_color(picture_of(plane)[:-42], PREDICTION_COLOR)


def test_without_a_reference_the_prediction_alone_is_drawn_where_it_is_largest() -> None:
    prediction = np.zeros(SHAPE)
    prediction[1:4, 1:5, 2:7] = 1
    for plane in overlay_planes(np.full(SHAPE, -800.0), None, prediction, SPACING_MM):
        assert plane.mask is None and plane.prediction.any()
        picture = picture_of(plane)
        assert has_color(picture, PREDICTION_COLOR) and not has_color(picture, REFERENCE_COLOR)


def test_where_nothing_is_lung_the_middle_slice_is_shown() -> None:
    planes = overlay_planes(np.zeros(SHAPE), None, np.zeros(SHAPE), SPACING_MM)
    assert [plane.slice_number for plane in planes] == [5, 6, 4]


def test_planes_side_by_side_are_on_one_scale() -> None:
    planes = overlay_planes(np.zeros(SHAPE), None, np.zeros(SHAPE), SPACING_MM)
    picture = matplotlib.image.imread(io.BytesIO(planes_png(planes)))
    # Widths 6, 6 and 16 mm on 3 x 504 pixels; the highest plane is 40 mm high.
    assert picture.shape[1] == 3 * 504
    assert picture.shape[0] - 42 == pytest.approx(40 / 28 * 3 * 504, abs=1)
