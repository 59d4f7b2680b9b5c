"""DataOptions: which cases, and who of them trains, chooses and tests. Standard library only, as `config.py`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which cases there are and who of them trains, chooses and tests."""

    data_dir: Path | None = None
    """Folder with case folders CASE/ct.nii.gz and CASE/lung.nii.gz (or .nii)."""
    split: Path | None = None
    """Fixed lists of cases, a split.json with train, val and test; by default drawn at random from the seed."""
    val_fraction: float = 0.2
    """Share of the patients that choose between configurations."""
    test_fraction: float = 0.2
    """Share of the patients that are sealed until the report; 0 where another data set is the test."""
    skip_bad_cases: bool = False
    """Leave damaged or incomplete cases out, named in the report, instead of refusing to start."""
    cache_dir: Path | None = None
    """Local folder for preprocessed volumes; by default in the user's cache folder."""
