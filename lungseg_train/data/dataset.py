"""From a data folder to the volumes of a training: found, checked, split by patient, preprocessed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.data.cache import Cache, TrainingVolume, default_cache_dir
from lungseg_train.data.cases import CaseFolder, read_cases
from lungseg_train.data.split import Split, read_split, split_cases
from lungseg_train.data.volume import write_atomically


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which cases there are and who of them trains, chooses and tests."""

    data_dir: Path
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


@dataclass(frozen=True)
class Dataset:
    """The cases of a run with their split, and where their preprocessed volumes lie."""

    folder: CaseFolder
    split: Split
    cache_dir: Path

    def train_volumes(self, config: TrainConfig) -> list[TrainingVolume]:
        """The training share and, beside it, `config.num_phantoms` phantoms on the same grid."""
        cache = Cache(self.cache_dir, config)
        cases = self.folder.by_id(self.split.train)
        return cache.cases(cases) + cache.phantoms(cases[0].shape, cases[0].spacing_mm)

    def val_volumes(self, config: TrainConfig) -> list[TrainingVolume]:
        return Cache(self.cache_dir, config).cases(self.folder.by_id(self.split.val))

    def write(self, folder: Path) -> None:
        """Write `split.json` and `dataset.json`, with hashes and without any path of a source."""
        self.split.write(folder / "split.json", self.folder.cases)
        cases = [{k: v for k, v in asdict(c).items() if not k.endswith("_path")} for c in self.folder.cases]
        skipped = [asdict(case) for case in self.folder.skipped]
        write_atomically(folder / "dataset.json", json.dumps({"cases": cases, "skipped": skipped}, indent=2) + "\n")


def open_dataset(options: DataOptions, config: TrainConfig) -> Dataset:
    """Find, check and split the cases. Raises `InputError` before anything is written."""
    folder = read_cases(options.data_dir, options.skip_bad_cases)
    case_ids = [case.case_id for case in folder.cases]
    if options.split is None:
        split = split_cases(case_ids, options.val_fraction, options.test_fraction, config.seed)
    else:
        split = read_split(options.split, case_ids)
    check_shape(folder.shape, config.depth)
    return Dataset(folder, split, (options.cache_dir or default_cache_dir()).resolve())

