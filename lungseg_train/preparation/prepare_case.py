"""One scan of a raw data folder -> a case folder on the training grid."""

import hashlib
import hmac
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from lungseg_train.data.duplicates import thumbnail
from lungseg_train.data.prepared import CASE_JSON, NATIVE_CT, NATIVE_MASK, PREPARE_VERSION, PreparedCase, read_former
from lungseg_train.errors import InputError
from lungseg_train.preparation.case_ids import salted
from lungseg_train.preparation.sources import Source
from lungseg_train.scans.checks import check_geometry, check_hounsfield, check_lungs, check_mask
from lungseg_train.scans.grid import SMOOTHING, Grid, resample_ct, resample_mask, training_grid
from lungseg_train.scans.scan import read_volume_file
from lungseg_train.scans.volume import Volume, new_header, write_atomically, write_nifti

MAX_OUTSIDE_PERCENT = 1.0
"""More of the lungs beyond the training grid than this, and the case would teach cut lungs."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What is made of a scan."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    roi: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    keep_native: bool = True


@dataclass(frozen=True)
class NamedSource:
    """A scan with the names under which it leaves the source."""

    source: Source
    case_id: str
    patient: str


def read_source(source: Source, options: PrepareOptions) -> tuple[Volume, np.ndarray]:
    """CT in HU and lungs, uint8 0/1, on the scan's own voxels in RAS+, all checked. Raises `InputError`."""
    # These import pydicom, which a data set of NIfTI files needs not.
    if source.series is not None:
        from lungseg_train.scans.dicom_ct import read_ct_series

        ct = read_ct_series(source.series)
    else:
        ct = read_volume_file(source.ct_path)
    check_geometry(ct, source.ct_path)
    check_hounsfield(ct, source.ct_path)
    lungs = _read_lungs(source, ct, options)
    check_lungs(lungs, ct, source.mask_path)
    return ct, lungs


def prepare_case(named: NamedSource, options: PrepareOptions, salt: bytes, case_dir: Path | None) -> PreparedCase:
    """Read, check and resample one scan, and write it to `case_dir`; with None nothing is written. Raises `InputError`."""
    source = named.source
    ct, lungs = read_source(source, options)
    grid = training_grid(ct, options.shape, options.spacing_mm)
    outside = _outside_percent(lungs, grid, ct)
    if outside > MAX_OUTSIDE_PERCENT:
        raise InputError(
            f"{source.mask_path}: {outside:.1f} % of the lungs lie outside of {_times(options.shape)} voxels of "
            f"{options.spacing_mm[0]:g} mm. Choose a larger --grid or --spacing_mm."
        )
    small_ct = np.rint(resample_ct(ct, grid)).astype(np.int16)
    small_lungs = resample_mask(lungs, ct, grid)
    hounsfield = np.clip(np.rint(ct.array), -32768, 32767).astype(np.int16)
    ct_sha256, mask_sha256 = ct.sha256, _like(ct, lungs).sha256
    prepared = PreparedCase(
        case_id=named.case_id,
        patient=named.patient,
        source=source.kind,
        source_series=salted(source.series.series_uid if source.series else str(source.ct_path.resolve()), salt),
        source_state=source_state(source, options, salt),
        source_shape=_file_shape(ct),
        source_spacing_mm=_rounded(np.linalg.norm(ct.file_affine[:3, :3], axis=0)),
        source_axes="".join(nib.aff2axcodes(ct.file_affine)),
        source_ct_sha256=ct_sha256,
        source_mask_sha256=mask_sha256,
        shape=options.shape,
        spacing_mm=options.spacing_mm,
        lung_ml=round(float(np.count_nonzero(lungs)) * float(np.prod(ct.spacing_mm)) / 1000, 1),
        lung_outside_percent=round(outside, 3),
        steps=_steps(source, options, grid),
        thumbnail=thumbnail(small_ct),
        native_sha256=(_native_sha256(ct, hounsfield, ct_sha256), mask_sha256) if options.keep_native else None,
    )
    if case_dir is not None:
        _write(case_dir, prepared, small_ct, small_lungs, grid.affine(ct))
        if options.keep_native:
            write_nifti(case_dir / NATIVE_CT, _nifti(hounsfield, ct.affine), compresslevel=1)
            write_nifti(case_dir / NATIVE_MASK, _nifti(lungs, ct.affine))
        # Last: where it is, the case is whole.
        write_atomically(case_dir / CASE_JSON, prepared.to_json())
    return prepared


def source_state(source: Source, options: PrepareOptions, salt: bytes) -> str:
    """Equal as long as neither the source's files nor the options change; files are not read."""
    stats = [(path.name, path.stat()) for path in source.paths]
    files = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    text = json.dumps([PREPARE_VERSION, asdict(options), files])
    return hmac.new(salt, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def is_prepared(case_dir: Path, state: str) -> bool:
    """Whether a folder holds the whole case made of this state of its source."""
    prepared = read_former(case_dir)
    return prepared is not None and prepared.source_state == state


def _read_lungs(source: Source, ct: Volume, options: PrepareOptions) -> np.ndarray:
    if source.mask_kind == "volume":
        mask = read_volume_file(source.mask_path)
        check_mask(mask, ct, source.mask_path)
        return _labelled(mask.array, options.labels, source.mask_path)
    from lungseg_train.scans.contours import read_dicom_seg, read_rtstruct

    read = {"RTSTRUCT": read_rtstruct, "SEG": read_dicom_seg}[source.mask_kind]
    return read(source.mask_path, ct, options.roi)


def _labelled(mask: np.ndarray, labels: tuple[int, ...], path: Path) -> np.ndarray:
    found = [int(label) for label in np.unique(mask) if label > 0]
    if labels:
        missing = sorted(set(labels) - set(found))
        if missing:
            raise InputError(f"{path}: has no label {missing[0]}, but {_listed(found)}. Correct --labels.")
        return np.isin(mask, labels).astype(np.uint8)
    if len(found) > 1:
        raise InputError(
            f"{path}: has the labels {_listed(found)}. Name those of the lungs, such as --labels {found[0]} {found[1]}."
        )
    return (mask > 0).astype(np.uint8)


def _outside_percent(lungs: np.ndarray, grid: Grid, ct: Volume) -> float:
    inside = lungs
    for axis in range(3):
        places = (np.arange(ct.shape[axis]) - grid.origin[axis]) * ct.spacing_mm[axis] / grid.spacing_mm[axis]
        within = np.flatnonzero((places >= -0.5) & (places <= grid.shape[axis] - 0.5))
        inside = np.take(inside, within, axis)
    return 100.0 * (1.0 - np.count_nonzero(inside) / np.count_nonzero(lungs))


def _steps(source: Source, options: PrepareOptions, grid: Grid) -> tuple[str, ...]:
    chosen = f", structures {' '.join(options.roi)}" if options.roi else ""
    chosen += f", labels {_listed(options.labels)}" if options.labels else ""
    sigma_mm = SMOOTHING * grid.spacing_mm[0]
    return (
        f"lungs from {source.kind}{chosen}",
        "axes turned to RAS+",
        f"CT and mask smoothed by a Gaussian of {sigma_mm:.2f} mm, sampled linearly on {_times(grid.shape)} voxels of "
        f"{grid.spacing_mm[0]:g} mm, centred on the body in X and Y and on the scan in Z",
        "outside of the scan -1000 HU; a voxel is lung where the smoothed mask is at least 0.5",
    )


def _write(case_dir: Path, prepared: PreparedCase, ct: np.ndarray, lungs: np.ndarray, affine: np.ndarray) -> None:
    shutil.rmtree(case_dir, ignore_errors=True)
    write_nifti(case_dir / "ct.nii.gz", _nifti(ct, affine))
    write_nifti(case_dir / "lung.nii.gz", _nifti(lungs, affine))


def _nifti(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(array, affine, new_header(affine))


def _like(ct: Volume, array: np.ndarray) -> Volume:
    return Volume(array, ct.affine, ct.affine, ct.header)


def _native_sha256(ct: Volume, hounsfield: np.ndarray, ct_sha256: str) -> str:
    # A CT in whole HU, as scanners make it, need not be hashed twice.
    return ct_sha256 if np.array_equal(hounsfield, ct.array) else _like(ct, hounsfield).sha256


def _file_shape(ct: Volume) -> tuple[int, int, int]:
    order = nib.orientations.io_orientation(ct.file_affine)[:, 0].astype(int)
    x_size, y_size, z_size = (int(ct.shape[axis]) for axis in order)
    return x_size, y_size, z_size


def _rounded(lengths: np.ndarray) -> tuple[float, float, float]:
    x_mm, y_mm, z_mm = (round(float(mm), 4) for mm in lengths)
    return x_mm, y_mm, z_mm


def _times(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def _listed(labels: list[int] | tuple[int, ...]) -> str:
    return " ".join(map(str, labels[:10])) + (" ..." if len(labels) > 10 else "")
