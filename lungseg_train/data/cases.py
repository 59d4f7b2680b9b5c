"""Case folders, `CASE/ct.nii.gz` and `CASE/lung.nii.gz` (or `.nii`): found and checked before anything else is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.data.duplicates import find_copies, thumbnail
from lungseg_train.data.prepared import NATIVE_CT, NATIVE_MASK, read_prepared
from lungseg_train.errors import InputError
from lungseg_train.scans.checks import check_hounsfield, check_lungs, check_mask
from lungseg_train.scans.nifti_file import read_nifti
from lungseg_train.scans.scan import CT_NAMES
from lungseg_train.scans.volume import Volume

MASK_NAMES = ("lung.nii.gz", "lung.nii")


@dataclass(frozen=True)
class Case:
    """One patient scan whose files were read once and found good."""

    case_id: str
    patient: str
    """Scans of one patient never stand on two sides of a split."""
    ct_path: str
    mask_path: str
    shape: tuple[int, int, int]
    """Voxels of the canonical (RAS+) volume."""
    spacing_mm: tuple[float, float, float]
    ct_sha256: str
    """Hash of the CT's voxels and grid."""
    mask_sha256: str
    thumbnail: str
    """What `find_copies` compares."""
    native_sha256: tuple[str, str] | None = None
    """Hashes of CT and mask on the scanner's own voxels, where the case was prepared and they were kept."""

    @property
    def hashes(self) -> dict[str, str]:
        """What a split records of a sealed patient."""
        hashes = {"ct_sha256": self.ct_sha256, "mask_sha256": self.mask_sha256}
        if self.native_sha256 is not None:
            hashes |= {"native_ct_sha256": self.native_sha256[0], "native_mask_sha256": self.native_sha256[1]}
        return hashes


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
    for copy in _copies(cases):
        if not skip_bad_cases:
            raise InputError(f"{copy.reason} Or leave bad cases out with --skip_bad_cases.")
        cases = [case for case in cases if case.case_id != copy.case_id]
        skipped.append(copy)
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
    ct, mask = read_nifti(ct_path), read_nifti(mask_path)
    check_mask(mask, ct, mask_path)
    check_lungs(mask.array > 0, ct, mask_path)
    check_hounsfield(ct, ct_path)
    prepared = read_prepared(folder)
    return Case(
        case_id=folder.name,
        patient=prepared.patient if prepared else folder.name,
        ct_path=str(ct_path.resolve()),
        mask_path=str(mask_path.resolve()),
        shape=ct.shape,
        spacing_mm=ct.spacing_mm,
        ct_sha256=ct.sha256,
        mask_sha256=mask.sha256,
        thumbnail=thumbnail(ct.array),
        native_sha256=prepared.native_sha256 if prepared else None,
    )


def load_case(case: Case) -> tuple[Volume, np.ndarray]:
    """CT and mask, (X, Y, Z) uint8 0/1. Raises `InputError` if the files are no longer those that were checked."""
    ct, mask = read_nifti(Path(case.ct_path)), read_nifti(Path(case.mask_path))
    if (ct.sha256, mask.sha256) != (case.ct_sha256, case.mask_sha256):
        raise InputError(f"{case.ct_path}: CT or mask has changed since this run began. Start a new run for new data.")
    return ct, binarize(mask.array)


def load_native(case: Case) -> tuple[Volume, np.ndarray] | None:
    """CT and mask on the scanner's own voxels, if they were kept. Raises `InputError` if they are no longer those."""
    if case.native_sha256 is None:
        return None
    folder = Path(case.ct_path).parent
    ct, mask = read_nifti(folder / NATIVE_CT), read_nifti(folder / NATIVE_MASK)
    if (ct.sha256, mask.sha256) != case.native_sha256:
        raise InputError(f"{folder / NATIVE_CT}: CT or mask has changed since it was prepared. Prepare the case again.")
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


def patients_in_both(cases: Sequence[Case], others: Sequence[Case]) -> list[str]:
    """Ids of those `cases` whose patient, by name or by likeness, is among `others` too."""
    copies = find_copies(*({case.case_id: case.thumbnail for case in group} for group in (cases, others)))
    # A folder's name alone tells a patient only where a preparation has given it.
    patients = {other.patient for other in others if other.patient != other.case_id}
    return [case.case_id for case in cases if case.case_id in copies or case.patient in patients]


def _check_against(case: Case, others: Sequence[Case]) -> Case:
    for other in others:
        if other.shape != case.shape:
            raise InputError(
                f"{case.ct_path}: {'x'.join(map(str, case.shape))} voxels, but {other.case_id} has "
                f"{'x'.join(map(str, other.shape))}. Resample all cases to one grid."
            )
    return case


def _copies(cases: Sequence[Case]) -> list[SkippedCase]:
    """Cases that show a patient who is there already: a split would put one scan on both sides."""
    known = {case.case_id: case for case in cases}
    patients = {case.case_id: case.patient for case in cases}
    copies = find_copies({case.case_id: case.thumbnail for case in cases}, patients=patients)
    return [SkippedCase(name, copy_message(known[name].ct_path, known[name], known[of])) for name, of in copies.items()]


def copy_message(path: str, case: Case, other: Case) -> str:
    how = "the same CT as" if case.ct_sha256 == other.ct_sha256 else "nearly the same CT as, perhaps turned or mirrored,"
    return f"{path}: holds {how} {other.case_id}. Remove one of the two."
