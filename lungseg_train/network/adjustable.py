"""Dropout rate and L2 strength as variables: the next trial changes them without building or tracing the model anew."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("lungseg")
class AdjustableDropout(keras.layers.Layer):
    """Spatial dropout of (B, X, Y, Z, C) whose rate is the variable `rate`."""

    def __init__(self, rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_rate = rate
        self.seed_generator = keras.random.SeedGenerator(0, name=f"{self.name}_seed")
        self.rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(rate),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="rate",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        shape = ops.shape(inputs)
        noise = keras.random.uniform((shape[0], 1, 1, 1, shape[-1]), seed=self.seed_generator, dtype="float32")
        rate = ops.convert_to_tensor(self.rate)
        keep = ops.cast(noise >= rate, "float32") / (1.0 - rate)
        return inputs * ops.cast(keep, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.initial_rate}


@keras.saving.register_keras_serializable("lungseg")
class AdjustableL2(keras.regularizers.Regularizer):
    """strength * sum(kernel^2), with `strength` a variable shared by all kernels."""

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = keras.Variable(strength, trainable=False, dtype="float32", name="l2_strength")

    def __call__(self, kernel: Any) -> Any:
        return ops.convert_to_tensor(self.strength) * ops.sum(ops.square(ops.cast(kernel, "float32")))

    def get_config(self) -> dict[str, Any]:
        return {"strength": float(self.strength)}
