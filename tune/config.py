"""SearchConfig: what one search varies, how long, and on which resources. Standard library only."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from lungseg_train.config import TrainConfig
from lungseg_train.data_options import DataOptions
from lungseg_train.errors import InputError

Sampler = Literal["tpe", "random"]

METRIC = "val_dice"
MODE = "max"
DEFAULT_SPACE = ("learning_rate=1e-4..1e-2:log", "dropout=0..0.4", "reg_l2=1e-7..1e-3:log", "base_filters=4..16:4")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search, as its run folder records it."""

    num_trials: int = 24
    """Configurations to try."""
    max_epochs: int = 27
    """Full budget of a trial, and of the retraining."""
    grace_period: int = 1
    """Epochs before ASHA may stop a trial."""
    reduction_factor: int = 3
    """ASHA lets the best 1/reduction_factor of a rung go on."""
    space: tuple[str, ...] = DEFAULT_SPACE
    """What varies: NAME=LOW..HIGH[:log|:STEP], NAME=A,B,C or NAME=false,true, where NAME is a training option."""
    sampler: Sampler = "tpe"
    """How configurations are proposed: tpe learns from the trials so far, random does not."""
    cpus_per_trial: float | None = None
    """CPUs of a trial; by default one, or an equal share of them for each GPU."""
    gpus_per_trial: float | None = None
    """GPUs of a trial, fractions allowed; by default one where there are GPUs."""
    max_concurrent_trials: int | None = None
    """Trials at one time; by default as many as the cluster has room for now. Raise it where the cluster can grow."""

    max_trial_gib: float | None = None
    """Memory a trial may take (GiB); by default that of its GPU, or a share of its node's. A larger network is refused."""

    def __post_init__(self) -> None:
        for name in ("num_trials", "max_epochs", "grace_period"):
            _check(name, getattr(self, name), 1)
        _check("reduction_factor", self.reduction_factor, 2)
        if self.sampler not in get_args(Sampler):
            raise InputError(f"sampler must be one of {', '.join(get_args(Sampler))}, got {self.sampler!r}.")
        if self.grace_period > self.max_epochs:
            raise InputError(f"grace_period must be at most max_epochs = {self.max_epochs}, got {self.grace_period}.")
        if self.max_concurrent_trials is not None:
            _check("max_concurrent_trials", self.max_concurrent_trials, 1)
        if self.cpus_per_trial is not None and self.cpus_per_trial <= 0:
            raise InputError(f"cpus_per_trial must be above 0, got {self.cpus_per_trial}.")
        if self.gpus_per_trial is not None and self.gpus_per_trial < 0:
            raise InputError(f"gpus_per_trial must be at least 0, got {self.gpus_per_trial}.")
        if self.max_trial_gib is not None and self.max_trial_gib <= 0:
            raise InputError(f"max_trial_gib must be above 0, got {self.max_trial_gib}.")
        object.__setattr__(self, "space", tuple(self.space))

    @property
    def rungs(self) -> list[int]:
        """Epochs at which ASHA compares the trials."""
        return rung_epochs(self.grace_period, self.max_epochs, self.reduction_factor)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> Self:
        names = {field.name for field in dataclasses.fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in names})
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: {error}") from None


def rung_epochs(grace_period: int, max_epochs: int, reduction_factor: int) -> list[int]:
    """Epochs at which ASHA compares trials, below the full budget: (1, 27, 3) -> [1, 3, 9]."""
    rungs = []
    epoch = grace_period
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= reduction_factor
    return rungs


def _check(name: str, value: int, lowest: int) -> None:
    if value < lowest:
        raise InputError(f"{name} must be at least {lowest}, got {value}.")


@dataclass(frozen=True, kw_only=True)
class RecordedSearch:
    """`search_config.json`: the search, the configuration its trials start from, and where its data lie."""

    name: str
    data: DataOptions
    search: SearchConfig
    base: TrainConfig

    def to_json(self) -> str:
        data = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self.data).items()}
        record = {"name": self.name, "metric": METRIC, **data, **vars(self.search), "rungs": self.search.rungs}
        record["base"] = vars(self.base)
        return json.dumps(record, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `InputError` if `path` is not the record of a search."""
        try:
            record = json.loads(path.read_text())
            data = {field.name: record[field.name] for field in dataclasses.fields(DataOptions)}
            paths = {name: Path(data[name]) for name in ("data_dir", "split", "cache_dir") if data[name] is not None}
            return cls(
                name=record["name"],
                data=DataOptions(**{**data, **paths}),
                search=SearchConfig.from_dict(record, str(path)),
                base=TrainConfig.from_dict(record["base"], str(path)),
            )
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: expected the record of a search ({error!r}). Is this a run folder?") from None
