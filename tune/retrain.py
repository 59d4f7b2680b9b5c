"""best_config.json -> best_model.keras: the winner, trained on train and validation share at full budget."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset
from lungseg_train.errors import InputError


def retrain(config: TrainConfig, dataset: Dataset, out_dir: Path, num_threads: int | None) -> Iterator[dict[str, Any]]:
    """Train the winner, yielding each epoch's result; goes on where an earlier try was cut short."""
    from lungseg_train.device import configure_device, import_backend_quietly

    import_backend_quietly()
    configure_device(num_threads)
    from lungseg_train.training_run import run_training

    everyone = dataset.merged()
    for result in run_training(config, everyone.train_volumes(config), [], out_dir):
        yield result.as_dict()


def retrain_on_cluster(
    config: TrainConfig, dataset: Dataset, out_dir: Path, cpus: float, gpus: float
) -> Iterator[dict[str, Any]]:
    """The same in a Ray worker, so that it runs where the GPUs are."""
    import ray
    import ray.exceptions

    worker = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=3)(retrain).options(num_returns="streaming")
    try:
        for result in worker.remote(config, dataset, out_dir, max(1, int(cpus))):
            yield ray.get(result)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            # The user is told the one line, not the path it took through Ray.
            raise error.cause from None
        raise
