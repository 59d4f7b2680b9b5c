"""ASHA as this project uses it."""

import pickle
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.config import SearchConfig
from tune.scheduler import RungKeeper, build_scheduler


def _report(scheduler: ASHAScheduler, trial_id: str, epoch: int, val_dice: float) -> str:
    trial: Any = SimpleNamespace(trial_id=trial_id)
    if trial_id not in scheduler._trial_info:
        scheduler.on_trial_add(None, trial)
    return scheduler.on_trial_result(None, trial, {"epoch": epoch, "val_dice": val_dice, "training_iteration": epoch})


def test_asha_stops_the_weak_at_a_rung_and_everyone_at_the_budget() -> None:
    scheduler = build_scheduler(SearchConfig(max_epochs=9))
    for trial_id, val_dice in (("a", 0.9), ("b", 0.8), ("c", 0.7)):
        first = _report(scheduler, trial_id, 1, val_dice)
    assert first == TrialScheduler.STOP
    assert _report(scheduler, "d", 1, 0.95) == TrialScheduler.CONTINUE
    assert _report(scheduler, "a", 9, 0.9) == TrialScheduler.STOP


def test_rungs_survive_a_restart() -> None:
    search = SearchConfig(max_epochs=27)
    before = build_scheduler(search)
    for number in range(9):
        _report(before, f"t{number}", 1, 0.5 + 0.05 * number)
        _report(before, f"t{number}", 3, 0.6 + 0.03 * number)
    # Through a file, as Ray keeps it.
    state = pickle.loads(pickle.dumps(RungKeeper(before).get_state()))
    after = build_scheduler(search)
    forgetful = build_scheduler(search)
    RungKeeper(after).set_state(state)
    for epoch, val_dice in ((1, 0.6), (3, 0.7), (9, 0.1)):
        expected = _report(before, "new", epoch, val_dice)
        assert _report(after, "new", epoch, val_dice) == expected
    assert _report(after, "weak", 1, 0.6) == TrialScheduler.STOP
    assert _report(forgetful, "weak", 1, 0.6) == TrialScheduler.CONTINUE
