"""Listeners of a training: a CSV file, TensorBoard scalars, and a line on the terminal."""

import csv
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from lungseg_train.epoch_result import EpochResult

Listener = Callable[[EpochResult], None]


def csv_log(path: Path) -> Listener:
    """Append one row per epoch to `training_log.csv`; rows after the first epoch seen are those of a run cut short."""
    names = [field.name for field in fields(EpochResult)]

    def write(result: EpochResult) -> None:
        rows = _rows_before(path, result.epoch)
        rows.append({name: _text(getattr(result, name)) for name in names})
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)

    return write


def tensorboard_log(folder: Path) -> Listener:
    """Scalars of every epoch as TensorBoard event files, flushed at once so that they show live."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(result: EpochResult) -> None:
        for name, value in result.as_dict().items():
            if name != "epoch":
                writer.add_scalar(name, value, result.epoch)
        writer.flush()

    return write


def terminal_log(epochs: int) -> Listener:
    """One line per epoch; on a terminal each takes the place of the one before."""

    def write(result: EpochResult) -> None:
        line = f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}  loss {result.loss:.4f}"
        if result.val_dice is not None:
            line += f"  val_dice {result.val_dice:.4f}"
        line += f"  learning rate {result.learning_rate:.2g}"
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}", end="", flush=True)
        else:
            print(line, flush=True)

    return write


def end_terminal_log() -> None:
    """Leave the line that `terminal_log` writes over and over."""
    if sys.stdout.isatty():
        print()


def _rows_before(path: Path, epoch: int) -> list[dict[str, str]]:
    if epoch == 1 or not path.exists():
        return []
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if int(row["epoch"]) < epoch]


def _text(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
