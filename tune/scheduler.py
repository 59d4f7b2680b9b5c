"""Stops the weak: ASHA (Li et al., arXiv:1810.05934) on val_dice over epochs, with rungs that survive a restart."""

from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler

from tune.config import METRIC, MODE, SearchConfig


def build_scheduler(search: SearchConfig) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr="epoch",
        metric=METRIC,
        mode=MODE,
        max_t=search.max_epochs,
        grace_period=search.grace_period,
        reduction_factor=search.reduction_factor,
    )


class RungKeeper(Callback):
    """Saves ASHA's rungs with the experiment: Ray restores trials and searcher, but would forget the rungs."""

    def __init__(self, scheduler: ASHAScheduler) -> None:
        self._scheduler = scheduler

    def get_state(self) -> dict[str, Any]:
        return {"rungs": [bracket._rungs for bracket in self._scheduler._brackets]}

    def set_state(self, state: dict[str, Any]) -> None:
        for bracket, rungs in zip(self._scheduler._brackets, state["rungs"], strict=True):
            bracket._rungs = rungs
