"""Joins a Ray cluster or starts a local one, quietly, and says what a trial gets of it."""

import os
import socket
from dataclasses import dataclass
from typing import Any

from lungseg_train.errors import InputError
from tune.config import SearchConfig

LOCAL_OBJECT_STORE_BYTES = 128 * 2**20
"""Trials read their volumes from the cache: the object store carries configurations and results only."""


@dataclass(frozen=True)
class TrialResources:
    """What each trial gets, and how many run at one time."""

    cpus: float
    gpus: float
    max_concurrent: int

    @property
    def num_threads(self) -> int:
        return max(1, int(self.cpus))

    def as_request(self) -> dict[str, float]:
        return {"cpu": self.cpus, "gpu": self.gpus}


def quiet_ray() -> None:
    """To be called before Ray is imported: no usage statistics, no loggers but ours, no chatter."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def start_ray(address: str | None) -> None:
    """Join `address`, or the cluster this process was started in (RAY_ADDRESS); otherwise start a local Ray.

    Never a cluster that only happens to run on this machine. Raises `InputError` if there is none at the address.
    """
    import logging

    import ray

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"address {address}: no Ray cluster answers ({str(error).splitlines()[0]}).") from None
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _check_reachable(address: str) -> None:
    """Ray itself would try for many minutes. Raises `InputError` if nobody listens at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"address {address}: no Ray cluster answers ({error.strerror or error}). Start it, or leave --address out."
        ) from None


def trial_resources(search: SearchConfig) -> TrialResources:
    """Fill in what the user left open from what the cluster has now. Raises `InputError` if a trial fits nowhere."""
    import ray

    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    gpus_per_trial = min(1.0, gpus) if search.gpus_per_trial is None else search.gpus_per_trial
    cpus_per_trial = search.cpus_per_trial
    if cpus_per_trial is None:
        # Two workers of one thread train more volumes a second than one of two; a GPU wants its share of the CPUs.
        cpus_per_trial = max(1.0, cpus * gpus_per_trial // gpus) if gpus_per_trial and gpus else 1.0
    fits = int(cpus // cpus_per_trial)
    if gpus_per_trial:
        fits = min(fits, int(gpus / gpus_per_trial + 1e-9))
    if fits < 1 and search.max_concurrent_trials is None:
        raise InputError(
            f"a trial asks for {cpus_per_trial:g} CPUs and {gpus_per_trial:g} GPUs, "
            f"the cluster has {cpus:g} and {gpus:g}. Lower --cpus_per_trial or --gpus_per_trial, "
            "or give --max_concurrent_trials where the cluster grows."
        )
    return TrialResources(cpus_per_trial, gpus_per_trial, search.max_concurrent_trials or fits)


def retrain_resources(trial: TrialResources) -> tuple[float, float]:
    """CPUs and GPUs of the retraining, which runs alone: a whole GPU with a trial's CPUs, or all CPUs of one node."""
    import ray

    if trial.gpus:
        return trial.cpus, 1.0
    return max(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"]), 0.0
