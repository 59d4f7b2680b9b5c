"""How many trial-epochs an hour, against the same search written naively: make bench.

Both sides run in turn on this machine: 32 trials of at most 9 epochs, ASHA 1-3-9, 24 training and 6 validation volumes of
32^3, 4 or 8 base filters, two workers of one thread, a checkpoint after every epoch. The times count from the start of the
search on a running Ray to its end, the start-up of the workers included.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lungseg_train.command_line import parse
from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset, open_dataset
from lungseg_train.data_options import DataOptions
from lungseg_train.errors import command
from lungseg_train.scans.volume import write_atomically
from tune.config import SearchConfig

BASE = TrainConfig(epochs=9, num_phantoms=0, early_stopping_patience=9)
NUM_CASES = 30
WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Options of the benchmark."""

    num_trials: int = 32
    """Trials on each side."""
    out: Path = Path("runs/bench/search_speed.json")
    """Where the numbers are written."""
    side: Literal["both", "ours", "naive", "warm"] = "both"
    """One side alone, in this process."""
    cases: Path | None = None
    """Folder with the benchmark's cases; by default they are made."""


@command
def main() -> None:
    options = parse(BenchCommand, "python tests/benchmarks/search_speed.py", "Speed of the search.")
    if options.side != "both":
        assert options.cases is not None
        print(json.dumps(SIDES[options.side](options.cases, options.num_trials)))
        return
    with tempfile.TemporaryDirectory() as folder:
        cases = Path(folder) / "cases"
        phantoms = ["--out_dir", str(cases), "--num_cases", str(NUM_CASES), "--size", "32", "--spacing_mm", "10"]
        subprocess.run([sys.executable, "-m", "lungseg_train.phantom", *phantoms], check=True, stdout=subprocess.DEVNULL)
        raw = {side: _in_own_process(side, cases, options.num_trials) for side in SIDES}
    ours, naive = raw["ours"], raw["naive"]
    summary = {
        "trial_epochs_per_hour_ratio": ours["trial_epochs_per_hour"] / naive["trial_epochs_per_hour"],
        "overhead_share": ours["overhead_share"],
        "warm_start_seconds": raw["warm"]["warm_start_seconds"],
        "ours": ours,
        "naive": naive,
        "warm": raw["warm"],
    }
    write_atomically(options.out, json.dumps(summary, indent=2) + "\n")
    _print(summary, options.out)


def _in_own_process(side: str, cases: Path, num_trials: int) -> dict[str, Any]:
    print(f"running: {side}", flush=True)
    arguments = ["--side", side, "--cases", str(cases), "--num_trials", str(num_trials)]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _print(summary: dict[str, Any], out: Path) -> None:
    print(f"{'':26}{'ours':>12}{'naive':>12}")
    for name in ("trial_epochs_per_hour", "overhead_share", "overhead_share_val_counted", "epochs", "wall_seconds"):
        print(f"{name:26}{summary['ours'][name]:>12.3f}{summary['naive'][name]:>12.3f}")
    print(f"trial-epochs per hour, ours / naive: {summary['trial_epochs_per_hour_ratio']:.2f}")
    print(f"warm trial start (configuration in hand to end of first step): {summary['warm_start_seconds']:.2f} s")
    print(f"written to {out}")


def _setting(cases: Path, num_trials: int) -> tuple[SearchConfig, Dataset]:
    search = SearchConfig(
        num_trials=num_trials,
        max_epochs=BASE.epochs,
        # The same configurations on both sides: a sampler that learns would give the two sides different work.
        sampler="random",
        space=("learning_rate=1e-4..1e-2:log", "dropout=0..0.4", "reg_l2=1e-7..1e-3:log", "base_filters=4..8:4"),
        cpus_per_trial=1,
        gpus_per_trial=0,
        max_concurrent_trials=WORKERS,
    )
    options = DataOptions(data_dir=cases, test_fraction=0.0, cache_dir=cases.parent / "cache")
    return search, open_dataset(options, BASE)


def _ours(cases: Path, num_trials: int) -> dict[str, Any]:
    from rich.console import Console

    from tune.cluster_session import trial_resources
    from tune.run_folder import RunFolder
    from tune.run_search import run_search

    search, dataset = _setting(cases, num_trials)
    _start_ray()
    started = time.perf_counter()
    run = RunFolder(cases.parent / "ours")
    console = Console(file=sys.stderr, quiet=True)
    records = run_search(run, search, BASE, dataset, trial_resources(search), console)
    wall = time.perf_counter() - started
    rows = [row for record in records for row in record.curve]
    return _rates(
        wall,
        epochs=len(rows),
        train_seconds=sum(row["train_seconds"] for row in rows),
        val_seconds=sum(row["val_seconds"] for row in rows),
    )


def _naive(cases: Path, num_trials: int) -> dict[str, Any]:
    # Beside this file: the script's folder is first on the import path, for the workers too.
    from naive_search import naive_search

    search, dataset = _setting(cases, num_trials)
    _start_ray()
    started = time.perf_counter()
    results = naive_search(search, BASE, dataset, cases.parent / "naive")
    wall = time.perf_counter() - started
    return _rates(
        wall,
        epochs=sum(result["epoch"] for result in results),
        train_seconds=sum(result["train_seconds"] for result in results),
        val_seconds=sum(result["val_seconds"] for result in results),
    )


def _warm(cases: Path, num_trials: int) -> dict[str, Any]:
    """Median over ten new configurations in a worker that has trained one: configuration in hand to end of first step."""
    from dataclasses import replace
    from statistics import median

    from lungseg_train.device import configure_device, import_backend_quietly

    import_backend_quietly()
    configure_device(1)
    from lungseg_train.training import Training

    _, dataset = _setting(cases, num_trials)

    def start(seed: int) -> float:
        began = time.perf_counter()
        config = replace(BASE, base_filters=8, seed=seed, learning_rate=1e-3 / (1 + seed), dropout=0.02 * seed)
        training = Training(config, dataset.train_volumes(config), dataset.val_volumes(config))
        training.run_step()
        return time.perf_counter() - began

    cold = start(0)
    warm = [start(seed) for seed in range(1, 11)]
    return {"warm_start_seconds": median(warm), "all_warm_start_seconds": warm, "cold_start_seconds": cold}


def _start_ray() -> None:
    import logging

    from tune.cluster_session import quiet_ray

    quiet_ray()
    import ray

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _rates(wall: float, epochs: int, train_seconds: float, val_seconds: float) -> dict[str, Any]:
    core_seconds = WORKERS * wall
    return {
        "wall_seconds": wall,
        "epochs": epochs,
        "train_seconds": train_seconds,
        "val_seconds": val_seconds,
        "trial_epochs_per_hour": epochs / wall * 3600,
        "overhead_share": 1 - train_seconds / core_seconds,
        "overhead_share_val_counted": 1 - (train_seconds + val_seconds) / core_seconds,
    }


SIDES = {"ours": _ours, "naive": _naive, "warm": _warm}

if __name__ == "__main__":
    main()
