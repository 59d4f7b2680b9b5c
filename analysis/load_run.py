"""A finished run folder, read into memory: no Ray, no TensorFlow, nothing written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.read_files import Row, number, read_json, read_table
from lungseg_train.config import TrainConfig
from lungseg_train.data.split import Split, read_split
from lungseg_train.errors import InputError

LEADERBOARD_COLUMNS = ("rank", "trial_id", "status", "epochs", "val_dice", "best_epoch", "seconds")
WHOLE_NUMBERS = ("max_epochs", "grace_period", "reduction_factor")
CASE_KEYS = ("case_id", "shape", "spacing_mm", "ct_sha256", "mask_sha256", "thumbnail")


@dataclass(frozen=True)
class Curve:
    """What a training logged, one entry per epoch; NaN where nothing was measured."""

    epochs: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    """Column of the log -> its values."""

    def points(self, column: str) -> tuple[list[int], list[float]]:
        """Epochs and values of a column, without the epochs that have none."""
        pairs = zip(self.epochs, self.values.get(column, ()), strict=False)
        measured = [(epoch, value) for epoch, value in pairs if not math.isnan(value)]
        return [epoch for epoch, _ in measured], [value for _, value in measured]


@dataclass(frozen=True)
class Trial:
    """A row of the leaderboard with its learning curve."""

    rank: str
    trial_id: str
    status: str
    """finished, stopped, diverged, failed or interrupted."""
    epochs: int
    val_dice: float
    """The best epoch's; NaN if there was none."""
    best_epoch: str
    seconds: float
    params: dict[str, str]
    """Searched parameter -> value, as the leaderboard spells it."""
    curve: Curve


@dataclass(frozen=True)
class Run:
    """Everything that a search left in its folder."""

    folder: Path
    search: dict[str, Any]
    """search_config.json."""
    best_config: TrainConfig
    environment: dict[str, Any]
    cases: dict[str, dict[str, Any]]
    """case_id -> shape, spacing_mm, ct_sha256, mask_sha256."""
    skipped: list[dict[str, str]]
    split: Split
    test_sha256: dict[str, dict[str, str]]
    trials: list[Trial]
    retraining: Curve

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def model_path(self) -> Path:
        return self.folder / "retrain" / "best_model.keras"


def load_run(folder: Path) -> Run:
    """Read a finished run. Raises `InputError` if it is none, is not finished or is damaged."""
    folder = folder.resolve()
    _check_finished(folder)
    dataset = read_json(folder / "dataset.json", ("cases",))
    return Run(
        folder=folder,
        search=_read_search(folder / "search_config.json"),
        best_config=TrainConfig.read(folder / "best_config.json"),
        environment=read_json(folder / "environment.json"),
        cases={case["case_id"]: case for case in _objects(dataset, "cases", CASE_KEYS, folder)},
        skipped=_objects(dataset, "skipped", ("case_id", "reason"), folder),
        split=read_split(folder / "split.json"),
        test_sha256=_read_seal(folder / "split.json"),
        trials=_read_trials(folder),
        retraining=_read_curve(folder / "retrain" / "training_log.csv"),
    )


def winning_trial(run: Run) -> Trial | None:
    """The trial whose parameters the best configuration has, else the first of the leaderboard, if it has a score."""
    best = vars(run.best_config)
    for trial in run.trials:
        if trial.params and all(_is_same(best.get(name), value) for name, value in trial.params.items()):
            return trial
    return run.trials[0] if run.trials and not math.isnan(run.trials[0].val_dice) else None


def _check_finished(folder: Path) -> None:
    if not (folder / "search_config.json").is_file():
        raise InputError(
            f"{folder}: expected the folder of a run, but it has no search_config.json. "
            "Name a folder that python tune/search.py made."
        )
    for name in ("best_config.json", "leaderboard.csv", "retrain/best_model.keras"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: expected a finished run, but it has no {name}. "
                f"Finish it with python tune/search.py --resume {folder}"
            )


def _read_search(path: Path) -> dict[str, Any]:
    search = read_json(path, ("data_dir", *WHOLE_NUMBERS))
    for key in WHOLE_NUMBERS:
        if not isinstance(search[key], int):
            raise InputError(f"{path}: expected a whole number {key}, got {search[key]!r}. Restore it from a copy.")
    return search


def _read_seal(path: Path) -> dict[str, dict[str, str]]:
    seal = read_json(path).get("test_sha256", {})
    if not isinstance(seal, dict) or not all(isinstance(hashes, dict) for hashes in seal.values()):
        raise InputError(f"{path}: expected an object test_sha256 of hashes per case. Restore it from a copy.")
    return seal


def _objects(dataset: dict[str, Any], name: str, keys: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    entries = dataset.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) and set(keys) <= set(e) for e in entries):
        raise InputError(
            f"{folder / 'dataset.json'}: expected a list {name} of objects with {', '.join(keys)}. "
            "Restore the file from a copy."
        )
    return entries


def _read_trials(folder: Path) -> list[Trial]:
    rows = read_table(folder / "leaderboard.csv", LEADERBOARD_COLUMNS)
    return [_trial(row, folder / "trials" / row["trial_id"] / "progress.csv") for row in rows]


def _trial(row: Row, progress: Path) -> Trial:
    columns = list(row)
    epochs = number(row, "epochs")
    return Trial(
        rank=row["rank"],
        trial_id=row["trial_id"],
        status=row["status"],
        epochs=0 if math.isnan(epochs) else int(epochs),
        val_dice=number(row, "val_dice"),
        best_epoch=row["best_epoch"],
        seconds=number(row, "seconds"),
        params={name: row[name] for name in columns[columns.index("seconds") + 1 :]},
        # A trial that failed at once has logged nothing.
        curve=_read_curve(progress) if progress.exists() else Curve((), {}),
    )


def _read_curve(path: Path) -> Curve:
    rows = [row for row in read_table(path, ("epoch", "loss")) if not math.isnan(number(row, "epoch"))]
    columns = [column for column in rows[0] if column] if rows else []
    return Curve(
        epochs=tuple(int(number(row, "epoch")) for row in rows),
        values={column: tuple(number(row, column) for row in rows) for column in columns},
    )


def _is_same(value: Any, text: str) -> bool:
    """Whether a field's value is what a cell of the leaderboard spells."""
    try:
        return math.isclose(float(value), float(text), rel_tol=1e-4)
    except (TypeError, ValueError):
        return str(value) == text
