"""What a user sees while the search runs: a live table on a terminal, a line per trial in a pipe."""

import time
from typing import Any, Self

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tune.recorder import Recorder
from tune.records import TrialRecord, ranked

MAX_ROWS = 20
STYLES = {"running": "cyan", "finished": "green", "stopped": "dim", "diverged": "yellow", "failed": "red"}


class Monitor(Callback):
    """Shows the records of `recorder`; a context manager around the search."""

    def __init__(self, recorder: Recorder, num_trials: int, max_epochs: int, console: Console) -> None:
        self._recorder = recorder
        self._num_trials = num_trials
        self._max_epochs = max_epochs
        self._console = console
        self._started = time.monotonic()
        self._known_ended = 0
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=False)

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles its callbacks beside the experiment, and a terminal cannot be.
        return {}

    def __enter__(self) -> Self:
        # Trials that an earlier run ended took none of this run's time.
        self._known_ended = len(self._ended())
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._say(self._recorder.records[trial.trial_id])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._say(self._recorder.records[trial.trial_id])

    def _say(self, record: TrialRecord) -> None:
        if self._console.is_terminal:
            return
        params = "  ".join(f"{name} {short(value)}" for name, value in record.params.items())
        self._console.print(
            f"{len(self._ended())}/{self._num_trials}  trial {record.trial_id} {record.status}: "
            f"epochs {record.epochs}, val_dice {_dice(record)}  ({params})",
            soft_wrap=True,
            highlight=False,
        )

    def _ended(self) -> list[TrialRecord]:
        return [record for record in self._recorder.records.values() if record.status not in ("running", "interrupted")]

    def _table(self) -> Table:
        records = list(self._recorder.records.values())
        table = Table(title=self._title(records), title_justify="left", title_style="", box=None, pad_edge=False)
        names = list(records[0].params) if records else []
        for name in ("trial", "status"):
            table.add_column(name)
        for name in ("epochs", "val_dice", *names):
            table.add_column(name, justify="right")
        for record in ranked(records)[:MAX_ROWS]:
            table.add_row(
                record.trial_id,
                Text(record.status, style=STYLES.get(record.status, "")),
                f"{record.epochs}/{self._max_epochs}",
                _dice(record),
                *(short(record.params[name]) for name in names),
            )
        if len(records) > MAX_ROWS:
            table.caption = f"and {len(records) - MAX_ROWS} more in leaderboard.csv"
        return table

    def _title(self, records: list[TrialRecord]) -> str:
        best = max((record.val_dice for record in records if record.curve), default=None)
        epochs = sum(record.epochs for record in records)
        words = [f"{len(self._ended())} of {self._num_trials} trials", f"{epochs} epochs"]
        if best is not None:
            words.append(f"best val_dice {best:.4f}")
        words.append(f"{_clock(time.monotonic() - self._started)} elapsed")
        left = self._seconds_left()
        if left is not None:
            words.append(f"about {_clock(left)} left")
        return " · ".join(words)

    def _seconds_left(self) -> float | None:
        """As long for each trial to come as for those that have ended."""
        ended = len(self._ended()) - self._known_ended
        if ended < 1:
            return None
        return (time.monotonic() - self._started) / ended * (self._num_trials - len(self._ended()))


def _dice(record: TrialRecord) -> str:
    return f"{record.val_dice:.4f}" if record.curve else "-"


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
