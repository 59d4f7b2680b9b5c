"""Batches made by threads while the training is at work on the ones before."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Iterates over `make(0)` ... `make(count - 1)` in this order, whichever thread is done first.

    At most `num_threads` + 1 items are made ahead of the one that was handed out.
    """

    def __init__(self, make: Callable[[int], Item], count: int, num_threads: int) -> None:
        self._make = make
        self._count = count
        self._num_threads = num_threads
        self.wait_seconds = 0.0
        """Wall time that the receiver spent waiting, so far."""

    def __iter__(self) -> Iterator[Item]:
        executor = ThreadPoolExecutor(self._num_threads, thread_name_prefix="prefetch")
        upcoming: deque[Future[Item]] = deque()
        # One more than there are threads: none of them idles while the receiver takes one item.
        ahead = self._num_threads + 1
        try:
            for index in range(self._count + ahead):
                if index < self._count:
                    upcoming.append(executor.submit(self._make, index))
                if index >= ahead:
                    yield self._next(upcoming)
        finally:
            # Where the receiver has had enough, what is not begun is not made, and no thread lives on into the next epoch.
            executor.shutdown(cancel_futures=True)

    def _next(self, upcoming: deque[Future[Item]]) -> Item:
        started = time.perf_counter()
        item = upcoming.popleft().result()
        self.wait_seconds += time.perf_counter() - started
        return item
