"""Damaged and odd input: each kind gets its one line or works rightly, and nothing is silently altered."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from lungseg_train.errors import InputError
from tests.lungseg_train.bad_dicom import SERIES, STRUCTURES
from tests.lungseg_train.bad_files import ITK, NIFTI
from tests.lungseg_train.bad_values import CTS, MASKS, NAMES
from tests.raw_scans import Kind, examine_folder, phantom, write_form

KINDS: dict[str, Kind] = NIFTI | ITK | SERIES | STRUCTURES | CTS | MASKS | NAMES
Record = Callable[[str, object], None]


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gets_its_line_or_works_rightly(name: str, tmp_path: Path, record_property: Record) -> None:
    kind, folder = KINDS[name], tmp_path / "raw"
    write_form(kind.form, folder)
    kind.damage(folder)
    try:
        rows = examine_folder(folder, **kind.options)
    except InputError as error:
        lines = [str(error)]
    else:
        lines = [row.finding for row in rows if row.finding]
    line = next((line for line in lines if kind.line in line), lines[0] if lines else "")
    message = line.replace(str(tmp_path), "…")
    record_property("bad input", (name, "refused" if lines else "works", message))
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
