"""HU window, smoothing and normalisation: what both reference projects do to a CT, by configuration."""

import numpy as np

from lungseg_train.config import TrainConfig

PREPROCESSING_VERSION = 1
"""Part of the cache's keys: raise it when the same configuration would give other numbers."""


def preprocess(ct_hu: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Clip, smooth and normalise a CT: (X, Y, Z) in HU -> (X, Y, Z) float32."""
    low, high = config.hu_window
    ct = np.clip(ct_hu.astype(np.float32), low, high)
    if config.smoothing_sigma_voxels > 0:
        from scipy.ndimage import gaussian_filter

        ct = gaussian_filter(ct, config.smoothing_sigma_voxels, mode="nearest")
    if config.intensity == "minmax":
        return ((ct - low) / (high - low)).astype(np.float32)
    # A uniform volume has no deviation to divide by; it becomes all zeros.
    deviation = float(ct.std()) or 1.0
    return ((ct - ct.mean()) / deviation).astype(np.float32)
