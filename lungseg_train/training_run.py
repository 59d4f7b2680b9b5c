"""One training with its artifacts in a folder; cut short, it goes on where it was."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lungseg_train.config import TrainConfig
from lungseg_train.data.cache import TrainingVolume
from lungseg_train.epoch_result import EpochResult
from lungseg_train.errors import InputError
from lungseg_train.network.model_file import save_model
from lungseg_train.scans.volume import write_atomically
from lungseg_train.training import Training
from lungseg_train.training_log import csv_log

STATE = "training_state.npz"


def run_training(
    config: TrainConfig, train: Sequence[TrainingVolume], val: Sequence[TrainingVolume], out_dir: Path
) -> Iterator[EpochResult]:
    """Train to the end, yielding each epoch's result as it comes.

    Leaves `train_config.json`, `training_log.csv`, `best_model.keras` and `final_model.keras`. Where `out_dir` holds the
    state of the same configuration, its epochs are not trained again. Raises `InputError` if the training diverges.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(out_dir / "train_config.json", config.to_json())
    training = Training(config, train, val)
    state = out_dir / STATE
    if state.exists():
        training.restore(state)
    write_log = csv_log(out_dir / "training_log.csv")
    while not training.finished:
        result = training.run_epoch()
        write_log(result)
        if not training.diverged:
            training.save(state)
        yield result
    if training.diverged:
        raise InputError(f"the loss became {result.loss} in epoch {training.epoch}. Lower --learning_rate and train again.")
    save_model(out_dir / "best_model.keras", config, training.grid, training.best_weights)
    save_model(out_dir / "final_model.keras", config, training.grid, training.weights)
