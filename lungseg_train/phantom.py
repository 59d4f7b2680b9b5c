"""Write synthetic thorax CTs with lung masks: case folders that every other command can read."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lungseg_train.command_line import parse
from lungseg_train.errors import InputError, command

PREVIEW_NUM_CASES = 12
MAX_SIZE = 256
MIN_EXTENT_MM, MAX_EXTENT_MM = 80, 1000
"""A smaller cube may hold no lung, a larger one little but air."""


@dataclass(frozen=True, kw_only=True)
class PhantomCommand:
    """What to draw. Give out_dir, preview or both."""

    out_dir: Path | None = None
    """Folder that receives one folder per case, each with ct.nii.gz and lung.nii.gz."""
    num_cases: int = 40
    """Number of synthetic patients to write."""
    size: int = 64
    """Voxels along each axis."""
    spacing_mm: float = 5.0
    """Edge of a voxel."""
    seed: int = 0
    """Seed of the first case; the next ones count up from it."""
    preview: Path | None = None
    """PNG picture of a dozen phantoms, from the same seed on."""

    def __post_init__(self) -> None:
        if self.out_dir is None and self.preview is None:
            raise InputError("Expected a place to write to, got none. Give --out_dir FOLDER or --preview FILE.png.")
        if self.num_cases < 1:
            raise InputError(f"num_cases must be at least 1, got {self.num_cases}. Give a positive --num_cases.")
        if not 16 <= self.size <= MAX_SIZE:
            raise InputError(f"size must be from 16 to {MAX_SIZE} voxels, got {self.size}. 64 of 5 mm hold a chest.")
        if not MIN_EXTENT_MM <= self.size * self.spacing_mm <= MAX_EXTENT_MM:
            raise InputError(
                f"size x spacing_mm must be from {MIN_EXTENT_MM} to {MAX_EXTENT_MM} mm, got {self.size} x "
                f"{self.spacing_mm}. A chest is about 320 mm wide: give --spacing_mm {320 / self.size:g}."
            )
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}. Give --seed 0 or more.")
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise InputError(f"preview must be a .png file, got {self.preview}. Give a name that ends in .png.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.size

    @property
    def spacings_mm(self) -> tuple[float, float, float]:
        return self.spacing_mm, self.spacing_mm, self.spacing_mm


def write_phantoms(config: PhantomCommand, out_dir: Path) -> Iterator[str]:
    """Write the cases one by one; yields the id of each one that is complete."""
    _make_empty_folder(out_dir)
    for number in range(config.num_cases):
        case_id = f"phantom-{number:04d}"
        try:
            _write_case(config, config.seed + number, out_dir / case_id)
        except OSError as error:
            raise InputError(
                f"{out_dir / case_id} cannot be written: {error.strerror}. Make room or name another out_dir."
            ) from None
        yield case_id


def _make_empty_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"out_dir must be new or empty, but {folder} holds files. Name another folder or empty it.")
    except OSError as error:
        raise InputError(f"out_dir {folder} cannot be used: {error.strerror}. Name a folder that you may write to.") from None


def _write_case(config: PhantomCommand, seed: int, case_dir: Path) -> None:
    import nibabel
    import numpy as np

    from lungseg_train.phantoms.thorax import make_phantom

    ct_hu, mask = make_phantom(seed, config.shape, config.spacings_mm)
    affine = np.diag([*config.spacings_mm, 1.0])
    affine[:3, 3] = -(config.size - 1) / 2 * config.spacing_mm
    unfinished = Path(tempfile.mkdtemp(prefix=f".{case_dir.name}-", dir=case_dir.parent))
    try:
        for name, voxels in (("ct.nii.gz", ct_hu), ("lung.nii.gz", mask)):
            nibabel.save(nibabel.Nifti1Image(voxels, affine), unfinished / name)
        # mkdtemp lets nobody else read, but cases are shared between users of a cluster.
        unfinished.chmod(0o755)
        unfinished.rename(case_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_preview(config: PhantomCommand, png_path: Path) -> None:
    """Draw a dozen phantoms with their masks outlined, each in one coronal and one axial slice."""
    from lungseg_train.phantoms.picture import phantom_picture
    from lungseg_train.phantoms.thorax import make_phantom

    seeds = range(config.seed, config.seed + PREVIEW_NUM_CASES)
    phantoms = [make_phantom(seed, config.shape, config.spacings_mm) for seed in seeds]
    try:
        png_path.parent.mkdir(parents=True, exist_ok=True)
        phantom_picture(phantoms).savefig(png_path)
    except OSError as error:
        raise InputError(f"preview {png_path} cannot be written: {error.strerror}. Name a file in a folder of yours.") from None


@command
def main() -> None:
    config = parse(PhantomCommand, "python -m lungseg_train.phantom", __doc__ or "")
    if config.out_dir is not None:
        for number, case_id in enumerate(write_phantoms(config, config.out_dir), start=1):
            # The cursor goes back, so that the last line, be it an error, takes this one's place.
            if sys.stderr.isatty():
                print(f"{number}/{config.num_cases} {case_id}", end="\r", file=sys.stderr, flush=True)
        print(f"{config.num_cases} cases written to {config.out_dir}")
    if config.preview is not None:
        write_preview(config, config.preview)
        print(f"preview written to {config.preview}")


if __name__ == "__main__":
    main()
