import math

import pytest

from analysis.metric_words import METRIC_WORDS, in_order, words_of
from lungseg_train.evaluation.summary import METRICS


def test_every_metric_of_a_run_has_words() -> None:
    assert set(METRIC_WORDS) == set(METRICS)
    units = {name: words.unit for name, words in METRIC_WORDS.items() if words.unit}
    assert units == {"hd95_mm": "mm", "asd_mm": "mm", "volume_error_percent": "%"}


@pytest.mark.parametrize(
    ("value", "printed"), [(1.26, "+1.3"), (-0.349, "−0.3"), (0.04, "0.0"), (-0.04, "0.0"), (0.0, "0.0"), (math.nan, "–")]
)
def test_a_signed_value_shows_its_sign_unless_it_is_nothing(value: float, printed: str) -> None:
    assert words_of("volume_error_percent").value(value) == printed


def test_an_interval_of_signed_values_has_no_dash_between() -> None:
    assert words_of("volume_error_percent").interval(-1.0, 2.0, short=True) == "−1.0 to +2.0"
    assert words_of("dice").interval(0.8, 0.9, short=True) == "0.800–0.900"
    assert words_of("dice").interval(0.8, 0.9) == "0.800 to 0.900"


def test_a_metric_that_is_not_known_keeps_its_name_and_comes_last() -> None:
    assert words_of("sensitivity").heading == "sensitivity"
    assert in_order(["sensitivity", "loss", "hd95_mm", "dice"]) == ["dice", "hd95_mm", "loss", "sensitivity"]
