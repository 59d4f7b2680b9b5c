"""Where results go, and what is refused before anything is computed."""

from pathlib import Path

import pytest

from lungseg_train.data.outputs import plan_jobs, scan_name
from lungseg_train.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases of one name each in a site of its own, a NIfTI file, a DICOM folder and a text."""
    for name in ("a/one/ct.nii.gz", "b/one/ct.nii.gz", "b/two/ct.nii.gz", "three.nii.gz", "four/slice.dcm", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/one", "one"),
        ("a/one/ct.nii.gz", "one"),
        ("a/one/.", "one"),
        ("three.nii.gz", "three"),
        ("x/scan.v2.NRRD", "scan.v2"),
        ("dicom.1.2", "dicom.1.2"),
    ],
)
def test_a_scan_is_named_by_its_folder_or_file(source: str, name: str) -> None:
    assert scan_name(Path(source)) == name


def test_one_input_has_files_and_many_have_folders(folder: Path) -> None:
    (job,) = plan_jobs([folder / "a/one"], folder / "m.nii", folder / "p.nii.gz", folder / "f.png")
    assert job.outputs == (folder / "m.nii", folder / "p.nii.gz", folder / "f.png")
    inputs = [folder / "a/one", folder / "three.nii.gz", folder / "four"]
    jobs = plan_jobs(inputs, folder / "out", folder / "new" / "probs", folder / "out")
    assert [job.kind for job in jobs] == ["case", "file", "DICOM folder"]
    assert jobs[1].outputs == (folder / "out/three.nii.gz", folder / "new/probs/three.nii.gz", folder / "out/three.png")
    assert not (folder / "new").exists()


def test_one_input_may_have_a_folder_that_exists(folder: Path) -> None:
    (job,) = plan_jobs([folder / "four"], folder / "out", None, None, as_seg=True)
    assert job.outputs == (folder / "out/four.dcm",) and job.wants_seg


# inputs, mask, probability, figure, as SEG -> what the line must say
REFUSED: dict[str, tuple[str, str, str | None, str | None, bool, str]] = {
    "no such input": ("none", "m.nii.gz", None, None, False, "no such file or folder"),
    "no scan": ("notes.txt", "m.nii.gz", None, None, False, "expected a folder"),
    "a single slice": ("four/slice.dcm", "m.nii.gz", None, None, False, "expected a folder"),
    "mask is a picture": ("a/one", "m.png", None, None, False, ".nii.gz or .nii or .dcm"),
    "probability is a SEG": ("four", "m.dcm", "p.dcm", None, False, "p.dcm"),
    "figure is no PNG": ("a/one", "m.nii.gz", None, "f.jpg", False, ".png"),
    "two scans, one file": ("a/one b/two", "m.nii.gz", None, None, False, "2 inputs need a folder"),
    "two scans of one name": ("a/one b/one", "out", None, None, False, "both named one"),
    "one scan twice": ("a/one a/one", "out", None, None, False, "both named one"),
    "masks and probabilities in one folder": ("a/one b/two", "out", "out", None, False, "two results"),
    "mask replaces the CT": ("a/one", "a/one/ct.nii.gz", None, None, False, "is an input"),
    "mask replaces the reference": ("a/one", "a/one/lung.nii.gz", None, None, False, "is an input"),
    "mask replaces another input": ("a/one three.nii.gz", "a/../", None, None, False, "is an input"),
    "SEG of a NIfTI file": ("three.nii.gz", "m.dcm", None, None, False, "needs the DICOM series"),
    "SEG of a case": ("a/one b/two", "out", None, None, True, "needs the DICOM series"),
    "SEG named like NIfTI": ("four", "m.nii.gz", None, None, True, "--dicom_seg"),
    "below a file": ("a/one", "notes.txt/m.nii.gz", None, None, False, "cannot be written"),
    "folder is a file": ("a/one b/two", "notes.txt", None, None, False, "need a folder"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_written_is_refused(kind: str, folder: Path) -> None:
    inputs, mask, prob, figure, as_seg, words = REFUSED[kind]
    paths = [None if name is None else folder / name for name in (prob, figure)]
    with pytest.raises(InputError, match=words):
        plan_jobs([folder / name for name in inputs.split()], folder / mask, paths[0], paths[1], as_seg)
