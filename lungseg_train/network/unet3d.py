"""TrainConfig -> residual 3D U-Net (Çiçek et al., arXiv:1606.06650; residual blocks as in He et al., arXiv:1603.05027)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.network.adjustable import AdjustableDropout, AdjustableL2
from lungseg_train.network.instance_norm import FusedInstanceNormalization

Tensor = Any
Shape = tuple[int, int, int]

NORMALIZATIONS: dict[str, Callable[[int, str], layers.Layer] | None] = {
    "instance": lambda filters, name: layers.GroupNormalization(groups=-1, epsilon=1e-5, name=name),
    "group": lambda filters, name: layers.GroupNormalization(groups=_num_groups(filters), epsilon=1e-5, name=name),
    # Keras' default momentum 0.99 needs hundreds of steps before inference is of any use.
    "batch": lambda filters, name: layers.BatchNormalization(momentum=0.9, name=name),
    "none": None,
}


def build_unet(config: TrainConfig, shape: Shape) -> keras.Model:
    """The network: CT (B, X, Y, Z, 1), preprocessed -> lung probability (B, X, Y, Z, 1), float32. Stock layers only."""
    return _assemble(_Parts(config), shape, None)


def build_training_unet(config: TrainConfig, shape: Shape) -> tuple[keras.Model, AdjustableL2]:
    """The same network with the same weights, for training: dropout rates and L2 strength are variables (see
    `adjustable.py`), so that one compiled model serves many configurations, and the batch size is fixed."""
    parts = _TrainingParts(config, AdjustableL2(config.reg_l2))
    return _assemble(parts, shape, config.batch_size), parts.regularizer


def _assemble(parts: "_Parts", shape: Shape, batch_size: int | None) -> keras.Model:
    config = parts.config
    check_shape(shape, config.depth)
    dropout_enc, dropout_dec, dropout_bot = config.dropout_rates
    inputs = keras.Input((*shape, 1), batch_size=batch_size, name="ct")
    x, skips = inputs, []
    for level in range(config.depth):
        x = parts.residual_block(x, config.base_filters * 2**level, dropout_enc, f"enc{level}")
        skips.append(x)
        x = layers.MaxPooling3D(2, name=f"enc{level}_pool")(x)
    x = parts.residual_block(x, config.base_filters * 2**config.depth, dropout_bot, "bot")
    for level in reversed(range(config.depth)):
        filters = config.base_filters * 2**level
        x = parts.upsample(x, filters, f"dec{level}_up")
        x = layers.Add(name=f"dec{level}_skip")([skips[level], x])
        x = parts.residual_block(x, filters, dropout_dec, f"dec{level}")
    x = parts.convolution(x, 1, 1, "logit", use_bias=True)
    # float32 whatever the precision: sums over a whole volume lose too much in 16 bits.
    probability = layers.Activation("sigmoid", dtype="float32", name="lung_probability")(x)
    return keras.Model(inputs, probability, name="unet3d")


class _Parts:
    """The pieces of the network, of stock layers."""

    def __init__(self, config: TrainConfig, regularizer: keras.regularizers.Regularizer | None = None) -> None:
        self.config = config
        self.regularizer = regularizer or keras.regularizers.L2(config.reg_l2)

    def convolution(self, x: Tensor, filters: int, size: int, name: str, use_bias: bool) -> Tensor:
        return layers.Conv3D(
            filters,
            size,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
            kernel_regularizer=self.regularizer,
            name=name,
        )(x)

    def normalize(self, x: Tensor, name: str) -> Tensor:
        make_layer = NORMALIZATIONS[self.config.normalization]
        return x if make_layer is None else make_layer(x.shape[-1], name)(x)

    def residual_block(self, x: Tensor, filters: int, dropout: float, name: str) -> Tensor:
        """Two convolutions of 3^3 beside a shortcut, which is a 1^3 convolution where the number of filters changes."""
        # A bias before a normalisation would be subtracted again.
        use_bias = self.config.normalization == "none"
        y = self.convolution(x, filters, 3, f"{name}_conv1", use_bias)
        y = layers.Activation("relu", name=f"{name}_relu1")(self.normalize(y, f"{name}_norm1"))
        y = self.dropout(y, dropout, f"{name}_dropout")
        y = self.normalize(self.convolution(y, filters, 3, f"{name}_conv2", use_bias), f"{name}_norm2")
        shortcut = x if x.shape[-1] == filters else self.convolution(x, filters, 1, f"{name}_shortcut", True)
        return layers.Activation("relu", name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([y, shortcut]))

    def dropout(self, x: Tensor, rate: float, name: str) -> Tensor:
        """Whole channels are dropped: neighbouring voxels are too alike for single ones (arXiv:1411.4280)."""
        return layers.SpatialDropout3D(rate, name=name)(x)

    def upsample(self, x: Tensor, filters: int, name: str) -> Tensor:
        if self.config.use_transpose:
            return layers.Conv3DTranspose(
                filters, 2, strides=2, kernel_initializer="he_normal", kernel_regularizer=self.regularizer, name=name
            )(x)
        # The 1^3 convolution comes first: it commutes with the repetition of voxels and is eight times cheaper there.
        x = self.convolution(x, filters, 1, f"{name}_conv", True)
        return layers.UpSampling3D(2, name=name)(x)


class _TrainingParts(_Parts):
    """The same pieces with the same weights, as training wants them."""

    regularizer: AdjustableL2

    def normalize(self, x: Tensor, name: str) -> Tensor:
        if self.config.normalization == "instance":
            return FusedInstanceNormalization(name=name)(x)
        return super().normalize(x, name)

    def dropout(self, x: Tensor, rate: float, name: str) -> Tensor:
        return AdjustableDropout(rate, name=name)(x)


def _num_groups(filters: int) -> int:
    """The largest divisor of `filters` up to 8."""
    return max(groups for groups in range(1, 9) if filters % groups == 0)
