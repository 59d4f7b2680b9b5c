"""Every reader of users' files with a small good file of its kind, to be damaged by hypothesis and by atheris."""

import csv
import gzip
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from lungseg_train.data.duplicates import find_copies, thumbnail
from lungseg_train.data.prepared import PREPARE_VERSION, PreparedCase, read_prepared
from lungseg_train.errors import InputError
from lungseg_train.preparation.case_ids import name_cases, read_id_map
from lungseg_train.scans.contours import read_dicom_seg, read_rtstruct
from lungseg_train.scans.scan import read_scan, read_volume_file
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header
from tests.dicom_files import write_ct_series, write_rtstruct, write_seg
from tests.raw_scans import examine_folder, to_itk

SHAPE = (9, 8, 5)


@dataclass(frozen=True)
class Reader:
    """How a file is read, and a good one."""

    name: str
    """Of the file, relative to a folder of its own."""
    good: bytes
    read: Callable[[Path], object]
    """Raises `InputError` alone, or gives what the file says. Given the folder."""


def small_scan() -> tuple[Volume, np.ndarray]:
    """A body of water with two lungs of air, 9 x 8 x 5 voxels."""
    affine = np.diag([20.0, 22.0, 24.0, 1.0])
    affine[:3, 3] = [-100.0, -90.0, 20.0]
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 2:6, 1:4] = mask[5:8, 2:6, 1:4] = 1
    ct = np.where(mask > 0, -850.0, 40.0) + np.arange(mask.size).reshape(SHAPE) % 7
    return in_canonical_orientation(ct, affine, new_header(affine)), mask


def make_readers(folder: Path) -> dict[str, Reader]:
    """All readers; `folder` receives the files that theirs refer to."""
    ct, mask = small_scan()
    series = write_ct_series(folder / "series", ct)
    write_rtstruct(folder / "rt.dcm", series, ct, {"Lungs": mask})
    write_seg(folder / "seg.dcm", series, {"Lungs": mask})
    scan = read_scan(folder / "series")
    nifti = nib.Nifti1Image(ct.array.astype(np.int16), ct.affine).to_bytes()
    for name in ("ct.nrrd", "ct.mha"):
        sitk.WriteImage(to_itk(ct.array.astype(np.int16), ct.affine), str(folder / name))
    sitk.WriteImage(to_itk(ct.array.astype(np.int16), ct.affine), str(folder / "packed.mha"), useCompression=True)
    others = [path for path in series if path != series[2]]

    def read_slice(place: Path) -> Volume:
        for path in others:
            shutil.copyfile(path, place / path.name)
        return read_scan(place)

    def examine(place: Path) -> object:
        """Everything that is done to a raw folder. Raises `InputError` for its first finding."""
        for path in series:
            shutil.copyfile(path, place / path.name)
        rows = examine_folder(place)
        for row in rows:
            if row.finding:
                raise InputError(row.finding)
        return [row.prepared is not None for row in rows]

    readers = [
        Reader("ct.nii", nifti, lambda place: read_volume_file(place / "ct.nii")),
        Reader("ct.nii.gz", gzip.compress(nifti, mtime=0), lambda place: read_volume_file(place / "ct.nii.gz")),
        Reader("ct.nrrd", (folder / "ct.nrrd").read_bytes(), lambda place: read_volume_file(place / "ct.nrrd")),
        Reader("ct.mha", (folder / "ct.mha").read_bytes(), lambda place: read_volume_file(place / "ct.mha")),
        Reader("packed.mha", (folder / "packed.mha").read_bytes(), lambda place: read_volume_file(place / "packed.mha")),
        Reader("slice.dcm", series[2].read_bytes(), read_slice),
        Reader("rt.dcm", (folder / "rt.dcm").read_bytes(), lambda place: read_rtstruct(place / "rt.dcm", scan)),
        Reader("seg.dcm", (folder / "seg.dcm").read_bytes(), lambda place: read_dicom_seg(place / "seg.dcm", scan)),
        Reader("structures.dcm", (folder / "rt.dcm").read_bytes(), examine),
        Reader("segments.dcm", (folder / "seg.dcm").read_bytes(), examine),
        Reader("case.json", _case_json(ct).encode(), _read_case),
        Reader("ids.csv", _ids().encode(), _read_ids),
    ]
    return {reader.name: reader for reader in readers}


def _case_json(ct: Volume) -> str:
    case = PreparedCase(
        case_id="case-1",
        patient="0123456789",
        source="NIfTI + NIfTI",
        source_series="0123456789",
        source_state="0" * 64,
        source_shape=SHAPE,
        source_spacing_mm=(20.0, 22.0, 24.0),
        source_axes="RAS",
        source_ct_sha256="1" * 64,
        source_mask_sha256="2" * 64,
        shape=SHAPE,
        spacing_mm=(20.0, 22.0, 24.0),
        lung_ml=760.3,
        lung_outside_percent=0.0,
        steps=("axes turned to RAS+",),
        thumbnail=thumbnail(ct.array),
        native_sha256=("3" * 64, "4" * 64),
        prepare_version=PREPARE_VERSION,
    )
    return case.to_json()


def _read_case(place: Path) -> object:
    prepared = read_prepared(place)
    # As those who read it use it.
    if prepared is None:
        return None
    thumbnails = {"new": prepared.thumbnail, "other": prepared.thumbnail}
    return find_copies(thumbnails, patients={"new": "a patient", "other": prepared.patient})


def _ids() -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([("source", "case_id"), ("a/first", "P1"), ("b, the second", "P2")])
    return stream.getvalue()


def _read_ids(place: Path) -> object:
    ids = read_id_map(place / "ids.csv")
    return name_cases(list(ids), b"salt", ids)
