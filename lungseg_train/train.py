"""Train one network: python -m lungseg_train.train --data_dir CASES --out_dir runs/one."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lungseg_train.command_line import given_path, parse
from lungseg_train.config import TrainConfig
from lungseg_train.data.cases import Case, patients_in_both, read_cases
from lungseg_train.data.dataset import Dataset, open_dataset
from lungseg_train.data_options import DataOptions
from lungseg_train.device import configure_device, import_backend_quietly
from lungseg_train.errors import InputError, command

PROG = "python -m lungseg_train.train"
CONFIG_FILE = "train_config.json"
ARTIFACTS = (CONFIG_FILE, "best_model.keras", "training_state.npz")


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Options of the command."""

    data: DataOptions = field(default_factory=DataOptions)
    out_dir: Path = Path("runs/train")
    """Where models, logs and metrics go."""
    config: Path | None = None
    """A train_config.json or best_config.json to start from; options given beside it win."""
    resume: bool = False
    """Go on with the training that --out_dir holds."""
    num_threads: int | None = None
    """CPU threads; by default all."""
    test_dir: Path | None = None
    """Other cases to score the best model on, instead of a test share (set --test_fraction 0)."""
    describe: bool = False
    """Print parameters, FLOPs and memory of the configuration, and end."""
    describe_shape: tuple[int, int, int] = (64, 64, 64)
    """Voxels of the volumes that --describe reckons with where there is no --data_dir."""
    training: TrainConfig = field(default_factory=TrainConfig)


@command
def main() -> None:
    options = parse(TrainCommand, PROG, "Train one 3D U-Net and score it on the test share.", default=_defaults())
    if options.describe:
        _describe(options)
        return
    if options.resume:
        options = _as_it_was(options)
    elif any((options.out_dir / name).exists() for name in ARTIFACTS):
        raise InputError(f"{options.out_dir}: holds a training already. Choose another --out_dir or add --resume.")
    if options.num_threads is not None and options.num_threads < 1:
        raise InputError(f"num_threads must be at least 1, got {options.num_threads}.")
    dataset = open_dataset(options.data, options.training)
    test_cases = _test_cases(options, dataset)
    dataset.write(options.out_dir)
    import_backend_quietly()
    configure_device(options.num_threads)
    _train(options, dataset)
    if test_cases:
        _test(options, test_cases)
    print(f"best model: {options.out_dir / 'best_model.keras'}")


def _describe(options: TrainCommand) -> None:
    from rich.console import Console

    from lungseg_train.network.describe import describe

    data = options.data
    shape = read_cases(data.data_dir, data.skip_bad_cases).shape if data.data_dir else options.describe_shape
    Console(highlight=False).print(describe(options.training, shape))


def _train(options: TrainCommand, dataset: Dataset) -> None:
    from lungseg_train.training_log import end_terminal_log, tensorboard_log, terminal_log
    from lungseg_train.training_run import run_training

    split, config = dataset.split, options.training
    shares = f"{len(split.train)} training, {len(split.val)} validation and {len(split.test)} test patients"
    print(f"{shares}; {config.num_phantoms} phantoms beside the training share", flush=True)
    listeners = (terminal_log(config.epochs), tensorboard_log(options.out_dir / "tensorboard"))
    for result in run_training(config, dataset.train_volumes(config), dataset.val_volumes(config), options.out_dir):
        for listen in listeners:
            listen(result)
    end_terminal_log()


def _test_cases(options: TrainCommand, dataset: Dataset) -> tuple[Case, ...]:
    """The test share, or the cases of --test_dir. Raises `InputError` if one of these was trained on."""
    if options.test_dir is None:
        return dataset.folder.by_id(dataset.split.test)
    if dataset.split.test:
        raise InputError("--test_dir is the test: give --test_fraction 0, or leave --test_dir out.")
    cases = read_cases(options.test_dir, options.data.skip_bad_cases).cases
    seen = patients_in_both(cases, dataset.folder.cases)
    if seen:
        raise InputError(f"{options.test_dir}: {', '.join(seen)} would be trained on too. Remove these cases from one folder.")
    return cases


def _test(options: TrainCommand, cases: tuple[Case, ...]) -> None:
    """Score the best model on the test patients and write `test_metrics.json`."""
    from lungseg_train.evaluation.score import score_cases
    from lungseg_train.evaluation.summary import headline_lines, summarize
    from lungseg_train.scans.volume import write_atomically

    rows = score_cases(options.out_dir / "best_model.keras", cases)
    metrics = summarize(rows)
    write_atomically(options.out_dir / "test_metrics.json", json.dumps({**metrics, "cases": rows}, indent=2) + "\n")
    print("\n".join(headline_lines(metrics)))


def _defaults() -> TrainCommand | None:
    """The options' defaults: those of the training that is resumed or of the file behind --config, if there is one."""
    config = given_path("--config")
    if "--resume" in sys.argv:
        out_dir = given_path("--out_dir") or given_path("--out-dir") or TrainCommand.out_dir
        recorded = out_dir / CONFIG_FILE
        if not recorded.is_file():
            raise InputError(f"{out_dir}: holds no training to go on with. Correct --out_dir or leave --resume out.")
        return TrainCommand(training=TrainConfig.read(recorded))
    return None if config is None else TrainCommand(training=TrainConfig.read(config), config=config)


def _as_it_was(options: TrainCommand) -> TrainCommand:
    """The same command with configuration and split of the training that is resumed."""
    from dataclasses import replace

    config = TrainConfig.read(options.out_dir / CONFIG_FILE)
    changed = sorted(name for name, value in vars(config).items() if getattr(options.training, name) != value)
    if changed:
        was = f"{changed[0]} is {getattr(config, changed[0])}"
        raise InputError(f"{options.out_dir}: in this training {was}. Leave --{changed[0]} out, or start another training.")
    data = replace(options.data, split=options.out_dir / "split.json")
    return replace(options, training=config, data=data)


if __name__ == "__main__":
    main()
