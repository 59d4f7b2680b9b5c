"""What counts in the end: patients, not phantoms. Needs LUNGSEG_REAL_CASES."""

import json
from pathlib import Path

from tests.conftest import Run


def test_a_net_that_saw_only_phantoms_segments_real_patients(real_cases: Path, tmp_path: Path, run_python: Run) -> None:
    phantoms = tmp_path / "phantoms"
    run_python("-m", "lungseg_train.phantom", *f"--out_dir {phantoms} --num_cases 24 --size 64 --spacing_mm 5".split())
    flags = "--base_filters 16 --epochs 5 --learning_rate 2e-3 --num_phantoms 0 --val_fraction 0 --test_fraction 0".split()
    places = ("--data_dir", phantoms, "--out_dir", tmp_path / "run", "--test_dir", real_cases)
    done = run_python("-m", "lungseg_train.train", *flags, *places, timeout=900)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "test_metrics.json").read_text())
    print(f"60 steps on phantoms, Dice on real patients: {[round(row['dice'], 3) for row in metrics['cases']]}")
    # A tenth of the README's training; that one's Dice is reported there.
    assert min(row["dice"] for row in metrics["cases"]) >= 0.90
    assert metrics["dice"]["mean"] >= 0.93


def test_a_real_scan_and_its_mirrored_file_give_one_mask(real_cases: Path, tmp_path: Path, run_python: Run) -> None:
    import nibabel as nib
    import numpy as np

    from lungseg_train.data.cases import read_case
    from lungseg_train.scans.nifti_file import read_nifti

    case = sorted(path for path in real_cases.iterdir() if path.is_dir())[0]
    ct = nib.load(case / "ct.nii.gz")
    flipped = ct.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))
    nib.save(flipped, tmp_path / "ct.nii.gz")
    assert read_nifti(tmp_path / "ct.nii.gz").sha256 == read_case(case).ct_sha256
