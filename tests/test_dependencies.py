"""The rules of the house: who may import whom, and what an import costs."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

HEAVY = ("tensorflow", "keras", "ray", "optuna", "matplotlib", "pandas")


def _imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["lungseg_train", "tune", "analysis"])
def test_a_package_itself_imports_nothing(package: str) -> None:
    assert (ROOT / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize("module", ["lungseg_train.config", "tune.config"])
def test_configurations_need_the_standard_library_only(module: str) -> None:
    ours = {"lungseg_train", "tune", "__main__"}
    assert _imported_by(f"import {module}") - _imported_by("pass") - ours <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "module",
    [
        "lungseg_train.prepare",
        "lungseg_train.phantom",
        "lungseg_train.preview",
        "lungseg_train.train",
        "lungseg_train.inference",
        "lungseg_train.export",
        "tune.search",
        "analysis.report",
    ],
)
def test_a_command_answers_before_anything_heavy_is_imported(module: str) -> None:
    assert not _imported_by(f"import {module}") & set(HEAVY)


def test_the_driver_of_a_search_never_imports_tensorflow() -> None:
    modules = sorted(path.stem for path in (ROOT / "tune").glob("[a-z]*.py"))
    assert not _imported_by("; ".join(f"import tune.{name}" for name in modules)) & {"tensorflow", "keras"}


def test_only_tune_imports_ray_or_optuna() -> None:
    for package in ("lungseg_train", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            assert not [line for line in lines if line.startswith(("import ray", "from ray", "import optuna", "from optuna"))]


def test_no_module_beside_a_script_shadows_another() -> None:
    # `python tune/search.py` puts tune/ first on the import path of driver and workers.
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    for folder in ("tune", "analysis", "cluster"):
        names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert not names & (taken - {"tune", "analysis", "cluster", "lungseg_train"})


def test_the_layers_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "-m lungseg_train.prepare",
        "-m lungseg_train.phantom",
        "-m lungseg_train.preview",
        "-m lungseg_train.train",
        "-m lungseg_train.inference",
        "-m lungseg_train.export",
        "tune/search.py",
        "analysis/report.py",
    ],
)
def test_help_explains_every_option(command: str, run_python: Run) -> None:
    done = run_python(*command.split(), "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("usage: python ")


def test_locks_name_no_index() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "http" not in text.replace("httptools", "").replace("aiohttp", "").replace("httpx", "").replace("httpcore", "")
        assert "--hash=sha256:" in text
