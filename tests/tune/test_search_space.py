from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg_train.config import TrainConfig
from lungseg_train.errors import InputError
from tune.config import DEFAULT_SPACE, SearchConfig, rung_epochs
from tune.search_space import distributions, parse_space, points_to_evaluate


def test_the_default_space_is_what_the_readme_says() -> None:
    space = distributions(parse_space(DEFAULT_SPACE))
    assert set(space) == {"learning_rate", "dropout", "reg_l2", "base_filters"}
    assert space["learning_rate"].log and space["reg_l2"].log
    assert not space["dropout"].log
    assert (space["base_filters"].low, space["base_filters"].high, space["base_filters"].step) == (4, 16, 4)


def test_base_filters_stay_ordered_numbers() -> None:
    import optuna

    assert isinstance(
        distributions(parse_space(["base_filters=8..32:8"]))["base_filters"], optuna.distributions.IntDistribution
    )


def test_words_are_a_choice_and_phantoms_a_dimension() -> None:
    words, phantoms = parse_space(["normalization=instance,group", "num_phantoms=0..80:20"])
    assert words.choices == ("instance", "group")
    assert [phantoms.nearest(value) for value in (0, 9, 31, 500)] == [0, 0, 40, 80]


def test_a_switch_is_searched_as_false_and_true() -> None:
    space = parse_space(["attention=false,true", "deep_supervision=True,False"])
    assert [dimension.choices for dimension in space] == [(False, True), (True, False)]
    assert distributions(space)["attention"].choices == (False, True)
    point = points_to_evaluate(space, TrainConfig(deep_supervision=True))[0]
    assert point == {"attention": False, "deep_supervision": True}
    replace(TrainConfig(), **point)


def test_both_references_are_tried_first_and_lie_in_the_space() -> None:
    dimensions = parse_space(DEFAULT_SPACE)
    first, second = points_to_evaluate(dimensions, TrainConfig())
    assert first == {"learning_rate": 1e-3, "dropout": 0.0, "reg_l2": 1e-7, "base_filters": 16}
    assert second == {"learning_rate": 1e-4, "dropout": 0.1, "reg_l2": 1e-5, "base_filters": 16}


def test_references_that_fall_together_are_tried_once() -> None:
    assert len(points_to_evaluate(parse_space(["base_filters=4..8:4"]), TrainConfig())) == 1


@given(st.floats(1e-9, 10), st.floats(0, 0.9), st.integers(1, 512))
def test_whatever_is_nearest_lies_in_the_range_and_makes_a_configuration(rate: float, dropout: float, filters: int) -> None:
    values = {"learning_rate": rate, "dropout": dropout, "base_filters": filters, "reg_l2": 0.0}
    for dimension in parse_space(DEFAULT_SPACE):
        nearest = dimension.nearest(values[dimension.name])
        assert dimension.low <= nearest <= dimension.high
        assert dimension.distribution()._contains(dimension.distribution().to_internal_repr(nearest))
        replace(TrainConfig(), **{dimension.name: nearest})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rat=1..2", "not a training option"),
        ("epochs=1..2", "not a training option"),
        ("learning_rate", "expected learning_rate=LOW..HIGH"),
        ("learning_rate=1e-4", "expected learning_rate=LOW..HIGH"),
        ("learning_rate=a..b", "expected learning_rate=LOW..HIGH"),
        ("learning_rate=1e-2..1e-4", "no range"),
        ("learning_rate=0..1e-2:log", "no range"),
        ("dropout=0..0.4:0.5", "no range"),
        ("dropout=0..2", "dropout must be a number"),
        ("base_filters=4..16.5", "whole numbers"),
        ("normalization=instance", "two different"),
        ("attention=true", "attention=false,true"),
        ("attention=0..1", "attention=false,true"),
        ("attention=false,true,maybe", "attention=false,true"),
        ("normalization=instance,layer", "instance, batch, group, none"),
    ],
)
def test_a_dimension_that_no_trial_could_have_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_space([text])


def test_an_empty_space_and_a_name_twice_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        parse_space([])
    with pytest.raises(InputError, match="more than once"):
        parse_space(["dropout=0..0.1", "dropout=0..0.2"])


@pytest.mark.parametrize(
    "values",
    [
        {"num_trials": 0},
        {"max_epochs": 0},
        {"reduction_factor": 1},
        {"grace_period": 28},
        {"cpus_per_trial": 0},
        {"gpus_per_trial": -1},
        {"max_concurrent_trials": 0},
        {"max_trial_gib": 0},
    ],
)
def test_a_search_that_cannot_be_is_refused_by_name(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        SearchConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grace_period", "max_epochs", "reduction_factor", "rungs"),
    [(1, 27, 3, [1, 3, 9]), (1, 28, 3, [1, 3, 9, 27]), (2, 9, 2, [2, 4, 8]), (1, 1, 3, []), (5, 5, 4, []), (1, 2, 4, [1])],
)
def test_rungs_lie_below_the_budget(grace_period: int, max_epochs: int, reduction_factor: int, rungs: list[int]) -> None:
    assert rung_epochs(grace_period, max_epochs, reduction_factor) == rungs
