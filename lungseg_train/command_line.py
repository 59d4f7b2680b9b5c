"""Command lines made from dataclasses: every field becomes an option, spelt with `_` or `-`."""

import contextlib
import io
import re
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from lungseg_train.errors import InputError

Command = TypeVar("Command")


def parse(
    command: type[Command],
    prog: str,
    description: str,
    args: Sequence[str] | None = None,
    default: Command | None = None,
) -> Command:
    """Read the command line into `command`, a dataclass; nested dataclasses add their fields without a prefix.

    Raises `InputError` for an option that is unknown, missing or malformed.
    """
    import tyro

    complaint = io.StringIO()
    unprefixed: Any = tyro.conf.OmitArgPrefixes
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Command = tyro.cli(unprefixed[command], prog=prog, description=description, args=args, default=default)
            return parsed
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_first_paragraph(complaint.getvalue())} See {prog} --help.") from None


def given_path(option: str) -> Path | None:
    """What follows `option` on this process's command line, read ahead of the rest: a file that the defaults stand in."""
    early = ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    early.add_argument(option, type=Path, dest="path")
    try:
        known, _ = early.parse_known_args([arg for arg in sys.argv[1:] if arg not in ("-h", "--help")])
    except ArgumentError:
        # Without a value: `parse` says so better.
        return None
    path: Path | None = known.path
    return path


def _first_paragraph(box: str) -> str:
    """Tyro answers with a framed page; its first paragraph is the complaint and the last its hint."""
    lines = [line.strip("│╭╮╰╯─ \n") for line in box.splitlines()[1:]]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    words = re.sub(r"^Error parsing [\w.]+: ", "", " ".join(paragraphs[0]).rstrip("."))
    hint = next((" ".join(p[1:2]) for p in paragraphs if p and p[0].startswith("Perhaps you meant")), "")
    return f"{words}. Perhaps you meant {hint}." if hint else f"{words}."
