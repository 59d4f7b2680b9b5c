"""What `--describe` prints: a network block by block, and what it costs."""

import math
from collections.abc import Iterator
from dataclasses import replace

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from lungseg_train.config import Precision, TrainConfig
from lungseg_train.network.architecture import HEAD, Shape
from lungseg_train.network.cost import BlockCost, NetworkCost, network_cost

BLOCK_WORDS = {"enc": "encoder", "att": "attention", "bot": "bottleneck", "dec": "decoder"}
AUTO_PRECISIONS: dict[Precision, str] = {"float32": "float32", "mixed_bfloat16": "16 bits"}
"""The precision "auto" is settled on the device; described are both it can mean."""


def describe(config: TrainConfig, shape: Shape) -> RenderableType:
    """Tables of a configuration for volumes of `shape`. Raises `InputError` if the shape does not fit the depth."""
    precisions: dict[Precision, str] = AUTO_PRECISIONS if config.precision == "auto" else {config.precision: config.precision}
    costs = {title: network_cost(replace(config, precision=name), shape) for name, title in precisions.items()}
    first = next(iter(costs.values()))
    return Group(
        f"{_title(config)}\nvolumes of {_grid(shape)} voxels, {config.batch_size} in a step\n", _blocks(first), _totals(costs)
    )


def human_bytes(count: float) -> str:
    """`human_bytes(1536 * 2**20) -> "1.50 GiB"`."""
    size, unit = count / 2**10, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if size >= 1000:
            size, unit = size / 2**10, larger
    return f"{_three_digits(size)} {unit}"


def human_count(count: float) -> str:
    """`human_count(64_273_514_496) -> "64.3 G"`."""
    size, unit = float(count), ""
    for larger in ("k", "M", "G", "T", "P"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{_three_digits(size) if unit else count} {unit}".rstrip()


def _blocks(cost: NetworkCost) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("block")
    for name in ("voxels", "parameters", "FLOPs forward", "activations"):
        table.add_column(name, justify="right")
    for block in _labelled(cost):
        memory, flops = human_bytes(block.activation_bytes), human_count(block.forward_flops)
        table.add_row(block.name, _grid(block.shape), f"{block.num_parameters:,}", flops, memory)
    return table


def _totals(costs: dict[str, NetworkCost]) -> Table:
    first = next(iter(costs.values()))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("in all")
    for title in costs:
        table.add_column(title, justify="right")
    table.add_row("parameters", f"{first.num_parameters:,}")
    table.add_row("FLOPs of a prediction, per volume", human_count(first.forward_flops))
    table.add_row("FLOPs of training, per volume", human_count(first.training_flops))
    table.add_row("activations of a step", *(human_bytes(cost.step_activation_bytes) for cost in costs.values()))
    table.add_row("weights, gradients, Adam's moments", *(human_bytes(cost.state_bytes) for cost in costs.values()))
    table.add_row("memory of a training step", *(human_bytes(cost.step_bytes) for cost in costs.values()), style="bold")
    return table


def _labelled(cost: NetworkCost) -> Iterator[BlockCost]:
    """The blocks under a reader's names; output and heads are one row each."""
    merged: dict[str, BlockCost] = {}
    for block in cost.blocks:
        label = _label(block.name)
        row = merged.setdefault(label, BlockCost(label, block.shape))
        row.shape = max(row.shape, block.shape, key=math.prod)
        row.num_parameters += block.num_parameters
        row.forward_flops += block.forward_flops
        row.activation_bytes += block.activation_bytes
    # The output comes last, whenever the recipe met its parts.
    yield from sorted(merged.values(), key=lambda row: row.name in ("output", "heads, in training"))


def _label(name: str) -> str:
    if name.startswith(HEAD):
        return "heads, in training"
    return f"{BLOCK_WORDS[name[:3]]} {name[3:]}".strip() if name[:3] in BLOCK_WORDS else "output"


def _title(config: TrainConfig) -> str:
    words = [f"3D U-Net: {config.base_filters} base filters, {config.depth} halvings"]
    words.append("no normalisation" if config.normalization == "none" else f"{config.normalization} normalisation")
    options = {
        "attention": "attention gates",
        "deep_supervision": "deep supervision",
        "use_transpose": "transposed convolutions",
    }
    return ", ".join(words + [title for name, title in options.items() if getattr(config, name)])


def _grid(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
