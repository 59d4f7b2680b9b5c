"""Which patients train, which choose, and which are sealed until the report."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lungseg_train.data.cases import Case
from lungseg_train.errors import InputError
from lungseg_train.scans.volume import write_atomically

SHARES = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Case ids of the three shares; all cases of a patient stand in one."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def write(self, path: Path, cases: Sequence[Case]) -> None:
        """Write `split.json` with the hashes that let the report prove which files were sealed."""
        hashes = {case.case_id: case.hashes for case in cases}
        shares = {share: list(getattr(self, share)) for share in SHARES}
        sealed = {case_id: hashes[case_id] for case_id in self.test}
        write_atomically(path, json.dumps({**shares, "test_sha256": sealed}, indent=2) + "\n")


def split_cases(
    case_ids: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    patients: Mapping[str, str] | None = None,
) -> Split:
    """Draw the shares at random from `seed`; the order of `case_ids` does not matter.

    `patients` names the patient of each case; by default each case is one. All cases of a patient come into one share.
    A share above 0 gets at least one patient; the training share must be left one. Raises `InputError`.
    """
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0.0 <= fraction < 1.0:
            raise InputError(f"{name} must be at least 0 and below 1, got {fraction}.")
    cases_of: dict[str, list[str]] = {}
    for case_id in sorted(case_ids):
        cases_of.setdefault((patients or {}).get(case_id, case_id), []).append(case_id)
    # Patients in the order of their first case: who a patient is called by must not change the split.
    groups = sorted(cases_of.values())
    random.Random(seed).shuffle(groups)
    # At least one patient of each share that was asked for, however few there are.
    num_val, num_test = (max(1, round(len(groups) * f)) if f > 0 else 0 for f in (val_fraction, test_fraction))
    num_train = len(groups) - num_val - num_test
    if num_train < 1:
        needed = num_val + num_test + 1
        raise InputError(f"too few patients: {len(groups)} cannot be split, at least {needed} are needed. Add cases.")
    parts = (groups[num_test + num_val :], groups[num_test : num_test + num_val], groups[:num_test])
    train, val, test = (tuple(sorted(case_id for group in part for case_id in group)) for part in parts)
    return Split(train=train, val=val, test=test)


def read_split(path: Path, case_ids: Sequence[str] | None = None, patients: Mapping[str, str] | None = None) -> Split:
    """Read fixed lists from a `split.json`; with `case_ids`, check that they name these cases, and with `patients`, that
    no patient's cases stand in two lists. Raises `InputError`."""
    try:
        values = json.loads(path.read_text())
        shares = {share: tuple(values.get(share, [])) for share in SHARES}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: expected a JSON object with lists train, val and test ({error}).") from None
    split = Split(**shares)
    named = [*split.train, *split.val, *split.test]
    twice = sorted({case_id for case_id in named if named.count(case_id) > 1})
    if twice:
        raise InputError(f"{path}: {', '.join(twice)} stands in more than one list. Keep each patient in one.")
    if not split.train:
        raise InputError(f"{path}: the list train is empty. Name at least one case.")
    missing = sorted(set(named) - set(case_ids)) if case_ids is not None else []
    if missing:
        raise InputError(f"{path}: names cases that are not there: {', '.join(missing)}. Correct the list or the data.")
    _check_patients(split, patients or {}, path)
    return split


def _check_patients(split: Split, patients: Mapping[str, str], path: Path) -> None:
    share_of: dict[str, tuple[str, str]] = {}
    for share in SHARES:
        for case_id in getattr(split, share):
            other_share, other = share_of.setdefault(patients.get(case_id, case_id), (share, case_id))
            if other_share != share:
                raise InputError(
                    f"{path}: {other} in {other_share} and {case_id} in {share} are scans of one patient. "
                    "Keep each patient in one list."
                )
