"""A model in one file: a stock `.keras` archive that also carries the configuration and the grid it was trained with.

Any Keras loads it with `keras.models.load_model`; here the network is rebuilt from our own code and only the weights are
read, so a file made to run code cannot.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.network.compiled import stock_model
from lungseg_train.network.unet3d import Shape, build_unet
from lungseg_train.training_grid import TrainingGrid, read_grid

CONFIG_MEMBER, GRID_MEMBER = "train_config.json", "training_grid.json"


def save_model(path: Path, config: TrainConfig, grid: TrainingGrid, weights: dict[str, np.ndarray]) -> None:
    """Write network, weights, configuration and training grid atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        stock_model(config, grid.shape, weights).save(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.writestr(CONFIG_MEMBER, config.to_json())
            archive.writestr(GRID_MEMBER, json.dumps(grid.as_dict()))
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}). Choose a folder with space and write access.") from None
    finally:
        partial.unlink(missing_ok=True)


def read_model_config(path: Path) -> TrainConfig:
    """The configuration that a model file carries. Raises `InputError` if the file is not such a model."""
    return TrainConfig.from_dict(_read_member(path, CONFIG_MEMBER), f"{path} ({CONFIG_MEMBER})")


def read_training_grid(path: Path) -> TrainingGrid:
    """The grid that a model file was trained on. Raises `InputError`."""
    return read_grid(_read_member(path, GRID_MEMBER), f"{path} ({GRID_MEMBER})")


def _read_member(path: Path, member: str) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a model such as best_model.keras.")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(member))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a model of this project; expected a .keras file written by a training.") from None


def load_weights(path: Path, config: TrainConfig, shape: Shape) -> keras.Model:
    """The network for volumes of `shape` with the file's weights. Raises `InputError`."""
    keras.config.set_dtype_policy("float32")
    model = build_unet(config, shape)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: its weights cannot be read ({reason}). Copy the file again or train anew.") from None
    return model
