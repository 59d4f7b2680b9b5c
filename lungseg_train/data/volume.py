"""A 3D array with its affine: read from NIfTI, brought to the canonical orientation RAS+, and written back."""

import contextlib
import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from lungseg_train.errors import InputError

MAX_BYTES = 4 * 2**30
"""No CT is larger than this when unpacked; a file that claims more is damaged or hostile."""

NIBABEL_ERRORS = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
    ValueError,
    OSError,
)


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
    """Header of the file."""

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
        digest.update(np.ascontiguousarray(self.array, dtype=np.float32).tobytes())
        return digest.hexdigest()


def read_volume(path: Path) -> Volume:
    """Read a 3D NIfTI file whole and turn it to RAS+. Raises `InputError` for anything that is not a good volume."""
    payload = _read_bytes(path)
    try:
        nifti = nib.Nifti1Image.from_bytes(payload)
    except NIBABEL_ERRORS as error:
        raise InputError(f"{path}: expected a NIfTI-1 file (.nii or .nii.gz), but {_lower_first(error)}.") from None
    header: nib.Nifti1Header = nifti.header
    if len(nifti.shape) != 3 or min(nifti.shape) < 1:
        raise InputError(f"{path}: expected a 3D volume, got shape {nifti.shape}. Export one volume per file.")
    # The header itself forgets its offset once it is read.
    offset = cast(Any, nifti.dataobj).offset
    expected = offset + int(np.prod(nifti.shape, dtype=np.int64)) * header.get_data_dtype().itemsize
    if len(payload) != expected:
        raise InputError(
            f"{path}: expected {expected} bytes by its header, got {len(payload)}: the file is damaged. Copy it again."
        )
    affine = nifti.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path}: its affine is not finite and invertible. Export the file again with its geometry.")
    array = nifti.get_fdata(dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {int((~np.isfinite(array)).sum())} voxels are NaN or infinite. Export the file again.")
    orientation = io_orientation(affine)
    return Volume(
        array=np.ascontiguousarray(apply_orientation(array, orientation)),
        affine=affine @ inv_ornt_aff(orientation, nifti.shape),
        file_affine=affine,
        header=header,
    )


def write_on_file_grid(path: Path, array: np.ndarray, like: Volume, dtype: type) -> None:
    """Write `array`, (X, Y, Z) in RAS+, on the axes, affine and header of the file that `like` was read from."""
    to_file = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), io_orientation(like.file_affine))
    header = like.header.copy()
    header.set_data_dtype(dtype)
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    header["cal_max"], header["cal_min"] = 0.0, 0.0
    voxels = apply_orientation(array.astype(dtype), to_file)
    write_nifti(path, nib.Nifti1Image(voxels, like.file_affine, header))


def write_nifti(path: Path, nifti: nib.Nifti1Image) -> None:
    """Write atomically, so that an interruption leaves the old file or none."""
    payload = nifti.to_bytes()
    if path.name.endswith(".gz"):
        # mtime=0: equal voxels make equal files.
        payload = gzip.compress(payload, compresslevel=6, mtime=0)
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


def _read_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked to the very end of a gzip: nibabel would stop before its checksum."""
    try:
        if not path.name.endswith(".gz"):
            return path.read_bytes()
        with gzip.open(path) as stream:
            payload = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read to its end ({_lower_first(error)}). Copy it again.") from None
    if len(payload) > MAX_BYTES:
        raise InputError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB. No CT is that large; check the file.")
    return payload


def _lower_first(error: Any) -> str:
    text = str(error).rstrip(".") or type(error).__name__
    return text[0].lower() + text[1:]


def to_nifti(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> nib.Nifti1Image:
    """An (X, Y, Z) array in RAS+ as NIfTI, its grid centred on the origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-mm * (size - 1) / 2 for mm, size in zip(spacing_mm, array.shape, strict=True)]
    nifti = nib.Nifti1Image(array, affine)
    nifti.header.set_xyzt_units("mm")
    return nifti
