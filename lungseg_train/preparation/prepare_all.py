"""All scans of a raw data folder, several at a time, and the table of what came of them."""

import multiprocessing
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from lungseg_train.data.duplicates import find_copies
from lungseg_train.data.prepared import CASE_JSON, PreparedCase, read_former, read_prepared
from lungseg_train.errors import InputError
from lungseg_train.preparation.case_ids import default_salt_path, name_cases, read_id_map, read_salt
from lungseg_train.preparation.prepare_case import NamedSource, PrepareOptions, is_prepared, prepare_case, source_state
from lungseg_train.preparation.sources import Finding, find_sources


class Options(Protocol):
    """What the command's options say."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def spacing_mm(self) -> float: ...
    @property
    def roi(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> tuple[int, ...]: ...
    @property
    def id_map(self) -> Path | None: ...
    @property
    def salt_file(self) -> Path | None: ...
    @property
    def keep_native(self) -> bool: ...
    @property
    def num_workers(self) -> int | None: ...
    @property
    def check(self) -> Path | None: ...


@dataclass(frozen=True)
class Row:
    """What came of one scan."""

    place: str
    case_id: str = ""
    prepared: PreparedCase | None = None
    finding: str = ""
    """Why it cannot be used; empty if it can."""
    was_ready: bool = False


def name_sources(options: Options, folder: Path) -> tuple[list[NamedSource], list[Finding]]:
    """The scans of a folder with their case ids, and what cannot be used at sight. Raises `InputError`."""
    sources, findings = find_sources(folder)
    id_map = read_id_map(options.id_map) if options.id_map is not None else None
    # By their places: ids of patients are not for a terminal, which may be logged.
    missing = sorted({source.place for source in sources if id_map is not None and source.patient_id not in id_map})
    if missing:
        raise InputError(f"{options.id_map}: names no case id for {', '.join(missing[:5])}. Add a line for each.")
    names = name_cases([source.patient_id for source in sources], _salt(options), id_map)
    return [NamedSource(source, *name) for source, name in zip(sources, names, strict=True)], findings


def examine_all(named: Sequence[NamedSource], options: Options, staging: Path | None) -> list[Row]:
    """Read and check every scan, and prepare it in `staging` unless it is ready; with None nothing is written."""
    how = PrepareOptions(
        shape=options.shape,
        spacing_mm=(options.spacing_mm,) * 3,
        roi=options.roi,
        labels=options.labels,
        keep_native=options.keep_native,
    )
    if staging is not None:
        _make_folder(staging)
    salt = _salt(options)
    rows: dict[str, Row] = {}
    with (
        _pool(min(options.num_workers or len(os.sched_getaffinity(0)), max(1, len(named)))) as pool,
        _progress(len(named)) as tick,
    ):
        futures = {pool.submit(examine, one, how, salt, staging): one for one in named}
        try:
            for future in as_completed(futures):
                one = futures[future]
                rows[one.case_id] = _result(future, one)
                tick(rows[one.case_id])
        except KeyboardInterrupt:
            # At once, so that nobody presses twice: a case counts from its case.json on, which is written last.
            for process in list(pool._processes.values()):
                process.terminate()
            raise
    known = [] if staging is None else _known(staging.parent, set(rows))
    return _without_copies([rows[one.case_id] for one in named], known)


def examine(named: NamedSource, options: PrepareOptions, salt: bytes, staging: Path | None) -> Row:
    """One scan, in a worker."""
    place = named.source.place
    try:
        state = source_state(named.source, options, salt)
        if staging is not None:
            for ready in (staging / named.case_id, staging.parent / named.case_id):
                if is_prepared(ready, state):
                    return Row(place, named.case_id, read_prepared(ready), was_ready=True)
        case_dir = None if staging is None else staging / named.case_id
        prepared = prepare_case(named, options, salt, case_dir)
        if staging is not None:
            _check_same_source(prepared, staging, named)
        return Row(place, named.case_id, prepared)
    except InputError as error:
        return Row(place, named.case_id, finding=" ".join(str(error).split()))
    except (OSError, MemoryError) as error:
        return Row(
            place, named.case_id, finding=f"{named.source.ct_path}: {getattr(error, 'strerror', None) or error!r}. Try again."
        )


def _check_same_source(prepared: PreparedCase, staging: Path, named: NamedSource) -> None:
    """Raise `InputError` if the case would replace one that an earlier run has made of another scan."""
    former = read_former(staging.parent / named.case_id)
    if former is None or former.source_series == prepared.source_series:
        return
    if former.source_ct_sha256 != prepared.source_ct_sha256:
        shutil.rmtree(staging / named.case_id, ignore_errors=True)
        raise InputError(
            f"{named.source.ct_path}: {named.case_id} in {staging.parent} was made of another scan. "
            "Name the cases by --id_map, remove the former one, or choose another --data_dir."
        )


def print_table(results: Sequence[Row], findings: Sequence[Finding]) -> list[Row]:
    """All rows, those of `findings` included, printed as a table and a line for each finding."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = [*results, *(Row(finding.place, finding=" ".join(finding.reason.split())) for finding in findings)]
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False, soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("scan", "case", "source", "voxels", "mm", "lungs ml", "verdict"):
        table.add_column(name, justify="right" if name in ("voxels", "mm", "lungs ml") else "left", no_wrap=name != "scan")
    for row in rows:
        # A folder's name may look like the table's markup.
        table.add_row(escape(" ".join(row.place.split())), row.case_id, *_cells(row), "[red]bad[/]" if row.finding else "good")
    console.print(table)
    for row in rows:
        if row.finding:
            print(f"bad: {row.finding}")
    return rows


def _cells(row: Row) -> tuple[str, str, str, str]:
    if row.prepared is None:
        return "", "", "", ""
    shape, spacing = row.prepared.source_shape, row.prepared.source_spacing_mm
    sizes = "×".join(map(str, shape))
    return row.prepared.source, sizes, "×".join(f"{mm:.3g}" for mm in spacing), f"{row.prepared.lung_ml:.0f}"


def _known(data_dir: Path, new: set[str]) -> list[PreparedCase]:
    """The cases that earlier runs have made from other sources."""
    cases = [read_prepared(path.parent) for path in sorted(data_dir.glob(f"*/{CASE_JSON}")) if path.parent.name not in new]
    return [case for case in cases if case is not None]


def _without_copies(rows: Sequence[Row], known: Sequence[PreparedCase]) -> list[Row]:
    """The same with a finding for every scan that shows an earlier one's patient under another name."""
    good = {row.case_id: row for row in rows if row.prepared is not None}
    prepared = [row.prepared for row in good.values() if row.prepared is not None]
    thumbnails = {case.case_id: case.thumbnail for case in prepared}
    patients = {case.case_id: case.patient for case in (*known, *prepared)}
    copies = {name: good[other].place for name, other in find_copies(thumbnails, patients=patients).items()}
    if known:
        copies |= find_copies(thumbnails, {case.case_id: case.thumbnail for case in known}, patients)
    words = "nearly the same CT as {}, perhaps turned or mirrored. Remove one of the two."
    findings = {name: f"{good[name].place}: {words.format(other)}" for name, other in copies.items()}
    return [replace(row, finding=findings.get(row.case_id, row.finding)) for row in rows]


def _result(future: "Future[Row]", named: NamedSource) -> Row:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = "a worker was killed, perhaps for want of memory. Try again with fewer --num_workers."
        return Row(named.source.place, named.case_id, finding=f"{named.source.ct_path}: {reason}")


def _salt(options: Options) -> bytes:
    path = options.salt_file or default_salt_path()
    # A check writes nothing, not even the salt of later runs.
    return secrets.token_bytes(32) if options.check is not None and not path.exists() else read_salt(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder.parent}: cannot be written ({error.strerror}). Choose another --data_dir.") from None


@contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: NumPy's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_ignore_interrupts)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Tick(Protocol):
    def __call__(self, row: Row) -> None: ...


@contextmanager
def _progress(num_scans: int) -> Iterator[Tick]:
    """A bar on a terminal, a line for each scan elsewhere."""
    if not sys.stderr.isatty():
        yield lambda row: print(f"{row.place}: {'bad' if row.finding else 'read'}", flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scans"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scans", total=num_scans)
        yield lambda row: bar.advance(task)
