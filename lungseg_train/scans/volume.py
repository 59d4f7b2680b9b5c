"""A 3D array with its affine, in the canonical orientation RAS+, and how it is written as NIfTI."""

import contextlib
import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from lungseg_train.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's directions to ours, and back."""


@dataclass(frozen=True)
class Volume:
    """A CT (HU) or mask in canonical orientation, with what is needed to write a result on the file's own grid."""

    array: np.ndarray
    """(X, Y, Z): axes run to the patient's Right, Anterior and Superior (RAS+)."""
    affine: np.ndarray
    """(4, 4): voxel index of `array` -> mm."""
    file_affine: np.ndarray
    """(4, 4): voxel index of the file -> mm."""
    header: nib.Nifti1Header
    """Header of the file; a fresh one where the source is no NIfTI."""
    dicom_files: tuple[str, ...] = ()
    """The slices of a DICOM series in the order of the file's third axis."""

    @property
    def shape(self) -> tuple[int, int, int]:
        x_size, y_size, z_size = self.array.shape
        return x_size, y_size, z_size

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        x_mm, y_mm, z_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x_mm), float(y_mm), float(z_mm)

    @property
    def sha256(self) -> str:
        """Hash of the voxels and their grid, whatever the file's axes, type or compression."""
        digest = hashlib.sha256(repr((self.shape, self.affine.round(3).tolist())).encode())
        # The array itself: its bytes would be a second copy of a whole CT.
        digest.update(np.ascontiguousarray(self.array, dtype=np.float32).data)
        return digest.hexdigest()


def in_canonical_orientation(
    voxels: np.ndarray, affine: np.ndarray, header: nib.Nifti1Header, dicom_files: tuple[str, ...] = ()
) -> Volume:
    """A `Volume` of (X, Y, Z) voxels on any axes, given their affine to mm in RAS+."""
    orientation = io_orientation(affine)
    return Volume(
        # One copy: the turned view of a whole CT becomes float32 and contiguous at once.
        array=np.ascontiguousarray(apply_orientation(voxels, orientation), dtype=np.float32),
        affine=affine @ inv_ornt_aff(orientation, voxels.shape),
        file_affine=affine,
        header=header,
        dicom_files=dicom_files,
    )


def on_file_axes(array: np.ndarray, like: Volume) -> np.ndarray:
    """`array`, (X, Y, Z) in RAS+, on the axes of the file that `like` was read from."""
    ras = np.array([[0, 1], [1, 1], [2, 1]])
    turned: np.ndarray = apply_orientation(array, nib.orientations.ornt_transform(ras, io_orientation(like.file_affine)))
    return turned


def write_on_file_grid(path: Path, array: np.ndarray, like: Volume, dtype: type) -> None:
    """Write `array`, (X, Y, Z) in RAS+, on the axes, affine and header of the file that `like` was read from."""
    header = like.header.copy()
    header.set_data_dtype(dtype)
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    header["cal_max"], header["cal_min"] = 0.0, 0.0
    write_nifti(path, nib.Nifti1Image(on_file_axes(array.astype(dtype), like), like.file_affine, header))


def write_nifti(path: Path, nifti: nib.Nifti1Image, compresslevel: int = 6) -> None:
    """Write atomically, so that an interruption leaves the old file or none."""
    payload = nifti.to_bytes()
    if path.name.endswith(".gz"):
        # mtime=0: equal voxels make equal files.
        payload = gzip.compress(payload, compresslevel=compresslevel, mtime=0)
    write_atomically(path, payload)


def write_atomically(path: Path, payload: bytes | str) -> None:
    """Replace `path` in one step. Raises `InputError` where the folder cannot be written."""
    data = payload.encode() if isinstance(payload, str) else payload
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}). Choose a folder with space and write access."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def new_header(affine: np.ndarray) -> nib.Nifti1Header:
    """The header of a scan that came from no NIfTI file: its geometry in mm and nothing else."""
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    header.set_sform(affine, "scanner")
    header.set_qform(affine, "scanner")
    return header


def to_nifti(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> nib.Nifti1Image:
    """An (X, Y, Z) array in RAS+ as NIfTI, its grid centred on the origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-mm * (size - 1) / 2 for mm, size in zip(spacing_mm, array.shape, strict=True)]
    nifti = nib.Nifti1Image(array, affine)
    nifti.header.set_xyzt_units("mm")
    return nifti
