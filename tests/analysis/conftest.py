"""One finished run, made once; each test gets its own copy."""

import sys
from pathlib import Path

import pytest
from finished_run import Lab, copied, write_run

from analysis import report
from lungseg_train.phantom import PhantomCommand, write_phantoms


@pytest.fixture(scope="session")
def finished_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    home = tmp_path_factory.mktemp("lab")
    lab = Lab(run=home / "runs" / "demo", cases=home / "Jane Doe" / "cases", other=home / "other hospital")
    for folder, num_cases, seed in ((lab.cases, 6, 0), (lab.other, 1, 50)):
        command = PhantomCommand(out_dir=folder, num_cases=num_cases, size=32, spacing_mm=10.0, seed=seed)
        list(write_phantoms(command, folder))
    write_run(lab, home / "cache")
    return lab


@pytest.fixture(scope="session")
def reported_lab(finished_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The same run with its test opened and its report written."""
    lab = copied(finished_lab, tmp_path_factory.mktemp("reported"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report.py", str(lab.run)])
        report.main()
    return lab


@pytest.fixture
def lab(finished_lab: Lab, tmp_path: Path) -> Lab:
    """A run whose test is still sealed, for a test to change."""
    return copied(finished_lab, tmp_path)


@pytest.fixture
def opened_lab(reported_lab: Lab, tmp_path: Path) -> Lab:
    """A run with its report, for a test to change."""
    return copied(reported_lab, tmp_path)
