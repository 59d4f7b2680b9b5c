import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungseg_train.config import TrainConfig
from lungseg_train.data.dataset import Dataset, open_dataset
from lungseg_train.data_options import DataOptions
from lungseg_train.epoch_result import EpochResult
from lungseg_train.errors import InputError
from lungseg_train.evaluation.metrics import case_metrics
from lungseg_train.network.compiled import stock_model
from lungseg_train.training import Training
from lungseg_train.training_run import run_training
from tests.conftest import Run

CONFIG = TrainConfig(base_filters=4, depth=2, epochs=6, num_phantoms=2, dropout=0.2, plateau_patience=1)
BOTH = replace(CONFIG, attention=True, deep_supervision=True)


@pytest.fixture(scope="module")
def dataset(phantom_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(DataOptions(data_dir=phantom_cases, cache_dir=tmp_path_factory.mktemp("cache")), CONFIG)


def new_training(config: TrainConfig, dataset: Dataset) -> Training:
    return Training(config, dataset.train_volumes(config), dataset.val_volumes(config))


def numbers(result: EpochResult) -> tuple[float, ...]:
    return result.loss, result.learning_rate, result.val_dice or 0.0, result.val_loss or 0.0


@pytest.mark.parametrize("config", [CONFIG, BOTH], ids=["plain", "attention and deep supervision"])
def test_six_epochs_in_one_go_equal_three_saved_and_three_in_a_new_process(
    config: TrainConfig, dataset: Dataset, tmp_path: Path, phantom_cases: Path, run_python: Run
) -> None:
    training = new_training(config, dataset)
    in_one_go = [numbers(training.run_epoch()) for _ in range(6)]
    # A worker has compiled other networks before; the state it saves must not depend on that.
    new_training(replace(config, base_filters=2), dataset).run_epoch()
    new_training(replace(config, normalization="group"), dataset)
    half = new_training(config, dataset)
    for _ in range(3):
        half.run_epoch()
    half.save(tmp_path / "state.npz")
    (tmp_path / "train_config.json").write_text(config.to_json())
    script = tmp_path / "second_half.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom tests.lungseg_train.test_training import *\n"
        "cases, cache, state = map(Path, sys.argv[1:])\n"
        "config = TrainConfig.read(state.with_name('train_config.json'))\n"
        "training = new_training(config, open_dataset(DataOptions(data_dir=cases, cache_dir=cache), config))\n"
        "training.restore(state)\n"
        "print([numbers(training.run_epoch()) for _ in range(3)], training.finished)\n"
    )
    done = run_python("-c", f"exec(open({str(script)!r}).read())", phantom_cases, dataset.cache_dir, tmp_path / "state.npz")
    assert done.returncode == 0, done.stderr
    second_half, finished = eval(done.stdout.splitlines()[-1].replace("] True", "], True"))
    assert finished is True
    np.testing.assert_allclose(second_half, in_one_go[3:], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("config", [CONFIG, BOTH], ids=["plain", "attention and deep supervision"])
def test_a_recycled_worker_equals_a_fresh_one(config: TrainConfig, dataset: Dataset) -> None:
    fresh = new_training(config, dataset)
    expected = [numbers(fresh.run_epoch()) for _ in range(2)]
    other = new_training(replace(config, learning_rate=0.01, reg_l2=0.1, dropout=0.5, seed=9), dataset)
    other.run_epoch()
    # The same sizes with other options are another network.
    new_training(replace(config, attention=not config.attention), dataset).run_epoch()
    new_training(replace(config, deep_supervision=not config.deep_supervision), dataset).run_epoch()
    again = new_training(config, dataset)
    np.testing.assert_allclose([numbers(again.run_epoch()) for _ in range(2)], expected, rtol=1e-6)


def test_validation_judges_the_full_prediction_alone(dataset: Dataset) -> None:
    """The saved network, which has no heads, reaches what the training with heads reported."""
    training = new_training(BOTH, dataset)
    result = training.run_epoch()
    volumes = dataset.val_volumes(BOTH)
    model = stock_model(BOTH, volumes[0].ct.shape, training.weights)
    probabilities = np.asarray(model.predict_on_batch(np.stack([volume.ct for volume in volumes])[..., np.newaxis]))[..., 0]
    rows = [case_metrics(v.mask, p, BOTH.loss_weight_bce) for v, p in zip(volumes, probabilities, strict=True)]
    assert result.val_loss == pytest.approx(np.mean([row["loss"] for row in rows]), rel=1e-3)
    assert result.val_dice == pytest.approx(np.mean([row["dice"] for row in rows]), abs=2e-3)


def test_plateau_and_patience_survive_a_restore(dataset: Dataset, tmp_path: Path) -> None:
    # At so low a rate nothing improves after the first epochs: plateaus come, then EarlyStopping ends it.
    config = replace(
        CONFIG, learning_rate=1e-9, min_learning_rate=0.0, plateau_patience=2, early_stopping_patience=5, epochs=30
    )
    in_one_go = _rates(new_training(config, dataset))
    interrupted = _rates(new_training(config, dataset), lambda training: _reopened(training, dataset, tmp_path))
    assert interrupted == pytest.approx(in_one_go)
    assert 5 < len(in_one_go) < 30
    # Each rate is the one before or, after two epochs without a lower loss, half of it; a forgotten patience never halves it.
    steps = [after / before for before, after in itertools.pairwise(in_one_go)]
    assert set(np.round(steps, 5)) == {1.0, 0.5}
    halved = [epoch for epoch, step in enumerate(steps) if step < 0.75]
    assert len(halved) >= 2 and min(np.diff(halved)) >= 2


def _rates(training: Training, between: Callable[[Training], Training] = lambda training: training) -> list[float]:
    """The learning rate of every epoch until the training ends; `between` follows each epoch."""
    rates = []
    while not training.finished:
        rates.append(training.run_epoch().learning_rate)
        training = between(training)
    return rates


def _reopened(training: Training, dataset: Dataset, folder: Path) -> Training:
    training.save(folder / "state.npz")
    training = new_training(training.config, dataset)
    training.restore(folder / "state.npz")
    return training


def test_the_best_weights_are_those_of_the_best_validation_dice(dataset: Dataset) -> None:
    training = new_training(CONFIG, dataset)
    best, weights = -1.0, {}
    for _ in range(4):
        result = training.run_epoch()
        if (result.val_dice or 0) > best:
            best, weights = result.val_dice or 0, training.weights
    assert training.best_val_dice == best
    for name, value in training.best_weights.items():
        np.testing.assert_array_equal(value, weights[name])


def test_a_loss_that_is_no_number_ends_thenew_training(dataset: Dataset) -> None:
    broken = replace(CONFIG, normalization="none", learning_rate=10.0, reg_l2=1.0)
    training = new_training(broken, dataset)
    results = []
    while not training.finished:
        results.append(training.run_epoch())
    assert training.diverged
    assert results[-1].val_dice is None and len(results) <= 6


def test_without_validation_patients_the_last_weights_are_the_best_and_the_loss_rules(dataset: Dataset) -> None:
    training = Training(CONFIG, dataset.train_volumes(CONFIG), [])
    result = training.run_epoch()
    assert result.val_dice is None and "val_dice" not in result.as_dict()
    np.testing.assert_array_equal(training.best_weights["logit/bias"], training.weights["logit/bias"])


def test_a_state_of_another_network_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    new_training(CONFIG, dataset).save(tmp_path / "state.npz")
    other = new_training(replace(CONFIG, depth=1), dataset)
    with pytest.raises(InputError, match="another network"):
        other.restore(tmp_path / "state.npz")
    (tmp_path / "state.npz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a training state"):
        other.restore(tmp_path / "state.npz")


def test_a_run_cut_short_goes_on_where_it_was(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=3)
    volumes = dataset.train_volumes(config), dataset.val_volumes(config)
    whole = [result.loss for result in run_training(config, *volumes, tmp_path / "whole")]
    cut = run_training(config, *volumes, tmp_path / "cut")
    losses = [next(cut).loss, next(cut).loss]
    cut.close()
    losses += [result.loss for result in run_training(config, *volumes, tmp_path / "cut")]
    assert losses == pytest.approx(whole, rel=1e-5)
    logs = [(tmp_path / name / "training_log.csv").read_text().splitlines() for name in ("whole", "cut")]
    assert [line.split(",")[:2] for line in logs[0]] == [line.split(",")[:2] for line in logs[1]]
