"""What may vary, within which range: `learning_rate=1e-4..1e-2:log` -> an Optuna distribution."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lungseg_train.config import TrainConfig
from lungseg_train.config_limits import CHOICES, RANGES, SWITCHES
from lungseg_train.errors import InputError

# The first reference project: Adam 1e-3, no dropout and no L2. The second: its command line's defaults.
REFERENCE_CONFIGS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 1e-3, "dropout": 0.0, "reg_l2": 0.0, "base_filters": 16},
    {"learning_rate": 1e-4, "dropout": 0.1, "reg_l2": 1e-5, "base_filters": 16},
)

# Set by the search itself or the same for all trials.
NOT_SEARCHABLE = {"epochs", "seed", "early_stopping_patience"}


@dataclass(frozen=True)
class Dimension:
    """One training option that varies: a range of numbers, ordered, or a list of words or of false and true."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[str | bool, ...] = ()

    @property
    def is_int(self) -> bool:
        return RANGES[self.name][0] is int

    def distribution(self) -> Any:
        """Its Optuna distribution."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.is_int:
            return distributions.IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return distributions.FloatDistribution(self.low, self.high, self.log, self.step)

    def nearest(self, value: Any) -> Any:
        """The value of this dimension that is nearest to `value`, so that a known configuration can be tried first."""
        if self.choices:
            return value if value in self.choices else self.choices[0]
        value = min(max(value, self.low), self.high)
        if self.step is not None or (self.is_int and not self.log):
            step = self.step or 1
            value = min(self.low + round((value - self.low) / step) * step, self.high)
        return int(value) if self.is_int else float(value)


def parse_space(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Read `NAME=LOW..HIGH[:log|:STEP]`, `NAME=A,B,C` and `NAME=false,true`.

    Raises `InputError` for anything a trial could not be.
    """
    dimensions = tuple(_parse_dimension(text) for text in texts)
    names = [dimension.name for dimension in dimensions]
    if not names:
        raise InputError("the search space is empty; give at least one --space NAME=LOW..HIGH.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"space: {', '.join(twice)} stands there more than once. Give each name one range.")
    return dimensions


def distributions(dimensions: Sequence[Dimension]) -> dict[str, Any]:
    return {dimension.name: dimension.distribution() for dimension in dimensions}


def points_to_evaluate(dimensions: Sequence[Dimension], base: TrainConfig) -> list[dict[str, Any]]:
    """The reference configurations, moved into the space where it does not reach them; equal ones once."""
    defaults = dataclasses.asdict(base)
    points: list[dict[str, Any]] = []
    for reference in REFERENCE_CONFIGS:
        values = {**defaults, **reference}
        point = {dimension.name: dimension.nearest(values[dimension.name]) for dimension in dimensions}
        if point not in points:
            points.append(point)
    return points


def _parse_dimension(text: str) -> Dimension:
    name, equals, values = text.partition("=")
    known = {*RANGES, *CHOICES, *SWITCHES} - NOT_SEARCHABLE
    if name not in known:
        raise InputError(f"space: {name!r} is not a training option that can vary. Known: {', '.join(sorted(known))}.")
    if not equals or not values:
        raise InputError(f"space: expected {name}=LOW..HIGH, got {text!r}.")
    parse_values = _parse_switch if name in SWITCHES else _parse_words if name in CHOICES else _parse_numbers
    dimension = parse_values(name, values)
    _check_trainable(dimension)
    return dimension


def _parse_words(name: str, values: str) -> Dimension:
    words = tuple(values.split(","))
    if len(set(words)) < 2:
        raise InputError(f"space: {name} needs at least two different values, got {values!r}.")
    return Dimension(name, choices=words)


def _parse_switch(name: str, values: str) -> Dimension:
    truths = {"false": False, "true": True}
    words = [word.strip().lower() for word in values.split(",")]
    if set(words) != set(truths):
        raise InputError(f"space: {name} is searched as {name}=false,true, got {values!r}.")
    return Dimension(name, choices=tuple(truths[word] for word in dict.fromkeys(words)))


def _parse_numbers(name: str, values: str) -> Dimension:
    span, _, how = values.partition(":")
    low_text, dots, high_text = span.partition("..")
    try:
        low, high = float(low_text), float(high_text)
        step = float(how) if how and how != "log" else None
    except ValueError:
        dots = ""
    if not dots:
        raise InputError(f"space: expected {name}=LOW..HIGH, {name}=LOW..HIGH:log or {name}=LOW..HIGH:STEP, got {values!r}.")
    if not low < high or (how == "log" and low <= 0) or (step is not None and not 0 < step <= high - low):
        raise InputError(f"space: {name}={values} holds no range: LOW < HIGH, 0 < LOW for log, 0 < STEP <= HIGH - LOW.")
    kind = RANGES[name][0]
    if kind is int and not all(number is None or number.is_integer() for number in (low, high, step)):
        raise InputError(f"space: {name} takes whole numbers, got {values}.")
    return Dimension(name, low, high, how == "log", step)


def _check_trainable(dimension: Dimension) -> None:
    """A bad end of a range is found now, not by the first trial that draws it."""
    for value in dimension.choices or (dimension.nearest(dimension.low), dimension.nearest(dimension.high)):
        try:
            TrainConfig.from_dict({dimension.name: value}, dimension.name)
        except InputError as error:
            raise InputError(f"space: {error}") from None
