import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_train.data.cases import load_case, read_case, read_cases
from lungseg_train.errors import InputError


def _rewrite(path: Path, change: object = None, affine: np.ndarray | None = None, shape: slice | None = None) -> None:
    nifti = nib.load(path)
    array = np.asarray(nifti.dataobj)
    array = change(array) if callable(change) else array
    array = array[:, :, shape] if shape is not None else array
    nib.save(nib.Nifti1Image(array, nifti.affine if affine is None else affine), path)


def test_good_cases_are_all_found_in_order(phantom_cases: Path) -> None:
    folder = read_cases(phantom_cases)
    assert [case.case_id for case in folder.cases] == [f"phantom-{n:04d}" for n in range(10)]
    assert folder.shape == (16, 16, 16) and folder.skipped == ()


def test_uncompressed_files_serve_as_well(own_cases: Path) -> None:
    case = own_cases / "phantom-0003"
    before = read_case(case)
    for name in ("ct", "lung"):
        nib.save(nib.load(case / f"{name}.nii.gz"), case / f"{name}.nii")
        (case / f"{name}.nii.gz").unlink()
    assert read_case(case).ct_sha256 == before.ct_sha256


def test_every_label_above_zero_is_lung(own_cases: Path) -> None:
    path = own_cases / "phantom-0000" / "lung.nii.gz"
    expected = np.asarray(nib.load(path).dataobj) > 0
    _rewrite(path, lambda mask: mask * 3)
    assert load_case(read_case(path.parent))[1].sum() == expected.sum()


BAD_CASES = {
    "no mask": (lambda case: (case / "lung.nii.gz").unlink(), "has no lung.nii.gz"),
    "no CT": (lambda case: (case / "ct.nii.gz").unlink(), "has no ct.nii.gz"),
    "empty mask": (lambda case: _rewrite(case / "lung.nii.gz", lambda m: m * 0), "mask is empty"),
    "other grid": (lambda case: _rewrite(case / "lung.nii.gz", shape=slice(8)), "differs from its CT"),
    "other affine": (lambda case: _rewrite(case / "lung.nii.gz", affine=np.diag([20, 20, 30, 1.0])), "affine differs"),
    "other size": (
        lambda case: [_rewrite(case / f"{name}.nii.gz", shape=slice(8)) for name in ("ct", "lung")],
        "one grid",
    ),
    "NaN": (lambda case: _rewrite(case / "ct.nii.gz", lambda ct: np.where(ct < 0, np.nan, ct).astype("f4")), "NaN"),
    "truncated": (
        lambda case: (case / "ct.nii.gz").write_bytes((case / "ct.nii.gz").read_bytes()[:500]),
        "cannot be read to its end",
    ),
    "same patient twice": (lambda case: shutil.copytree(case.parent / "phantom-0000", case, dirs_exist_ok=True), "same CT"),
}


@pytest.mark.parametrize("kind", BAD_CASES)
def test_a_bad_case_is_refused_by_name_or_left_out_on_request(kind: str, own_cases: Path) -> None:
    damage, words = BAD_CASES[kind]
    damage(own_cases / "phantom-0004")  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match=f"phantom-0004.*{words}.*--skip_bad_cases"):
        read_cases(own_cases)
    folder = read_cases(own_cases, skip_bad_cases=True)
    assert [skipped.case_id for skipped in folder.skipped] == ["phantom-0004"]
    assert len(folder.cases) == 9


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"CASE/ct\.nii\.gz"):
            read_cases(folder)


def test_a_case_changed_since_it_was_checked_is_refused(own_cases: Path) -> None:
    case = read_case(own_cases / "phantom-0001")
    _rewrite(own_cases / "phantom-0001" / "ct.nii.gz", lambda ct: ct + 1)
    with pytest.raises(InputError, match="has changed"):
        load_case(case)
