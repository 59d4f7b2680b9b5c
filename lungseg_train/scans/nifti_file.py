"""Reading NIfTI: nothing but a whole and sound 3D volume comes out.

nibabel alone accepts a gzip with a broken checksum, a singular affine and trailing bytes, so the header is read first, the
stream to its very end, and never more of it than the header has room for.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np

from lungseg_train.errors import InputError
from lungseg_train.scans.volume import Volume, in_canonical_orientation

NIFTI_SUFFIXES = (".nii", ".nii.gz")
MAX_VOXELS = 2**29
"""1,024 slices of 724 x 724: no CT has more; a file that claims more is damaged or hostile."""
MAX_BYTES = 2 * 2**30
"""The same for the bytes of its voxels."""
MAX_EXTENSION_BYTES = 2**24
"""Between header and voxels a file may carry extensions; they are read and dropped."""

HEADERS: dict[int, type[Any]] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""By the first number of the file, which is the length of the header."""
MAGIC = {348: b"n+1", 540: b"n+2"}
"""Of files that hold their voxels, and not only the header of a pair."""
NO_PLACE = "its header does not say where the patient's left, back and feet are"
HEADER_ERRORS = (
    *(nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError),
    *(ValueError, TypeError, KeyError, OverflowError),
)
EXPORT_AGAIN = "Export the file again."
NUMBERS = "iuf"
"""Kinds of data that can be HU or labels: no colours, no complex numbers."""


def read_nifti(path: Path) -> Volume:
    """Read a 3D NIfTI-1 or NIfTI-2 file whole and turn it to RAS+. Raises `InputError` for anything else."""
    with _errors_of(path), _open(path) as stream:
        header = _read_header(stream, path)
        shape = _shape(header, path)
        dtype, offset = header.get_data_dtype(), float(header["vox_offset"])
        if not header.sizeof_hdr <= offset <= MAX_EXTENSION_BYTES or offset % 1:
            raise InputError(f"{path}: expected the voxels right behind the header, got offset {offset:g}. {EXPORT_AGAIN}")
        stream.seek(int(offset))
        voxels = _read_voxels(stream, shape, dtype, path)
    affine = _affine(header, path)
    return in_canonical_orientation(_scaled(voxels, header, path), affine, _clean_header(header, affine))


def _read_header(stream: IO[bytes], path: Path) -> Any:
    start = stream.read(540)
    if start[:2] == b"\x1f\x8b":
        raise InputError(f"{path}: is compressed, but not named so. Rename it to end with .nii.gz.")
    length = next((n for n in HEADERS if int.from_bytes(start[:4], "little") == n or int.from_bytes(start[:4]) == n), None)
    if length is None or len(start) < length:
        raise InputError(f"{path}: expected a NIfTI file (.nii or .nii.gz), but it does not begin with a whole NIfTI header.")
    try:
        # check=False: nibabel would mend what is wrong and print what it mended.
        header = HEADERS[length](start[:length], check=False)
    except HEADER_ERRORS as error:
        raise InputError(f"{path}: its NIfTI header is damaged ({error}). Copy it again.") from None
    magic = header["magic"].item()
    if magic != MAGIC[length]:
        raise InputError(
            f"{path}: expected a NIfTI file with its voxels inside, got magic {magic!r}. Export it as one .nii file."
        )
    return header


def _read_voxels(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, path: Path) -> np.ndarray:
    """Exactly the voxels that the header promises, (X, Y, Z) as stored; the stream is read to its end."""
    payload = np.empty(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, np.uint8)
    view, num_read = memoryview(payload.data), 0
    while num_read < len(payload) and (num_new := stream.readinto(view[num_read:])):  # type: ignore[attr-defined]
        num_read += num_new
    # Asking for one byte more takes a gzip to its end, where its checksum is compared.
    too_long = bool(stream.read(1))
    if num_read < len(payload) or too_long:
        got = "more" if too_long else str(num_read)
        raise InputError(f"{path}: expected {len(payload)} bytes of voxels by its header, got {got}: damaged. Copy it again.")
    return payload.view(dtype).reshape(shape, order="F")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    num_axes = int(header["dim"][0])
    shape = tuple(int(size) for size in header["dim"][1 : num_axes + 1]) if 1 <= num_axes <= 7 else ()
    # Some exporters write a fourth axis of length one.
    shape = shape[:3] if len(shape) > 3 and all(size == 1 for size in shape[3:]) else shape
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{path}: expected a 3D volume, got {shape or f'{num_axes} axes'}. Export one volume per file.")
    try:
        dtype = header.get_data_dtype()
    except HEADER_ERRORS:
        dtype = None
    if dtype is None or dtype.kind not in NUMBERS or dtype.itemsize > 8:
        raise InputError(f"{path}: expected whole or real numbers up to 64 bits, got data type {dtype}. {EXPORT_AGAIN}")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise InputError(f"{path}: its header is damaged: {int(header['bitpix'])} bits a voxel of {dtype}. Copy it again.")
    num_voxels = np.prod(shape, dtype=np.float64)
    if num_voxels > MAX_VOXELS or num_voxels * dtype.itemsize > MAX_BYTES:
        raise InputError(f"{path}: claims {'x'.join(map(str, shape))} voxels of {dtype}, more than any CT has. Check the file.")
    return shape


def _affine(header: Any, path: Path) -> np.ndarray:
    if not (int(header["qform_code"]) or int(header["sform_code"])):
        raise InputError(f"{path}: {NO_PLACE} (qform and sform codes are 0). Export the file again with its geometry.")
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (*HEADER_ERRORS, np.linalg.LinAlgError):
        affine = np.full((4, 4), np.nan)
    check_affine(affine, path)
    return affine


def check_affine(affine: np.ndarray, path: Path) -> None:
    """Raise `InputError` unless voxel indices and mm can be told from each other."""
    if np.isfinite(affine).all():
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        # Relative to the voxel: small voxels make a small determinant without being flat.
        if lengths.min() > 1e-6 and lengths.max() < 1e6 and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3:
            return
    raise InputError(f"{path}: its affine is not finite and invertible. Export the file again with its geometry.")


def _scaled(voxels: np.ndarray, header: Any, path: Path) -> np.ndarray:
    """Stored numbers -> values, by the header's slope and intercept."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope != 0.0 and not (np.isnan(slope) and np.isnan(inter)):
        if not np.isfinite(slope) or not np.isfinite(inter):
            raise InputError(f"{path}: its scaling is not finite (slope {slope}, intercept {inter}). {EXPORT_AGAIN}")
        if (slope, inter) != (1.0, 0.0):
            voxels = voxels.astype(np.float32)
            # In place: a whole CT in float32 is large.
            with np.errstate(over="ignore", invalid="ignore"):
                voxels *= np.float32(slope)
                voxels += np.float32(inter)
    if voxels.dtype.kind == "f":
        check_finite(voxels, path)
    return voxels


def check_finite(voxels: np.ndarray, path: Path) -> None:
    """Raise `InputError` if a voxel is NaN, infinite, or too large for float32."""
    limit = float(np.finfo(np.float32).max)
    # min and max need no second array of the volume's size, and are NaN if any voxel is.
    low, high = float(voxels.min()), float(voxels.max())
    if not (-limit <= low <= high <= limit):
        num_bad = int(np.count_nonzero(~(np.abs(voxels) <= limit)))
        raise InputError(f"{path}: {num_bad} voxels are NaN or infinite. {EXPORT_AGAIN}")


def _clean_header(header: Any, affine: np.ndarray) -> nib.Nifti1Header:
    """A header for results on this file's grid, without what other software or people wrote into it."""
    clean = nib.Nifti1Header()
    clean["xyzt_units"] = header["xyzt_units"]
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    clean.set_sform(affine, sform if 0 < sform < 6 else "aligned")
    if 0 < qform < 6:
        clean.set_qform(affine, qform)
    return clean


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as packed:
            yield packed  # type: ignore[misc]
        return
    with path.open("rb") as plain:
        yield plain


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """What the file system and gzip complain of, as one line."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error, io.UnsupportedOperation) as error:
        text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
        text = text.replace("CRC check", "checksum")
        raise InputError(f"{path}: cannot be read to its end ({text[0].lower()}{text[1:]}). Copy it again.") from None
