"""The command on hostile folders and disks: one line on stderr, status 2, and nothing half-written."""

import gzip
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lungseg_train.data.cases import read_cases
from tests.conftest import ROOT, Run
from tests.dicom_files import PLANTED_DATE, PLANTED_ID, PLANTED_NAME, write_ct_series
from tests.lungseg_train.bad_files import bomb_header
from tests.lungseg_train.conftest import BAD_INPUT
from tests.lungseg_train.test_bad_input import Record
from tests.raw_scans import phantom, write_form

PREPARE = ("-m", "lungseg_train.prepare")
GRID = ("--grid", "32", "--spacing_mm", "12", "--num_workers", "1")
GIB = 2**30


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_form("NIfTI", tmp_path / "raw")
    return tmp_path / "raw"


def _is_one_line(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_damaged_scan_leaves_no_trace(raw: Path, tmp_path: Path, run_python: Run) -> None:
    path = raw / "patient 1" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    before = _files(tmp_path)
    done = run_python(*PREPARE, "--source", raw, "--data_dir", tmp_path / "cases", *GRID)
    assert _is_one_line(done), done.stderr
    assert f"bad: {path}: cannot be read to its end" in done.stdout and "Traceback" not in done.stdout
    assert _files(tmp_path) == before and not (tmp_path / "cases").exists()


PLACES = {
    "target below a file": (lambda folder: folder / "file" / "cases", "cannot be written"),
    "target that cannot be written": (lambda folder: Path("/proc/cases"), "cannot be written"),
    "target is the source": (lambda folder: folder / "raw", "cannot go where the raw data are"),
    "target inside of the source": (lambda folder: folder / "raw" / "cases", "cannot go where the raw data are"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_target_that_cannot_be_is_one_line(
    name: str, raw: Path, tmp_path: Path, run_python: Run, record_property: Record
) -> None:
    place, words = PLACES[name]
    (tmp_path / "file").write_bytes(b"")
    before = _files(tmp_path)
    done = run_python(*PREPARE, "--source", raw, "--data_dir", place(tmp_path), *GRID)
    assert _is_one_line(done) and words in done.stderr, done.stderr
    assert _files(tmp_path) == before
    record_property(BAD_INPUT, (name, "refused", done.stderr.strip().replace(f"{tmp_path}/", "")))


def test_a_read_only_folder_is_one_line(raw: Path, tmp_path: Path, run_python: Run) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes into read-only folders")
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run_python(*PREPARE, "--source", raw, "--data_dir", tmp_path / "locked" / "cases", *GRID)
    assert _is_one_line(done) and "cannot be written" in done.stderr


def test_an_unreadable_slice_is_not_left_out(tmp_path: Path, run_python: Run) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads files of mode 000")
    write_form("DICOM + RTSTRUCT", tmp_path / "raw")
    next((tmp_path / "raw").rglob("CT.*")).chmod(0)
    done = run_python(*PREPARE, "--check", tmp_path / "raw", *GRID)
    assert done.returncode == 2 and "Give it read access" in done.stdout


def test_a_full_disk_is_one_line_and_leaves_no_half_case(
    raw: Path, tmp_path: Path, run_python: Run, record_property: Record
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk")
    try:
        done = run_python(*PREPARE, "--source", raw, "--data_dir", disk / "cases", *GRID)
        left = list(disk.rglob("*.partial")) + list(disk.rglob("case.json")) + list(disk.rglob("manifest.json"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert _is_one_line(done), done.stderr
    assert "No space left on device" in done.stdout and not left
    record_property(BAD_INPUT, ("disk full", "refused", _bad_line(done).replace(f"{tmp_path}/", "")))


def _bad_line(done: subprocess.CompletedProcess[str]) -> str:
    return next(line for line in done.stdout.splitlines() if line.startswith("bad: "))


def test_a_file_size_limit_is_one_line_and_leaves_no_half_case(raw: Path, tmp_path: Path) -> None:
    """As of a quota; needs no root."""
    limited = "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    limited += "runpy.run_module('lungseg_train.prepare', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", limited, "--source", raw, "--data_dir", tmp_path / "cases", *GRID]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert _is_one_line(done), done.stderr
    assert "File too large" in done.stdout
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".partial", "case.json", "manifest.json"))]


def test_foreign_files_in_the_target_stay_and_are_never_replaced(raw: Path, tmp_path: Path, run_python: Run) -> None:
    cases, ids = tmp_path / "cases", tmp_path / "ids.csv"
    (cases / "P1").mkdir(parents=True)
    (cases / "P1" / "thesis.tex").write_text("years of work")
    (cases / "notes.txt").write_text("notes")
    ids.write_text("source,case_id\npatient 1,P1\n")
    command = (*PREPARE, "--source", raw, "--data_dir", cases, *GRID, "--id_map", ids)
    done = run_python(*command)
    assert _is_one_line(done) and "P1: is in the way of a case" in done.stderr, done.stderr
    assert _files(cases) == {"P1/thesis.tex": b"years of work", "notes.txt": b"notes"}
    shutil.move(cases / "P1", cases / "thesis")
    done = run_python(*command)
    assert done.returncode == 0, done.stderr
    assert (cases / "thesis" / "thesis.tex").is_file() and (cases / "notes.txt").read_text() == "notes"
    # A damaged case.json is no reason to refuse: the case is made anew.
    (cases / "P1" / "case.json").write_text("{")
    done = run_python(*command)
    assert done.returncode == 0 and "1 prepared now" in done.stdout, done.stdout + done.stderr
    assert len(read_cases(cases).cases) == 1


def test_hard_names_are_told_in_the_table_and_prepared(tmp_path: Path, run_python: Run) -> None:
    names = ["[red]patient[/]", "emoji 🫁\nnew line", b"caf\xe9".decode(errors="surrogateescape")]
    for seed, name in enumerate(names):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        ct, mask = phantom(5 + seed)
        nib.save(nib.Nifti1Image(ct.array.astype(np.int16), ct.affine), folder / "ct.nii")
        nib.save(nib.Nifti1Image(mask, ct.affine), folder / "lung.nii")
    done = run_python(*PREPARE, "--source", tmp_path / "raw", "--data_dir", tmp_path / "cases", *GRID)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    assert "[red]patient[/]" in done.stdout and "emoji 🫁 new line" in done.stdout
    assert len(read_cases(tmp_path / "cases").cases) == 3


def test_nothing_that_a_header_says_reaches_the_case_or_the_terminal(raw: Path, tmp_path: Path, run_python: Run) -> None:
    secrets = (PLANTED_NAME, PLANTED_ID, PLANTED_DATE, "patient 1", "MRN-0815", str(tmp_path))
    for name in ("ct.nii.gz", "lung.nii.gz"):
        nifti = nib.load(raw / "patient 1" / name)
        own = nib.Nifti1Image(np.asarray(nifti.dataobj), nifti.affine, nifti.header)
        own.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{PLANTED_NAME} {PLANTED_ID}".encode()))
        own.header["descrip"], own.header["aux_file"] = PLANTED_NAME.encode(), PLANTED_ID.encode()
        own.header["db_name"], own.header["intent_name"] = b"MRN-0815", PLANTED_DATE.encode()
        nib.save(own, raw / "patient 1" / name)
    write_ct_series(raw / "second" / "ct", phantom(6)[0])
    nib.save(nib.Nifti1Image(phantom(6)[1], phantom(6)[0].affine), raw / "second" / "lung.nii.gz")
    done = run_python(*PREPARE, "--source", raw, "--data_dir", tmp_path / "cases", *GRID)
    assert done.returncode == 0 and done.stderr == ""
    assert not any(secret in done.stdout for secret in secrets[:3])
    files = _files(tmp_path / "cases")
    assert len(files) == 2 * 5 + 1
    for path, content in files.items():
        content = gzip.decompress(content) if path.endswith(".gz") else content
        assert not any(secret in path or secret.encode() in content for secret in secrets), path


BOMBS = {
    "18 MB that unpack to 4 GiB and claim so": ((1024, 1024, 4096), "more than any CT has"),
    "18 MB that unpack to 4 GiB and claim little": ((64, 64, 64), "got more"),
    "18 MB that unpack to 4 GiB and claim 100 MB": ((512, 512, 400), "got more"),
}
READ = """
import sys
from pathlib import Path
from lungseg_train.scans.scan import read_volume_file
from lungseg_train.errors import InputError
try:
    read_volume_file(Path(sys.argv[1]))
except InputError as error:
    print(error)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def _big_bomb(path: Path, claim: tuple[int, int, int]) -> None:
    """4 GiB of zeros as `gzip -1` packs them: one packed block, again and again."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    start = packer.compress(bomb_header(claim)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = block.compress(bytes(2**24)) + block.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(start + packed * (4 * GIB // 2**24))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(name: str, tmp_path: Path, run_python: Run, record_property: Record) -> None:
    claim, words = BOMBS[name]
    _big_bomb(tmp_path / "ct.nii.gz", claim)
    assert 15e6 < (tmp_path / "ct.nii.gz").stat().st_size < 20e6
    done = run_python("-c", READ, tmp_path / "ct.nii.gz")
    message, peak_kib = done.stdout.splitlines()
    own = 0 if words == "more than any CT has" else int(np.prod(claim))
    print(f"{name}: {int(peak_kib) / 1024:.0f} MiB at the peak")
    assert words in message and int(peak_kib) * 1024 - own < GIB
    record_property(BAD_INPUT, (name, "refused", f"{message.replace(f'{tmp_path}/', '')} [peak {int(peak_kib) // 1024} MiB]"))


def test_a_whole_ct_needs_less_than_a_gib_beyond_itself(tmp_path: Path, run_python: Run) -> None:
    """512 x 512 x 300 voxels with a slope: 0.3 GB as float32."""
    shape = (512, 512, 300)
    header = nib.Nifti1Header(bomb_header(shape, np.int16)[:348])
    header["scl_slope"], header["scl_inter"] = 1.0, -1024.0
    (tmp_path / "ct.nii").write_bytes(header.binaryblock + bytes(4 + 2 * int(np.prod(shape))))
    done = run_python("-c", READ, tmp_path / "ct.nii")
    peak_kib = int(done.stdout.splitlines()[-1])
    print(f"512x512x300: {peak_kib / 1024:.0f} MiB at the peak")
    assert peak_kib * 1024 - 4 * int(np.prod(shape)) < GIB
