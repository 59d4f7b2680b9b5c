"""Numbers, times and texts as the report prints them, without anything that tells where patients' files lie."""

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

NO_VALUE = "–"
PATH_TOKEN = re.compile(r"(?:(?<=[\s'\"(=\[,])|^)(?:~|\.{1,2}|[A-Za-z]:|file:)?[/\\][^\s'\"(),;]*[^\s'\"(),;:.]")
RELATIVE_PATH = re.compile(
    r"(?:(?<=[\s'\"(=\[,])|^)[^\s'\"(),;:/\\]+(?:[/\\][^\s'\"(),;:/\\]+)*[/\\][^\s'\"(),;:/\\]+\.[A-Za-z][\w.]*"
)


def score(value: float, digits: int = 4) -> str:
    """A metric with a fixed number of decimals, so that columns line up."""
    return NO_VALUE if math.isnan(value) else f"{value:.{digits}f}"


def cell(value: Any) -> str:
    """A parameter, setting or version: three significant digits for a fraction, words as they are."""
    if value is None or value == "":
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return (f"{value:g}" if value.is_integer() else f"{value:.3g}").replace("e-0", "e-").replace("e+0", "e")
    if isinstance(value, list | tuple):
        return ", ".join(cell(entry) for entry in value) or "none"
    return without_paths(json.dumps(value) if isinstance(value, dict) else str(value))


def column(texts: Sequence[str]) -> list[str]:
    """The values of one parameter over the trials: fractions all in one notation, so that they can be compared."""
    try:
        numbers = [float(text) for text in texts if text]
    except ValueError:
        return [without_paths(text) or NO_VALUE for text in texts]
    if all(re.fullmatch(r"-?\d*", text) for text in texts):
        return [text or NO_VALUE for text in texts]
    sizes = [abs(value) for value in numbers if value]
    is_scientific = bool(sizes) and (min(sizes) < 1e-3 or max(sizes) >= 1e5)
    return [_fraction(text, is_scientific) for text in texts]


def _fraction(text: str, is_scientific: bool) -> str:
    if not text:
        return NO_VALUE
    return f"{float(text):.2e}".replace("e-0", "e-").replace("e+0", "e") if is_scientific else f"{float(text):.3f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `duration(75) -> "0:01:15"`."""
    if math.isnan(seconds):
        return NO_VALUE
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def moment(text: str) -> str:
    """An ISO time as date and time in UTC; a text that is none, as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return text


def without_paths(text: str, data_dir: str = "") -> str:
    """The text with every path cut down to its last name: folders may be called after hospitals or patients."""
    if data_dir:
        # Its name may hold spaces, at which the patterns below would end.
        text = re.sub(re.escape(data_dir.rstrip("/\\")) + r"(?=[/\\])", "", text)
    for pattern in (PATH_TOKEN, RELATIVE_PATH):
        text = pattern.sub(lambda match: re.split(r"[/\\]", match.group())[-1], text)
    return text
