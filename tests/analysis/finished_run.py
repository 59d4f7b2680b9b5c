"""A small finished run: real data and models, a hand-written search."""

import csv
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import open_dataset
from lungseg_train.data.split import Split
from lungseg_train.data_options import DataOptions

BASE = TrainConfig(num_phantoms=1, base_filters=4, depth=1, epochs=2, plateau_patience=1, xla="off", precision="float32")
TRIALS = (
    # status, best val Dice of each epoch, learning rate, dropout
    ("finished", (0.2, 0.5, 0.7, 0.81), 1e-3, 0.1),
    ("finished", (0.3, 0.6, 0.7, 0.80), 2e-3, 0.2),
    ("stopped", (0.1,), 1e-5, 0.0),
    ("failed", (), 0.5, 0.3),
)


@dataclass(frozen=True)
class Lab:
    """Folders of a test: the run, its cases, and the cases of another hospital."""

    run: Path
    cases: Path
    other: Path


def copied(lab: Lab, folder: Path) -> Lab:
    copy = Lab(run=folder / "demo", cases=folder / "Jane Doe" / "cases", other=folder / "other hospital")
    for source, target in ((lab.run, copy.run), (lab.cases, copy.cases), (lab.other, copy.other)):
        shutil.copytree(source, target)
    change_json(copy.run / "search_config.json", data_dir=str(copy.cases))
    return copy


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def write_run(lab: Lab, cache_dir: Path) -> None:
    from lungseg_train.training_run import run_training

    dataset = open_dataset(DataOptions(data_dir=lab.cases, test_fraction=0.5, cache_dir=cache_dir), BASE)
    dataset.write(lab.run)
    reason = f"{lab.cases}/bad/lung.nii.gz: the mask is empty."
    change_json(lab.run / "dataset.json", skipped=[{"case_id": "bad", "reason": reason}])
    _write_search(lab)
    best = replace(BASE, learning_rate=TRIALS[1][2], dropout=TRIALS[1][3])
    (lab.run / "best_config.json").write_text(best.to_json())
    both = replace(dataset, split=Split(train=dataset.split.train + dataset.split.val, val=(), test=dataset.split.test))
    for _ in run_training(best, both.train_volumes(best), [], lab.run / "retrain"):
        pass


def _write_search(lab: Lab) -> None:
    search = {"name": "demo", "data_dir": str(lab.cases), "num_trials": 4, "max_epochs": 4, "grace_period": 1}
    search |= {
        "reduction_factor": 2,
        "rungs": [1, 2],
        "metric": "val_dice",
        "space": ["learning_rate=1e-5..0.5:log", "dropout=0..0.3"],
    }
    (lab.run / "search_config.json").write_text(json.dumps({**search, "base": asdict(BASE)}))
    (lab.run / "environment.json").write_text(json.dumps({"python": "3.11.2", "ray": "2.60.0", "gpus": []}))
    rows = []
    for rank, (status, curve, learning_rate, dropout) in enumerate(TRIALS, start=1):
        folder = lab.run / "trials" / f"trial{rank}"
        folder.mkdir(parents=True)
        if curve:
            log = [{"epoch": epoch, "loss": 1 - dice, "val_dice": dice} for epoch, dice in enumerate(curve, start=1)]
            _write_csv(folder / "progress.csv", log)
        row = {"rank": rank, "trial_id": folder.name, "status": status, "epochs": len(curve)}
        row |= {"val_dice": max(curve, default=""), "best_epoch": len(curve) or "", "seconds": 2.0 * len(curve)}
        rows.append({**row, "learning_rate": learning_rate, "dropout": dropout})
    _write_csv(lab.run / "leaderboard.csv", rows)


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
