"""TrainConfig -> Keras model, by the recipe in `architecture.py`."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.network.adjustable import AdjustableDropout, AdjustableL2
from lungseg_train.network.architecture import Shape, Tensor, assemble
from lungseg_train.network.instance_norm import FusedInstanceNormalization

NORMALIZATIONS: dict[str, Callable[[int, str], layers.Layer] | None] = {
    "instance": lambda filters, name: layers.GroupNormalization(groups=-1, epsilon=1e-5, name=name),
    "group": lambda filters, name: layers.GroupNormalization(groups=_num_groups(filters), epsilon=1e-5, name=name),
    # Keras' default momentum 0.99 needs hundreds of steps before inference is of any use.
    "batch": lambda filters, name: layers.BatchNormalization(momentum=0.9, name=name),
    "none": None,
}


def build_unet(config: TrainConfig, shape: Shape) -> keras.Model:
    """The network: CT (B, X, Y, Z, 1), preprocessed -> lung probability (B, X, Y, Z, 1), float32. Stock layers only."""
    return _model(_Layers(config, keras.regularizers.L2(config.reg_l2)), shape, None, with_heads=False)


def build_training_unet(config: TrainConfig, shape: Shape) -> tuple[keras.Model, AdjustableL2]:
    """The same network with the same weights, for training: dropout rates and L2 strength are variables (see
    `adjustable.py`), so that one compiled model serves many configurations, and the batch size is fixed.

    With deep supervision it has more channels of output (see `assemble`) and the weights of their heads."""
    build = _TrainingLayers(config, AdjustableL2(config.reg_l2))
    return _model(build, shape, config.batch_size, with_heads=True), build.regularizer


def _model(build: "_Layers", shape: Shape, batch_size: int | None, with_heads: bool) -> keras.Model:
    check_shape(shape, build.config.depth)
    inputs = keras.Input((*shape, 1), batch_size=batch_size, name="ct")
    return keras.Model(inputs, assemble(build, build.config, inputs, with_heads), name="unet3d")


class _Layers:
    """A `Builder` of stock layers."""

    def __init__(self, config: TrainConfig, regularizer: Any) -> None:
        self.config = config
        self.regularizer = regularizer

    def convolution(self, x: Tensor, filters: int, size: int, name: str, use_bias: bool) -> Tensor:
        return layers.Conv3D(filters, size, padding="same", use_bias=use_bias, name=name, **self._kernel)(x)

    def transposed_convolution(self, x: Tensor, filters: int, name: str) -> Tensor:
        return layers.Conv3DTranspose(filters, 2, strides=2, name=name, **self._kernel)(x)

    def normalize(self, x: Tensor, name: str) -> Tensor:
        make_layer = NORMALIZATIONS[self.config.normalization]
        return x if make_layer is None else make_layer(x.shape[-1], name)(x)

    def relu(self, x: Tensor, name: str) -> Tensor:
        return layers.Activation("relu", name=name)(x)

    def sigmoid(self, x: Tensor, name: str) -> Tensor:
        return layers.Activation("sigmoid", name=name)(x)

    def probability(self, logit: Tensor, name: str) -> Tensor:
        return layers.Activation("sigmoid", dtype="float32", name=name)(logit)

    def dropout(self, x: Tensor, rate: float, name: str) -> Tensor:
        """Whole channels are dropped: neighbouring voxels are too alike for single ones (arXiv:1411.4280)."""
        return layers.SpatialDropout3D(rate, name=name)(x)

    def pool(self, x: Tensor, name: str) -> Tensor:
        return layers.MaxPooling3D(2, name=name)(x)

    def repeat(self, x: Tensor, times: int, name: str) -> Tensor:
        # The dtype of what comes in: a layer would otherwise turn a float32 probability into the 16 bits of the policy.
        return layers.UpSampling3D(times, dtype=x.dtype, name=name)(x)

    def add(self, tensors: list[Tensor], name: str) -> Tensor:
        return layers.Add(name=name)(tensors)

    def multiply(self, tensors: list[Tensor], name: str) -> Tensor:
        return layers.Multiply(name=name)(tensors)

    def concatenate(self, probabilities: list[Tensor], name: str) -> Tensor:
        return layers.Concatenate(dtype="float32", name=name)(probabilities)

    @property
    def _kernel(self) -> dict[str, Any]:
        return {"kernel_initializer": "he_normal", "kernel_regularizer": self.regularizer}


class _TrainingLayers(_Layers):
    """The same layers with the same weights, as training wants them."""

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
