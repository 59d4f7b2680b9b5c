"""A CT or mask from whatever it comes in: NIfTI, NRRD, MHA, a DICOM series, or a prepared case."""

from pathlib import Path

from lungseg_train.errors import InputError
from lungseg_train.scans.nifti_file import NIFTI_SUFFIXES, read_nifti
from lungseg_train.scans.volume import Volume

CT_NAMES = ("ct.nii.gz", "ct.nii")
"""Of a case folder."""
ITK_SUFFIXES = (".nrrd", ".mha")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)


def read_volume_file(path: Path) -> Volume:
    """Read one file, by the end of its name. Raises `InputError`."""
    if path.name.lower().endswith(ITK_SUFFIXES):
        from lungseg_train.scans.itk_file import read_itk

        return read_itk(path)
    return read_nifti(path)


def read_scan(path: Path) -> Volume:
    """A CT in HU from a file, a case folder (`ct.nii.gz`), or a folder with one DICOM CT series. Raises `InputError`."""
    if not path.is_dir():
        return read_volume_file(path)
    for name in CT_NAMES:
        if (path / name).is_file():
            return read_nifti(path / name)
    from lungseg_train.scans.dicom_ct import read_ct_series
    from lungseg_train.scans.dicom_files import find_series

    files = sorted(file for file in path.rglob("*") if file.is_file())
    series = [found for found in find_series(files) if found.modality == "CT"]
    if not series:
        raise InputError(f"{path}: has no {CT_NAMES[0]} and no DICOM CT series. Name a case, a scan's folder or a file.")
    if len(series) > 1:
        folders = ", ".join(sorted({found.folder.name for found in series})[:6])
        raise InputError(f"{path}: holds {len(series)} CT series ({folders}). Name the folder of one.")
    return read_ct_series(series[0])
