"""Training: model, optimiser and callbacks, one epoch at a time; its whole state can be saved and restored."""

import io
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lungseg_train.config import TrainConfig
from lungseg_train.data.cache import TrainingVolume
from lungseg_train.data.prefetch import Prefetch
from lungseg_train.data.sequence import Batch, CaseSequence
from lungseg_train.device import num_data_threads
from lungseg_train.epoch_result import EpochResult
from lungseg_train.errors import InputError
from lungseg_train.evaluation.metrics import case_metrics
from lungseg_train.network.compiled import compiled_model
from lungseg_train.scans.volume import write_atomically
from lungseg_train.training_grid import TrainingGrid, common_grid

EXPLODED_LOSS = 1e4
"""Dice + BCE on clipped probabilities stays below 17: beyond this the weights themselves have exploded."""


class Training:
    """Trains one configuration. `run_epoch` until `finished`; `best_weights` are those of the best validation Dice,
    or the last ones where there is no validation share."""

    def __init__(self, config: TrainConfig, train: Sequence[TrainingVolume], val: Sequence[TrainingVolume]) -> None:
        self.config = config
        self.epoch = 0
        self.diverged = False
        self.best_val_dice = -math.inf
        self._volumes = list(train)
        self._sequence = CaseSequence(train, config)
        self._val = list(val)
        self._compiled = compiled_model(config, train[0].ct.shape)
        self._best_weights: dict[str, np.ndarray] | None = None
        self._plateau, self._stopping = self._callbacks()

    @property
    def finished(self) -> bool:
        """The budget is spent, EarlyStopping has had enough, or the loss is no number any more."""
        return self.diverged or self.epoch >= self.config.epochs or bool(self._stopping.stopped_epoch)

    @property
    def best_weights(self) -> dict[str, np.ndarray]:
        return self._best_weights or self.weights

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return self._compiled.weights()

    @property
    def grid(self) -> TrainingGrid:
        """The grid of the patients, which the phantoms share unless it cannot be true."""
        patients = [volume for volume in self._volumes if not volume.is_phantom] or self._volumes
        return common_grid(self._compiled.shape, [v.spacing_mm for v in patients if v.spacing_mm is not None])

    def run_epoch(self) -> EpochResult:
        """Train one epoch, validate, and let the callbacks draw their conclusions."""
        rate = float(self._compiled.model.optimizer.learning_rate)
        started = time.perf_counter()
        loss, wait_seconds = self._train_epoch()
        trained = time.perf_counter()
        self.diverged = not math.isfinite(loss) or loss > EXPLODED_LOSS
        val = {} if self.diverged else self._validate()
        self.epoch += 1
        result = EpochResult(
            epoch=self.epoch,
            loss=loss,
            learning_rate=rate,
            train_seconds=trained - started,
            wait_seconds=wait_seconds,
            val_seconds=time.perf_counter() - trained,
            **val,
        )
        if not self.diverged:
            self._conclude(result)
        return result

    def run_step(self) -> float:
        """Train on the first batch of the current epoch alone and return its loss: a trial run, as benchmarks need it."""
        return float(self._compiled.model.train_on_batch(*next(iter(self._batches()))))

    def save(self, path: Path) -> None:
        """Write the whole state, atomically."""
        arrays: dict[str, Any] = {name: np.array(variable) for name, variable in self._compiled.variables().items()}
        arrays |= {f"best/{name}": value for name, value in (self._best_weights or {}).items()}
        counters = {"epoch": self.epoch, "diverged": self.diverged, "best_val_dice": self.best_val_dice}
        callbacks = {"plateau": _counters(self._plateau), "stopping": _counters(self._stopping)}
        stream = io.BytesIO()
        np.savez(stream, state=json.dumps(counters | callbacks), **arrays)
        write_atomically(path, stream.getvalue())

    def restore(self, path: Path) -> None:
        """Go on from a saved state of the same configuration. Raises `InputError` if the file is not one."""
        try:
            with np.load(path) as archive:
                arrays = dict(archive)
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise InputError(f"{path}: not a training state ({error}). Remove it to start anew.") from None
        state = json.loads(str(arrays.pop("state")))
        variables = self._compiled.variables()
        if set(variables) != {name for name in arrays if not name.startswith("best/")}:
            raise InputError(f"{path}: the state of another network. Resume with the configuration it was trained with.")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        best = {name.removeprefix("best/"): value for name, value in arrays.items() if name.startswith("best/")}
        self._best_weights = best or None
        self.epoch, self.diverged, self.best_val_dice = state["epoch"], state["diverged"], state["best_val_dice"]
        vars(self._plateau).update(state["plateau"])
        vars(self._stopping).update(state["stopping"])

    def _train_epoch(self) -> tuple[float, float]:
        """Mean loss, and the seconds in which no batch was ready."""
        model = self._compiled.model
        model.reset_metrics()
        loss = math.nan
        batches = self._batches()
        for ct, mask in batches:
            loss = float(model.train_on_batch(ct, mask))
            if not math.isfinite(loss):
                break
        return loss, batches.wait_seconds

    def _batches(self) -> Prefetch[Batch]:
        """The batches of this epoch, made while the ones before are trained on."""
        self._sequence.set_epoch(self.epoch)
        return Prefetch(self._sequence.__getitem__, len(self._sequence), num_data_threads())

    def _validate(self) -> dict[str, float]:
        """Mean over the validation patients of the metrics of each whole volume."""
        size = self.config.batch_size
        rows = []
        for start in range(0, len(self._val), size):
            volumes = self._val[start : start + size]
            # The graph has one batch size: a short batch is filled up with its last volume.
            padded = volumes + [volumes[-1]] * (size - len(volumes))
            cts = np.stack([volume.ct for volume in padded])[..., np.newaxis]
            probabilities = np.asarray(self._compiled.model.predict_on_batch(cts))[..., 0]
            rows += [
                case_metrics(volume.mask, probability, self.config.loss_weight_bce)
                for volume, probability in zip(volumes, probabilities, strict=False)
            ]
        return {f"val_{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}

    def _callbacks(self) -> tuple[keras.callbacks.ReduceLROnPlateau, keras.callbacks.EarlyStopping]:
        patience, stopping_patience = self.config.patiences
        plateau = keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss" if self._val else "loss",
            mode="min",
            factor=self.config.plateau_factor,
            patience=patience,
            min_lr=self.config.min_learning_rate,
        )
        stopping = keras.callbacks.EarlyStopping(monitor="val_dice", mode="max", patience=stopping_patience)
        for callback in (plateau, stopping):
            callback.set_model(self._compiled.model)
            callback.on_train_begin()
        return plateau, stopping

    def _conclude(self, result: EpochResult) -> None:
        logs = result.as_dict()
        self._plateau.on_epoch_end(self.epoch - 1, logs)
        if result.val_dice is None:
            return
        self._stopping.on_epoch_end(self.epoch - 1, logs)
        if result.val_dice > self.best_val_dice:
            self.best_val_dice = result.val_dice
            self._best_weights = self.weights


COUNTERS = ("wait", "best", "cooldown_counter", "best_epoch", "stopped_epoch")


def _counters(callback: keras.callbacks.Callback) -> dict[str, float | None]:
    """What a Keras callback remembers from epoch to epoch, as JSON numbers."""
    remembered = {name: getattr(callback, name) for name in COUNTERS if hasattr(callback, name)}
    return {name: value if value is None or isinstance(value, int) else float(value) for name, value in remembered.items()}
