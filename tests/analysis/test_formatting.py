import math

import pytest

from analysis import formatting


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (
            "/home/jane/scans/p1/ct.nii.gz: the file is damaged. Copy it again.",
            "ct.nii.gz: the file is damaged. Copy it again.",
        ),
        ("scans/p1/ct.nii: no such file.", "ct.nii: no such file."),
        ("~/scans/p1 has no CT", "p1 has no CT"),
        ("expected '/a/b/lung.nii.gz'", "expected 'lung.nii.gz'"),
        (r"C:\scans\p1\ct.nii.gz is empty", "ct.nii.gz is empty"),
        ("64x64 voxels, 1/2 of them air; n/a", "64x64 voxels, 1/2 of them air; n/a"),
    ],
)
def test_a_path_is_cut_down_to_its_last_name(text: str, printed: str) -> None:
    assert formatting.without_paths(text) == printed


def test_a_data_folder_with_spaces_in_its_name_leaves_nothing_behind() -> None:
    text = "/data/Jane Doe/p 1/ct.nii.gz: no such file."
    assert "Jane" not in formatting.without_paths(text, "/data/Jane Doe")


@pytest.mark.parametrize(
    ("texts", "printed"),
    [
        (["0.0005", "0.01"], ["5.00e-4", "1.00e-2"]),
        (["0.25", "0.1", "0"], ["0.250", "0.100", "0.000"]),
        (["8", "16", ""], ["8", "16", "–"]),
        (["instance", "batch"], ["instance", "batch"]),
    ],
)
def test_a_parameter_has_one_notation_in_all_trials(texts: list[str], printed: list[str]) -> None:
    assert formatting.column(texts) == printed


def test_values_read_as_a_person_would_write_them() -> None:
    values = {1e-5: "1e-5", 0.5: "0.5", True: "yes", None: "–", (-1000.0, 400.0): "-1000, 400", "zscore": "zscore"}
    assert {value: formatting.cell(value) for value in values} == values
    assert (formatting.duration(75), formatting.duration(math.nan)) == ("0:01:15", "–")
    assert formatting.moment("2026-01-02T03:04:05+01:00") == "2026-01-02 02:04 UTC"
    assert formatting.score(math.nan) == "–"
