"""Search, retrain, report: python tune/search.py --data_dir CASES."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg_train.command_line import parse
from lungseg_train.config import TrainConfig
from lungseg_train.data_options import DataOptions
from lungseg_train.errors import EXIT_INTERRUPTED, InputError, command
from tune.config import RecordedSearch, SearchConfig
from tune.search_space import parse_space

if TYPE_CHECKING:
    from rich.console import Console

    from lungseg_train.data.dataset import Dataset
    from tune.cluster_session import TrialResources
    from tune.run_folder import RunFolder

REPORT = Path(__file__).resolve().parent.parent / "analysis" / "report.py"


@dataclass(frozen=True, kw_only=True)
class SearchCommand:
    """Options of the command."""

    data: DataOptions = field(default_factory=DataOptions)
    run_dir: Path | None = None
    """Folder of the results; by default runs/ and the time."""
    resume: Path | None = None
    """A run folder to go on with; every other option but --address comes from it."""
    address: str | None = None
    """Ray cluster to join; by default the one this command was started in, or a Ray of its own on this machine."""
    search: SearchConfig = field(default_factory=SearchConfig)
    base: TrainConfig = field(default_factory=TrainConfig)


@command
def main() -> None:
    options = parse(SearchCommand, "python tune/search.py", "Search hyperparameters, retrain the best, report on the test.")
    run, record, dataset = _resumed(options.resume) if options.resume else _planned(options)
    # What the cluster cannot do is found out before anything is written.
    resources = None if run.best_model.exists() else _start_ray(record.search, options.address)
    if resources is not None and not options.resume:
        from tune.trial_memory import check_memory

        check_memory(record.search, record.base, dataset.folder.shape, resources)
        run.create(record, dataset)
    try:
        _search_and_report(run, record, dataset, resources)
    except KeyboardInterrupt:
        print(f"\ninterrupted; go on with: python tune/search.py --resume {run.path}", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _planned(options: SearchCommand) -> "tuple[RunFolder, RecordedSearch, Dataset]":
    """Check everything a user can get wrong; nothing is written yet."""
    from lungseg_train.data.dataset import open_dataset
    from tune.run_folder import RunFolder

    base = _base(options)
    run = RunFolder(options.run_dir or Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S"))
    run.check_free()
    dataset = open_dataset(options.data, base)
    if not dataset.split.val:
        raise InputError("a search chooses by validation patients; set --val_fraction above 0, or fill val in --split.")
    assert options.data.data_dir is not None
    data = replace(
        options.data,
        # Ray runs a trial in its own folder, so a relative path would miss the data.
        data_dir=options.data.data_dir.resolve(),
        split=run.path / "split.json",
        cache_dir=dataset.cache_dir,
    )
    return run, RecordedSearch(name=run.path.name, data=data, search=options.search, base=base), dataset


def _resumed(run_dir: Path) -> "tuple[RunFolder, RecordedSearch, Dataset]":
    from lungseg_train.data.dataset import open_dataset
    from tune.run_folder import RunFolder

    run = RunFolder(run_dir)
    record = RecordedSearch.read(run.search_config)
    dataset = open_dataset(record.data, record.base)
    dataset.check_unchanged(run.path)
    return run, record, dataset


def _start_ray(search: SearchConfig, address: str | None) -> "TrialResources":
    from tune.cluster_session import quiet_ray, start_ray, trial_resources

    quiet_ray()
    start_ray(address)
    return trial_resources(search)


def _base(options: SearchCommand) -> TrainConfig:
    """The configuration that trials start from. Raises `InputError` for an option both fixed and searched."""
    defaults = TrainConfig()
    for name in (dimension.name for dimension in parse_space(options.search.space)):
        if getattr(options.base, name) != getattr(defaults, name):
            raise InputError(f"{name} is given and also searched; leave --{name} out, or leave it out of --space.")
    if options.base.epochs != defaults.epochs:
        raise InputError("the epochs of a search are given by --max_epochs; leave --epochs out.")
    return dataclasses.replace(options.base, epochs=options.search.max_epochs)


def _search_and_report(
    run: "RunFolder", record: RecordedSearch, dataset: "Dataset", resources: "TrialResources | None"
) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    split = dataset.split
    shares = f"{len(split.train)} training, {len(split.val)} validation, {len(split.test)} sealed test patients"
    console.print(f"run folder {run.path}\n{shares}")
    for skipped in dataset.folder.skipped:
        console.print(f"skipped {skipped.case_id}: {skipped.reason}")
    if resources is not None:
        if not run.best_config.exists():
            _fill_cache(dataset, record.base, console)
            _search(run, record, dataset, resources, console)
        _retrain(run, dataset, resources, console)
    _report(run, bool(split.test), console)


def _fill_cache(dataset: "Dataset", base: TrainConfig, console: "Console") -> None:
    with console.status(f"preparing {len(dataset.split.train)} cases and {base.num_phantoms} phantoms"):
        dataset.train_volumes(base)
        dataset.val_volumes(base)


def _search(
    run: "RunFolder", record: RecordedSearch, dataset: "Dataset", resources: "TrialResources", console: "Console"
) -> None:
    from tune.run_search import run_search
    from tune.selection import select_best
    from tune.terminal import short

    search = record.search
    console.print(
        f"{search.num_trials} trials of at most {search.max_epochs} epochs, {resources.max_concurrent} at a time; "
        f"ASHA compares them after epochs {', '.join(map(str, search.rungs)) or 'none'}\n"
        f"watch live: tensorboard --logdir {run.tensorboard}"
    )
    records = run_search(run, search, record.base, dataset, resources, console)
    best = select_best(records, record.base, run.best_config)
    params = ", ".join(f"{name} {short(value)}" for name, value in best.params.items())
    console.print(f"best: trial {best.trial_id}, val_dice {best.val_dice:.4f} ({params})")


def _retrain(run: "RunFolder", dataset: "Dataset", resources: "TrialResources", console: "Console") -> None:
    from lungseg_train.epoch_result import EpochResult
    from lungseg_train.training_log import end_terminal_log, tensorboard_log, terminal_log
    from tune.cluster_session import retrain_resources
    from tune.retrain import retrain_on_cluster

    config = TrainConfig.read(run.best_config)
    console.print("retraining the best configuration on training and validation patients")
    listeners = (terminal_log(config.epochs), tensorboard_log(run.tensorboard / "retrain"))
    for values in retrain_on_cluster(config, dataset.sealed(), run.retrain, *retrain_resources(resources)):
        for listen in listeners:
            listen(EpochResult(**values))
    end_terminal_log()


def _report(run: "RunFolder", has_test: bool, console: "Console") -> None:
    if not has_test:
        console.print(f"no test share; report on other cases: python analysis/report.py {run.path} --data_dir OTHER")
        return
    console.print("scoring the sealed test patients")
    status = subprocess.run([sys.executable, str(REPORT), str(run.path)], check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
