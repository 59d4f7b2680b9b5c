"""The measures of one patient that several organs share."""

from dataclasses import dataclass

import numpy as np


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


@dataclass(frozen=True)
class Anatomy:
    """Millimetres in patient coordinates: X to the Right, Y to Anterior, Z to Superior, 0 at the grid's centre."""

    cage_half_width: float
    cage_half_depth: float
    cage_center_y: float
    cage_power: float
    taper: float
    """Share of the cage's width that is lost between the diaphragm and the apex."""
    hunch: float
    """How far the back bends forward between the diaphragm and the apex (negative: backward)."""
    apex_z: float
    dome_z: float
    """Top of the right diaphragm dome."""
    blood_hu: float
    """Heart and great vessels: near 40 without contrast agent."""
    soft_hu: float

    @property
    def height(self) -> float:
        return self.apex_z - self.dome_z

    @property
    def carina_z(self) -> float:
        return self.dome_z + 0.58 * self.height

    def rise(self, z_mm: np.ndarray) -> np.ndarray:
        """0 at the diaphragm dome, 1 at the apex, beyond on either side; any shape."""
        return (z_mm - self.dome_z) / np.float32(self.height)

    def center_y(self, z_mm: np.ndarray) -> np.ndarray:
        rise = np.clip(self.rise(z_mm), -1, 1.4)
        return np.float32(self.cage_center_y) + np.float32(self.hunch) * rise**2

    def spine_y(self, z_mm: np.ndarray) -> np.ndarray:
        """Centre of the vertebral bodies, any shape."""
        return self.center_y(z_mm) - np.float32(self.cage_half_depth - 14)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    size = float(np.clip(rng.normal(1, 0.07), 0.8, 1.12))
    height = size * rng.uniform(138, 222)
    recess = 70.0
    middle_z = rng.normal(-22, 18)
    dome_z = middle_z - (height - recess) / 2
    blood_hu = rng.uniform(110, 330) if chance(rng, 0.5) else rng.uniform(30, 60)
    return Anatomy(
        cage_half_width=size * rng.uniform(118, 140),
        cage_half_depth=size * rng.uniform(76, 104),
        cage_center_y=rng.uniform(-4, 14),
        cage_power=rng.uniform(2.1, 2.7),
        taper=rng.uniform(0.32, 0.5),
        hunch=rng.uniform(-22, 4),
        apex_z=dome_z + height,
        dome_z=dome_z,
        blood_hu=blood_hu,
        soft_hu=rng.uniform(35, 65),
    )
