"""The command lines that repeat a run."""

import dataclasses
import re
import shlex
from typing import Any

from analysis.load_run import Run
from lungseg_train.config import TrainConfig

SEARCH_OPTIONS = ("skip_bad_cases", "num_trials", "max_epochs", "grace_period", "reduction_factor", "space")
MAX_COLUMNS = 76


def repeat_commands(run: Run, external_name: str) -> list[tuple[str, str]]:
    """Pairs of purpose and command line; CASES stands for the data folder, which the report does not name."""
    folder = f"runs/{run.name}"
    split, best, model, again, alone = (
        shlex.quote(f"{folder}{name}")
        for name in ("/split.json", "/best_config.json", "/retrain/best_model.keras", "-again", "-best")
    )
    search = _options({key: run.search[key] for key in SEARCH_OPTIONS if run.search.get(key)} | _changed_base(run))
    other = f" --data_dir {shlex.quote(external_name)}" if external_name else ""
    commands = {
        "Search again, on the same split": (
            f"python tune/search.py --data_dir CASES --run_dir {again} --split {split} {search}"
        ),
        "Train the best configuration alone": (
            f"python -m lungseg_train.train --config {best} --data_dir CASES --split {split} --out_dir {alone}"
        ),
        "Make this report": f"python analysis/report.py {shlex.quote(folder)}{other}",
        "Segment a new CT": (f"python -m lungseg_train.inference --model {model} --input ct.nii.gz --output_mask mask.nii.gz"),
    }
    return [(purpose, _folded(line)) for purpose, line in commands.items()]


def _folded(line: str) -> str:
    """The command over several lines, as a shell reads it."""
    lines = [""]
    for part in re.split(r" (?=--)", line):
        if lines[-1] and len(lines[-1]) + len(part) > MAX_COLUMNS:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]} {part}".strip()
    return " \\\n    ".join(lines)


def _changed_base(run: Run) -> dict[str, Any]:
    """Training options that every trial had in common and that are not the defaults."""
    base = run.search.get("base")
    if not isinstance(base, dict):
        return {}
    defaults = dataclasses.asdict(TrainConfig())
    # The search refuses an option that it varies itself; epochs it takes from max_epochs.
    searched = {"epochs", *(name for trial in run.trials for name in trial.params)}
    return {
        name: base[name]
        for name, default in defaults.items()
        if name in base and name not in searched and _plain(base[name]) != _plain(default)
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _options(values: dict[str, Any]) -> str:
    return " ".join(_option(name, value) for name, value in values.items())


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no_{name}"
    entries = value if isinstance(value, list | tuple) else [value]
    return " ".join([f"--{name}", *(shlex.quote(str(entry)) for entry in entries)])
