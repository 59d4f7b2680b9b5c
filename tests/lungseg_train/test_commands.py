"""The training's commands as a user types them."""

import csv
import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Run

TRAIN = ("-m", "lungseg_train.train")
QUICK = ("--base_filters", "4", "--depth", "2", "--epochs", "2", "--num_phantoms", "0")


@pytest.fixture(scope="module")
def trained(phantom_cases: Path, tmp_path_factory: pytest.TempPathFactory, run_python: Run) -> Path:
    out = tmp_path_factory.mktemp("train") / "one"
    flags = "--reg_l2 1e-5 --dropout_enc 0.1 --dropout_dec 0.1 --dropout_bot 0.2 --batch_size 2 --p_jitter 0.2".split()
    flags += "--jitter_sigma 0.03 --seed 7".split()
    done = run_python(*TRAIN, "--data_dir", phantom_cases, "--out_dir", out, *QUICK, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "test dice" in done.stdout
    return out


def test_training_leaves_every_artifact(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {"split.json", "train_config.json", "training_log.csv", "best_model.keras", "final_model.keras"}
    metrics = json.loads((trained / "test_metrics.json").read_text())
    assert metrics["num_cases"] == 2 and 0 <= metrics["dice"]["mean"] <= 1
    config = json.loads((trained / "train_config.json").read_text())
    assert (config["dropout_bot"], config["seed"], config["base_filters"]) == (0.2, 7, 4)
    with (trained / "training_log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_dice")] == [1, 2]
    assert events.Scalars("loss")[1].value == pytest.approx(float(rows[1]["loss"]), rel=1e-4)


def test_a_second_training_does_not_overwrite_the_first(trained: Path, phantom_cases: Path, run_python: Run) -> None:
    before = (trained / "best_model.keras").stat().st_mtime_ns
    done = run_python(*TRAIN, "--data_dir", phantom_cases, "--out_dir", trained, *QUICK)
    assert done.returncode == 2 and "holds a training already" in done.stderr
    assert (trained / "best_model.keras").stat().st_mtime_ns == before


def test_a_configuration_file_is_the_default_and_options_beside_it_win(
    trained: Path, phantom_cases: Path, run_python: Run, tmp_path: Path
) -> None:
    flags = ("--config", trained / "train_config.json", "--epochs", "1", "--test_fraction", "0")
    done = run_python(*TRAIN, "--data_dir", phantom_cases, "--out_dir", tmp_path / "two", *flags)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "two" / "train_config.json").read_text())
    assert (config["epochs"], config["dropout_bot"], config["depth"]) == (1, 0.2, 2)
    assert not (tmp_path / "two" / "test_metrics.json").exists()


def test_a_resumed_training_trains_no_epoch_twice(trained: Path, run_python: Run, phantom_cases: Path) -> None:
    done = run_python(*TRAIN, "--data_dir", phantom_cases, "--out_dir", trained, "--resume")
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stdout and "test dice" in done.stdout


def test_other_cases_can_be_the_test_and_must_be_others(phantom_cases: Path, run_python: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run_python("-m", "lungseg_train.phantom", *f"--out_dir {other} --num_cases 3 --size 16 --spacing_mm 20 --seed 50".split())
    flags = ("--data_dir", phantom_cases, "--test_fraction", "0", *QUICK)
    done = run_python(*TRAIN, *flags, "--out_dir", tmp_path / "a", "--test_dir", other)
    assert done.returncode == 0 and "n = 3" in done.stdout, done.stderr
    done = run_python(*TRAIN, *flags, "--out_dir", tmp_path / "b", "--test_dir", phantom_cases)
    assert done.returncode == 2 and "trained on too" in done.stderr
    assert not (tmp_path / "b").exists()


# Arguments -> what the one line must name. CASES, MODEL and OUT stand for the folders of the test.
BAD_COMMANDS = {
    "no data": ("train", "--out_dir OUT", "lungseg_train.phantom"),
    "no such folder": ("train", "--data_dir NONE --out_dir OUT", "no such folder"),
    "no cases": ("train", "--data_dir EMPTY --out_dir OUT", "no cases"),
    "too few patients": ("train", "--data_dir TWO --out_dir OUT", "too few patients"),
    "not divisible": ("train", "--data_dir CASES --out_dir OUT --depth 5", "2^5 = 32"),
    "rate out of range": ("train", "--data_dir CASES --out_dir OUT --learning_rate -1", "learning_rate"),
    "dropout out of range": ("train", "--data_dir CASES --out_dir OUT --dropout_enc 1.5", "dropout_enc"),
    "no number": ("train", "--data_dir CASES --out_dir OUT --epochs many", "--epochs"),
    "unknown option": ("train", "--data_dir CASES --out_dir OUT --epoch 3", "--epochs"),
    "no such split": ("train", "--data_dir CASES --out_dir OUT --split NONE", "lists train, val and test"),
    "no such configuration": ("train", "--data_dir CASES --out_dir OUT --config NONE", "NONE"),
    "no threads": ("train", "--data_dir CASES --out_dir OUT --num_threads 0", "num_threads"),
    "no model": ("inference", "--model NONE --input CASES/phantom-0000 --output_mask OUT/m.nii.gz", "no such file"),
    "model is none": (
        "inference",
        "--model CASES/phantom-0000/ct.nii.gz --input CASES/phantom-0000 --output_mask OUT/m.nii.gz",
        "not a model of this project",
    ),
    "no input": ("inference", "--model MODEL --input NONE --output_mask OUT/m.nii.gz", "no such file"),
    "input without CT": ("inference", "--model MODEL --input CASES --output_mask OUT/m.nii.gz", "has no ct.nii.gz"),
    "threshold": ("inference", "--model MODEL --input CASES/phantom-0000 --output_mask OUT/m.nii.gz --thr 2", "thr"),
    "output name": ("inference", "--model MODEL --input CASES/phantom-0000 --output_mask OUT/m.png", ".nii.gz"),
    "SEG without DICOM": ("inference", "--model MODEL --input CASES/phantom-0000 --output_mask OUT/m.dcm", "DICOM series"),
    "many inputs, one file": (
        "inference",
        "--model MODEL --input CASES/phantom-0000 CASES/phantom-0001 --output_mask OUT/m.nii.gz",
        "need a folder",
    ),
    "no model to export": ("export", "--model NONE --output OUT/m.onnx", "no such file"),
    "export of none": ("export", "--model CASES/phantom-0000/ct.nii.gz --output OUT/m", "not a model of this project"),
    "export over a folder": ("export", "--model MODEL --output EMPTY", "exists already"),
    "format and name": ("export", "--model MODEL --output OUT/m --format onnx", ".onnx"),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_wrong_input_is_one_line_and_leaves_nothing(
    kind: str, trained: Path, phantom_cases: Path, tmp_path: Path, run_python: Run
) -> None:
    name, arguments, words = BAD_COMMANDS[kind]
    two = tmp_path / "two"
    two.mkdir()
    for case in ("phantom-0000", "phantom-0001"):
        (two / case).symlink_to(phantom_cases / case)
    (tmp_path / "empty").mkdir()
    places = {"CASES": phantom_cases, "MODEL": trained / "best_model.keras", "OUT": tmp_path / "out", "TWO": two}
    places |= {"NONE": tmp_path / "NONE", "EMPTY": tmp_path / "empty"}
    for word, path in places.items():
        arguments = arguments.replace(word, str(path))
    done = run_python("-m", f"lungseg_train.{name}", *arguments.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
