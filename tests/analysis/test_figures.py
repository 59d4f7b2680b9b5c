import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from finished_run import Lab

from analysis import figures
from analysis.load_run import Curve, load_run, winning_trial

SIZES = ((8.6, 4.4), (4.0, 3.8))


def texts(svg: str) -> list[str]:
    """What a reader of the picture can read; fails unless it is well-formed."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("size", SIZES)
def test_learning_curves_name_the_winner_and_the_rungs(finished_lab: Lab, size: figures.Size) -> None:
    run = load_run(finished_lab.run)
    labels = texts(figures.learning_curves(run.trials, winning_trial(run), [1, 2], size))
    assert {"trial2", "0.800", "epoch, log scale", "validation Dice"} <= set(labels)
    # The axis is labelled at the rungs and at its end, nowhere else.
    assert [label for label in labels if label.isdigit()] == ["1", "2", "4"]


def test_a_search_without_any_curve_is_drawn_empty() -> None:
    assert "validation Dice" in texts(figures.learning_curves([], None, [], SIZES[0]))


@pytest.mark.parametrize("size", SIZES)
def test_training_curves_show_loss_and_learning_rate(size: figures.Size) -> None:
    curve = Curve((1, 2, 3), {"loss": (0.9, 0.5, 0.4), "val_loss": (0.8, 0.6, 0.4), "learning_rate": (1e-3, 1e-3, 5e-4)})
    labels = texts(figures.training_curves(curve, size))
    assert {"loss", "learning rate", "training", "validation", "1.0e-3", "5.0e-4"} <= set(labels)


def test_a_training_of_one_epoch_without_validation_can_be_drawn() -> None:
    labels = texts(figures.training_curves(Curve((1,), {"loss": (0.9,), "learning_rate": (1e-3,)}), SIZES[0]))
    assert "training" in labels and "validation" not in labels


def test_equal_tables_make_equal_pictures_in_colours_that_follow_the_page(tmp_path: Path) -> None:
    interval = figures.Interval(0.9, 0.85, 0.95)
    first, second = (figures.patient_scores([0.85, 0.9, 0.95], interval, (8.6, 1.5)) for _ in range(2))
    assert first == second
    assert "prefers-color-scheme:dark" in first
    drawing = first.split("<defs>", 1)[1]
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawing)) - {"#000000"}
