from pathlib import Path

import pytest
from rich.console import Console

from lungseg_train.config import TrainConfig
from lungseg_train.network.cost import network_cost
from lungseg_train.network.describe import describe, human_bytes, human_count
from tests.conftest import Run

TRAIN = ("-m", "lungseg_train.train")


def _printed(config: TrainConfig, shape: tuple[int, int, int]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(describe(config, shape))
    return capture.get()


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1"), (999, "999"), (1000, "1.00 k"), (21_424_504_832, "21.4 G"), (1.53e12, "1.53 T")]
)
def test_counts_have_three_digits_and_a_unit(count: float, words: str) -> None:
    assert human_count(count) == words


def test_bytes_count_in_powers_of_1024() -> None:
    assert [human_bytes(count) for count in (512, 2**20, 1536 * 2**20)] == ["0.500 KiB", "1.00 MiB", "1.50 GiB"]


def test_the_table_shows_every_block_and_both_meanings_of_auto() -> None:
    config = TrainConfig(attention=True, deep_supervision=True)
    text = _printed(config, (64, 64, 64))
    for words in ("encoder 0", "attention 2", "bottleneck", "decoder 0", "heads", "output", "float32", "16 bits"):
        assert words in text
    cost = network_cost(config, (64, 64, 64))
    for words in (f"{cost.num_parameters:,}", human_count(cost.training_flops), human_bytes(cost.step_bytes)):
        assert words in text
    alone = _printed(TrainConfig(precision="float32"), (64, 64, 64))
    assert "16 bits" not in alone and "attention" not in alone and "heads" not in alone


def test_describe_ends_without_writing_and_takes_the_shape_of_the_cases(
    phantom_cases: Path, tmp_path: Path, run_python: Run
) -> None:
    out = tmp_path / "out"
    done = run_python(*TRAIN, "--describe", "--data_dir", phantom_cases, "--out_dir", out, "--base_filters", "4")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "volumes of 16×16×16 voxels" in done.stdout and not out.exists()
    assert f"{network_cost(TrainConfig(base_filters=4), (16, 16, 16)).num_parameters:,}" in done.stdout
    done = run_python(*TRAIN, "--describe", "--describe_shape", "96", "64", "32", "--out_dir", out)
    assert "96×64×32" in done.stdout and not out.exists()
    done = run_python(*TRAIN, "--describe", "--describe_shape", "20", "20", "20")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "2^3 = 8" in done.stderr
