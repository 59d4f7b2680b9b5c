"""Runs the trials with Ray Tune: searcher, scheduler, records and the live table around one `Tuner`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.tune
from rich.console import Console

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset
from tune.cluster_session import TrialResources
from tune.config import SearchConfig
from tune.recorder import Recorder
from tune.records import TrialRecord
from tune.run_folder import RunFolder
from tune.scheduler import RungKeeper, build_scheduler
from tune.searcher import build_searcher
from tune.terminal import Monitor
from tune.trial import LungSegTrial, TrialSetup


def run_search(
    run: RunFolder,
    search: SearchConfig,
    base: TrainConfig,
    dataset: Dataset,
    resources: TrialResources,
    console: Console,
) -> list[TrialRecord]:
    """Run the search, or go on with the one the run folder holds. Raises `KeyboardInterrupt` if it was cut short."""
    recorder = Recorder(run.path, base)
    monitor = Monitor(recorder, search.num_trials, search.max_epochs, console)
    setup = TrialSetup(base, dataset.sealed(), resources.num_threads)
    trainable = ray.tune.with_resources(ray.tune.with_parameters(LungSegTrial, setup=setup), resources.as_request())
    scheduler = build_scheduler(search)
    callbacks = [RungKeeper(scheduler), recorder, monitor]
    tuner = _tuner(run, search, base, trainable, scheduler, callbacks, resources)
    with _interruptible() as interrupted, monitor:
        tuner.fit()
    recorder.close()
    if interrupted:
        raise KeyboardInterrupt
    return list(recorder.records.values())


def _tuner(
    run: RunFolder,
    search: SearchConfig,
    base: TrainConfig,
    trainable: Any,
    scheduler: Any,
    callbacks: list[ray.tune.Callback],
    resources: TrialResources,
) -> ray.tune.Tuner:
    tune_config = ray.tune.TuneConfig(
        search_alg=build_searcher(search, base),
        scheduler=scheduler,
        num_samples=search.num_trials,
        max_concurrent_trials=resources.max_concurrent,
        reuse_actors=True,
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    run_config = ray.tune.RunConfig(
        name=run.trials.name,
        storage_path=str(run.path),
        callbacks=callbacks,
        checkpoint_config=ray.tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
        verbose=0,
    )
    if not ray.tune.Tuner.can_restore(str(run.trials)):
        return ray.tune.Tuner(trainable, tune_config=tune_config, run_config=run_config)
    tuner = ray.tune.Tuner.restore(str(run.trials), trainable, resume_unfinished=True)
    # Ray restores their state, not the objects: without this, records and rungs would start anew.
    tuner._local_tuner._run_config.callbacks = callbacks
    tuner._local_tuner._tune_config.scheduler = scheduler
    return tuner


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM let Tune save its state and stop; which of them came is then in the list."""
    received: list[int] = []

    def stop(number: int, frame: object) -> None:
        received.append(number)
        # Tune listens to SIGUSR1 as it would to Ctrl-C. A second signal ends the process at once.
        os.kill(os.getpid(), signal.SIGUSR1)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, previous[name])

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
