"""Case folders, `CASE/ct.nii.gz` and `CASE/lung.nii.gz` (or `.nii`): found and checked before anything else is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.data.volume import Volume, read_volume
from lungseg_train.errors import InputError

CT_NAMES = ("ct.nii.gz", "ct.nii")
MASK_NAMES = ("lung.nii.gz", "lung.nii")


@dataclass(frozen=True)
class Case:
    """One patient scan whose files were read once and found good."""

    case_id: str
    ct_path: str
    mask_path: str
    shape: tuple[int, int, int]
    """Voxels of the canonical (RAS+) volume."""
    spacing_mm: tuple[float, float, float]
    ct_sha256: str
    """Hash of the CT's voxels and grid."""
    mask_sha256: str


@dataclass(frozen=True)
class SkippedCase:
    case_id: str
    reason: str


@dataclass(frozen=True)
class CaseFolder:
    """All good cases of a data folder, equal in shape, and those left out on request."""

    cases: tuple[Case, ...]
    skipped: tuple[SkippedCase, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.cases[0].shape

    def by_id(self, case_ids: Sequence[str]) -> tuple[Case, ...]:
        cases = {case.case_id: case for case in self.cases}
        return tuple(cases[case_id] for case_id in case_ids)


def read_cases(data_dir: Path, skip_bad_cases: bool = False) -> CaseFolder:
    """Find and check every case of a folder.

    Raises `InputError` for the first bad case, or, with `skip_bad_cases`, only if no good one is left.
    """
    folders = find_case_folders(data_dir)
    cases: list[Case] = []
    skipped: list[SkippedCase] = []
    for folder in folders:
        try:
            cases.append(_check_against(read_case(folder), cases))
        except InputError as error:
            if not skip_bad_cases:
                raise InputError(f"{error} Or leave bad cases out with --skip_bad_cases.") from None
            skipped.append(SkippedCase(folder.name, str(error)))
    if not cases:
        raise InputError(f"{data_dir}: none of its {len(folders)} cases is good; the first: {skipped[0].reason}")
    return CaseFolder(tuple(cases), tuple(skipped))


def find_case_folders(data_dir: Path) -> list[Path]:
    """Subfolders that hold a CT or a lung mask, by name. Raises `InputError` if there are none."""
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: no such folder; expected one with case folders CASE/ct.nii.gz, CASE/lung.nii.gz.")
    folders = [folder for folder in sorted(data_dir.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    folders = [folder for folder in folders if any((folder / name).exists() for name in CT_NAMES + MASK_NAMES)]
    if not folders:
        raise InputError(f"{data_dir}: no cases in it; expected case folders CASE/ct.nii.gz with CASE/lung.nii.gz.")
    return folders


def read_case(folder: Path) -> Case:
    """Check one case folder whole. Raises `InputError` naming file and mend."""
    ct_path, mask_path = find_file(folder, CT_NAMES), find_file(folder, MASK_NAMES)
    ct, mask = read_volume(ct_path), read_volume(mask_path)
    if ct.shape != mask.shape:
        raise InputError(f"{mask_path}: mask grid {mask.shape} differs from its CT {ct.shape}. Export both on one grid.")
    # A tenth of a voxel: exporters round the affine differently.
    if np.abs(ct.affine - mask.affine).max() > 0.1 * min(ct.spacing_mm):
        raise InputError(f"{mask_path}: the mask's affine differs from its CT's. Export both on one grid.")
    if not (mask.array > 0).any():
        raise InputError(f"{mask_path}: the mask is empty; expected voxels > 0 in the lungs. Export the lung mask again.")
    return Case(
        case_id=folder.name,
        ct_path=str(ct_path.resolve()),
        mask_path=str(mask_path.resolve()),
        shape=ct.shape,
        spacing_mm=ct.spacing_mm,
        ct_sha256=ct.sha256,
        mask_sha256=mask.sha256,
    )


def load_case(case: Case) -> tuple[Volume, np.ndarray]:
    """CT and mask, (X, Y, Z) uint8 0/1. Raises `InputError` if the files are no longer those that were checked."""
    ct, mask = read_volume(Path(case.ct_path)), read_volume(Path(case.mask_path))
    if (ct.sha256, mask.sha256) != (case.ct_sha256, case.mask_sha256):
        raise InputError(f"{case.ct_path}: CT or mask has changed since this run began. Start a new run for new data.")
    return ct, binarize(mask.array)


def binarize(mask: np.ndarray) -> np.ndarray:
    """Every label above 0 is lung."""
    return (mask > 0).astype(np.uint8)


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` in a case folder. Raises `InputError`."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: has no {names[0]} (nor {names[1]}). Add it or remove the case.")


def _check_against(case: Case, others: Sequence[Case]) -> Case:
    for other in others:
        if other.shape != case.shape:
            raise InputError(
                f"{case.ct_path}: {'x'.join(map(str, case.shape))} voxels, but {other.case_id} has "
                f"{'x'.join(map(str, other.shape))}. Resample all cases to one grid."
            )
        if other.ct_sha256 == case.ct_sha256:
            raise InputError(f"{case.ct_path}: holds the same CT as {other.case_id}. Remove one of the two.")
    return case
