import csv
import io
from pathlib import Path

from lungseg_train.config import TrainConfig
from tune.records import TrialRecord, leaderboard_csv, ranked


def _record(number: int, dices: list[float], status: str = "finished") -> TrialRecord:
    record = TrialRecord(f"t{number}", number, {"learning_rate": 10.0**-number}, status)  # type: ignore[arg-type]
    for epoch, val_dice in enumerate(dices, start=1):
        record.add({"epoch": epoch, "val_dice": val_dice, "loss": 1.0, "seconds": 2.0, "not_ours": 1})
    return record


def test_the_leaderboard_ranks_by_the_best_epoch_and_holds_every_trial() -> None:
    records = [_record(1, [0.5, 0.9, 0.7]), _record(2, [], "failed"), _record(3, [0.95]), _record(4, [0.9])]
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(records))))
    assert [row["trial_id"] for row in rows] == ["t3", "t1", "t4", "t2"]
    assert (rows[1]["val_dice"], rows[1]["best_epoch"], rows[1]["epochs"], rows[1]["seconds"]) == ("0.9", "2", "3", "6")
    assert (rows[3]["val_dice"], rows[3]["status"], rows[3]["learning_rate"]) == ("", "failed", "0.01")


def test_an_epoch_that_is_repeated_after_a_crash_counts_once() -> None:
    record = _record(1, [0.5, 0.6, 0.7])
    record.add({"epoch": 2, "val_dice": 0.65, "seconds": 2.0})
    assert [row["val_dice"] for row in record.curve] == [0.5, 0.65]


def test_a_trials_folder_holds_its_whole_configuration(tmp_path: Path) -> None:
    _record(2, [0.1]).write(tmp_path, TrainConfig(depth=2))
    config = TrainConfig.read(tmp_path / "train_config.json")
    assert (config.learning_rate, config.depth) == (0.01, 2)
    assert (tmp_path / "progress.csv").read_text().splitlines()[1].startswith("1,1,,0.1,")


def test_the_earlier_trial_wins_a_tie() -> None:
    assert [record.number for record in ranked([_record(2, [0.5]), _record(1, [0.5])])] == [1, 2]
