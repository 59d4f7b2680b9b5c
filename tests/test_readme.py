"""Every command of the README, run as written; only words in capitals get a folder, and long jobs a small budget."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lungseg_train.phantoms.thorax import make_phantom
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header, to_nifti
from tests.conftest import ROOT
from tests.dicom_files import write_ct_series, write_rtstruct

# A later option wins; the full budgets are for a user's patience, not for a test's.
SMALL = {
    "tune/search.py": "--num_trials 2 --max_epochs 1 --num_phantoms 0 --space base_filters=4..8:4",
    "lungseg_train.train": "--epochs 1 --num_phantoms 0",
    "lungseg_train.prepare": "--grid 16 --spacing_mm 20",
}


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the user's cases in it and the interpreter of these tests as its .venv."""
    home = tmp_path_factory.mktemp("home") / "checkout"
    home.mkdir()
    for name in ("Makefile", "README.md", "requirements", "pyproject.toml", "tune", "lungseg_train", "analysis"):
        (home / name).symlink_to(ROOT / name)
    for folder, seed in (("CASES", 0), ("OTHER_CASES", 40)):
        flags = f"--out_dir {folder} --num_cases 6 --size 16 --spacing_mm 20 --seed {seed}".split()
        subprocess.run([sys.executable, "-m", "lungseg_train.phantom", *flags], cwd=home, check=True, capture_output=True)
    _write_raw(home / "RAW", 80)
    for name, seed in (("one", 81), ("two", 82)):
        write_ct_series(home / "SCANS" / name, _scan(seed)[0])
    return home


def _write_raw(folder: Path, seed: int) -> None:
    """A patient as the archive delivers one: a CT series with contours."""
    ct, mask = _scan(seed)
    series = write_ct_series(folder / "lctsc" / "LCTSC-1" / "study" / "CT_series", ct)
    write_rtstruct(folder / "lctsc" / "LCTSC-1" / "study" / "RTSTRUCT_series" / "1-1.dcm", series, ct, {"Lungs": mask})


def _scan(seed: int) -> tuple[Volume, np.ndarray]:
    ct_hu, mask = make_phantom(seed, (64, 56, 40), (5.5, 5.5, 8.0))
    affine = to_nifti(mask, (5.5, 5.5, 8.0)).affine
    return in_canonical_orientation(np.rint(ct_hu), affine, new_header(affine)), mask


def test_the_first_command_is_the_demo_and_it_does_what_it_says() -> None:
    assert readme_commands()[0] == "make demo"
    started = time.monotonic()
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Called by another make, this one also says which folder it leaves.
    report = next(Path(line.removeprefix("report: ")) for line in done.stdout.splitlines() if line.startswith("report: "))
    assert report.is_file()
    metrics = json.loads((report.parent / "test" / "metrics.json").read_text())
    assert metrics["num_cases"] == 6
    assert metrics["dice"]["mean"] >= 0.95
    print(f"make demo: {time.monotonic() - started:.0f} s, phantom test Dice {metrics['dice']['mean']:.4f}")


def test_every_other_command_runs_in_turn(home: Path) -> None:
    commands = [command for command in readme_commands() if not command.startswith("make")]
    assert len(commands) >= 9
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        if command.startswith("tensorboard"):
            _check_tensorboard(command, home, environment)
            continue
        words = shlex.split(command) + _smaller(command)
        done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    made = "runs/first/report.html runs/first/report-OTHER_CASES.html "
    made += "mask.nii.gz prob.nii.gz phantoms.png augmented.png model.onnx"
    for name in (*made.split(), "CASES/manifest.json", "masks/one.nii.gz", "figures/two.png"):
        assert (home / name).is_file(), name


def _smaller(command: str) -> list[str]:
    if "--resume" in command:
        return []
    return next((shlex.split(flags) for name, flags in SMALL.items() if name in command), [])


def _check_tensorboard(command: str, home: Path, environment: dict[str, str]) -> None:
    """It starts, serves the run, and is ended by its process id."""
    from urllib.request import urlopen

    process = subprocess.Popen(
        [*shlex.split(command), "--port", "0"], cwd=home, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        address = next(found for line in process.stderr if (found := re.search(r"http://\S+:\d+/", line)))
        deadline = time.monotonic() + 60
        runs: list[str] = []
        while not runs and time.monotonic() < deadline:
            with urlopen(address.group() + "data/runs") as answer:
                runs = json.load(answer)
            time.sleep(0.5)
        assert "retrain" in runs
    finally:
        process.terminate()
        process.communicate()


def test_every_option_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`--([a-z_0-9]+)", (ROOT / "README.md").read_text()))
    known: set[str] = set()
    modules = ("prepare", "phantom", "preview", "train", "inference", "export")
    for command in ("tune/search.py", *(f"-m lungseg_train.{module}" for module in modules)):
        done = subprocess.run(
            [sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        known |= {option.replace("-", "_") for option in re.findall(r"--([a-z0-9-]+)", done.stdout)}
    assert named and named <= known
