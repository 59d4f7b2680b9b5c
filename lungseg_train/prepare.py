"""Make case folders of raw scans: python -m lungseg_train.prepare --source RAW --data_dir CASES."""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg_train.command_line import parse
from lungseg_train.errors import EXIT_BAD_INPUT, InputError, command

if TYPE_CHECKING:
    from lungseg_train.preparation.prepare_case import NamedSource

PROG = "python -m lungseg_train.prepare"
STAGING = ".preparing"
"""Folder inside of --data_dir where cases lie until all are good."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Give --source and --data_dir, or --check alone."""

    source: Path | None = None
    """Raw data: DICOM CT series with RTSTRUCT or SEG, nested as archives deliver them, or folders with a CT and a mask file
    (NIfTI, NRRD, MHA)."""
    data_dir: Path | None = None
    """Folder that receives the case folders and manifest.json."""
    check: Path | None = None
    """Raw data or case folders to be checked, with a table and without writing anything."""
    grid: tuple[int, ...] = (64,)
    """Voxels of the training grid along each axis, or along X, Y and Z."""
    spacing_mm: float = 5.0
    """Edge of a voxel of the training grid."""
    roi: tuple[str, ...] = ()
    """Names of the lung structures in RTSTRUCT or SEG, with * and ?; by default the usual spellings of left and right lung."""
    labels: tuple[int, ...] = ()
    """Labels of the lungs in a mask file that has several."""
    id_map: Path | None = None
    """CSV file with columns source and case_id that names the cases; by default a case is named by a salted hash. A source is
    a DICOM PatientID, or a folder below --source; sources of one case id are scans of one patient."""
    salt_file: Path | None = None
    """Secret of the hashes, made at the first use; by default in the user's data folder."""
    keep_native: bool = True
    """Keep CT and mask on the scanner's own voxels too, where the final metrics are then computed."""
    skip_bad_cases: bool = False
    """Leave bad scans out, named below the table, instead of preparing none."""
    num_workers: int | None = None
    """Scans prepared at a time; by default one for each CPU."""

    def __post_init__(self) -> None:
        if (self.check is None) == (self.source is None) or (self.source is None) != (self.data_dir is None):
            raise InputError("expected --source RAW with --data_dir CASES, or --check DIR alone.")
        if len(self.grid) not in (1, 3) or not all(8 <= size <= 512 for size in self.grid):
            raise InputError(f"grid must be one or three numbers from 8 to 512, got {' '.join(map(str, self.grid))}.")
        if not 0.5 <= self.spacing_mm <= 25.0:
            raise InputError(f"spacing_mm must be from 0.5 to 25, got {self.spacing_mm}. 64 voxels of 5 mm hold a chest.")
        if self.num_workers is not None and self.num_workers < 1:
            raise InputError(f"num_workers must be at least 1, got {self.num_workers}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        x_size, y_size, z_size = self.grid if len(self.grid) == 3 else self.grid * 3
        return x_size, y_size, z_size


@command
def main() -> None:
    options = parse(PrepareCommand, PROG, "Validate raw scans with their lung masks and resample them to the training grid.")
    # Workers read this as they start: each is one of as many as there are CPUs.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of folders may be no UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    # What ends a job on a cluster ends its workers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.check is not None:
        _check(options, options.check)
    elif options.source is not None and options.data_dir is not None:
        _prepare(options, options.source, options.data_dir)


def _check(options: PrepareCommand, folder: Path) -> None:
    from lungseg_train.preparation.prepare_all import examine_all, name_sources, print_table

    named, findings = name_sources(options, folder)
    # A case keeps its name.
    named = [replace(one, case_id=one.source.ct_path.parent.name) if _is_case(one) else one for one in named]
    results = examine_all(named, options, None)
    rows = print_table(results, findings)
    if any(row.finding for row in rows):
        raise SystemExit(EXIT_BAD_INPUT)


def _prepare(options: PrepareCommand, source: Path, data_dir: Path) -> None:
    from lungseg_train.preparation.prepare_all import examine_all, name_sources, print_table

    # Inside of them, the next run would take the cases for raw data.
    if data_dir.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{data_dir}: the cases cannot go where the raw data are. Name another --data_dir.")
    named, findings = name_sources(options, source)
    _check_raw(named, source)
    _check_grid(data_dir, options)
    _check_free(data_dir, [one.case_id for one in named])
    staging = data_dir / STAGING
    results = examine_all(named, options, staging)
    rows = print_table(results, findings)
    bad = [row for row in rows if row.finding]
    if len(bad) == len(rows):
        _remove_if_empty(staging, data_dir)
    if bad and not options.skip_bad_cases:
        raise InputError(
            f"{len(bad)} of {len(rows)} scans cannot be used (see above), so no case was added. Mend them, or leave them out "
            "with --skip_bad_cases; the good ones will not be prepared again."
        )
    if len(bad) == len(rows):
        raise InputError(f"{source}: none of its {len(rows)} scans can be used (see above).")
    num_cases = _publish(data_dir, [row.case_id for row in rows if not row.finding], len(bad))
    num_new = sum(1 for row in rows if not row.finding and not row.was_ready)
    num_ready = len(rows) - len(bad) - num_new
    print(f"{num_cases} case{'s' * (num_cases != 1)} in {data_dir}: {num_new} prepared now, {num_ready} ready before")
    if any(size % 8 for size in options.shape):
        print("note: a side that is not divisible by 8 asks for a training with --depth 2 or less")


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _check_raw(named: "Sequence[NamedSource]", source: Path) -> None:
    """Raise `InputError` if the raw data are cases already: made again, they would be other patients."""
    if any(_is_case(one) for one in named):
        raise InputError(f"{source}: holds cases that are prepared already. Name the raw data they were made of.")


def _is_case(named: "NamedSource") -> bool:
    from lungseg_train.data.prepared import CASE_JSON

    return (named.source.ct_path.parent / CASE_JSON).is_file()


def _check_grid(data_dir: Path, options: PrepareCommand) -> None:
    """Raise `InputError` if earlier cases lie on another grid: they would be replaced or no longer fit."""
    from lungseg_train.data.prepared import CASE_JSON, read_former

    for path in sorted(data_dir.glob(f"*/{CASE_JSON}")):
        case = read_former(path.parent)
        if case is not None and (case.shape != options.shape or case.spacing_mm != (options.spacing_mm,) * 3):
            former = f"--grid {' '.join(map(str, case.shape))} --spacing_mm {case.spacing_mm[0]:g}"
            raise InputError(f"{data_dir}: holds cases of {former}. Give the same options or another --data_dir.")


def _check_free(data_dir: Path, case_ids: Sequence[str]) -> None:
    """Raise `InputError` if something stands in the place of a case that no earlier run has put there."""
    from lungseg_train.data.prepared import CASE_FILES

    for place in (data_dir / case_id for case_id in case_ids):
        if not place.exists() and not place.is_symlink():
            continue
        own = place.is_dir() and not place.is_symlink() and {path.name for path in place.iterdir()} <= CASE_FILES
        if not own:
            raise InputError(f"{place}: is in the way of a case and was not made by {PROG}. Move it away.")


def _publish(data_dir: Path, case_ids: Sequence[str], num_skipped: int) -> int:
    """Move the cases that are ready to where they belong, and write the manifest of all; returns how many there are."""
    from lungseg_train.data.prepared import CASE_JSON, read_prepared
    from lungseg_train.scans.volume import write_atomically

    for case_id in case_ids:
        staged, place = data_dir / STAGING / case_id, data_dir / case_id
        if staged.is_dir():
            shutil.rmtree(place, ignore_errors=True)
            try:
                staged.rename(place)
            except OSError as error:
                raise InputError(f"{place}: cannot be written ({error.strerror}). Choose another --data_dir.") from None
    shutil.rmtree(data_dir / STAGING, ignore_errors=True)
    cases = [read_prepared(path.parent) for path in sorted(data_dir.glob(f"*/{CASE_JSON}"))]
    content = {"num_skipped": num_skipped, "cases": [asdict(case) for case in cases if case is not None]}
    write_atomically(data_dir / MANIFEST, json.dumps(content, indent=2) + "\n")
    return len(cases)


if __name__ == "__main__":
    main()
