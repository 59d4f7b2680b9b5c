"""The files of a run, one at a time: read whole, or refused in one line that says how to mend it."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lungseg_train.errors import InputError

Row = dict[str, str]


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object that has at least `keys`. Raises `InputError`."""
    values = _parse(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, got {_kind(values)}. Restore the file from a copy.")
    missing = [key for key in keys if key not in values]
    if missing:
        raise InputError(f"{path}: expected the key {missing[0]}, but it is missing. Restore the file from a copy.")
    return values


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects. Raises `InputError`."""
    values = _parse(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InputError(f"{path}: expected a JSON list of objects, got {_kind(values)}. Restore it from a copy.")
    return values


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file whose header has at least `columns`. Raises `InputError`."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, restval="")
            header = reader.fieldnames or ()
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV table, but {_reason(error)}. Restore the file from a copy.") from None
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(f"{path}: expected a column {missing[0]}, but it is missing. Restore the file from a copy.")
    return rows


def number(row: Row, column: str) -> float:
    """The cell as a finite number; NaN where it is empty, absent or no number: no value was reached there."""
    try:
        value = float(row.get(column) or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def sha256_of_file(path: Path) -> str:
    """Hash of the file's bytes. Raises `InputError`."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)}). Copy it again.") from None


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON, but {_reason(error)}. Restore the file from a copy.") from None


def _kind(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(type(value), type(value).__name__)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
