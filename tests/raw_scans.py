"""Good raw folders of every supported form, all made of one phantom, and ways to damage them."""

import functools
import gzip
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk

from lungseg_train.phantoms.thorax import make_phantom
from lungseg_train.preparation.prepare_all import Row, examine
from lungseg_train.preparation.prepare_case import NamedSource, PrepareOptions
from lungseg_train.preparation.sources import find_sources
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header
from tests.dicom_files import write_ct_series, write_rtstruct, write_seg

SHAPE, SPACING_MM = (40, 36, 24), (8.5, 9.0, 12.5)
OPTIONS: dict[str, Any] = {"shape": (32, 32, 32), "spacing_mm": (12.0, 12.0, 12.0)}
SALT = b"salt of the tests"


@dataclass(frozen=True)
class Kind:
    """One kind of damage or oddity."""

    form: str
    damage: Callable[[Path], object]
    """Changes the raw folder, which holds one patient."""
    line: str = ""
    """Words of the one line that is expected; empty if the scan is to be used as it is."""
    options: dict[str, Any] = field(default_factory=dict)
    expected: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = lambda ct, mask: (ct, mask)
    """CT and mask of the phantom -> what a scan that is used must have; by default the phantom itself."""


@functools.cache
def phantom(seed: int = 5) -> tuple[Volume, np.ndarray]:
    """CT in whole HU and mask of one patient, on bricks of three different edges, away from the origin."""
    ct_hu, mask = make_phantom(seed, SHAPE, SPACING_MM)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-160.5, -140.25, 33.0]
    return in_canonical_orientation(ct_hu, affine, new_header(affine)), mask


def halves(mask: np.ndarray) -> dict[str, np.ndarray]:
    """X runs to the patient's right, so the left lung is in the low half."""
    middle = mask.shape[0] // 2
    left, right = mask.copy(), mask.copy()
    left[middle:], right[:middle] = 0, 0
    return {"Lung_L": left, "Lung_R": right}


def write_form(form: str, folder: Path) -> None:
    """A patient's CT and mask in one of FORMS."""
    shutil.copytree(_template(form).name, folder)


@functools.cache
def _template(form: str) -> "tempfile.TemporaryDirectory[str]":
    """Made once; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="raw")
    FORMS[form](Path(folder.name) / "patient 1", *phantom())
    return folder


def _write_nifti(folder: Path, ct: Volume, mask: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for name, array in (("ct.nii.gz", ct.array.astype(np.int16)), ("lung.nii.gz", mask)):
        (folder / name).write_bytes(gzip.compress(nib.Nifti1Image(array, ct.affine).to_bytes(), 1, mtime=0))


def _write_itk(suffix: str, compress: bool, folder: Path, ct: Volume, mask: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for name, array in (("ct", ct.array.astype(np.int16)), ("lung", mask)):
        sitk.WriteImage(to_itk(array, ct.affine), str(folder / f"{name}{suffix}"), useCompression=compress)


def to_itk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """(X, Y, Z) in RAS+ as ITK has it, in LPS."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(np.diag(affine)[:3].tolist())
    image.SetDirection([-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0])
    image.SetOrigin([-affine[0, 3], -affine[1, 3], affine[2, 3]])
    return image


def _write_dicom_rtstruct(folder: Path, ct: Volume, mask: np.ndarray) -> None:
    write_rtstruct(folder / "rt" / "structures.dcm", write_ct_series(folder / "ct", ct), ct, halves(mask))


def _write_dicom_seg(folder: Path, ct: Volume, mask: np.ndarray) -> None:
    write_seg(folder / "seg" / "lungs.dcm", write_ct_series(folder / "ct", ct), halves(mask))


def _write_dicom_nifti(folder: Path, ct: Volume, mask: np.ndarray) -> None:
    write_ct_series(folder / "ct", ct)
    (folder / "lung.nii.gz").write_bytes(gzip.compress(nib.Nifti1Image(mask, ct.affine).to_bytes(), mtime=0))


FORMS: dict[str, Callable[[Path, Volume, np.ndarray], None]] = {
    "NIfTI": _write_nifti,
    "NRRD": functools.partial(_write_itk, ".nrrd", False),
    "NRRD gzip": functools.partial(_write_itk, ".nrrd", True),
    "MHA": functools.partial(_write_itk, ".mha", False),
    "MHA zlib": functools.partial(_write_itk, ".mha", True),
    "DICOM + RTSTRUCT": _write_dicom_rtstruct,
    "DICOM + SEG": _write_dicom_seg,
    "DICOM + NIfTI": _write_dicom_nifti,
}


def examine_folder(folder: Path, **options: Any) -> list[Row]:
    """What `prepare --check` finds in a raw folder, without its processes."""
    sources, findings = find_sources(folder)
    how = PrepareOptions(**OPTIONS | options)
    named = [NamedSource(source, f"case-{number}", f"patient-{number}") for number, source in enumerate(sources)]
    rows = [examine(one, how, SALT, None) for one in named]
    return [*rows, *(Row(finding.place, finding=finding.reason) for finding in findings)]


# What damage is made with.


def one(folder: Path, pattern: str) -> Path:
    """The one file of a raw folder that fits a pattern."""
    (path,) = sorted(folder.rglob(pattern))
    return path


def change_bytes(pattern: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Change a file as it lies on the disk."""
    return lambda folder: one(folder, pattern).write_bytes(change(one(folder, pattern).read_bytes()))


def flip_bit(data: bytes, place: float) -> bytes:
    """The same with one bit flipped, at a share of the length."""
    at = int(len(data) * place)
    return data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]


def unpacked(change: Callable[[bytes], bytes], name: str = "ct.nii.gz") -> Callable[[Path], object]:
    """Change what a .nii.gz holds."""
    return change_bytes(name, lambda data: gzip.compress(change(gzip.decompress(data)), 1, mtime=0))


def header(name: str = "ct.nii.gz", **fields: Any) -> Callable[[Path], object]:
    """Set fields of a NIfTI-1 header, the voxels left as they are."""

    def change(data: bytes) -> bytes:
        block = nib.Nifti1Header(data[:348], check=False)
        for key, value in fields.items():
            block[key] = value
        return block.binaryblock + data[348:]

    return unpacked(change, name)


def image(
    change: Callable[[np.ndarray], np.ndarray], name: str = "ct.nii.gz", affine: np.ndarray | None = None
) -> Callable[[Path], object]:
    """Save a NIfTI file with other voxels, and with another affine if given."""

    def rewrite(folder: Path) -> None:
        path = one(folder, name)
        nifti = nib.load(path)
        nib.save(nib.Nifti1Image(change(np.asarray(nifti.dataobj)), nifti.affine if affine is None else affine), path)

    return rewrite


def slices(folder: Path) -> list[Path]:
    """The CT's slices from foot to head."""
    paths = [path for path in folder.rglob("CT.*")]
    return sorted(paths, key=lambda path: float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]))


def edit(change: Callable[[pydicom.Dataset], object], which: slice = slice(None)) -> Callable[[Path], object]:
    """Change the tags of slices."""

    def rewrite(folder: Path) -> None:
        for path in slices(folder)[which]:
            dataset = pydicom.dcmread(path)
            change(dataset)
            dataset.save_as(path)

    return rewrite


def edit_structures(change: Callable[[pydicom.Dataset], object]) -> Callable[[Path], object]:
    """Change the tags of the RTSTRUCT."""

    def rewrite(folder: Path) -> None:
        path = one(folder, "structures.dcm")
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)

    return rewrite
