"""What is known of every trial: written as it comes to trials/ID, shown in the table, ranked in leaderboard.csv."""

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lungseg_train.config import TrainConfig
from lungseg_train.scans.volume import write_atomically

Status = Literal["running", "finished", "stopped", "diverged", "failed", "interrupted"]
PROGRESS = (
    "epoch",
    "loss",
    "learning_rate",
    "val_dice",
    "val_iou",
    "val_soft_dice",
    "val_loss",
    "seconds",
    "wait_seconds",
    "train_seconds",
    "val_seconds",
    "start_seconds",
)


@dataclass
class TrialRecord:
    """One trial: its configuration, learning curve and how it ended."""

    trial_id: str
    number: int
    """Order of its first start, from 1."""
    params: dict[str, Any]
    status: Status = "running"
    curve: list[dict[str, float]] = field(default_factory=list)
    """One row of PROGRESS per epoch."""

    @property
    def epochs(self) -> int:
        return len(self.curve)

    @property
    def best(self) -> dict[str, float] | None:
        """The epoch with the best validation Dice."""
        return max(self.curve, key=lambda row: row["val_dice"], default=None)

    @property
    def val_dice(self) -> float:
        return self.best["val_dice"] if self.best else -math.inf

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.curve)

    def add(self, result: dict[str, Any]) -> None:
        """Take in an epoch; one that a restarted trial repeats takes the place of its first run."""
        row = {name: result[name] for name in PROGRESS if name in result}
        self.curve = [*(old for old in self.curve if old["epoch"] < row["epoch"]), row]

    def write(self, folder: Path, base: TrainConfig) -> None:
        """Write `train_config.json` and `progress.csv`."""
        config = TrainConfig.from_dict({**vars(base), **self.params})
        write_atomically(folder / "train_config.json", config.to_json())
        write_atomically(folder / "progress.csv", to_csv(PROGRESS, self.curve))


def ranked(records: list[TrialRecord]) -> list[TrialRecord]:
    """Best validation Dice first; the earlier trial wins a tie."""
    return sorted(records, key=lambda record: (-record.val_dice, record.number))


def leaderboard_csv(records: list[TrialRecord]) -> str:
    """The content of `leaderboard.csv`: every trial with its configuration, best first."""
    rows = []
    for rank, record in enumerate(ranked(records), start=1):
        best = record.best or {}
        rows.append(
            {
                "rank": rank,
                "trial_id": record.trial_id,
                "status": record.status,
                "epochs": record.epochs,
                "val_dice": best.get("val_dice", ""),
                "best_epoch": best.get("epoch", ""),
                "seconds": round(record.seconds, 2),
                **record.params,
            }
        )
    return to_csv(tuple(rows[0]) if rows else ("rank",), rows)


def to_csv(names: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(row.get(name, "")) for name in names} for row in rows)
    return text.getvalue()


def _rounded(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, float) else value
