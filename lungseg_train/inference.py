"""Segment CTs: python -m lungseg_train.inference --model best_model.keras --input SCAN --output_mask mask.nii.gz."""

import hashlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungseg_train.command_line import parse
from lungseg_train.data.cases import MASK_NAMES, binarize
from lungseg_train.data.outputs import Job, plan_jobs
from lungseg_train.device import configure_device, import_backend_quietly
from lungseg_train.errors import InputError, command
from lungseg_train.scans.checks import check_hounsfield
from lungseg_train.scans.nifti_file import read_nifti
from lungseg_train.scans.scan import read_scan
from lungseg_train.scans.volume import Volume, write_atomically, write_on_file_grid

if TYPE_CHECKING:
    from lungseg_train.evaluation.predict import Predictor


MIN_VOXELS = 4
"""Along each axis; less is a picture and no scan."""
USUAL_LUNGS_ML = (800.0, 12_000.0)
"""Of a grown person; beyond this somebody should look."""


@dataclass(frozen=True, kw_only=True)
class InferenceCommand:
    """Options of the command."""

    model: Path
    """A model file of a training, such as best_model.keras: preprocessing and training grid come with it."""
    input: tuple[Path, ...]
    """One or many CTs of any spacing and orientation.
    Each a folder with one DICOM series, a NIfTI, NRRD or MHA file, or a case folder with ct.nii.gz."""
    output_mask: Path
    """The mask on the CT's own axes and voxels: NIfTI (.nii.gz or .nii), or DICOM SEG (.dcm) if the input is DICOM.
    A SEG carries the patient's identity from the CT, as every object of a study does; NIfTI carries none.
    For many inputs a folder, which gets one mask a scan, named like the input."""
    output_prob: Path | None = None
    """Where the probabilities are written, on the same voxels, as NIfTI; for many inputs a folder."""
    overlay: Path | None = None
    """Where a figure is written, as PNG: three slices of the CT with the outline of the mask and of a case's lung.nii.gz.
    For many inputs a folder."""
    dicom_seg: bool = False
    """Write the masks in a folder as DICOM SEG instead of NIfTI."""
    thr: float = 0.5
    """A voxel is lung from this probability on."""
    tta: bool = False
    """Test-time augmentation: the mean probability of the eight mirrored views; takes eight times as long."""
    largest_components: bool = False
    """Keep the two largest connected parts only, or one, where the second is but a speck."""
    fill_holes: bool = False
    """Count cavities inside the mask, such as vessels, as lung."""
    skip_bad_inputs: bool = False
    """Name an input that cannot be segmented and go on; by default the first one ends the command.
    The exit status is 0 if at least one was good."""


@command
def main() -> None:
    options = parse(InferenceCommand, "python -m lungseg_train.inference", "Segment the lungs in CTs.")
    if not 0.0 < options.thr < 1.0:
        raise InputError(f"thr must lie between 0 and 1, got {options.thr}.")
    if not options.input:
        raise InputError("expected at least one scan, got none. Name it by --input.")
    if not options.model.is_file():
        raise InputError(f"{options.model}: no such file; expected a model such as best_model.keras.")
    jobs = plan_jobs(options.input, options.output_mask, options.output_prob, options.overlay, options.dicom_seg)
    with _progress(jobs) as tracked_jobs:
        _segment_all(tracked_jobs, len(jobs), options)


def _segment_all(jobs: Iterable[Job], num_jobs: int, options: InferenceCommand) -> None:
    """One scan after the other. Raises `InputError` for the first bad one, or, on request, only if none is good."""
    predictor = _load(options) if options.skip_bad_inputs else None
    skipped = []
    for number, job in enumerate(jobs):
        try:
            scan = _read(job)
            # What is wrong with the first scan, mostly the only one, is said before the backend is imported.
            predictor = predictor or _load(options)
            print(_segment(job, scan, predictor, options), flush=True)
        except InputError as error:
            if not options.skip_bad_inputs:
                raise _with_advice(error, number, num_jobs) from None
            skipped.append(str(error))
            print(f"skipped {job.source}: {error}", file=sys.stderr, flush=True)
    if len(skipped) == num_jobs:
        raise InputError(f"none of {num_jobs} inputs is good; the first: {skipped[0]}")
    if num_jobs > 1:
        print(f"{num_jobs - len(skipped)} of {num_jobs} scans segmented")


def _read(job: Job) -> Volume:
    scan = read_scan(job.source)
    if min(scan.shape) < MIN_VOXELS:
        raise InputError(f"{job.source}: expected a scan of several slices, got {scan.shape} voxels. Name the whole scan.")
    check_hounsfield(scan, job.source)
    slices = {Path(file).resolve() for file in scan.dicom_files}
    for output in job.outputs:
        if output.resolve() in slices:
            raise InputError(f"{output}: is a slice of the input, which the result would replace. Choose another name.")
    return scan


def _load(options: InferenceCommand) -> "Predictor":
    import_backend_quietly()
    # It warns that scans of many shapes need many graphs; they do.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from lungseg_train.evaluation.predict import Predictor

    configure_device()
    return Predictor(options.model, tta=options.tta)


def _segment(job: Job, scan: Volume, predictor: "Predictor", options: InferenceCommand) -> str:
    """Write the results of one scan; returns what is said of it."""
    reference = _reference(job, scan)
    probability = predictor.scan_probability(scan)
    mask = _tidied(probability >= options.thr, options)
    if job.wants_seg:
        from lungseg_train.scans.dicom_seg import write_dicom_seg

        write_dicom_seg(job.mask, mask, scan, hashlib.sha256(options.model.read_bytes()).hexdigest())
    else:
        write_on_file_grid(job.mask, mask, scan, np.uint8)
    if job.prob is not None:
        write_on_file_grid(job.prob, probability, scan, np.float32)
    if job.overlay is not None:
        from lungseg_train.evaluation.overlay import overlay_planes, planes_png

        write_atomically(job.overlay, planes_png(overlay_planes(scan.array, reference, mask, scan.spacing_mm)))
    lung_ml = float(mask.sum()) * float(np.prod(scan.spacing_mm)) / 1000
    doubt = "" if USUAL_LUNGS_ML[0] <= lung_ml <= USUAL_LUNGS_ML[1] else " (unusual: look at it, with --overlay)"
    return f"lung volume {lung_ml:.0f} ml{doubt}, mask: {job.mask}"


def _reference(job: Job, scan: Volume) -> np.ndarray | None:
    """The case's own mask, (X, Y, Z), if a figure is to show it."""
    paths = [job.source / name for name in MASK_NAMES if (job.source / name).is_file()]
    if job.overlay is None or job.kind != "case" or not paths:
        return None
    mask = read_nifti(paths[0])
    if mask.shape != scan.shape:
        raise InputError(f"{paths[0]}: mask grid {mask.shape} differs from its CT {scan.shape}. Export both on one grid.")
    return binarize(mask.array)


def _tidied(mask: np.ndarray, options: InferenceCommand) -> np.ndarray:
    from lungseg_train.evaluation.components import fill_holes, largest_components

    mask = largest_components(mask) if options.largest_components else mask
    return fill_holes(mask) if options.fill_holes else mask


def _with_advice(error: InputError, num_done: int, num_jobs: int) -> InputError:
    if num_jobs == 1:
        return error
    return InputError(f"{error} {num_done} of {num_jobs} scans are segmented; --skip_bad_inputs leaves bad inputs out.")


@contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[Iterable[Job]]:
    """The jobs; where they are many and stderr is a terminal, a bar says how many are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = len(jobs) == 1 or not console.is_terminal
    # What is printed appears above the bar, but where stdout is a file, it belongs there.
    with Progress(console=console, disable=hidden, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield progress.track(jobs, description="segmenting")


if __name__ == "__main__":
    main()
