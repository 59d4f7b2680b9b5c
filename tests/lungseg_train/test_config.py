import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg_train.config import TrainConfig, check_shape
from lungseg_train.config_limits import RANGES
from lungseg_train.errors import InputError


def test_a_configuration_survives_its_json(tmp_path: Path) -> None:
    config = TrainConfig(learning_rate=3e-4, hu_window=(-1000, 300), dropout_bot=0.3)
    (tmp_path / "c.json").write_text(config.to_json())
    assert TrainConfig.read(tmp_path / "c.json") == config


@pytest.mark.parametrize(("name", "limits"), RANGES.items())
def test_a_number_outside_its_range_is_refused_by_name(name: str, limits: tuple[type, float, float]) -> None:
    kind, lowest, highest = limits
    for value in (kind(highest * 2 + 1), lowest - 1, float("nan"), True, "1"):
        with pytest.raises(InputError, match=f"{name} must be"):
            TrainConfig(**{name: value})


@pytest.mark.parametrize("window", [(400, -1000), (0, 0), (float("nan"), 1), (float("-inf"), 0)])
def test_a_hu_window_without_width_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="hu_window"):
        TrainConfig(hu_window=window)


def test_an_unknown_choice_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="instance, batch, group, none"):
        TrainConfig(normalization="layer")  # type: ignore[arg-type]


def test_a_misspelt_name_is_an_error_at_birth() -> None:
    with pytest.raises(TypeError):
        dataclasses.replace(TrainConfig(), learning_rat=1.0)
    with pytest.raises(InputError, match="unknown fields learning_rat"):
        TrainConfig.from_dict({"learning_rat": 1.0})


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"epochs": "ten"}), json.dumps({"hu_window": 3})])
def test_a_file_that_is_no_configuration_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(InputError, match=str(path)):
        TrainConfig.read(path)


def test_one_dropout_rate_serves_all_three_places_unless_they_have_their_own() -> None:
    assert TrainConfig(dropout=0.2).dropout_rates == (0.2, 0.2, 0.2)
    assert TrainConfig(dropout=0.2, dropout_bot=0.5, dropout_enc=0.0).dropout_rates == (0.0, 0.2, 0.5)


@given(st.tuples(*[st.integers(1, 96)] * 3), st.integers(1, 5))
def test_a_shape_is_accepted_exactly_if_every_side_can_be_halved(shape: tuple[int, int, int], depth: int) -> None:
    if all(side % 2**depth == 0 for side in shape):
        check_shape(shape, depth)
    else:
        with pytest.raises(InputError, match=f"2\\^{depth}"):
            check_shape(shape, depth)
