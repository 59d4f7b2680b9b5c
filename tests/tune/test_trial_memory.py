"""What does not fit is refused before the start, in one line that says what would fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from lungseg_train.network.cost import network_cost
from tests.conftest import Run
from tune import trial_memory
from tune.cluster_session import TrialResources
from tune.config import SearchConfig
from tune.trial_memory import GIB, PROCESS_BYTES, available_bytes, check_memory, largest_network, total_gpu_bytes

SHAPE = (64, 64, 64)
BASE = TrainConfig()


def test_the_largest_network_takes_the_costly_end_of_every_dimension() -> None:
    space = ("learning_rate=1e-4..1e-2", "base_filters=4..17:4", "batch_size=1..4", "attention=false,true", "depth=2..4")
    largest = largest_network(SearchConfig(space=(*space, "normalization=none,instance")), BASE, SHAPE, has_gpu=False)
    assert largest is not None
    expected = replace(BASE, base_filters=16, batch_size=4, attention=True, depth=4)
    assert largest.config == expected
    assert largest.needed_bytes == PROCESS_BYTES + network_cost(expected, SHAPE).step_bytes


def test_depths_that_the_volumes_do_not_have_are_left_to_their_trials() -> None:
    largest = largest_network(SearchConfig(space=("depth=1..7",)), BASE, (24, 24, 24), has_gpu=False)
    assert largest is not None and largest.config.depth == 3
    assert largest_network(SearchConfig(space=("depth=6..7",)), BASE, (24, 24, 24), has_gpu=False) is None


def test_a_gpu_computes_in_sixteen_bits_unless_told_otherwise() -> None:
    search = SearchConfig()
    needs = [
        largest_network(search, replace(BASE, precision=precision), SHAPE, has_gpu)  # type: ignore[arg-type]
        for precision, has_gpu in (("auto", True), ("mixed_float16", False), ("auto", False), ("float32", True))
    ]
    sixteen, also_sixteen, cpu, thirty_two = (network.needed_bytes for network in needs if network)
    assert sixteen == also_sixteen < cpu == thirty_two


def test_the_refusal_names_configuration_need_supply_and_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    search = SearchConfig(space=("base_filters=8..64:8", "attention=false,true"), max_trial_gib=4)
    with pytest.raises(InputError) as refusal:
        check_memory(search, BASE, SHAPE, TrialResources(1, 0, 2))
    words = str(refusal.value)
    assert "base_filters 64, batch_size 2, attention True needs about 4.5 GiB" in words
    assert "64x64x64" in words and "has 4.0 GiB" in words and "\n" not in words
    assert all(option in words for option in ("--base_filters", "--batch_size", "a larger --max_trial_gib"))
    monkeypatch.setattr(trial_memory, "available_bytes", lambda resources: 2.0 * trial_memory.GIB)
    for gpus, mend in ((0.5, "more --gpus_per_trial"), (0, "fewer --max_concurrent_trials")):
        with pytest.raises(InputError, match=mend):
            check_memory(replace(search, max_trial_gib=None), BASE, SHAPE, TrialResources(1, gpus, 2))
    check_memory(replace(search, max_trial_gib=8), BASE, SHAPE, TrialResources(1, 0, 2))


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose GPUs have 40 and 24 GiB."""
    script = tmp_path / "nvidia-smi"
    script.write_text('#!/bin/sh\ncase "$*" in *--id=0*) echo 40960 ;; *) echo 40960; echo 24576 ;; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("nvidia_smi")
def test_gpu_memory_is_that_of_the_gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert total_gpu_bytes() == 24 * GIB
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert total_gpu_bytes() == 40 * GIB
    monkeypatch.setenv("PATH", "/nowhere")
    assert total_gpu_bytes() is None


@pytest.mark.usefixtures("nvidia_smi")
def test_a_trial_has_its_share_of_the_node_or_of_its_gpu() -> None:
    import ray

    ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, _memory=8 * GIB)
    try:
        assert available_bytes(TrialResources(1, 0, 8)) == pytest.approx(2 * GIB)
        assert available_bytes(TrialResources(1, 0, 2)) == pytest.approx(4 * GIB)
        assert available_bytes(TrialResources(2, 0, 8)) == pytest.approx(4 * GIB)
        # No node has room: the cluster is to grow.
        assert available_bytes(TrialResources(8, 0, 1)) is None
        assert available_bytes(TrialResources(1, 0.5, 2)) == 20 * GIB
        assert available_bytes(TrialResources(1, 2, 1)) is None
    finally:
        ray.shutdown()


def test_a_search_that_does_not_fit_ends_before_it_writes(phantom_cases: Path, tmp_path: Path, run_python: Run) -> None:
    run = tmp_path / "run"
    flags = ("--max_trial_gib", "1", "--space", "base_filters=8..256:8", "--num_phantoms", "0")
    done = run_python("tune/search.py", "--data_dir", phantom_cases, "--run_dir", run, *flags)
    assert done.returncode == 2 and not run.exists()
    assert done.stderr.startswith("error: a trial of base_filters 256, batch_size 2 needs about")
    assert done.stderr.count("\n") == 1
