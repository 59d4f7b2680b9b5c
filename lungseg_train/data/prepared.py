"""What a prepared case says of itself: case.json beside its CT and mask."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from lungseg_train.data.duplicates import is_thumbnail
from lungseg_train.errors import InputError

CASE_JSON = "case.json"
NATIVE_CT, NATIVE_MASK = "native_ct.nii.gz", "native_lung.nii.gz"
CASE_FILES = {"ct.nii.gz", "lung.nii.gz", CASE_JSON, NATIVE_CT, NATIVE_MASK}
"""All that a prepared case consists of."""
MAX_JSON_BYTES = 2**20
PREPARE_VERSION = 1
"""Raise it when the same source would give other voxels: cases are then prepared again."""


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """Where a case came from and what was done to it, without a name, date or path of the source."""

    case_id: str
    patient: str
    """Salted hash of the patient's id."""
    source: str
    """Kinds of CT and mask, such as DICOM CT + RTSTRUCT."""
    source_series: str
    """Salted hash of the series' UID, or of the file's place."""
    source_state: str
    """Hash of names, sizes and times of the source's files and of the options: equal ones are not prepared again."""
    source_shape: tuple[int, int, int]
    source_spacing_mm: tuple[float, float, float]
    source_axes: str
    """Directions of the file's axes, such as LPS."""
    source_ct_sha256: str
    """Hash of the decoded voxels and their grid in RAS+."""
    source_mask_sha256: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    lung_ml: float
    lung_outside_percent: float
    """Share of the lungs beyond the training grid."""
    steps: tuple[str, ...]
    thumbnail: str
    native_sha256: tuple[str, str] | None
    prepare_version: int = PREPARE_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def read_former(folder: Path) -> PreparedCase | None:
    """The same where a damaged case.json is as good as none, since its case is about to be prepared again."""
    try:
        return read_prepared(folder)
    except InputError:
        return None


def read_prepared(folder: Path) -> PreparedCase | None:
    """The case.json of a case folder, None where it was not prepared by us. Raises `InputError` if it is damaged."""
    path = folder / CASE_JSON
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            values: dict[str, Any] = json.loads(stream.read(MAX_JSON_BYTES))
        tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        prepared = PreparedCase(**tuples)
        kinds = get_type_hints(PreparedCase)
        wrong = [name for name, kind in kinds.items() if not _fits(getattr(prepared, name), kind)]
        if wrong or not is_thumbnail(prepared.thumbnail):
            raise ValueError(*wrong)
        return prepared
    # RecursionError: brackets within brackets.
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: damaged. Prepare the case again.") from None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the type that a field is annotated with."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple:
        kinds = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is Ellipsis else parts
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin is UnionType:
        return any(_fits(value, part) for part in parts)
    return isinstance(value, (int, float) if kind is float else kind)
