"""The folder that a search leaves: where each thing lies, and what is written before the first trial."""

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from lungseg_train.data.dataset import Dataset
from lungseg_train.errors import InputError
from lungseg_train.scans.volume import write_atomically
from tune.config import RecordedSearch

PACKAGES = ("lungseg-search", "ray", "optuna", "tensorflow", "keras", "numpy", "nibabel", "scipy")


class RunFolder:
    """Paths of one run; the README says what each holds."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.search_config = self.path / "search_config.json"
        self.best_config = self.path / "best_config.json"
        self.tensorboard = self.path / "tensorboard"
        self.retrain = self.path / "retrain"
        self.best_model = self.retrain / "best_model.keras"
        self.report = self.path / "report.html"
        self.trials = self.path / "trials"

    def check_free(self) -> None:
        """Raise `InputError` if the folder holds anything."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path}: holds files already. Choose another --run_dir, or --resume {self.path}.")

    def create(self, record: RecordedSearch, dataset: Dataset) -> None:
        """Write what the search starts from; `search_config.json` last: where it is, the others are whole."""
        dataset.write(self.path)
        write_atomically(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")
        write_atomically(self.search_config, record.to_json())


def environment() -> dict[str, str]:
    """Versions, git commit and hardware of this machine."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **versions,
        "git_commit": _git_commit(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
    }


def _git_commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
