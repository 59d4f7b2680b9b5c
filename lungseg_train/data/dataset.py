"""From a data folder to the volumes of a training: found, checked, split by patient, preprocessed."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.data.cache import Cache, TrainingVolume, default_cache_dir
from lungseg_train.data.cases import Case, CaseFolder, read_cases
from lungseg_train.data.split import Split, read_split, split_cases
from lungseg_train.data_options import DataOptions
from lungseg_train.errors import InputError
from lungseg_train.scans.volume import write_atomically
from lungseg_train.training_grid import is_chest

USUAL_EXTENT_MM = 350.0

NO_DATA = (
    "no --data_dir given; expected a folder of cases, CASE/ct.nii.gz with CASE/lung.nii.gz. Synthetic ones to try it with: "
    "python -m lungseg_train.phantom --out_dir phantoms --num_cases 24 --size 32 --spacing_mm 10"
)


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
        return cache.cases(cases) + cache.phantoms(cases[0].shape, phantom_spacing_mm(cases[0]))

    def val_volumes(self, config: TrainConfig) -> list[TrainingVolume]:
        return Cache(self.cache_dir, config).cases(self.folder.by_id(self.split.val))

    def sealed(self) -> "Dataset":
        """The same without the test share: what a search may see."""
        kept = {*self.split.train, *self.split.val}
        cases = tuple(case for case in self.folder.cases if case.case_id in kept)
        return replace(self, folder=replace(self.folder, cases=cases), split=replace(self.split, test=()))

    def merged(self) -> "Dataset":
        """The same with the validation share moved into training: for the last training, when nothing is chosen any more."""
        train = tuple(sorted((*self.split.train, *self.split.val)))
        return replace(self, split=replace(self.split, train=train, val=()))

    def write(self, folder: Path) -> None:
        """Write `split.json` and `dataset.json`, with hashes and without any path of a source."""
        self.split.write(folder / "split.json", self.folder.cases)
        cases = [{k: v for k, v in asdict(c).items() if not k.endswith("_path")} for c in self.folder.cases]
        skipped = [asdict(case) for case in self.folder.skipped]
        write_atomically(folder / "dataset.json", json.dumps({"cases": cases, "skipped": skipped}, indent=2) + "\n")

    def check_unchanged(self, folder: Path) -> None:
        """Raise `InputError` unless these are the cases that `write` recorded in `folder`."""
        try:
            recorded = json.loads((folder / "dataset.json").read_text())["cases"]
            hashes = {case["case_id"]: (case["ct_sha256"], case["mask_sha256"]) for case in recorded}
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder / 'dataset.json'}: damaged or missing. Start a new run.") from None
        now = {case.case_id: (case.ct_sha256, case.mask_sha256) for case in self.folder.cases}
        changed = sorted(case_id for case_id in hashes.keys() | now.keys() if hashes.get(case_id) != now.get(case_id))
        if changed:
            raise InputError(f"the data have changed since this run began: {', '.join(changed)}. Start a new run for new data.")


def phantom_spacing_mm(case: Case) -> tuple[float, float, float]:
    """The spacing at which phantoms join a training: the cases' own, unless no chest fits into their field of view.

    Volumes that were resized without their affine often claim 1 mm; a phantom of 64 mm would be all mediastinum.
    """
    if is_chest(case.shape, case.spacing_mm):
        return case.spacing_mm
    x_mm, y_mm, z_mm = (USUAL_EXTENT_MM / size for size in case.shape)
    return x_mm, y_mm, z_mm


def open_dataset(options: DataOptions, config: TrainConfig) -> Dataset:
    """Find, check and split the cases. Raises `InputError` before anything is written."""
    if options.data_dir is None:
        raise InputError(NO_DATA)
    folder = read_cases(options.data_dir, options.skip_bad_cases)
    case_ids = [case.case_id for case in folder.cases]
    patients = {case.case_id: case.patient for case in folder.cases}
    if options.split is None:
        split = split_cases(case_ids, options.val_fraction, options.test_fraction, config.seed, patients)
    else:
        split = read_split(options.split, case_ids, patients)
    check_shape(folder.shape, config.depth)
    return Dataset(folder, split, (options.cache_dir or default_cache_dir()).resolve())
