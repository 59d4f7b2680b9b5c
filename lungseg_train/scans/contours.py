"""Lung masks from RTSTRUCT contours and from DICOM SEG, on the voxels of their CT."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from lungseg_train.errors import InputError
from lungseg_train.scans.dicom_files import quiet, read_whole
from lungseg_train.scans.lung_names import choose_lungs
from lungseg_train.scans.nifti_file import MAX_VOXELS
from lungseg_train.scans.volume import LPS_TO_RAS, Volume

MAX_OUTSIDE_VOXELS = 1.0
"""Contours are drawn on the borders of voxels; further out they belong to another scan."""
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
MAX_OFFSET = 0.1
"""A contour or SEG may lie this share of a voxel beside its CT: exporters round."""
SLICE_ROW_COLUMN = (2, 1, 0)
"""highdicom's axes among ours, which are column, row, slice; and the other way round."""


def read_rtstruct(path: Path, ct: Volume, patterns: Sequence[str] = ()) -> np.ndarray:
    """Both lungs, uint8 0/1 on `ct.array`. A voxel belongs to a contour if its centre lies within; contours within
    contours of one structure are holes (even-odd rule). Raises `InputError`."""
    with _errors_of(path, "an RTSTRUCT"):
        dataset = read_whole(path)
        names = {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in dataset.get("StructureSetROISequence") or []}
        chosen = set(choose_lungs(list(names.values()), patterns, str(path)))
        shape = _file_shape(ct)
        mask = np.zeros(shape, bool)
        for roi in dataset.get("ROIContourSequence") or []:
            name = names.get(int(roi.ReferencedROINumber), "")
            if name in chosen:
                chosen.discard(name)
                mask |= _filled(_contours(roi, ct, path, name), shape, path, name)
        if chosen:
            raise InputError(f"{path}: {', '.join(sorted(chosen))} has no contours. Draw them or leave the patient out.")
        return _canonical(mask, ct)


def read_dicom_seg(path: Path, ct: Volume, patterns: Sequence[str] = ()) -> np.ndarray:
    """Both lungs of a DICOM SEG, uint8 0/1 on `ct.array`. Raises `InputError`."""
    import highdicom

    with _errors_of(path, "a DICOM SEG"):
        segmentation = highdicom.seg.Segmentation.from_dataset(read_whole(path), copy=False)
        labels = {n: str(segmentation.get_segment_description(n).segment_label) for n in segmentation.segment_numbers}
        chosen = choose_lungs(list(labels.values()), patterns, str(path))
        numbers = [number for number, label in labels.items() if label in chosen]
        extent = segmentation.get_volume_geometry()
        # One frame far away would make an array that reaches to it.
        if extent is None or np.prod(extent.spatial_shape, dtype=np.float64) > MAX_VOXELS:
            raise InputError(f"{path}: its frames are no regular stack. Export CT and segmentation on one grid.")
        volume = segmentation.get_volume(segment_numbers=numbers, combine_segments=False)
        # Empty slices are left out of a SEG; matching pads them, and refuses what would have to be resampled.
        try:
            volume = volume.match_geometry(_geometry(ct), tol=MAX_OFFSET)
        except RuntimeError:
            raise InputError(f"{path}: its voxels are not those of the CT. Export CT and segmentation on one grid.") from None
    lungs: np.ndarray = np.any(np.asarray(volume.array) > 0.5, axis=-1)
    filled = np.flatnonzero(lungs.any(axis=(1, 2)))
    num_missing = int(np.ptp(filled)) + 1 - len(filled) if len(filled) else 0
    if num_missing:
        raise InputError(f"{path}: has no lungs on {num_missing} slice(s) between its ends. Export it again.")
    return _canonical(lungs.transpose(*SLICE_ROW_COLUMN), ct)


def _geometry(ct: Volume) -> Any:
    """The CT's voxels as highdicom describes them: axes slice, row, column, in LPS."""
    from highdicom import VolumeGeometry

    affine = (LPS_TO_RAS @ ct.file_affine)[:, [*SLICE_ROW_COLUMN, 3]]
    return VolumeGeometry(affine=affine, spatial_shape=_file_shape(ct)[::-1], coordinate_system="PATIENT")


@contextmanager
def _errors_of(path: Path, kind: str) -> Iterator[None]:
    """pydicom and highdicom meet damage with errors of many kinds."""
    try:
        with quiet():
            yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{path}: cannot be read as {kind} ({reason}). Export it again.") from None


def _file_shape(ct: Volume) -> tuple[int, int, int]:
    """Sizes along the axes of the CT's file."""
    order = io_orientation(ct.file_affine)[:, 0].astype(int)
    x_size, y_size, z_size = (ct.shape[axis] for axis in order)
    return x_size, y_size, z_size


def _canonical(mask: np.ndarray, ct: Volume) -> np.ndarray:
    return np.ascontiguousarray(apply_orientation(mask, io_orientation(ct.file_affine)), dtype=np.uint8)


def _contours(roi: Any, ct: Volume, path: Path, name: str) -> Iterator[np.ndarray]:
    """Closed contours of a structure as (N, 3) voxel indices on the axes of the CT's file."""
    to_voxel = np.linalg.inv(ct.file_affine) @ LPS_TO_RAS
    # A slice beyond the last is outside.
    margins = 0.5 + np.array([MAX_OUTSIDE_VOXELS, MAX_OUTSIDE_VOXELS, 0.0])
    limits = np.array(_file_shape(ct)) - 1 + margins
    for contour in roi.get("ContourSequence") or []:
        if str(contour.get("ContourGeometricType", "CLOSED_PLANAR")) not in CLOSED:
            continue
        points = _points(contour, path, name) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        if (points < -margins).any() or (points > limits).any():
            raise InputError(f"{path}: a contour of {name} lies outside of the scan. Use the CT that it was drawn on.")
        if np.ptp(points[:, 2]) > 0.5:
            raise InputError(f"{path}: a contour of {name} crosses slices. Use the CT that it was drawn on.")
        yield points


def _points(contour: Any, path: Path, name: str) -> np.ndarray:
    """(N, 3) in mm, LPS."""
    try:
        points = np.array([float(number) for number in contour.ContourData]).reshape(-1, 3)
    except (AttributeError, TypeError, ValueError):
        points = np.empty((0, 3))
    if len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"{path}: a contour of {name} is not a list of at least three points. Export it again.")
    return points


def _filled(contours: Iterator[np.ndarray], shape: tuple[int, int, int], path: Path, name: str) -> np.ndarray:
    from skimage.draw import polygon2mask

    mask = np.zeros(shape, bool)
    heights: set[int] = set()
    seen: set[bytes] = set()
    for points in contours:
        height = float(points[:, 2].mean())
        index = min(max(round(height), 0), shape[2] - 1)
        if abs(index - height) > MAX_OFFSET:
            raise InputError(f"{path}: {name} has contours between the CT's slices. Use the CT that it was drawn on.")
        heights.add(index)
        # By the even-odd rule the second would erase the first.
        if points.tobytes() in seen:
            raise InputError(f"{path}: {name} has the same contour twice. Remove one of the two.")
        seen.add(points.tobytes())
        mask[:, :, index] ^= polygon2mask(shape[:2], points[:, :2])
    if not heights:
        raise InputError(f"{path}: {name} has no closed contours. Draw them or leave the patient out.")
    missing = sorted(set(range(min(heights), max(heights) + 1)) - heights)
    if missing:
        raise InputError(f"{path}: {name} lacks contours on {len(missing)} slice(s) between its ends. Interpolate them.")
    return mask
