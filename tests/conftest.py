"""Small real data and real processes for all tests."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same examples in every run: a test that fails sometimes is broken.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")
ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def own_folders() -> Iterator[None]:
    """Caches and Ray's files in folders of this test run. Ray's must be short: its sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="ls"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("RAY_TMPDIR", str(folder / "ray"))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def phantom_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten phantoms of 16^3 voxels of 20 mm; not to be changed."""
    from lungseg_train.phantom import PhantomCommand, write_phantoms

    folder = tmp_path_factory.mktemp("phantoms") / "cases"
    list(write_phantoms(PhantomCommand(out_dir=folder, num_cases=10, size=16, spacing_mm=20.0), folder))
    return folder


@pytest.fixture
def own_cases(phantom_cases: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms for a test to damage."""
    return Path(shutil.copytree(phantom_cases, tmp_path / "cases"))


@pytest.fixture(scope="session")
def real_cases() -> Path:
    """Folder of real CTs, named by LUNGSEG_REAL_CASES."""
    folder = os.environ.get("LUNGSEG_REAL_CASES")
    if not folder:
        pytest.skip("LUNGSEG_REAL_CASES names no folder of real CTs")
    return Path(folder)


@pytest.fixture(scope="session")
def run_python() -> Run:
    """Run `python ARGS` in the project's root, as a user would; returns status, stdout and stderr."""

    def run(*args: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
