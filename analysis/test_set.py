"""Which patients are the test: the run's sealed share, or every case of another data folder."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from analysis.load_run import Run
from lungseg_train.data.cases import Case, read_case, read_cases
from lungseg_train.data.duplicates import find_copies
from lungseg_train.errors import InputError


@dataclass(frozen=True)
class TestSet:
    """The patients to be scored; `cases` opens their files."""

    run: Run
    other_data_dir: Path | None = None
    """Where the external patients are; None for the run's own test share."""

    # Its name begins with Test, which pytest would try to collect.
    __test__ = False

    @property
    def name(self) -> str:
        """Name of the external data set, fit for a file name; empty for the run's own test share."""
        if self.other_data_dir is None:
            return ""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.other_data_dir.resolve().name).strip("-.") or "other"

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.run.folder / (f"test-{self.name}" if self.name else "test")

    @property
    def report_path(self) -> Path:
        return self.run.folder / (f"report-{self.name}.html" if self.name else "report.html")

    def hashes(self) -> dict[str, dict[str, str]]:
        """case_id -> ct_sha256, mask_sha256. Of the sealed share they are read from the seal, not from the patients."""
        if self.other_data_dir is None:
            return {case_id: self.run.test_sha256.get(case_id, {}) for case_id in self.run.split.test}
        return {case.case_id: case.hashes for case in self.cases}

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The patients, their files read and checked. Raises `InputError`."""
        return _sealed_cases(self.run) if self.other_data_dir is None else _other_cases(self.run, self.other_data_dir)


def choose_test_set(run: Run, other_data_dir: Path | None) -> TestSet:
    """Raises `InputError` if the run has no test patients and no others are named."""
    if other_data_dir is None and not run.split.test:
        raise InputError(
            f"{run.folder}: expected test patients, but split.json seals none. Name a folder of others with --data_dir."
        )
    return TestSet(run, other_data_dir)


def fingerprint(hashes: dict[str, dict[str, str]]) -> str:
    """One hash for a whole set of patients, whatever their order."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _sealed_cases(run: Run) -> tuple[Case, ...]:
    data_dir = Path(str(run.search["data_dir"]))
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: no such folder; the run's cases were there. Put them back to open the test.")
    return tuple(_sealed_case(data_dir / case_id, run.test_sha256.get(case_id)) for case_id in run.split.test)


def _sealed_case(folder: Path, sealed: dict[str, str] | None) -> Case:
    case = read_case(folder)
    if case.hashes != sealed:
        raise InputError(
            f"{folder}: CT or mask is not the one that split.json sealed. Put the sealed files back, or start a new search."
        )
    return case


def _other_cases(run: Run, data_dir: Path) -> tuple[Case, ...]:
    cases = read_cases(data_dir).cases
    known = [case_id for case_id in run.split.train + run.split.val if case_id in run.cases]
    thumbnails = {case_id: str(run.cases[case_id]["thumbnail"]) for case_id in known}
    copies = find_copies({case.case_id: case.thumbnail for case in cases}, thumbnails)
    for case_id, other in copies.items():
        raise InputError(
            f"{data_dir / case_id}: shows the patient of {other}, with whom this run trained or chose. "
            "Remove it: a test needs patients that the search has not seen."
        )
    return cases
