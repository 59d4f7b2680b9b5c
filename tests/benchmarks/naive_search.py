"""The same search as a first version is usually written: a function trainable, a fresh process for every trial, which
imports TensorFlow, reads and preprocesses the cases, builds and traces the network, and calls `fit` epoch by epoch."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.tune

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset
from tune.config import METRIC, MODE, SearchConfig
from tune.scheduler import build_scheduler
from tune.searcher import build_searcher


def naive_search(search: SearchConfig, base: TrainConfig, dataset: Dataset, storage: Path) -> list[dict[str, Any]]:
    """Run it on two workers of one thread; returns the last result of every trial, with its times added up."""
    trainable = ray.tune.with_resources(ray.tune.with_parameters(train_one, base=base, dataset=dataset), {"cpu": 1, "gpu": 0})
    tuner = ray.tune.Tuner(
        trainable,
        tune_config=ray.tune.TuneConfig(
            search_alg=build_searcher(search, base),
            scheduler=build_scheduler(search),
            num_samples=search.num_trials,
            max_concurrent_trials=2,
        ),
        run_config=ray.tune.RunConfig(
            name="naive",
            storage_path=str(storage),
            checkpoint_config=ray.tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
        ),
    )
    grid = tuner.fit()
    assert grid.get_best_result(METRIC, MODE).metrics is not None
    return [result.metrics or {} for result in grid]


def train_one(params: dict[str, Any], base: TrainConfig, dataset: Dataset) -> None:
    started = time.perf_counter()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from dataclasses import replace

    import keras
    import numpy as np
    import tensorflow as tf

    from lungseg_train.data.cache import TrainingVolume
    from lungseg_train.data.cases import load_case
    from lungseg_train.data.preprocess import preprocess
    from lungseg_train.data.sequence import CaseSequence
    from lungseg_train.evaluation.metrics import case_metrics
    from lungseg_train.network.losses import build_loss
    from lungseg_train.network.unet3d import build_unet

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    config = replace(base, **params)

    def read(case_ids: tuple[str, ...]) -> list[TrainingVolume]:
        volumes = []
        for case in dataset.folder.by_id(case_ids):
            ct, mask = load_case(case)
            volumes.append(TrainingVolume(case.case_id, preprocess(ct.array, config), mask))
        return volumes

    train, val = read(dataset.split.train), read(dataset.split.val)
    keras.utils.set_random_seed(config.seed)
    model = build_unet(config, train[0].ct.shape)
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss=build_loss(config), jit_compile=False)
    timer = StepTimer()
    val_ct = np.stack([volume.ct for volume in val])[..., np.newaxis]
    sequence = CaseSequence(train, config)
    for epoch in range(config.epochs):
        history = model.fit(sequence, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[timer.callback()])
        validated = time.perf_counter()
        probabilities = model.predict(val_ct, batch_size=config.batch_size, verbose=0)[..., 0]
        rows = [case_metrics(v.mask, p, config.loss_weight_bce) for v, p in zip(val, probabilities, strict=True)]
        timer.val_seconds += time.perf_counter() - validated
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "model.keras")
            ray.tune.report(
                {
                    "epoch": epoch + 1,
                    "val_dice": float(np.mean([row["dice"] for row in rows])),
                    "loss": history.history["loss"][-1],
                    "train_seconds": timer.train_seconds,
                    "val_seconds": timer.val_seconds,
                    "first_step_seconds": timer.first_step_at - started,
                },
                checkpoint=ray.tune.Checkpoint.from_directory(folder),
            )


class StepTimer:
    """Adds up the wall time of the training steps, the tracing of the first one left out."""

    def __init__(self) -> None:
        self.train_seconds = 0.0
        self.val_seconds = 0.0
        self.first_step_at = 0.0

    def callback(self) -> Any:
        import keras

        return keras.callbacks.LambdaCallback(on_train_batch_begin=self._begin, on_train_batch_end=self._end)

    def _begin(self, batch: int, logs: Any) -> None:
        self._began = time.perf_counter()

    def _end(self, batch: int, logs: Any) -> None:
        if self.first_step_at:
            self.train_seconds += time.perf_counter() - self._began
        else:
            self.first_step_at = time.perf_counter()
