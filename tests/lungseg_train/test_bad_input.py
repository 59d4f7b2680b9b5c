"""Damaged and odd input: each kind gets its one line or works rightly, and nothing is silently altered."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungseg_train.data.cases import read_cases
from lungseg_train.errors import InputError
from lungseg_train.preparation.case_ids import read_id_map
from lungseg_train.preparation.prepare_all import Row, name_sources
from lungseg_train.prepare import PrepareCommand
from tests.dicom_files import PLANTED_DATE, PLANTED_ID, PLANTED_NAME
from tests.lungseg_train.bad_dicom import SERIES, STRUCTURES
from tests.lungseg_train.bad_files import ITK, NIFTI
from tests.lungseg_train.bad_values import CTS, MASKS, NAMES
from tests.lungseg_train.conftest import BAD_INPUT
from tests.raw_scans import FORMS, Kind, examine_folder, image, phantom, write_form

GOOD = {f"good {form}": Kind(form, lambda folder: None) for form in FORMS}
TABLES = (GOOD, NIFTI, ITK, SERIES, STRUCTURES, CTS, MASKS, NAMES)
KINDS: dict[str, Kind] = {name: kind for table in TABLES for name, kind in table.items()}
Record = Callable[[str, object], None]


def test_no_two_kinds_share_a_name() -> None:
    assert len(KINDS) == sum(map(len, TABLES)) >= 40


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gets_its_line_or_works_rightly(name: str, tmp_path: Path, record_property: Record) -> None:
    kind, folder = KINDS[name], tmp_path / "raw"
    write_form(kind.form, folder)
    kind.damage(folder)
    rows: list[Row] = []
    try:
        with warnings.catch_warnings():
            # A library's warning would stand between the lines of the command.
            warnings.simplefilter("error")
            rows = examine_folder(folder, **kind.options)
        lines = [row.finding for row in rows if row.finding]
    except InputError as error:
        lines = [" ".join(str(error).split())]
    line = next((line for line in lines if kind.line in line), lines[0] if lines else "")
    message = line.replace(f"{tmp_path}/", "").encode(errors="backslashreplace").decode()
    record_property(BAD_INPUT, (name, "refused" if lines else "works", message))
    assert not any(secret in line for secret in (PLANTED_ID, PLANTED_NAME, PLANTED_DATE))
    if kind.line:
        assert kind.line in line and "\n" not in line, lines
        # A scan whose structures cannot be read has no mask either.
        assert len(lines) <= (2 if kind.line == "its header is missing" else 1), lines
        return
    assert not lines
    (row,) = rows
    assert row.prepared is not None
    ct, mask = phantom()
    expected_ct, expected_mask = kind.expected(ct.array, mask)
    assert row.prepared.source_ct_sha256 == dataclasses.replace(ct, array=expected_ct).sha256
    assert row.prepared.source_mask_sha256 == dataclasses.replace(ct, array=expected_mask).sha256


@pytest.mark.parametrize("name", [name for name, kind in (NIFTI | CTS | MASKS).items() if kind.form == "NIfTI"])
def test_ready_made_cases_meet_the_same_damage_with_a_line(name: str, tmp_path: Path) -> None:
    """What may pass here: several labels count as lung, and any voxel size is taken."""
    write_form("NIfTI", tmp_path / "cases")
    KINDS[name].damage(tmp_path / "cases")
    try:
        cases = read_cases(tmp_path / "cases").cases
    except InputError as error:
        assert str(error).endswith("--skip_bad_cases.") or "no cases in it" in str(error)
    else:
        assert len(cases) == 1 and set(cases[0].shape) == {40, 36, 24}


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "copy of a patient": lambda array: array,
    "copy mirrored left to right": lambda array: array[::-1],
    "copy upside down": lambda array: array[:, :, ::-1],
    "copy turned by 90 degrees": lambda array: np.rot90(array),
    "copy lying on the side": lambda array: array.transpose(2, 0, 1),
    "copy with noise": lambda array: _noisy(array),
    "copy shifted by 5 HU": lambda array: array if array.max() <= 1 else array + 5,
}


def _noisy(array: np.ndarray) -> np.ndarray:
    """Noise of 20 HU; a mask stays."""
    if array.max() <= 1:
        return array
    return (array + np.random.default_rng(1).normal(0, 20, array.shape)).astype(array.dtype)


@pytest.mark.parametrize("name", COPIES)
def test_a_patient_under_another_name_is_found(name: str, own_cases: Path, record_property: Record) -> None:
    first = own_cases / "phantom-0000"
    (own_cases / "someone else").mkdir()
    for file in ("ct.nii.gz", "lung.nii.gz"):
        (own_cases / "someone else" / file).write_bytes((first / file).read_bytes())
        image(COPIES[name], file)(own_cases / "someone else")
    with pytest.raises(InputError, match=r"someone else.*the same CT as.*phantom-0000") as caught:
        read_cases(own_cases)
    record_property(BAD_INPUT, (name, "refused", str(caught.value).replace(f"{own_cases}/", "")))


ID_MAPS = {
    "ids without columns": (b"a,b\n1,2\n", "expected a CSV file with the columns source and case_id"),
    "ids that are no text": (b"\xff\xfe\x00", "expected a CSV file with the columns source and case_id"),
    "id that leads elsewhere": (b"source,case_id\npatient 1,../../etc\n", "is no folder name"),
    "id that is empty": (b"source,case_id\npatient 1,\n", "is no folder name"),
    "id that is hidden": (b"source,case_id\npatient 1,.x\n", "is no folder name"),
    "two ids of one source": (b"source,case_id\npatient 1,A\npatient 1,B\n", "names both A and B for one source"),
    "line of ids too short": (b"source,case_id\npatient 1\n", "expected a CSV file with the columns source and case_id"),
}


@pytest.mark.parametrize("name", ID_MAPS)
def test_a_bad_mapping_of_ids_gets_its_line(name: str, tmp_path: Path, record_property: Record) -> None:
    content, words = ID_MAPS[name]
    (tmp_path / "ids.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_id_map(tmp_path / "ids.csv")
    assert words in str(caught.value)
    record_property(BAD_INPUT, (name, "refused", str(caught.value).replace(f"{tmp_path}/", "")))


def test_ids_saved_by_a_spreadsheet_are_read(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_bytes("source,case_id\r\nJörg,P1\r\n".encode("utf-8-sig"))
    assert read_id_map(tmp_path / "ids.csv") == {"Jörg": "P1"}


def test_a_missing_line_is_named_by_place_and_not_by_the_patients_id(tmp_path: Path, record_property: Record) -> None:
    write_form("DICOM + RTSTRUCT", tmp_path / "raw")
    (tmp_path / "ids.csv").write_text("source,case_id\nother,P1\n")
    (tmp_path / "salt").write_text("a salt that is long enough")
    command = PrepareCommand(check=tmp_path / "raw", id_map=tmp_path / "ids.csv", salt_file=tmp_path / "salt")
    with pytest.raises(InputError, match=r"names no case id for patient 1/ct\. Add a line") as caught:
        name_sources(command, tmp_path / "raw")
    assert PLANTED_ID not in str(caught.value)
    record_property(BAD_INPUT, ("scan that the ids leave out", "refused", str(caught.value).replace(f"{tmp_path}/", "")))
