"""From raw scans to case folders, by the command a user types."""

import csv
import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_train.data.cases import load_native, read_case, read_cases
from lungseg_train.phantoms.thorax import make_phantom
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header, to_nifti, write_nifti
from tests.conftest import ROOT, Run
from tests.dicom_files import PLANTED_DATE, PLANTED_ID, PLANTED_NAME, write_ct_series, write_rtstruct, write_seg

PREPARE = ("-m", "lungseg_train.prepare")
SHAPE, SPACING_MM = (64, 64, 40), (5.5, 5.5, 8.0)
GRID = ("--grid", "32", "--spacing_mm", "11")


def _phantom(seed: int) -> tuple[Volume, np.ndarray]:
    ct_hu, mask = make_phantom(seed, SHAPE, SPACING_MM)
    affine = to_nifti(mask, SPACING_MM).affine
    return in_canonical_orientation(np.rint(ct_hu), affine, new_header(affine)), mask


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients in five forms, nested as archives nest them, with planted names; not to be changed."""
    folder = tmp_path_factory.mktemp("raw data") / PLANTED_NAME
    for seed, patient in ((1, "PA-1"), (2, "PA-2"), (3, "PA-3")):
        ct, mask = _phantom(seed)
        series = write_ct_series(folder / patient / "study 0" / "1.2.3.4-CT", ct, patient_id=f"{PLANTED_ID}-{patient}")
        if seed == 1:
            contours = folder / patient / "study 0" / "1.2.3.9-RT" / "1-1.dcm"
            write_rtstruct(contours, series, ct, {"Lung_L": mask, "Lung_R": mask})
        elif seed == 2:
            write_seg(folder / patient / "study 0" / "seg" / "1-1.dcm", series, {"Lungs": mask})
        else:
            write_nifti(folder / patient / "lung mask.nii.gz", nib.Nifti1Image(mask, ct.affine))
    for seed, patient in ((4, "Nämé-4"), (5, "PA-5")):
        ct, mask = _phantom(seed)
        nifti = nib.Nifti1Image(ct.array.astype(np.int16), ct.affine)
        nifti.header["descrip"], nifti.header["aux_file"] = PLANTED_NAME.encode(), PLANTED_ID.encode()
        nifti.header["intent_name"], nifti.header["db_name"] = b"MRN-0815", b"MRN-0815"
        write_nifti(folder / patient / "ct.nii.gz", nifti)
        labels = mask.astype(np.int16)
        labels[: SHAPE[0] // 2] *= 2
        write_nifti(folder / patient / "lung.nii.gz", nib.Nifti1Image(labels, ct.affine))
    return folder


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory, run_python: Run) -> tuple[Path, str]:
    """The case folder made of `raw`, and what the command said."""
    folder = tmp_path_factory.mktemp("prepared") / "cases"
    done = run_python(*PREPARE, "--source", raw, "--data_dir", folder, *GRID, "--labels", "1", "2", "--skip_bad_cases")
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    return folder, done.stdout


def test_every_form_of_source_becomes_a_case_with_its_own_voxels(raw: Path, prepared: tuple[Path, str]) -> None:
    cases = read_cases(prepared[0]).cases
    manifest = json.loads((prepared[0] / "manifest.json").read_text())
    kinds = sorted(case["source"] for case in manifest["cases"])
    # The DICOM patient's mask has no label 2, which --labels asks for: it is the one that was left out.
    assert kinds == ["DICOM + DICOM SEG", "DICOM + RTSTRUCT", "NIfTI + NIfTI", "NIfTI + NIfTI"]
    assert manifest["num_skipped"] == 1 and "has no label 2" in prepared[1]
    assert {case.shape for case in cases} == {(32, 32, 32)}
    assert {case.spacing_mm for case in cases} == {(11.0, 11.0, 11.0)}
    originals = {_phantom(seed)[0].sha256: seed for seed in (1, 2, 4, 5)}
    seeds = set()
    for case in cases:
        native = load_native(case)
        assert native is not None
        seed = originals[native[0].sha256]
        seeds.add(seed)
        np.testing.assert_array_equal(native[1], _phantom(seed)[1])
        lung_ml = np.count_nonzero(nib.load(case.mask_path).dataobj) * 1.331
        assert lung_ml == pytest.approx(np.count_nonzero(native[1]) * np.prod(SPACING_MM) / 1000, rel=0.05)
    assert seeds == {1, 2, 4, 5}


def test_the_manifest_says_what_was_done(prepared: tuple[Path, str]) -> None:
    (case, *_) = json.loads((prepared[0] / "manifest.json").read_text())["cases"]
    assert case["source_shape"] == list(SHAPE) and case["source_spacing_mm"] == list(SPACING_MM)
    assert len(case["source_ct_sha256"]) == 64 and case["spacing_mm"] == [11.0] * 3
    assert any("Gaussian of 3.74 mm" in step for step in case["steps"])
    assert read_case(prepared[0] / case["case_id"]).patient == case["patient"] != case["case_id"]


def test_nothing_of_the_patient_leaves_the_source(prepared: tuple[Path, str]) -> None:
    secrets = [PLANTED_NAME, PLANTED_ID, "MRN-0815", PLANTED_DATE, "PA-1", "PA-5", "Nämé", "1.2.826"]
    files = [path for path in prepared[0].rglob("*") if path.is_file()]
    assert len(files) == 4 * 5 + 1
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.name.endswith(".gz") else content
        found = [secret for secret in secrets if secret.encode() in content or secret in str(path.relative_to(prepared[0]))]
        assert not found, path.name
    for secret in (PLANTED_ID, PLANTED_DATE):
        assert secret not in prepared[1]


def test_a_second_run_prepares_nothing_again_and_a_changed_source_that_case_alone(tmp_path: Path, run_python: Run) -> None:
    source, folder = tmp_path / "raw", tmp_path / "cases"
    for name, seed in (("a", 4), ("b", 5)):
        _write_pair(source / name, seed)
    command = (*PREPARE, "--source", source, "--data_dir", folder, *GRID)
    assert "2 cases in " in run_python(*command).stdout
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}
    done = run_python(*command)
    assert done.returncode == 0 and "0 prepared now, 2 ready before" in done.stdout, done.stderr
    changed = source / "b" / "ct.nii.gz"
    nifti = nib.load(changed)
    write_nifti(changed, nib.Nifti1Image(np.asarray(nifti.dataobj) + np.int16(1), nifti.affine))
    done = run_python(*command)
    assert "1 prepared now, 1 ready before" in done.stdout, done.stdout + done.stderr
    kept = [path for path, then in times.items() if path.stat().st_mtime_ns == then]
    assert len(kept) == 4 and not (folder / ".preparing").exists()


def test_one_bad_scan_ends_it_with_nothing_added_and_nothing_lost(raw: Path, tmp_path: Path, run_python: Run) -> None:
    source = shutil.copytree(raw, tmp_path / "raw")
    damaged = source / "PA-5" / "ct.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100])
    (source / "PA-3" / "lung mask.nii.gz").unlink()
    command = (*PREPARE, "--source", source, "--data_dir", tmp_path / "cases", *GRID, "--labels", "1", "2")
    done = run_python(*command)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "2 of 5 scans cannot be used" in done.stderr
    assert "PA-5/ct.nii.gz: cannot be read to its end" in done.stdout and "no lung mask for this CT" in done.stdout
    assert [path.name for path in (tmp_path / "cases").iterdir()] == [".preparing"]
    damaged.write_bytes(whole)
    shutil.rmtree(source / "PA-3")
    done = run_python(*command)
    assert done.returncode == 0 and "1 prepared now, 3 ready before" in done.stdout, done.stdout + done.stderr
    assert len(read_cases(tmp_path / "cases").cases) == 4


def test_the_same_patient_under_another_name_is_refused_even_mirrored(tmp_path: Path, run_python: Run) -> None:
    ct, mask = _phantom(6)
    for name, turn in (("one", np.array), ("other", lambda array: array[:, ::-1])):
        write_nifti(tmp_path / "raw" / name / "ct.nii.gz", nib.Nifti1Image(turn(ct.array).astype(np.int16), ct.affine))
        write_nifti(tmp_path / "raw" / name / "lung.nii.gz", nib.Nifti1Image(turn(mask), ct.affine))
    done = run_python(*PREPARE, "--source", tmp_path / "raw", "--data_dir", tmp_path / "cases", *GRID)
    assert done.returncode == 2 and "other: nearly the same CT as one, perhaps turned or mirrored" in done.stdout
    shutil.rmtree(tmp_path / "raw" / "other")
    assert run_python(*PREPARE, "--source", tmp_path / "raw", "--data_dir", tmp_path / "cases", *GRID).returncode == 0
    shutil.move(tmp_path / "raw" / "one", tmp_path / "later" / "renamed")
    done = run_python(*PREPARE, "--source", tmp_path / "later", "--data_dir", tmp_path / "cases", *GRID)
    assert done.returncode == 2 and "renamed: nearly the same CT as case-" in done.stdout


def test_a_mapping_names_the_cases_and_two_scans_of_one_patient_stay_together(tmp_path: Path, run_python: Run) -> None:
    for seed, name in ((6, "a/first"), (7, "a/second"), (8, "b")):
        ct, mask = _phantom(seed)
        write_nifti(tmp_path / "raw" / name / "image.nii.gz", nib.Nifti1Image(ct.array.astype(np.int16), ct.affine))
        write_nifti(tmp_path / "raw" / name / "lungs.nii.gz", nib.Nifti1Image(mask, ct.affine))
    ids = tmp_path / "ids.csv"
    with ids.open("w") as stream:
        csv.writer(stream).writerows([("source", "case_id"), ("a/first", "P1"), ("a/second", "P1")])
    command = (*PREPARE, "--source", tmp_path / "raw", "--data_dir", tmp_path / "cases", *GRID, "--id_map", ids)
    done = run_python(*command)
    assert done.returncode == 2 and "names no case id for b" in done.stderr
    with ids.open("a") as stream:
        stream.write("b,P2\n")
    done = run_python(*command)
    assert done.returncode == 0, done.stderr
    cases = {case.case_id: case for case in read_cases(tmp_path / "cases").cases}
    assert set(cases) == {"P1", "P1-2", "P2"}
    assert cases["P1"].patient == cases["P1-2"].patient != cases["P2"].patient


def test_check_prints_a_table_and_writes_nothing(raw: Path, prepared: tuple[Path, str], run_python: Run) -> None:
    before = sorted(raw.rglob("*"))
    done = run_python(*PREPARE, "--check", raw, *GRID)
    assert done.returncode == 2 and done.stderr == ""
    assert "DICOM + RTSTRUCT" in done.stdout and "has the labels 1 2. Name those of the lungs" in done.stdout
    assert sorted(raw.rglob("*")) == before
    done = run_python(*PREPARE, "--check", prepared[0], *GRID)
    assert done.returncode == 0 and done.stdout.count("good\n") + done.stdout.count("good ") >= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_preparation_leaves_no_half_case_and_goes_on(number: int, tmp_path: Path, run_python: Run) -> None:
    for seed in range(6):
        ct, mask = _phantom(20 + seed)
        write_nifti(tmp_path / "raw" / f"p{seed}" / "ct.nii.gz", nib.Nifti1Image(ct.array.astype(np.int16), ct.affine))
        write_nifti(tmp_path / "raw" / f"p{seed}" / "lung.nii.gz", nib.Nifti1Image(mask, ct.affine))
    command = [*PREPARE, "--source", tmp_path / "raw", "--data_dir", tmp_path / "cases", *GRID, "--num_workers", "1"]
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test run in the background of a shell ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    staging = tmp_path / "cases" / ".preparing"
    deadline = time.monotonic() + 60
    while not list(staging.glob("*/case.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == b"error: interrupted\n"
    assert [path.name for path in (tmp_path / "cases").iterdir()] == [".preparing"]
    num_ready = len(list(staging.glob("*/case.json")))
    done = run_python(*command)
    assert done.returncode == 0 and f"{6 - num_ready} prepared now, {num_ready} ready before" in done.stdout
    assert len(read_cases(tmp_path / "cases").cases) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--source NONE --data_dir OUT", "no such folder"),
        ("--source EMPTY --data_dir OUT", "no scans in it"),
        ("--source EMPTY", "--source RAW with --data_dir CASES"),
        ("--check EMPTY --data_dir OUT", "--source RAW with --data_dir CASES"),
        ("--source EMPTY --data_dir EMPTY", "cannot go where the raw data are"),
        ("--source EMPTY --data_dir OUT --grid 0", "grid must be"),
        ("--source EMPTY --data_dir OUT --spacing_mm 0", "spacing_mm must be"),
        ("--source EMPTY --data_dir OUT --num_workers 0", "num_workers must be"),
        ("--source RAW --data_dir OUT --id_map NONE", "columns source and case_id"),
        ("--source RAW --data_dir OUT --salt_file SHORT", "at least 16 characters"),
    ],
)
def test_a_wrong_command_is_one_line(arguments: str, words: str, raw: Path, tmp_path: Path, run_python: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "salt").write_text("short")
    places = {"NONE": tmp_path / "none", "EMPTY": tmp_path / "empty", "OUT": tmp_path / "out"}
    places |= {"RAW": raw, "SHORT": tmp_path / "salt"}
    done = run_python(*PREPARE, *(places.get(word, word) for word in arguments.split()))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr and not (tmp_path / "out").exists()


def _write_pair(folder: Path, seed: int) -> None:
    ct, mask = _phantom(seed)
    write_nifti(folder / "ct.nii.gz", nib.Nifti1Image(ct.array.astype(np.int16), ct.affine))
    write_nifti(folder / "lung.nii.gz", nib.Nifti1Image(mask, ct.affine))


def test_patients_of_two_hospitals_with_one_folder_name_do_not_replace_each_other(tmp_path: Path, run_python: Run) -> None:
    for hospital, seed in (("A", 31), ("B", 32)):
        _write_pair(tmp_path / hospital / "patient-01", seed)
    assert run_python(*PREPARE, "--source", tmp_path / "A", "--data_dir", tmp_path / "cases", *GRID).returncode == 0
    before = [case.ct_sha256 for case in read_cases(tmp_path / "cases").cases]
    done = run_python(*PREPARE, "--source", tmp_path / "B", "--data_dir", tmp_path / "cases", *GRID)
    assert done.returncode == 2 and "was made of another scan. Name the cases by --id_map" in done.stdout, done.stderr
    assert [case.ct_sha256 for case in read_cases(tmp_path / "cases").cases] == before


def test_cases_are_neither_prepared_again_nor_mixed_with_another_grid(
    prepared: tuple[Path, str], raw: Path, run_python: Run
) -> None:
    done = run_python(*PREPARE, "--source", prepared[0], "--data_dir", prepared[0].parent / "again", *GRID)
    assert done.returncode == 2 and "prepared already" in done.stderr
    done = run_python(*PREPARE, "--source", raw, "--data_dir", prepared[0])
    assert done.returncode == 2 and "holds cases of --grid 32 32 32 --spacing_mm 11" in done.stderr
    assert not (prepared[0].parent / "again").exists()
