"""Whole searches as a user starts them: real Ray, real Optuna, real training on small phantoms."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import open_dataset
from lungseg_train.network.model_file import read_model_config
from tests.conftest import ROOT, Run
from tune.config import RecordedSearch

SEARCH = "tune/search.py"
SPACE = ("--space", "learning_rate=1e-4..1e-2:log", "dropout=0..0.4", "reg_l2=1e-7..1e-3:log", "base_filters=4..8:4")
SMALL = ("--depth", "2", "--num_phantoms", "0", *SPACE)


def _leaderboard(run: Path) -> list[dict[str, str]]:
    with (run / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def searched(phantom_cases: Path, tmp_path_factory: pytest.TempPathFactory, run_python: Run) -> Path:
    run = tmp_path_factory.mktemp("search") / "run"
    flags = ("--num_trials", "5", "--max_epochs", "3", *SMALL)
    done = run_python(SEARCH, "--data_dir", phantom_cases, "--run_dir", run, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    (run / "stdout.txt").write_text(done.stdout)
    return run


def test_a_search_leaves_the_whole_run_folder(searched: Path) -> None:
    names = {path.name for path in searched.iterdir()}
    assert names >= {"search_config.json", "environment.json", "dataset.json", "split.json", "trials", "tensorboard"}
    assert names >= {"leaderboard.csv", "best_config.json", "retrain", "test", "report.html"}
    retrained = {path.name for path in (searched / "retrain").iterdir()}
    assert retrained >= {"best_model.keras", "final_model.keras", "training_log.csv", "train_config.json"}
    metrics = json.loads((searched / "test" / "metrics.json").read_text())
    assert metrics["num_cases"] == 2
    assert set(metrics["dice"]) == {"mean", "ci95"}


def test_the_terminal_is_quiet_in_a_pipe_and_names_the_report(searched: Path) -> None:
    lines = (searched / "stdout.txt").read_text().splitlines()
    assert sum(" trial " in line and "val_dice" in line for line in lines) == 5 + 1
    assert lines[-1].endswith(str(searched / "report.html"))
    assert not any("\x1b" in line or "INFO" in line or "WARN" in line for line in lines)


def test_the_two_references_come_first_and_the_winner_is_the_best(searched: Path) -> None:
    rows = _leaderboard(searched)
    assert len(rows) == 5
    params = [tuple(float(row[name]) for name in ("learning_rate", "dropout", "reg_l2")) for row in rows]
    assert (1e-3, 0.0, 1e-7) in params and (1e-4, 0.1, 1e-5) in params
    best = TrainConfig.read(searched / "best_config.json")
    assert best.learning_rate == pytest.approx(float(rows[0]["learning_rate"]))
    assert float(rows[0]["val_dice"]) == max(float(row["val_dice"]) for row in rows)
    assert read_model_config(searched / "retrain" / "best_model.keras") == best
    assert {row["status"] for row in rows} <= {"finished", "stopped"}


def test_the_winner_is_retrained_on_train_and_validation_at_full_budget(searched: Path) -> None:
    with (searched / "retrain" / "training_log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(row["val_dice"] == "" for row in rows)


def test_tensorboard_shows_every_trial_with_hparams(searched: Path) -> None:
    for row in _leaderboard(searched):
        events = EventAccumulator(str(searched / "tensorboard" / row["trial_id"]))
        events.Reload()
        assert len(events.Scalars("val_dice")) == int(row["epochs"])
        assert {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(
            events.summary_metadata
        )
    retrain = EventAccumulator(str(searched / "tensorboard" / "retrain"))
    retrain.Reload()
    assert len(retrain.Scalars("loss")) == 3


def test_the_trials_never_saw_the_test_patients(searched: Path) -> None:
    split = json.loads((searched / "split.json").read_text())
    assert set(split["test"]).isdisjoint(split["train"] + split["val"])
    record = RecordedSearch.read(searched / "search_config.json")
    seen_by_trials = open_dataset(record.data, record.base).sealed()
    assert {case.case_id for case in seen_by_trials.folder.cases} == set(split["train"] + split["val"])
    assert seen_by_trials.split.test == ()
    left_by_trials = b"".join(path.read_bytes() for path in (searched / "trials").rglob("*") if path.is_file())
    assert not any(case_id.encode() in left_by_trials for case_id in split["test"])


def test_a_finished_run_is_not_searched_again(searched: Path, run_python: Run) -> None:
    before = (searched / "retrain" / "best_model.keras").stat().st_mtime_ns
    done = run_python(SEARCH, "--resume", searched)
    assert done.returncode == 0, done.stderr
    assert (searched / "retrain" / "best_model.keras").stat().st_mtime_ns == before


def _start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SEARCH, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _wait_for_epochs(run: Path, epochs: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        curves = [path.read_text().count("\n") - 1 for path in run.glob("trials/*/progress.csv")]
        if sum(curves) >= epochs:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {epochs} epochs came: {process.communicate()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_can_be_resumed_and_is_not_retrained_before(
    number: int, phantom_cases: Path, tmp_path: Path, run_python: Run
) -> None:
    run = tmp_path / "run"
    flags = ("--num_trials", "4", "--max_epochs", "9", "--grace_period", "9", *SMALL)
    process = _start("--data_dir", phantom_cases, "--run_dir", run, *flags)
    _wait_for_epochs(run, 6, process)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    assert f"--resume {run}" in stderr and stderr.count("\n") <= 2
    assert not (run / "best_config.json").exists() and not (run / "retrain").exists()
    before = {row["trial_id"]: int(row["epochs"]) for row in _leaderboard(run)}
    done = run_python(SEARCH, "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {row["trial_id"]: row for row in _leaderboard(run)}
    assert len(after) == 4 and set(before) <= set(after)
    assert all(row["status"] == "finished" for row in after.values())
    for trial_id in after:
        with (run / "trials" / trial_id / "progress.csv").open() as stream:
            assert [int(row["epoch"]) for row in csv.DictReader(stream)] == list(range(1, int(after[trial_id]["epochs"]) + 1))
    assert (run / "report.html").exists()


def test_a_search_with_diverging_and_failing_trials_ends_with_a_winner(
    phantom_cases: Path, tmp_path: Path, run_python: Run
) -> None:
    run = tmp_path / "run"
    # A depth of 5 does not fit 16^3: its trials fail. A learning rate near 10 without normalisation diverges.
    space = ("--space", "depth=1..5:4", "learning_rate=1e-3..10:log")
    flags = ("--num_trials", "8", "--max_epochs", "3", "--num_phantoms", "0", "--base_filters", "4", "--reg_l2", "1")
    done = run_python(SEARCH, "--data_dir", phantom_cases, "--run_dir", run, *flags, "--normalization", "none", *space)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = _leaderboard(run)
    assert len(rows) == 8
    by_status = {status: [row for row in rows if row["status"] == status] for status in ("failed", "diverged")}
    assert by_status["failed"] and all(row["depth"] == "5" for row in by_status["failed"])
    assert all(row["val_dice"] in ("", "0") or float(row["val_dice"]) >= 0 for row in rows)
    assert (run / "report.html").exists()
    error = run / "trials" / by_status["failed"][0]["trial_id"] / "error.txt"
    assert "do not fit depth 5" in error.read_text()


BAD_SEARCHES = {
    "no data": ("", "lungseg_train.phantom"),
    "no validation": ("--data_dir CASES --val_fraction 0", "val_fraction"),
    "fixed and searched": ("--data_dir CASES --learning_rate 0.1", "learning_rate is given and also searched"),
    "epochs": ("--data_dir CASES --epochs 4", "--max_epochs"),
    "misspelt space": ("--data_dir CASES --space dropot=0..1", "dropot"),
    "no trials": ("--data_dir CASES --num_trials 0", "num_trials"),
    "more GPUs than there are": ("--data_dir CASES --gpus_per_trial 8", "8 GPUs"),
    "no such run": ("--resume NONE", "search_config.json"),
    "no cluster": ("--data_dir CASES --address 127.0.0.1:1", "no Ray cluster answers"),
    "run folder in use": ("--data_dir CASES --run_dir CASES", "holds files already"),
    "not divisible": ("--data_dir CASES --depth 5", "2^5 = 32"),
}


@pytest.mark.parametrize("kind", BAD_SEARCHES)
def test_wrong_input_is_one_line(kind: str, phantom_cases: Path, tmp_path: Path, run_python: Run) -> None:
    arguments, words = BAD_SEARCHES[kind]
    arguments = arguments.replace("CASES", str(phantom_cases)).replace("NONE", str(tmp_path / "none"))
    if "--resume" not in arguments and "--run_dir" not in arguments:
        arguments += f" --run_dir {tmp_path / 'run'}"
    done = run_python(SEARCH, *arguments.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


def test_a_run_does_not_go_on_with_other_data(searched: Path, own_cases: Path, run_python: Run, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(searched, tmp_path / "copy"))
    record = json.loads((run / "search_config.json").read_text())
    (run / "search_config.json").write_text(json.dumps({**record, "data_dir": str(own_cases)}))
    shutil.copy(own_cases / "phantom-0000" / "ct.nii.gz", own_cases / "phantom-0001" / "ct.nii.gz")
    shutil.copy(own_cases / "phantom-0000" / "lung.nii.gz", own_cases / "phantom-0001" / "lung.nii.gz")
    shutil.rmtree(own_cases / "phantom-0000")
    done = run_python(SEARCH, "--resume", run)
    assert done.returncode == 2 and "phantom-0000" in done.stderr
