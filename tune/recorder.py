"""Listens to Ray Tune and keeps the records: files of every trial, TensorBoard events, the leaderboard."""

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from lungseg_train.config import TrainConfig
from lungseg_train.scans.volume import write_atomically
from tune.records import TrialRecord, leaderboard_csv

SCALARS = ("loss", "learning_rate", "val_dice", "val_iou", "val_soft_dice", "val_loss", "seconds")


class Recorder(Callback):
    """Writes to RUN/trials/ID, RUN/tensorboard/ID and RUN/leaderboard.csv as results come, in the driver."""

    def __init__(self, run_dir: Path, base: TrainConfig) -> None:
        self.records: dict[str, TrialRecord] = {}
        self._run_dir = run_dir
        self._base = base
        self._writers: dict[str, SummaryWriter] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        record = self._record(trial)
        record.status = "running"
        self._write(record)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        record = self._record(trial)
        record.add(result)
        record.status = "diverged" if result["diverged"] else "finished" if result["finished"] else "running"
        self._write(record)
        writer = self._writer(record)
        for name in SCALARS:
            if name in result:
                writer.add_scalar(name, result[name], result["epoch"])
        writer.flush()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        record = self._record(trial)
        if record.status == "running":
            record.status = "stopped"
        self._close(record)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        record = self._record(trial)
        record.status = "failed"
        write_atomically(self._run_dir / "trials" / record.trial_id / "error.txt", f"{trial.get_error()}\n")
        self._close(record)

    def close(self) -> None:
        """Mark what was cut short and write the last leaderboard."""
        for record in self.records.values():
            if record.status == "running":
                record.status = "interrupted"
        for writer in self._writers.values():
            writer.close()
        self._write_leaderboard()

    def get_state(self) -> dict[str, Any]:
        return {"records": self.records}

    def set_state(self, state: dict[str, Any]) -> None:
        self.records = state["records"]

    def _record(self, trial: Trial) -> TrialRecord:
        if trial.trial_id not in self.records:
            self.records[trial.trial_id] = TrialRecord(trial.trial_id, len(self.records) + 1, dict(trial.config))
        return self.records[trial.trial_id]

    def _write(self, record: TrialRecord) -> None:
        record.write(self._run_dir / "trials" / record.trial_id, self._base)
        self._write_leaderboard()

    def _write_leaderboard(self) -> None:
        write_atomically(self._run_dir / "leaderboard.csv", leaderboard_csv(list(self.records.values())))

    def _writer(self, record: TrialRecord) -> SummaryWriter:
        if record.trial_id not in self._writers:
            writer = SummaryWriter(str(self._run_dir / "tensorboard" / record.trial_id))
            # HParams are announced at the first epoch, so that the table fills while the search runs.
            experiment, session_start, _ = hparams(record.params, {"val_dice": 0.0, "val_loss": 0.0})
            writer.file_writer.add_summary(experiment)
            writer.file_writer.add_summary(session_start)
            self._writers[record.trial_id] = writer
        return self._writers[record.trial_id]

    def _close(self, record: TrialRecord) -> None:
        self._write(record)
        writer = self._writers.pop(record.trial_id, None)
        if writer is not None:
            *_, session_end = hparams(record.params, {"val_dice": 0.0})
            writer.file_writer.add_summary(session_end)
            writer.close()
