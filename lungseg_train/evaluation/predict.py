"""A trained model that turns a CT into lung probabilities, with the preprocessing it was trained with."""

from pathlib import Path

import keras
import numpy as np

from lungseg_train.config import check_shape
from lungseg_train.data.preprocess import preprocess
from lungseg_train.network.model_file import load_weights, read_model_config
from lungseg_train.network.unet3d import Shape


class Predictor:
    """Loads a model file once; the network is built for each shape of volume that comes."""

    def __init__(self, model_path: Path) -> None:
        self._path = model_path
        self.config = read_model_config(model_path)
        self._models: dict[Shape, keras.Model] = {}

    def probability(self, ct_hu: np.ndarray) -> np.ndarray:
        """CT (X, Y, Z) in HU, RAS+ -> probability of lung, (X, Y, Z) float32. Raises `InputError`."""
        x_size, y_size, z_size = ct_hu.shape
        model = self._model((x_size, y_size, z_size))
        ct = preprocess(ct_hu, self.config)
        return np.asarray(model.predict_on_batch(ct[np.newaxis, ..., np.newaxis]))[0, ..., 0]

    def _model(self, shape: Shape) -> keras.Model:
        if shape not in self._models:
            check_shape(shape, self.config.depth)
            self._models[shape] = load_weights(self._path, self.config, shape)
        return self._models[shape]
