"""Model files without a training, one of a known answer and one with weights by chance, and volumes for them."""

from pathlib import Path

import keras
import nibabel as nib
import numpy as np

from lungseg_train.config import TrainConfig
from lungseg_train.network.model_file import save_model
from lungseg_train.network.unet3d import build_unet
from lungseg_train.scans.volume import Volume
from lungseg_train.training_grid import TrainingGrid

GRID = TrainingGrid((16, 16, 16), (20.0, 20.0, 20.0))
LUNG_HU = (-950.0, -350.0)
"""What the known model calls lung, up to a few HU."""


def save_known_model(path: Path, grid: TrainingGrid = GRID) -> Path:
    """A network that judges each voxel by its HU alone: its logit is a tent over LUNG_HU."""
    config = TrainConfig(depth=1, base_filters=2, normalization="none", intensity="minmax", hu_window=(-1000.0, 400.0))
    weights = {weight.path: np.zeros(weight.shape, np.float32) for weight in build_unet(config, grid.shape).weights}
    low, high = ((hu + 1000.0) / 1400.0 for hu in LUNG_HU)
    # The shortcuts are all that is left: relu(x - low) and relu(x - middle), added up by the last layer.
    weights["enc0_shortcut/kernel"][...] = 1.0
    weights["enc0_shortcut/bias"][...] = (-low, -(low + high) / 2)
    weights["logit/kernel"][..., 0] = (1000.0, -2000.0)
    weights["logit/bias"][...] = -1.0
    save_model(path, config, grid, weights)
    return path


def save_random_model(path: Path, grid: TrainingGrid = GRID, **options: object) -> Path:
    keras.utils.set_random_seed(5)
    config = TrainConfig(**{"depth": 2, "base_filters": 4, **options})  # type: ignore[arg-type]
    model = build_unet(config, grid.shape)
    rng = np.random.default_rng(5)
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    # Neither ones nor zeros, so that a forgotten scale or offset shows.
    weights = {name: w if w.ndim > 1 else w + rng.uniform(0.0, 0.3, w.shape).astype(np.float32) for name, w in weights.items()}
    save_model(path, config, grid, weights)
    return path


def as_volume(ct_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(ct_hu.astype(np.float32), affine, affine, nib.Nifti1Header())
