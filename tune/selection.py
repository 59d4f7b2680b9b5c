"""Which configuration won: the trial with the best validation Dice -> best_config.json."""

from dataclasses import replace
from pathlib import Path

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.scans.volume import write_atomically
from tune.records import TrialRecord, ranked


def select_best(records: list[TrialRecord], base: TrainConfig, path: Path) -> TrialRecord:
    """Write the winner's configuration. Raises `InputError` if no trial has learnt anything."""
    candidates = [record for record in ranked(records) if record.status in ("finished", "stopped") and record.val_dice > 0]
    if not candidates:
        raise InputError("no trial reached a validation Dice above 0. See trials/ for their errors, or give more --max_epochs.")
    write_atomically(path, replace(base, **candidates[0].params).to_json())
    return candidates[0]
