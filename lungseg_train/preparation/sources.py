"""Which scans with which lung masks a raw data folder holds: DICOM as archives deliver it, and volume files."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lungseg_train.errors import InputError
from lungseg_train.scans.dicom_files import DicomFile, DicomSeries, find_series, referenced_series
from lungseg_train.scans.scan import VOLUME_SUFFIXES

MASK_WORDS = re.compile(r"lung|mask|seg|label|roi", re.IGNORECASE)
"""A volume file whose name has one of these is a mask, any other a CT."""
STRUCTURES = ("RTSTRUCT", "SEG")
"""Modalities that hold masks, the preferred one first."""


@dataclass(frozen=True)
class Source:
    """One scan and its lung mask, not yet read."""

    place: str
    """The CT's folder, relative to the raw data folder: how messages name it."""
    patient_id: str
    """The source's own; it goes into a salted hash and nowhere else."""
    series: DicomSeries | None
    ct_path: Path
    """The CT's file, or its DICOM folder."""
    mask_path: Path
    mask_kind: str
    """RTSTRUCT, SEG or volume."""

    @property
    def kind(self) -> str:
        mask = {"RTSTRUCT": "RTSTRUCT", "SEG": "DICOM SEG"}.get(self.mask_kind, _file_kind(self.mask_path))
        return f"{'DICOM' if self.series else _file_kind(self.ct_path)} + {mask}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All its files."""
        ct_paths = tuple(file.path for file in self.series.files) if self.series else (self.ct_path,)
        return (*ct_paths, self.mask_path)


@dataclass(frozen=True)
class Finding:
    """Why a scan cannot be used, in one line."""

    place: str
    reason: str


def find_sources(folder: Path) -> tuple[list[Source], list[Finding]]:
    """Every scan of a raw data folder that has a mask, and what is wrong with the others. Raises `InputError`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with DICOM series or CT and mask files in it.")
    broken: dict[Path, str] = {}
    files = _files(folder, broken)
    volumes = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
    sources, findings = _dicom_sources(folder, files, volumes, broken)
    findings += [Finding(_place(place, folder), reason) for place, reason in broken.items()]
    used = {source.mask_path for source in sources}
    unused = [path for path in volumes if path not in used and path.parent not in broken]
    more, more_findings = _file_sources(folder, unused)
    if not sources and not more and not findings and not more_findings:
        raise InputError(f"{folder}: no scans in it; expected DICOM CT series with RTSTRUCT or SEG, or CT and mask files.")
    order = sorted([*sources, *more], key=lambda source: (source.patient_id, source.place))
    return order, findings + more_findings


def _files(folder: Path, broken: dict[Path, str]) -> list[Path]:
    """All files, those of linked folders included; `broken` receives the folders of links that lead nowhere."""
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror}). Give it read access.") from None

    for top, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        # A link may lead back to where it stands.
        stat = os.stat(top)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(top, name) for name in names if not name.startswith(".")):
            if path.is_symlink() and not path.exists():
                broken.setdefault(
                    path.parent, f"{path}: this link leads nowhere. Put the file in its place or remove the link."
                )
            elif path.is_file():
                files.append(path)
    return sorted(files)


def _dicom_sources(
    folder: Path, files: Sequence[Path], volumes: Sequence[Path], broken: dict[Path, str]
) -> tuple[list[Source], list[Finding]]:
    """`broken` receives the folders of files that cannot be read: without them a scan there would be another one."""
    findings: list[Finding] = []
    readable = []
    for path in sorted(set(files) - set(volumes)):
        try:
            readable += find_series([path])
        except InputError as error:
            broken.setdefault(path.parent, str(error))
    series = _merged(readable)
    whole = [found for found in series if not any(file.path.parent in broken for file in found.files)]
    scans = [found for found in whole if found.modality == "CT"]
    structures = [file for found in series if found.modality in STRUCTURES for file in found.files]
    sources = []
    for scan in scans:
        place = _place(scan.folder, folder)
        try:
            found = _mask_of(scan, scans, structures, volumes, folder)
        except InputError as error:
            findings.append(Finding(place, str(error)))
            continue
        if found is not None:
            mask_path, kind = found
            patient_id = scan.patient_id or place
            sources.append(Source(place, patient_id, scan, scan.folder, mask_path, kind))
    with_mask = {source.patient_id for source in sources}
    for scan in scans:
        # A patient's other series, such as those before contrast, need no mask.
        if not {scan.patient_id, _place(scan.folder, folder)} & with_mask and not _is_found(scan, findings, folder):
            expected = "an RTSTRUCT or SEG that refers to it, or a mask file beside it"
            reason = f"{scan.folder}: no lung mask for this CT; expected {expected}. Add one or remove the series."
            findings.append(Finding(_place(scan.folder, folder), reason))
    if not broken:
        # What they refer to may be among the broken files.
        findings += _orphans(structures, scans, folder)
    return sources, findings


def _mask_of(
    scan: DicomSeries, scans: Sequence[DicomSeries], structures: Sequence[DicomFile], volumes: Sequence[Path], folder: Path
) -> tuple[Path, str] | None:
    """Path and kind of the scan's mask. Raises `InputError` if there are several of the preferred kind."""
    referring = [file for file in structures if _refers_to(file, scan, scans)]
    for kind in STRUCTURES:
        paths = [file.path for file in referring if file.text("Modality") == kind]
        if len(paths) > 1:
            raise InputError(f"{paths[0]}: {paths[1].name} is another {kind} of the same CT. Keep the one to be used.")
        if paths:
            return paths[0], kind
    # Beside the slices or further up, as long as no other scan lies there.
    for place in (scan.folder, *scan.folder.parents):
        if any(other is not scan and place in (other.folder, *other.folder.parents) for other in scans):
            break
        masks = [path for path in volumes if path.parent == place and MASK_WORDS.search(path.name)]
        if len(masks) > 1:
            raise InputError(f"{masks[0]}: {masks[1].name} is another mask of the same CT. Keep the one to be used.")
        if masks:
            return masks[0], "volume"
        if place == folder:
            break
    return None


def _refers_to(structure: DicomFile, scan: DicomSeries, scans: Sequence[DicomSeries]) -> bool:
    uids = referenced_series(structure)
    if uids:
        return scan.series_uid in uids
    # Some planning systems leave the reference out; in a study of one scan there is no doubt.
    study = structure.text("StudyInstanceUID")
    in_study = [other for other in scans if other.files[0].text("StudyInstanceUID") == study]
    return in_study == [scan]


def _orphans(structures: Iterable[DicomFile], scans: Sequence[DicomSeries], folder: Path) -> list[Finding]:
    return [
        Finding(
            _place(file.path.parent, folder),
            f"{file.path}: the CT series it refers to is not there. Copy the CT beside it or remove the file.",
        )
        for file in structures
        if not any(_refers_to(file, scan, scans) for scan in scans)
    ]


def _file_sources(folder: Path, volumes: Sequence[Path]) -> tuple[list[Source], list[Finding]]:
    """Folders with one CT file and one mask file."""
    sources, findings = [], []
    for place in sorted({path.parent for path in volumes}):
        inside = [path for path in volumes if path.parent == place and not path.name.startswith("native_")]
        masks = [path for path in inside if MASK_WORDS.search(path.name)]
        cts = [path for path in inside if path not in masks]
        name = _place(place, folder)
        if len(cts) == 1 and len(masks) == 1:
            sources.append(Source(name, name, None, cts[0], masks[0], "volume"))
        else:
            reason = f"{place}: expected one CT and one mask file in a folder, such as ct.nii.gz and lung.nii.gz, got "
            findings.append(Finding(name, f"{reason}{len(cts)} and {len(masks)}. Give each scan a folder of its own."))
    return sources, findings


def _merged(series: Iterable[DicomSeries]) -> list[DicomSeries]:
    groups: dict[tuple[str, str], list[DicomSeries]] = {}
    for found in series:
        groups.setdefault((found.series_uid, found.modality), []).append(found)
    return [
        DicomSeries(uid, modality, parts[0].patient_id, tuple(file for part in parts for file in part.files))
        for (uid, modality), parts in groups.items()
    ]


def _is_found(scan: DicomSeries, findings: Iterable[Finding], folder: Path) -> bool:
    return any(finding.place == _place(scan.folder, folder) for finding in findings)


def _place(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder else path.resolve().name


def _file_kind(path: Path) -> str:
    name = path.name.lower()
    return next(word for end, word in ((".nrrd", "NRRD"), (".mha", "MHA"), ("", "NIfTI")) if name.endswith(end))
