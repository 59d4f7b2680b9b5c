"""What a configuration costs: parameters, FLOPs and memory, counted by the recipe of the network without building it.

Needs neither Keras nor TensorFlow, so that a search can ask before it starts a worker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.network.architecture import Shape, assemble

FLOPS_PER_MULTIPLY_ADD = 2
TRAINING_PER_FORWARD = 3
"""The backward pass costs two forward passes: the gradients of inputs and of weights (Kaplan et al., arXiv:2001.08361, 2.1)."""

FLOAT32_BYTES = 4
STATE_VALUES_PER_PARAMETER = 4
"""A weight, its gradient and Adam's two moments, all float32 in mixed precision too."""


@dataclass
class BlockCost:
    """One block of the network in training, such as enc0, for one volume."""

    name: str
    shape: Shape
    """Voxels of its largest output."""
    num_parameters: int = 0
    forward_flops: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """Cost of one configuration for volumes of one shape."""

    num_parameters: int
    """Values in the weights of the saved network, as Keras' `count_params()`."""
    forward_flops: int
    """Of a prediction for one volume: convolutions, 2 FLOPs per multiply-add, padding included; the rest is a few percent."""
    training_flops: int
    """Of one volume forwards and backwards: three times forward, with the heads of deep supervision."""
    activation_bytes: int
    """What all layers put out for one volume. Training steps on a CPU grew by 0.65 to 1.07 of what this says: not every
    output is kept for the gradients, and gradients need room of their own."""
    step_activation_bytes: int
    """The same for a batch."""
    state_bytes: int
    """Weights, gradients and Adam's moments."""
    blocks: tuple[BlockCost, ...]

    @property
    def step_bytes(self) -> int:
        """Memory of a training step."""
        return self.step_activation_bytes + self.state_bytes


def network_cost(config: TrainConfig, shape: Shape) -> NetworkCost:
    """Cost of `config` for volumes of `shape`; the precision "auto" is reckoned as float32, which needs most memory.

    Raises `InputError` if the shape does not fit the depth.
    """
    check_shape(shape, config.depth)
    saved = _count(config, shape, with_heads=False)
    training = _count(config, shape, with_heads=True)
    activation_bytes = sum(block.activation_bytes for block in training)
    return NetworkCost(
        num_parameters=sum(block.num_parameters for block in saved),
        forward_flops=sum(block.forward_flops for block in saved),
        training_flops=TRAINING_PER_FORWARD * sum(block.forward_flops for block in training),
        activation_bytes=activation_bytes,
        step_activation_bytes=config.batch_size * activation_bytes,
        state_bytes=FLOAT32_BYTES * STATE_VALUES_PER_PARAMETER * sum(block.num_parameters for block in training),
        blocks=training,
    )


def _count(config: TrainConfig, shape: Shape, with_heads: bool) -> tuple[BlockCost, ...]:
    counter = _Counter(config)
    assemble(counter, config, _Output((*shape, 1)), with_heads)
    return tuple(counter.blocks.values())


@dataclass(frozen=True)
class _Output:
    """Output of a layer for one volume."""

    shape: tuple[int, int, int, int]
    """X, Y, Z, channels."""
    value_bytes: int = FLOAT32_BYTES


@dataclass
class _Counter:
    """A `Builder` that counts; a layer belongs to the block that its name begins with."""

    config: TrainConfig
    blocks: dict[str, BlockCost] = field(default_factory=dict)

    def convolution(self, x: _Output, filters: int, size: int, name: str, use_bias: bool) -> _Output:
        weights = size**3 * x.shape[-1] * filters
        multiply_adds = math.prod(x.shape[:3]) * weights
        return self._put(name, (*x.shape[:3], filters), weights + use_bias * filters, multiply_adds)

    def transposed_convolution(self, x: _Output, filters: int, name: str) -> _Output:
        weights = 2**3 * x.shape[-1] * filters
        multiply_adds = math.prod(x.shape[:3]) * weights
        return self._put(name, _scaled(x.shape, 2, filters), weights + filters, multiply_adds)

    def normalize(self, x: _Output, name: str) -> _Output:
        # Scale and offset; batch normalisation also keeps mean and variance.
        values_per_channel = {"none": 0, "batch": 4}.get(self.config.normalization, 2)
        return self._put(name, x.shape, values_per_channel * x.shape[-1]) if values_per_channel else x

    def relu(self, x: _Output, name: str) -> _Output:
        return self._put(name, x.shape)

    def sigmoid(self, x: _Output, name: str) -> _Output:
        return self._put(name, x.shape)

    def probability(self, logit: _Output, name: str) -> _Output:
        return self._put(name, logit.shape, value_bytes=FLOAT32_BYTES)

    def dropout(self, x: _Output, rate: float, name: str) -> _Output:
        return self._put(name, x.shape)

    def pool(self, x: _Output, name: str) -> _Output:
        x_size, y_size, z_size, filters = x.shape
        return self._put(name, (x_size // 2, y_size // 2, z_size // 2, filters))

    def repeat(self, x: _Output, times: int, name: str) -> _Output:
        return self._put(name, _scaled(x.shape, times, x.shape[-1]), value_bytes=x.value_bytes)

    def add(self, tensors: Sequence[_Output], name: str) -> _Output:
        return self._put(name, tensors[0].shape)

    def multiply(self, tensors: Sequence[_Output], name: str) -> _Output:
        return self._put(name, tensors[0].shape)

    def concatenate(self, probabilities: Sequence[_Output], name: str) -> _Output:
        return self._put(name, (*probabilities[0].shape[:3], len(probabilities)), value_bytes=FLOAT32_BYTES)

    def _put(
        self,
        name: str,
        shape: tuple[int, int, int, int],
        num_parameters: int = 0,
        multiply_adds: int = 0,
        value_bytes: int | None = None,
    ) -> _Output:
        value_bytes = value_bytes or self._computed_bytes
        block = self.blocks.setdefault(name.partition("_")[0], BlockCost(name.partition("_")[0], shape[:3]))
        block.shape = max(block.shape, shape[:3], key=math.prod)
        block.num_parameters += num_parameters
        block.forward_flops += FLOPS_PER_MULTIPLY_ADD * multiply_adds
        block.activation_bytes += value_bytes * math.prod(shape)
        return _Output(shape, value_bytes)

    @property
    def _computed_bytes(self) -> int:
        return 2 if self.config.precision.startswith("mixed") else FLOAT32_BYTES


def _scaled(shape: tuple[int, int, int, int], times: int, filters: int) -> tuple[int, int, int, int]:
    x_size, y_size, z_size, _ = shape
    return x_size * times, y_size * times, z_size * times, filters
