"""Which results of a segmentation go where: settled and checked for all inputs before anything is computed."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lungseg_train.data.cases import MASK_NAMES
from lungseg_train.errors import InputError
from lungseg_train.scans.nifti_file import NIFTI_SUFFIXES
from lungseg_train.scans.scan import CT_NAMES, VOLUME_SUFFIXES

Kind = Literal["file", "case", "DICOM folder"]
SEG_SUFFIX = ".dcm"


@dataclass(frozen=True)
class Job:
    """One scan and where its results go."""

    source: Path
    kind: Kind
    mask: Path
    prob: Path | None
    overlay: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.mask, self.prob, self.overlay) if path is not None)

    @property
    def wants_seg(self) -> bool:
        return self.mask.name.endswith(SEG_SUFFIX)


def plan_jobs(sources: Sequence[Path], mask: Path, prob: Path | None, overlay: Path | None, as_seg: bool = False) -> list[Job]:
    """What each input is and where its results go. Raises `InputError` for what can be known without reading voxels."""
    kinds = [_kind(source) for source in sources]
    names = _unique_names(sources)
    mask_suffix = SEG_SUFFIX if as_seg else NIFTI_SUFFIXES[1]
    masks = _destinations(mask, names, (*NIFTI_SUFFIXES[::-1], SEG_SUFFIX), mask_suffix)
    probs = _destinations(prob, names, NIFTI_SUFFIXES[::-1], NIFTI_SUFFIXES[1])
    overlays = _destinations(overlay, names, (".png",), ".png")
    jobs = [Job(*parts) for parts in zip(sources, kinds, masks, probs, overlays, strict=True)]  # type: ignore[arg-type]
    for job in jobs:
        if as_seg and not job.wants_seg:
            raise InputError(f"{job.mask}: --dicom_seg needs a file name that ends with {SEG_SUFFIX}, or a folder.")
        if job.wants_seg and job.kind != "DICOM folder":
            raise InputError(f"{job.source}: a DICOM SEG needs the DICOM series that it belongs to. Write {NIFTI_SUFFIXES[1]}.")
    _check_outputs(jobs)
    return jobs


def scan_name(source: Path) -> str:
    """What an input is called: its folder or file without suffix; `ct.nii.gz` alone names no one, so its folder does."""
    # Not resolved: where names are links, the links are what the user sees.
    path = Path(os.path.abspath(source))
    if path.name in CT_NAMES:
        return path.parent.name
    suffix = next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def _kind(source: Path) -> Kind:
    if source.is_dir():
        return "case" if any((source / name).is_file() for name in CT_NAMES) else "DICOM folder"
    if not source.exists():
        raise InputError(f"{source}: no such file or folder.")
    if not source.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(f"{source}: expected a folder (a case or a DICOM series) or a file {', '.join(VOLUME_SUFFIXES)}.")
    return "file"


def _unique_names(sources: Sequence[Path]) -> list[str]:
    names = [scan_name(source) for source in sources]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        same = [str(source) for source in sources if scan_name(source) == name]
        raise InputError(
            f"{same[0]} and {same[1]} are both named {name}: one mask would replace the other. Rename one of them."
        )
    return names


def _destinations(
    out: Path | None, names: Sequence[str], suffixes: tuple[str, ...], default_suffix: str
) -> Sequence[Path | None]:
    """One file for one input, or files in a folder."""
    if out is None:
        return [None] * len(names)
    if out.is_dir() or (len(names) > 1 and not out.name.endswith(suffixes) and not out.exists()):
        return [out / f"{name}{default_suffix}" for name in names]
    if len(names) > 1:
        raise InputError(f"{out}: results of {len(names)} inputs need a folder, got the name of a file. Name a folder.")
    if not out.name.endswith(suffixes):
        raise InputError(f"{out}: expected a file name that ends with {' or '.join(suffixes)}, or a folder that exists.")
    return [out]


def _check_outputs(jobs: Sequence[Job]) -> None:
    outputs = [path.resolve() for job in jobs for path in job.outputs]
    path, count = Counter(outputs).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{path}: two results would be written there. Give masks, probabilities and figures folders of their own."
        )
    taken = {path.resolve() for job in jobs for path in _source_files(job)}
    for path in outputs:
        if path in taken:
            raise InputError(f"{path}: is an input, which the result would replace. Choose another name.")
        _check_writable(path)


def _source_files(job: Job) -> list[Path]:
    """The files of an input, as far as its folder need not be searched for them."""
    if job.kind == "file":
        return [job.source]
    return [job.source / name for name in (*CT_NAMES, *MASK_NAMES)]


def _check_writable(path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written. Choose a folder with space and write access.")
