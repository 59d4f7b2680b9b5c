"""Refuses a search whose largest network does not fit into the memory that a trial has, before anything is written."""

import itertools
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.network.architecture import Shape
from lungseg_train.network.cost import network_cost
from tune.cluster_session import TrialResources
from tune.config import SearchConfig
from tune.search_space import Dimension, parse_space

GIB = 2**30
PROCESS_BYTES = int(0.8 * GIB)
"""What a worker holds beside its training step: TensorFlow with its libraries, 0.75 to 0.8 GiB on a CPU."""

COSTLY = ("base_filters", "depth", "batch_size", "normalization", "use_transpose", "attention", "deep_supervision", "precision")
"""The training options that decide how much memory a step takes."""

GPU_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class LargestNetwork:
    """The configuration of a search that needs most memory."""

    config: TrainConfig
    needed_bytes: int


def check_memory(search: SearchConfig, base: TrainConfig, shape: Shape, resources: TrialResources) -> None:
    """Raise `InputError` if the largest network of the search does not fit. Passes where nobody can tell what there is."""
    largest = largest_network(search, base, shape, has_gpu=resources.gpus > 0)
    available = search.max_trial_gib * GIB if search.max_trial_gib is not None else available_bytes(resources)
    if largest is None or available is None or largest.needed_bytes <= available:
        return
    searched = [dimension.name for dimension in parse_space(search.space)]
    named = [name for name in COSTLY if name in searched or name in ("base_filters", "batch_size")]
    raise InputError(
        f"a trial of {', '.join(f'{name} {getattr(largest.config, name)}' for name in named)} needs about "
        f"{largest.needed_bytes / GIB:.1f} GiB for volumes of {'x'.join(map(str, shape))} voxels, a trial here has "
        f"{available / GIB:.1f} GiB. Choose a smaller --base_filters, in --space too, or --batch_size, "
        f"{_other_mend(search, resources)}."
    )


def _other_mend(search: SearchConfig, resources: TrialResources) -> str:
    if search.max_trial_gib is not None:
        return "or a larger --max_trial_gib"
    more = "more --gpus_per_trial" if resources.gpus else "fewer --max_concurrent_trials"
    return f"{more}, or say with --max_trial_gib what a trial may take"


def largest_network(search: SearchConfig, base: TrainConfig, shape: Shape, has_gpu: bool) -> LargestNetwork | None:
    """Of all configurations in the space, the one that needs most memory; None if none of them fits the shape."""
    dimensions = [dimension for dimension in parse_space(search.space) if dimension.name in COSTLY]
    networks = []
    for values in itertools.product(*map(_candidates, dimensions)):
        config = replace(base, **{dimension.name: value for dimension, value in zip(dimensions, values, strict=True)})
        try:
            cost = network_cost(_settled(config, has_gpu), shape)
        except InputError:
            # Too deep for these volumes: such a trial fails by itself, and the search goes on.
            continue
        networks.append(LargestNetwork(config, PROCESS_BYTES + cost.step_bytes))
    return max(networks, key=lambda network: network.needed_bytes, default=None)


def available_bytes(resources: TrialResources) -> float | None:
    """Memory for one trial: of its GPU, or of the node that has least for each. None where no node can tell."""
    if resources.gpus:
        return _gpu_share_bytes(resources.gpus)
    import ray

    shares = []
    for node in ray.nodes():
        trials = min(int(node["Resources"].get("CPU", 0) // resources.cpus), resources.max_concurrent)
        if node["Alive"] and trials and "memory" in node["Resources"]:
            shares.append(node["Resources"]["memory"] / trials)
    return min(shares, default=None)


def total_gpu_bytes() -> int | None:
    """Memory of the smallest GPU that this process may use; None without NVIDIA's own tool."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        done = subprocess.run(command + ([f"--id={visible}"] if visible else []), capture_output=True, text=True, check=True)
        return min(int(line) for line in done.stdout.split()) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def _gpu_share_bytes(gpus_per_trial: float) -> float | None:
    """A trial trains on one GPU, however many it was given, or on its fraction of one."""
    import ray
    import ray.exceptions

    if not any(node["Alive"] and node["Resources"].get("GPU", 0) >= gpus_per_trial for node in ray.nodes()):
        # The cluster has yet to grow.
        return None
    # Only a worker on such a node sees the GPU.
    ask = ray.remote(num_cpus=0, num_gpus=gpus_per_trial, max_retries=0)(total_gpu_bytes)
    try:
        total = ray.get(ask.remote(), timeout=GPU_ANSWER_SECONDS)
    except (ray.exceptions.RayError, TimeoutError):
        return None
    return None if total is None else total * min(1.0, gpus_per_trial)


def _candidates(dimension: Dimension) -> Sequence[Any]:
    """The values among which the costliest is: the ends of a range, but every depth, since not all fit a volume."""
    if dimension.choices:
        return dimension.choices
    values = range(int(dimension.low), int(dimension.high) + 1, int(dimension.step or 1))
    return values if dimension.name == "depth" else (values[0], values[-1])


def _settled(config: TrainConfig, has_gpu: bool) -> TrainConfig:
    """The configuration with the precision "auto" as a GPU of compute capability 7 and above takes it."""
    return replace(config, precision="mixed_float16") if has_gpu and config.precision == "auto" else config
