"""A DICOM CT series -> Volume: nothing but a whole, regular, decodable scan comes out.

Readers that only warn of a missing slice stretch the scan over the gap, so the geometry is checked here first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lungseg_train.errors import InputError
from lungseg_train.scans.dicom_files import DicomFile, DicomSeries, quiet
from lungseg_train.scans.nifti_file import MAX_VOXELS
from lungseg_train.scans.volume import LPS_TO_RAS, Volume, in_canonical_orientation, new_header

MIN_SLICES = 3
TOLERANCE = 0.01
"""Distances between slices may differ by this share of their median: scanners round positions."""


def read_ct_series(series: DicomSeries) -> Volume:
    """Check and read one series; voxels in HU. Raises `InputError` naming the file and the mend."""
    files = sorted_slices(series)
    first = files[0].header
    spacing, normal = _floats(files[0], "PixelSpacing", 2), _normal(files[0])
    positions = np.array([_floats(file, "ImagePositionPatient", 3) for file in files])
    step = (positions[-1] - positions[0]) / (len(files) - 1)
    row_direction, column_direction = _directions(files[0])
    affine = np.eye(4)
    # The first index counts columns, which lie along the direction of a row; PixelSpacing names the rows' distance first.
    affine[:3, 0] = row_direction * spacing[1]
    affine[:3, 1] = column_direction * spacing[0]
    affine[:3, 2] = normal * float(step @ normal)
    affine[:3, 3] = positions[0]
    voxels = np.empty((int(first.Columns), int(first.Rows), len(files)), np.float32)
    for index, file in enumerate(files):
        voxels[:, :, index] = _hounsfield(file).T
    affine = LPS_TO_RAS @ affine
    return in_canonical_orientation(voxels, affine, new_header(affine), tuple(str(file.path) for file in files))


def sorted_slices(series: DicomSeries) -> list[DicomFile]:
    """The slices of a sound series in the order of their positions. Raises `InputError`."""
    files = [file for file in series.files if "LOCALIZER" not in file.text("ImageType")]
    _check_alike(files, series)
    normal = _normal(files[0])
    files.sort(key=lambda file: float(_floats(file, "ImagePositionPatient", 3) @ normal))
    _check_positions(files, normal)
    return files


def _check_alike(files: Sequence[DicomFile], series: DicomSeries) -> None:
    if series.modality != "CT":
        raise InputError(
            f"{series.folder}: expected a CT series, got modality {series.modality or 'none'}. Name the CT's folder."
        )
    for file in files:
        if _whole_number(file, "NumberOfFrames", 1) > 1:
            raise InputError(f"{file.path}: is a multi-frame CT, expected one file a slice. Convert it to single frames.")
    if len(files) < MIN_SLICES:
        raise InputError(f"{series.folder}: {len(files)} slices are no scan, at least {MIN_SLICES} are needed. Copy it whole.")
    for file in files:
        grey = file.text("PhotometricInterpretation") in ("", "MONOCHROME1", "MONOCHROME2")
        if _whole_number(file, "SamplesPerPixel", 1) != 1 or not grey:
            raise InputError(f"{file.path}: is a colour picture, expected grey CT slices. Remove it from the series.")
        for keyword in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"):
            if file.header.get(keyword) is None:
                raise InputError(f"{file.path}: has no {keyword}, so its place is unknown. Export the series again.")
        _check_like_first(file, files[0])
    rows, columns = (_whole_number(files[0], keyword, 0) for keyword in ("Rows", "Columns"))
    if not 0 < rows * columns * len(files) <= MAX_VOXELS:
        raise InputError(f"{series.folder}: {rows}x{columns}x{len(files)} voxels are none or more than any CT has. Check it.")


def _check_like_first(file: DicomFile, first: DicomFile) -> None:
    if file.text("PatientID") != first.text("PatientID"):
        raise InputError(f"{file.path}: two patients in one series, this and that of {first.path.name}. Keep one.")
    if _floats(file, "PixelSpacing", 2).min() <= 0.0:
        raise InputError(f"{file.path}: its PixelSpacing is not above 0. Export the series again.")
    if (file.header.Rows, file.header.Columns) != (first.header.Rows, first.header.Columns):
        raise InputError(
            f"{file.path}: {file.header.Rows}x{file.header.Columns} pixels, but {first.path.name} has "
            f"{first.header.Rows}x{first.header.Columns}. Keep one scan in a series."
        )
    for keyword, length in (("PixelSpacing", 2), ("ImageOrientationPatient", 6)):
        if np.abs(_floats(file, keyword, length) - _floats(first, keyword, length)).max() > 1e-3:
            raise InputError(f"{file.path}: its {keyword} differs from that of {first.path.name}. Keep one scan in a series.")


def _check_positions(files: Sequence[DicomFile], normal: np.ndarray) -> None:
    positions = np.array([_floats(file, "ImagePositionPatient", 3) for file in files])
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    for index in np.flatnonzero(steps <= TOLERANCE * max(step, 1e-3)).tolist():
        raise InputError(f"{files[index].path}: lies where {files[index + 1].path.name} lies. Remove the duplicate slice.")
    worst = int(np.abs(steps - step).argmax())
    between = f"between {files[worst].path.name} and {files[worst + 1].path.name}"
    if steps[worst] > 1.5 * step:
        missing = round(steps[worst] / step) - 1
        raise InputError(f"{files[worst].path}: {missing} slice(s) missing {between}. Copy the series again.")
    if abs(steps[worst] - step) > TOLERANCE * step:
        raise InputError(
            f"{files[worst].path}: the distance {between} is {steps[worst]:.3f} mm, elsewhere {step:.3f} mm. "
            "Resample the scan to equal distances."
        )
    drift = np.diff(positions, axis=0) - np.outer(steps, normal)
    if np.linalg.norm(drift, axis=1).max() > TOLERANCE * step:
        raise InputError(f"{files[0].path}: the slices are shifted against each other (gantry tilt). Untilt the scan first.")


def _hounsfield(file: DicomFile) -> np.ndarray:
    """(rows, columns) float32 in HU. Raises `InputError` if the file cannot be decoded to the last pixel."""
    import pydicom

    try:
        with quiet():
            dataset = pydicom.dcmread(file.path)
            for keyword in ("PixelData", "RescaleSlope", "RescaleIntercept"):
                if dataset.get(keyword) is None:
                    raise InputError(f"{file.path}: has no {keyword}, so its HU are unknown. Export the series again.")
            pixels = dataset.pixel_array
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except InputError:
        raise
    # Decoders meet damage with errors of many kinds.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{file.path}: its pixels cannot be decoded ({reason}). Copy it again.") from None
    expected = (int(file.header.Rows), int(file.header.Columns))
    if pixels.shape != expected or not np.isfinite([slope, intercept]).all() or slope == 0.0:
        raise InputError(f"{file.path}: {pixels.shape} pixels with slope {slope} are no CT slice. Export the series again.")
    hounsfield: np.ndarray = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return hounsfield


def _directions(file: DicomFile) -> tuple[np.ndarray, np.ndarray]:
    """Directions along a row and along a column, in DICOM's LPS. Raises `InputError`."""
    directions = _floats(file, "ImageOrientationPatient", 6)
    along_row, along_column = directions[:3], directions[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if np.abs(np.array(lengths) - 1.0).max() > 1e-2 or abs(float(along_row @ along_column)) > 1e-2:
        raise InputError(f"{file.path}: its ImageOrientationPatient is no pair of directions. Export the series again.")
    return along_row, along_column


def _normal(file: DicomFile) -> np.ndarray:
    normal: np.ndarray = np.cross(*_directions(file))
    return normal


def _whole_number(file: DicomFile, keyword: str, default: int) -> int:
    value: Any = file.header.get(keyword)
    try:
        return default if value is None or value == "" else int(value)
    except (TypeError, ValueError):
        raise InputError(f"{file.path}: its {keyword} is no number. Export the series again.") from None


def _floats(file: DicomFile, keyword: str, length: int) -> np.ndarray:
    try:
        value: Any = file.header.get(keyword)
        numbers = np.array([float(number) for number in value])
    except (TypeError, ValueError):
        numbers = np.full(length, np.nan)
    if numbers.shape != (length,) or not np.isfinite(numbers).all():
        raise InputError(f"{file.path}: its {keyword} is not {length} numbers. Export the series again.")
    return numbers
