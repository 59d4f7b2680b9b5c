import threading
import time
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg_train.config import TrainConfig
from lungseg_train.data.cache import TrainingVolume
from lungseg_train.data.prefetch import Prefetch
from lungseg_train.data.sequence import CaseSequence, epoch_order

PROBABILITIES = [field.name for field in fields(TrainConfig) if field.name.startswith("p_")]
ALWAYS = TrainConfig(**dict.fromkeys(PROBABILITIES, 1.0), batch_size=2)


def _volumes(num_real: int, num_phantoms: int = 0) -> list[TrainingVolume]:
    ct = np.random.default_rng(3).normal(size=(8, 8, 8)).astype(np.float32)
    mask = (ct > 0).astype(np.uint8)
    real = [TrainingVolume(f"real-{n}", ct + 10 * n, mask) for n in range(num_real)]
    return real + [TrainingVolume(f"phantom-{n}", ct - 10 * n, mask, is_phantom=True) for n in range(num_phantoms)]


def test_an_epoch_is_the_same_again_in_another_sequence_and_the_next_is_not() -> None:
    one, two = CaseSequence(_volumes(5), ALWAYS), CaseSequence(_volumes(5), ALWAYS)
    one.on_epoch_end()
    two.set_epoch(1)
    for index in range(len(one)):
        np.testing.assert_array_equal(one[index][0], two[index][0])
    two.set_epoch(2)
    assert not np.array_equal(one[0][0], two[0][0])


def test_all_batches_are_of_one_size() -> None:
    sequence = CaseSequence(_volumes(5), ALWAYS)
    assert len(sequence) == 3
    for index in range(3):
        ct, mask = sequence[index]
        assert ct.shape == mask.shape == (2, 8, 8, 8, 1)
        assert ct.dtype == mask.dtype == np.float32


@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 50), st.integers(0, 99))
def test_an_epoch_holds_every_real_case_and_at_least_half_real_cases(real: int, phantoms: int, epoch: int, seed: int) -> None:
    volumes = _volumes(real, phantoms)
    order = epoch_order(volumes, epoch, seed)
    assert len(order) == len(set(order)) == real + phantoms
    drawn = [volumes[number].case_id for number, _ in order if not volumes[number].is_phantom]
    assert len(set(drawn)) == real
    assert len(drawn) >= len(order) // 2


def test_phantoms_take_turns_until_all_were_seen() -> None:
    volumes = _volumes(4, 12)
    seen = {volumes[number].case_id for epoch in range(2) for number, _ in epoch_order(volumes, epoch, 0)}
    assert len(seen) == 4 + 12


# Prefetching


@pytest.mark.parametrize("num_threads", [1, 4])
def test_threads_change_neither_the_batches_nor_their_order(num_threads: int) -> None:
    sequence = CaseSequence(_volumes(9), ALWAYS)
    prefetched = list(Prefetch(sequence.__getitem__, len(sequence), num_threads))
    assert len(prefetched) == len(sequence)
    for index, (ct, mask) in enumerate(prefetched):
        np.testing.assert_array_equal(ct, sequence[index][0])
        np.testing.assert_array_equal(mask, sequence[index][1])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_few_batches_are_made_ahead_and_no_more(num_threads: int) -> None:
    made: list[int] = []
    batches = iter(Prefetch(lambda index: made.append(index) or index, 20, num_threads))  # type: ignore[func-returns-value]
    assert [next(batches), next(batches)] == [0, 1]
    time.sleep(0.05)
    assert sorted(made) == list(range(2 + num_threads + 1))
    assert list(batches) == list(range(2, 20))


def test_the_wait_for_a_slow_source_is_measured() -> None:
    slow = Prefetch(lambda index: time.sleep(0.02), 5, 1)
    list(slow)
    assert 0.09 < slow.wait_seconds < 1.0
    fast = Prefetch(lambda index: index, 5, 1)
    for _ in fast:
        time.sleep(0.02)
    assert fast.wait_seconds < 0.05


def test_an_abandoned_epoch_leaves_no_thread_behind() -> None:
    batches = iter(Prefetch(lambda index: index, 100, 2))
    next(batches)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_an_error_in_a_thread_reaches_the_training() -> None:
    def broken(index: int) -> int:
        raise OSError("the cache is gone")

    with pytest.raises(OSError, match="the cache is gone"):
        list(Prefetch(broken, 3, 2))
