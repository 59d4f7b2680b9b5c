"""Preprocessed volumes on local disk: named by their content, made once, memory-mapped by every trial."""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.config import TrainConfig
from lungseg_train.data.cases import Case, load_case
from lungseg_train.data.preprocess import PREPROCESSING_VERSION, preprocess
from lungseg_train.errors import InputError
from lungseg_train.phantoms.thorax import PHANTOM_VERSION, make_phantom
from lungseg_train.scans.volume import write_atomically

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

FIRST_SEED = 1_000_000
"""Seeds of the phantoms mixed into a training start here, far from those of the phantom command, whose cases may be a test."""


@dataclass(frozen=True)
class TrainingVolume:
    """A preprocessed CT with its mask, read from the cache as it is needed."""

    case_id: str
    ct: np.ndarray
    """(X, Y, Z) float32, memory-mapped."""
    mask: np.ndarray
    """(X, Y, Z) uint8 0/1, memory-mapped."""
    is_phantom: bool = False
    spacing_mm: Spacing | None = None


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/lungseg-search`, as the XDG base directory specification wants it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lungseg-search"


class Cache:
    """A folder of pairs `KEY.ct.npy`, `KEY.mask.npy`; KEY hashes the voxels and the preprocessing."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self._folder = folder
        self._config = config

    def cases(self, cases: Sequence[Case]) -> list[TrainingVolume]:
        return [self._case(case) for case in cases]

    def phantoms(self, shape: Shape, spacing_mm: Spacing) -> list[TrainingVolume]:
        """The first `num_phantoms` phantoms on the cases' own grid."""
        spacing_mm = tuple(round(mm, 4) for mm in spacing_mm)  # type: ignore[assignment]
        return [self._phantom(number, shape, spacing_mm) for number in range(self._config.num_phantoms)]

    def _case(self, case: Case) -> TrainingVolume:
        key = self._key("case", case.ct_sha256, case.mask_sha256)
        if not self._has(key):
            ct, mask = load_case(case)
            self._write(key, ct.array, mask)
        return self._map(key, case.case_id, False, case.spacing_mm)

    def _phantom(self, number: int, shape: Shape, spacing_mm: Spacing) -> TrainingVolume:
        key = self._key("phantom", PHANTOM_VERSION, number, shape, spacing_mm)
        if not self._has(key):
            self._write(key, *make_phantom(FIRST_SEED + number, shape, spacing_mm))
        return self._map(key, f"phantom-{number:04d}", True, spacing_mm)

    def _key(self, *origin: object) -> str:
        config = self._config
        how = (PREPROCESSING_VERSION, config.hu_window, config.smoothing_sigma_voxels, config.intensity)
        return hashlib.sha256(json.dumps([origin, how]).encode()).hexdigest()[:32]

    def _has(self, key: str) -> bool:
        # The mask is written last: where it is, the CT is whole.
        return self._path(key, "mask").is_file()

    def _path(self, key: str, kind: str) -> Path:
        return self._folder / f"{key}.{kind}.npy"

    def _write(self, key: str, ct_hu: np.ndarray, mask: np.ndarray) -> None:
        for kind, array in (("ct", preprocess(ct_hu, self._config)), ("mask", mask)):
            stream = io.BytesIO()
            np.save(stream, array)
            write_atomically(self._path(key, kind), stream.getvalue())

    def _map(self, key: str, case_id: str, is_phantom: bool, spacing_mm: Spacing) -> TrainingVolume:
        try:
            ct, mask = (np.load(self._path(key, kind), mmap_mode="r") for kind in ("ct", "mask"))
        except (OSError, ValueError, EOFError):
            raise InputError(f"{self._path(key, 'ct')}: damaged cache file. Delete it; it will be made anew.") from None
        return TrainingVolume(case_id, ct, mask, is_phantom, spacing_mm)
