import math
from contextlib import nullcontext
from pathlib import Path

import pytest
from finished_run import Lab, change_json

from analysis.load_run import load_run, winning_trial
from lungseg_train.errors import InputError


def test_a_trial_that_failed_at_once_has_an_empty_curve(finished_lab: Lab) -> None:
    failed = load_run(finished_lab.run).trials[3]
    assert (failed.status, failed.curve.epochs, failed.params) == (
        "failed",
        (),
        {"learning_rate": "0.5", "dropout": "0.3"},
    )
    assert math.isnan(failed.val_dice)


def test_the_winner_is_the_trial_with_the_best_configurations_parameters(finished_lab: Lab) -> None:
    winner = winning_trial(load_run(finished_lab.run))
    assert winner is not None
    assert winner.trial_id == "trial2"


def test_without_such_a_trial_the_winner_is_the_first_of_the_leaderboard(lab: Lab) -> None:
    change_json(lab.run / "best_config.json", learning_rate=0.123)
    winner = winning_trial(load_run(lab.run))
    assert winner is not None
    assert winner.trial_id == "trial1"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="expected the folder of a run"):
            load_run(folder)


@pytest.mark.parametrize("name", ["best_config.json", "retrain/best_model.keras"])
def test_an_unfinished_run_names_the_command_that_finishes_it(lab: Lab, name: str) -> None:
    (lab.run / name).unlink()
    with pytest.raises(InputError, match=r"python tune/search\.py --resume"):
        load_run(lab.run)


@pytest.mark.parametrize(
    "name",
    ["search_config.json", "environment.json", "dataset.json", "split.json", "best_config.json", "leaderboard.csv"],
)
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\xff\x00", b'{"test_sha256": 1, "cases": [1]}'])
def test_a_damaged_file_is_named_or_harmless(lab: Lab, name: str, content: bytes) -> None:
    (lab.run / name).write_bytes(content)
    # An environment and a configuration without entries are valid: their fields have defaults.
    is_harmless = content.startswith(b"{") and len(content) > 1 and name == "environment.json"
    is_harmless |= content == b"{}" and name == "best_config.json"
    with nullcontext() if is_harmless else pytest.raises(InputError, match=name):
        load_run(lab.run)
