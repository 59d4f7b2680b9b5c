"""LungSegTrial: one TrainConfig trained epoch by epoch in a worker that is used again for the next trial."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray.tune

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset

WORST_VAL_DICE = 0.0
"""What a diverged trial reports: ASHA never stops a NaN, and Optuna refuses to be told one."""

STATE = "training_state.npz"


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a search share."""

    base: TrainConfig
    dataset: Dataset
    """Without the test share."""
    num_threads: int


class LungSegTrial(ray.tune.Trainable):
    """One epoch a step. TensorFlow is imported once per worker, and `compiled_model` keeps what was traced."""

    def setup(self, config: dict[str, Any], setup: TrialSetup) -> None:
        from lungseg_train.device import configure_device, import_backend_quietly

        self._setup = setup
        import_backend_quietly()
        configure_device(setup.num_threads)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        started = time.perf_counter()
        result = self._training.run_epoch()
        diverged = self._training.diverged
        return {
            **result.as_dict(),
            "val_dice": WORST_VAL_DICE if diverged else result.val_dice,
            "diverged": diverged,
            "start_seconds": self._take_start_seconds(),
            "seconds": time.perf_counter() - started,
            # Tune also sets "done" where the scheduler stops a trial; this one tells the two apart.
            "finished": self._training.finished,
            "done": self._training.finished,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._training.save(Path(checkpoint_dir) / STATE)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self._training.restore(Path(checkpoint_dir) / STATE)

    def _begin(self, params: dict[str, Any]) -> None:
        from lungseg_train.training import Training

        started = time.perf_counter()
        config = replace(self._setup.base, **params)
        dataset = self._setup.dataset
        self._training = Training(config, dataset.train_volumes(config), dataset.val_volumes(config))
        self._start_seconds = time.perf_counter() - started

    def _take_start_seconds(self) -> float:
        """Seconds from the configuration in hand to a model ready to train, reported with the first epoch."""
        seconds, self._start_seconds = self._start_seconds, 0.0
        return seconds
