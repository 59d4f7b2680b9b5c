"""The network as a recipe that a `Builder` carries out: `unet3d.py` makes Keras layers of it, `cost.py` counts by it.

Residual 3D U-Net: Çiçek et al., arXiv:1606.06650, with residual blocks as in He et al., arXiv:1603.05027. Optional:
attention gates (Oktay et al., arXiv:1804.03999) and deep supervision (Dou et al., Medical Image Analysis 41:40, 2017).
"""

from typing import Any, Protocol

from lungseg_train.config import TrainConfig

Shape = tuple[int, int, int]
Tensor = Any
"""(B, X, Y, Z, C): whatever the builder works with, if it has a `.shape` whose last entry is the number of channels."""

HEAD = "head"
"""What the names of the layers begin with that only deep supervision in training needs."""


class Builder(Protocol):
    """Adds one layer to what it builds and returns the layer's output. Convolutions pad to the same size."""

    def convolution(self, x: Tensor, filters: int, size: int, name: str, use_bias: bool) -> Tensor: ...
    def transposed_convolution(self, x: Tensor, filters: int, name: str) -> Tensor:
        """2^3 with stride 2: doubles every side."""

    def normalize(self, x: Tensor, name: str) -> Tensor: ...
    def relu(self, x: Tensor, name: str) -> Tensor: ...
    def sigmoid(self, x: Tensor, name: str) -> Tensor: ...
    def probability(self, logit: Tensor, name: str) -> Tensor:
        """Sigmoid in float32, whatever the precision: sums over a whole volume lose too much in 16 bits."""

    def dropout(self, x: Tensor, rate: float, name: str) -> Tensor: ...
    def pool(self, x: Tensor, name: str) -> Tensor:
        """Maximum over 2^3 voxels."""

    def repeat(self, x: Tensor, times: int, name: str) -> Tensor:
        """Every voxel `times` times along each axis."""

    def add(self, tensors: list[Tensor], name: str) -> Tensor: ...
    def multiply(self, tensors: list[Tensor], name: str) -> Tensor: ...
    def concatenate(self, probabilities: list[Tensor], name: str) -> Tensor: ...


def assemble(build: Builder, config: TrainConfig, ct: Tensor, with_heads: bool) -> Tensor:
    """CT (B, X, Y, Z, 1), preprocessed -> lung probability (B, X, Y, Z, 1).

    With `with_heads` and deep supervision, (B, X, Y, Z, depth): the probability, then the coarser ones from fine to coarse.
    """
    dropout_enc, dropout_dec, dropout_bot = config.dropout_rates
    use_bias = _use_bias(config)
    x, skips = ct, []
    for level in range(config.depth):
        x = residual_block(build, x, config.base_filters * 2**level, dropout_enc, f"enc{level}", use_bias)
        pooled = build.pool(x, f"enc{level}_pool")
        skips.append((x, pooled))
        x = pooled
    x = residual_block(build, x, config.base_filters * 2**config.depth, dropout_bot, "bot", use_bias)
    coarser: list[Tensor] = []
    for level in reversed(range(config.depth)):
        filters = config.base_filters * 2**level
        skip, pooled = skips[level]
        if config.attention:
            skip = attention_gate(build, skip, pooled, x, f"att{level}")
        x = upsample(build, x, filters, config.use_transpose, f"dec{level}_up")
        x = build.add([skip, x], f"dec{level}_skip")
        x = residual_block(build, x, filters, dropout_dec, f"dec{level}", use_bias)
        if level and with_heads and config.deep_supervision:
            coarser.insert(0, coarse_probability(build, x, level))
    logit = build.convolution(x, 1, 1, "logit", True)
    probability = build.probability(logit, "lung_probability")
    return build.concatenate([probability, *coarser], f"{HEAD}s") if coarser else probability


def residual_block(build: Builder, x: Tensor, filters: int, dropout: float, name: str, use_bias: bool) -> Tensor:
    """Two convolutions of 3^3 beside a shortcut, which is a 1^3 convolution where the number of filters changes."""
    y = build.convolution(x, filters, 3, f"{name}_conv1", use_bias)
    y = build.relu(build.normalize(y, f"{name}_norm1"), f"{name}_relu1")
    y = build.dropout(y, dropout, f"{name}_dropout")
    y = build.normalize(build.convolution(y, filters, 3, f"{name}_conv2", use_bias), f"{name}_norm2")
    shortcut = x if x.shape[-1] == filters else build.convolution(x, filters, 1, f"{name}_shortcut", True)
    return build.relu(build.add([y, shortcut], f"{name}_add"), f"{name}_relu2")


def attention_gate(build: Builder, skip: Tensor, pooled: Tensor, gating: Tensor, name: str) -> Tensor:
    """The skip (X, Y, Z, F) times sigmoid(psi(relu(theta(skip) + phi(gating)))), a weight from 0 to 1 for each voxel.

    As in the paper the gate works on the coarser grid of its gating signal (X/2, Y/2, Z/2, 2F), where it costs an eighth.
    It reads the skip as the encoder has pooled it, where the paper convolves with stride 2, and repeats its weights where
    the paper interpolates: Keras has no stock layer for that in 3D.
    """
    inner = max(1, skip.shape[-1] // 2)
    theta = build.convolution(pooled, inner, 1, f"{name}_theta", False)
    phi = build.convolution(gating, inner, 1, f"{name}_phi", True)
    hidden = build.relu(build.add([theta, phi], f"{name}_add"), f"{name}_relu")
    weight = build.sigmoid(build.convolution(hidden, 1, 1, f"{name}_psi", True), f"{name}_weight")
    return build.multiply([skip, build.repeat(weight, 2, f"{name}_repeat")], f"{name}_skip")


def upsample(build: Builder, x: Tensor, filters: int, use_transpose: bool, name: str) -> Tensor:
    if use_transpose:
        return build.transposed_convolution(x, filters, name)
    # The 1^3 convolution comes first: it commutes with the repetition of voxels and is eight times cheaper there.
    return build.repeat(build.convolution(x, filters, 1, f"{name}_conv", True), 2, name)


def coarse_probability(build: Builder, x: Tensor, level: int) -> Tensor:
    """The decoder's feature at `level` -> lung probability on the full grid, alike within each block of 2^level voxels.

    Where the prediction is constant, Dice and cross-entropy depend on the mask only by its sum: on the full grid they judge
    the coarse prediction by the share of lung in each of its voxels, and no mask has to be resampled.
    """
    logit = build.convolution(x, 1, 1, f"{HEAD}{level}_logit", True)
    return build.repeat(build.probability(logit, f"{HEAD}{level}_probability"), 2**level, f"{HEAD}{level}_repeat")


def _use_bias(config: TrainConfig) -> bool:
    # A bias before a normalisation would be subtracted again.
    return config.normalization == "none"
