"""The network with its preprocessing inside: what is exported takes HU, so that no other software can prepare a CT wrongly."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from lungseg_train.config import TrainConfig
from lungseg_train.network.model_file import load_weights, read_model_config, read_training_grid
from lungseg_train.network.unet3d import Shape

INPUT_NAME, OUTPUT_NAME = "ct_hu", "lung_probability"


def load_self_contained(path: Path) -> keras.Model:
    """A model file as a network: CT in HU (B, X, Y, Z, 1), RAS+, on the training grid -> lung probability, alike in shape.

    Raises `InputError`.
    """
    config, shape = read_model_config(path), read_training_grid(path).shape
    inputs = keras.Input((*shape, 1), name=INPUT_NAME)
    return keras.Model(inputs, load_weights(path, config, shape)(preprocess_in_graph(inputs, config, shape)))


def preprocess_in_graph(ct_hu: keras.KerasTensor, config: TrainConfig, shape: Shape) -> keras.KerasTensor:
    """What `data.preprocess` does, in operations of the graph, for (B, X, Y, Z, 1)."""
    low, high = config.hu_window
    # To [0, 1] first: a z-score does not change by it, and float32 sums over a volume are more exact there.
    ct = (ops.clip(ct_hu, low, high) - low) / (high - low)
    if config.smoothing_sigma_voxels > 0:
        ct = _smoothed(ct, config.smoothing_sigma_voxels, shape)
    if config.intensity == "minmax":
        return ct
    axes = (1, 2, 3, 4)
    ct = ct - ops.mean(ct, axis=axes, keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(ct), axis=axes, keepdims=True))
    # A uniform volume has no deviation to divide by; rounding leaves it a trace of one.
    return ct / ops.where(deviation > 1e-6, deviation, ops.ones_like(deviation))


def _smoothed(ct: keras.KerasTensor, sigma_voxels: float, shape: Shape) -> keras.KerasTensor:
    """SciPy's Gaussian as one matrix per axis: no convolution of a backend pads with the nearest voxel."""
    from scipy.ndimage import gaussian_filter1d

    for axis, size in enumerate(shape, start=1):
        weights = gaussian_filter1d(np.eye(size, dtype=np.float32), sigma_voxels, axis=0, mode="nearest")
        ct = ops.moveaxis(ops.matmul(ops.moveaxis(ct, axis, -1), weights.T), -1, axis)
    return ct
