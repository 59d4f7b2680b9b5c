import shlex
from dataclasses import replace

import pytest
from finished_run import Lab

from analysis.commands import repeat_commands
from analysis.load_run import load_run
from lungseg_train.command_line import parse
from lungseg_train.inference import InferenceCommand
from lungseg_train.train import TrainCommand
from tune.search import SearchCommand


def words_of(line: str) -> list[str]:
    """The words that a shell hands over; `shlex` knows no continued lines."""
    return shlex.split(line.replace("\\\n", " "))


COMMANDS = {
    "tune/search.py": SearchCommand,
    "lungseg_train.train": TrainCommand,
    "lungseg_train.inference": InferenceCommand,
}


@pytest.mark.parametrize("program", COMMANDS)
def test_every_command_of_the_report_is_understood(finished_lab: Lab, program: str) -> None:
    lines = [words_of(line) for _, line in repeat_commands(load_run(finished_lab.run), "")]
    (words,) = [words for words in lines if program in words]
    parse(COMMANDS[program], program, "", args=words[words.index(program) + 1 :])


def test_the_search_command_repeats_what_was_searched_and_what_was_fixed(finished_lab: Lab) -> None:
    search = " ".join(words_of(repeat_commands(load_run(finished_lab.run), "")[0][1]))
    assert (
        "--max_epochs 4" in search and "--base_filters 4" in search and "--space learning_rate=1e-5..0.5:log dropout" in search
    )
    assert "--dropout" not in search and "--epochs" not in search.replace("--max_epochs", "")


def test_a_name_that_a_shell_would_split_is_quoted(finished_lab: Lab) -> None:
    run = load_run(finished_lab.run)
    lines = [line for _, line in repeat_commands(replace(run, folder=run.folder.with_name("my run; x")), "other")]
    assert all("my run; x" in " ".join(words_of(line)) and "'" in line for line in lines)
