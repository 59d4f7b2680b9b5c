"""Names for patients that say nothing of them: salted hashes, or a mapping of the user's own."""

import csv
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungseg_train.errors import InputError

ID_LENGTH = 10
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def default_salt_path() -> Path:
    """`$XDG_DATA_HOME/lungseg-search/salt`: kept with the user and not with the data."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lungseg-search" / "salt"


def read_salt(path: Path) -> bytes:
    """The secret that makes hashes of ids unguessable; made at the first use. Raises `InputError`."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Exclusively, and readable by the user alone from the first moment.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
        salt = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"{path}: the salt cannot be read or made ({error.strerror}). Name a file by --salt_file.") from None
    if len(salt) < 16:
        raise InputError(f"{path}: expected a salt of at least 16 characters, got {len(salt)}. Remove the file for a new one.")
    return salt


def salted(text: str, salt: bytes) -> str:
    # Names on a disk may be no UTF-8.
    return hmac.new(salt, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:ID_LENGTH]


def read_id_map(path: Path) -> dict[str, str]:
    """A CSV file with columns source and case_id. Raises `InputError`."""
    try:
        # Spreadsheets put a byte order mark before the first column.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(row["source"].strip(), row["case_id"].strip()) for row in csv.DictReader(stream)]
    except (OSError, KeyError, AttributeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file with the columns source and case_id ({error}).") from None
    ids: dict[str, str] = {}
    for source, case_id in rows:
        if ids.setdefault(source, case_id) != case_id:
            raise InputError(f"{path}: names both {ids[source]} and {case_id} for one source. Keep one line for each source.")
    bad = next((case_id for case_id in ids.values() if not SAFE_ID.fullmatch(case_id)), None)
    if bad is not None:
        raise InputError(f"{path}: case id {bad!r} is no folder name. Use letters, digits, '.', '_' and '-'.")
    return ids


def name_cases(patient_ids: Sequence[str], salt: bytes, id_map: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """(case id, patient) of each scan; a patient's second scan gets -2 behind the case id, and so on.

    A mapping may give several sources one name: they are then scans of one patient. Raises `InputError` if it leaves one out.
    """
    if id_map is not None and not set(patient_ids) <= set(id_map):
        raise InputError("the mapping of ids lacks some of the scans. Add a line for each.")
    names: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    for patient_id in patient_ids:
        patient = salted(id_map[patient_id] if id_map is not None else patient_id, salt)
        name = id_map[patient_id] if id_map is not None else f"case-{patient}"
        counts[name] = counts.get(name, 0) + 1
        names.append((name if counts[name] == 1 else f"{name}-{counts[name]}", patient))
    twice = sorted({name for name, _ in names if [other for other, _ in names].count(name) > 1})
    if twice:
        raise InputError(f"the mapping of ids makes two cases called {twice[0]}. Choose another case id.")
    return names
