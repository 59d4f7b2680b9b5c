"""What the report says of each metric: its name, unit, digits and meaning."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.formatting import NO_VALUE, score


@dataclass(frozen=True)
class MetricWords:
    """How one metric is printed and explained."""

    title: str
    unit: str = ""
    digits: int = 4
    """Decimals of a value."""
    short_digits: int = 3
    """Decimals of an interval and of the headline."""
    is_signed: bool = False
    meaning: str = ""
    """One sentence; empty where the title says it."""

    @property
    def heading(self) -> str:
        """`"HD95, mm"`."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def value(self, value: float) -> str:
        """A patient's or the mean value, without its unit: `"3.07"`."""
        return self._signed(value, self.digits)

    def short(self, value: float) -> str:
        """The same with its unit, for the headline: `"3.1 mm"`."""
        return f"{self._signed(value, self.short_digits)} {self.unit}".rstrip()

    def interval(self, low: float, high: float, short: bool = False) -> str:
        """`"0.812 to 0.934"`, or `"0.812–0.934"` in a column; beside a minus the dash would be one too many."""
        between = "–" if short and not self.is_signed else " to "
        return f"{self._signed(low, self.short_digits)}{between}{self._signed(high, self.short_digits)}"

    def _signed(self, value: float, digits: int) -> str:
        text = score(value, digits)
        if not self.is_signed or text == NO_VALUE:
            return text
        # A proper minus is as wide as the plus, so that columns line up; a rounded 0 has no sign.
        sign = "" if not float(text) else "+" if value > 0 else "−"
        return sign + text.lstrip("-")


METRIC_WORDS = {
    "dice": MetricWords("Dice", meaning="Twice the common volume of both masks over the sum of their volumes; 1 is perfect."),
    "iou": MetricWords("IoU", meaning="The common volume over the volume that either mask covers; 1 is perfect."),
    "hd95_mm": MetricWords(
        "HD95",
        "mm",
        digits=1,
        short_digits=1,
        meaning="95 % of each mask’s surface lies no farther than this from the other’s (95th percentile Hausdorff distance); "
        "0 is perfect.",
    ),
    "asd_mm": MetricWords(
        "ASD",
        "mm",
        digits=2,
        short_digits=2,
        meaning="Distance between the two surfaces, averaged over both (average symmetric surface distance); 0 is perfect.",
    ),
    "surface_dice": MetricWords(
        "Surface Dice",
        meaning="Share of both surfaces that lies within one voxel, by its longest edge, of the other "
        "(normalised surface distance, NSD); 1 is perfect.",
    ),
    "volume_error_percent": MetricWords(
        "Volume error",
        "%",
        digits=1,
        short_digits=1,
        is_signed=True,
        meaning="Predicted minus reference lung volume, in percent of the reference; in the mean, too much in one patient "
        "offsets too little in another.",
    ),
    "soft_dice": MetricWords("Soft Dice"),
    "loss": MetricWords("Loss"),
}
"""In the order of the report's columns."""


def words_of(metric: str) -> MetricWords:
    """A column that this version does not know keeps its own name."""
    return METRIC_WORDS.get(metric, MetricWords(metric))


def in_order(metrics: Iterable[str]) -> list[str]:
    """The metrics as the report lists them; unknown ones last."""
    places = {metric: place for place, metric in enumerate(METRIC_WORDS)}
    return sorted(metrics, key=lambda metric: places.get(metric, len(places)))
