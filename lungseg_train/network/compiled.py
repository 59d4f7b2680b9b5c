"""Compiled models kept for the next trial: a new configuration of the same architecture is a re-initialisation."""

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lungseg_train.config import TrainConfig
from lungseg_train.device import resolve_precision, resolve_xla
from lungseg_train.network.adjustable import AdjustableDropout, AdjustableL2
from lungseg_train.network.architecture import HEAD, Shape
from lungseg_train.network.losses import build_loss
from lungseg_train.network.unet3d import build_training_unet, build_unet

MAX_KEPT_MODELS = 8
"""Each holds its weights, its optimiser and the memory of its graph."""

_kept: OrderedDict[tuple[Any, ...], "CompiledModel"] = OrderedDict()


@dataclass
class CompiledModel:
    """A model with its optimiser, ready for `train_on_batch`."""

    model: keras.Model
    l2: AdjustableL2
    shape: Shape
    optimizer_scalars: dict[str, np.ndarray]
    """Initial values of the optimiser's scalars: float16's loss scale does not start at zero."""

    def reset(self, config: TrainConfig) -> None:
        """Give weights, optimiser, dropout and L2 the state of a new training of `config`."""
        for layer in self.model.layers:
            if isinstance(layer, AdjustableDropout):
                layer.rate.assign(_dropout_rate(layer.name, config))
                layer.seed_generator.state.assign(_seed_state(layer.name, config.seed))
            for weight in layer.weights:
                if weight.name in INITIALIZERS:
                    weight.assign(_initial_value(weight, config.seed))
        self.l2.strength.assign(config.reg_l2)
        for variable in self.model.optimizer.variables:
            variable.assign(self.optimizer_scalars.get(variable.path, np.zeros(variable.shape)))
        self.model.optimizer.learning_rate = config.learning_rate
        self.model.reset_metrics()

    def variables(self) -> dict[str, Any]:
        """Everything that changes while training, by name: weights, statistics, dropout and optimiser state."""
        named = {f"model/{variable.path}": variable for variable in self.model.variables}
        optimizer = self.model.optimizer
        # Keras numbers an optimiser's name by how many this process has made; a state must not depend on that.
        return named | {f"optimizer{variable.path.removeprefix(optimizer.name)}": variable for variable in optimizer.variables}

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights that the stock network has too, by name: what a prediction needs."""
        layers = (layer for layer in self.model.layers if not layer.name.startswith(HEAD))
        weights = (weight for layer in layers for weight in layer.weights)
        return {weight.path: np.array(weight) for weight in weights if weight.name in INITIALIZERS}


def compiled_model(config: TrainConfig, shape: Shape) -> CompiledModel:
    """A model of this architecture in the state of a new training: a kept one, or built and compiled."""
    key = _architecture(config, shape)
    if key not in _kept:
        _kept[key] = _compile(config, shape)
        while len(_kept) > MAX_KEPT_MODELS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    _kept[key].reset(config)
    return _kept[key]


def stock_model(config: TrainConfig, shape: Shape, weights: dict[str, np.ndarray]) -> keras.Model:
    """The network of stock layers in float32 with these weights: what is saved and predicts."""
    keras.config.set_dtype_policy("float32")
    model = build_unet(config, shape)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    return model


def _compile(config: TrainConfig, shape: Shape) -> CompiledModel:
    # Layers take the policy in force at their birth.
    keras.config.set_dtype_policy(resolve_precision(config))
    model, l2 = build_training_unet(config, shape)
    keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.Adam(config.learning_rate, beta_1=0.9, beta_2=0.999, name="adam")
    model.compile(optimizer=optimizer, loss=build_loss(config), jit_compile=resolve_xla(config))
    model.optimizer.build(model.trainable_variables)
    scalars = {variable.path: np.array(variable) for variable in model.optimizer.variables if variable.ndim == 0}
    return CompiledModel(model, l2, shape, scalars)


def _architecture(config: TrainConfig, shape: Shape) -> tuple[Any, ...]:
    """What decides the graph; everything else is a variable in it."""
    network = (config.base_filters, config.depth, config.normalization, config.use_transpose)
    options = (config.attention, config.deep_supervision)
    return (
        *network,
        *options,
        config.loss_weight_bce,
        config.batch_size,
        shape,
        resolve_precision(config),
        resolve_xla(config),
    )


def _dropout_rate(layer_name: str, config: TrainConfig) -> float:
    return dict(zip(("enc", "dec", "bot"), config.dropout_rates, strict=True))[layer_name[:3]]


def _seed_state(name: str, seed: int) -> np.ndarray:
    return np.array([seed, zlib.crc32(name.encode())], dtype=np.uint32)


INITIALIZERS = {
    "kernel": lambda shape, seed: keras.initializers.HeNormal(seed=seed)(shape),
    "bias": lambda shape, seed: np.zeros(shape),
    "gamma": lambda shape, seed: np.ones(shape),
    "beta": lambda shape, seed: np.zeros(shape),
    "moving_mean": lambda shape, seed: np.zeros(shape),
    "moving_variance": lambda shape, seed: np.ones(shape),
}


def _initial_value(weight: Any, seed: int) -> Any:
    """Initial value that depends on the seed and the weight's place alone, not on what was drawn before it."""
    return INITIALIZERS[weight.name](tuple(weight.shape), int(zlib.crc32(f"{seed}/{weight.path}".encode()) >> 1))
