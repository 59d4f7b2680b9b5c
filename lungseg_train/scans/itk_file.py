"""Reading NRRD and MHA, ITK's two formats, without ITK.

Its readers abort the process at some damage, follow a header to any file of the machine, and go on with what is left of
voxels that were cut. So the header is read here, nothing but the fields below is believed, and the voxels are counted.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg_train.errors import InputError
from lungseg_train.scans.nifti_file import EXPORT_AGAIN, MAX_BYTES, MAX_VOXELS, NO_PLACE, check_affine, check_finite
from lungseg_train.scans.volume import Volume, in_canonical_orientation, new_header

MAX_TEXT_BYTES = 2**16
"""The text before the voxels is never longer."""
ELSEWHERE = "voxels lie in another file. Export the file again with the voxels inside."
MHA_LINE = re.compile(r"(\w+) *= *(.*)")
GZIP_OR_ZLIB = 47
CHUNK = 2**20
TO_RAS = {"RAS": (1, 1, 1), "LAS": (-1, 1, 1), "LPS": (-1, -1, 1)}
"""Signs that turn a space into RAS+."""
NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
MHA_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MET_LONG is missing: programs do not agree on its length."""


@dataclass(frozen=True)
class _Layout:
    """How the voxels lie in a file, and where they lie in the patient."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    packed: bool
    affine: np.ndarray
    """(4, 4): voxel index -> mm in RAS+."""


def read_itk(path: Path) -> Volume:
    """Read a 3D NRRD or MHA file whole and turn it to RAS+. Raises `InputError` for anything else."""
    is_nrrd = path.suffix.lower() == ".nrrd"
    with _errors_of(path):
        with path.open("rb") as stream:
            start = stream.read(MAX_TEXT_BYTES)
        layout = (_nrrd_layout if is_nrrd else _mha_layout)(start, path)
        num_voxels = float(np.prod(layout.shape, dtype=np.float64))
        if num_voxels > MAX_VOXELS or num_voxels * layout.dtype.itemsize > MAX_BYTES:
            claim = "x".join(map(str, layout.shape))
            raise InputError(f"{path}: claims {claim} voxels of {layout.dtype}, more than any CT has. Check the file.")
        check_affine(layout.affine, path)
        voxels = _read_voxels(path, layout)
    if voxels.dtype.kind == "f":
        check_finite(voxels, path)
    return in_canonical_orientation(voxels, layout.affine, new_header(layout.affine))


def _nrrd_layout(start: bytes, path: Path) -> _Layout:
    end = re.search(rb"\r?\n\r?\n", start)
    text = start[: end.start()] if end else start
    first, *lines = [line.rstrip("\r") for line in text.decode("latin-1").split("\n")]
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and not value.startswith("=") and not line.startswith("#"):
            fields["".join(name.lower().split())] = value.strip()
    if "datafile" in fields:
        raise InputError(f"{path}: its {ELSEWHERE}")
    if not end or not first.startswith("NRRD000"):
        raise InputError(f"{path}: expected a NRRD file, but it does not begin with a NRRD header. Copy it again.")
    with _fields_of(path):
        shape = _shape(fields["sizes"], path)
        encoding, space = fields["encoding"].lower(), fields.get("space", "")
        if encoding not in ("raw", "gzip", "gz"):
            raise InputError(f"{path}: expected voxels in encoding raw or gzip, got encoding {encoding}. {EXPORT_AGAIN}")
        if any(fields.get(skip, "0") != "0" for skip in ("lineskip", "byteskip")):
            raise InputError(f"{path}: expected the voxels right behind the header. {EXPORT_AGAIN}")
        # right-anterior-superior is RAS.
        code = "".join(word[0] for word in space.split("-")).upper() if "-" in space else space.upper()
        if code not in TO_RAS:
            raise InputError(f"{path}: {NO_PLACE} (space {space or 'missing'}). {EXPORT_AGAIN}")
        dtype = _dtype(NRRD_TYPES, fields["type"].lower(), fields.get("endian", "little").lower() == "big", path)
        directions = [_numbers(vector, 3) for vector in re.findall(r"\(([^()]*)\)", fields["spacedirections"])]
        affine = _affine(np.array(directions).T, _numbers(fields.get("spaceorigin", "0,0,0").strip("()"), 3), TO_RAS[code])
        return _Layout(end.end(), shape, dtype, encoding != "raw", affine)


def _mha_layout(start: bytes, path: Path) -> _Layout:
    end = re.search(rb"(?:^|\n)ElementDataFile[^\n]*\n", start)
    text = start[: end.end() - 1].decode("latin-1") if end else ""
    lines = [MHA_LINE.fullmatch(line.rstrip("\r")) for line in text.split("\n")]
    fields = {line[1].lower(): line[2].strip() for line in lines if line}
    if end and fields.get("elementdatafile", "").upper() != "LOCAL":
        raise InputError(f"{path}: its {ELSEWHERE}")
    if not end or len(fields) != len(lines):
        raise InputError(f"{path}: expected an MHA file, but it does not begin with an MHA header. Copy it again.")
    with _fields_of(path):
        shape = _shape(fields["dimsize"], path, int(fields.get("elementnumberofchannels", 1)))
        if not _is_true(fields, "binarydata") or fields.get("headersize", "0") != "0":
            raise InputError(f"{path}: expected binary voxels right behind the header. {EXPORT_AGAIN}")
        function = "elementtointensityfunction"
        scaling = [fields.get(f"{function}slope", "1"), fields.get(f"{function}offset", "0")]
        if [float(number) for number in scaling] != [1.0, 0.0]:
            raise InputError(f"{path}: expected voxels without a scaling, got {' and '.join(scaling)}. Export the CT in HU.")
        directions = _first_of(fields, "transformmatrix", "orientation", "rotation")
        origin = _first_of(fields, "offset", "position", "origin")
        if not directions or not origin:
            raise InputError(f"{path}: {NO_PLACE} (no TransformMatrix or no Offset). {EXPORT_AGAIN}")
        big_endian = _is_true(fields, "binarydatabyteordermsb") or _is_true(fields, "elementbyteordermsb")
        spacing = _numbers(_first_of(fields, "elementspacing", "elementsize"), 3)
        # One row for each axis of the voxels.
        columns = _numbers(directions, 9).reshape(3, 3).T * spacing
        affine = _affine(columns, _numbers(origin, 3), TO_RAS["LPS"])
        dtype = _dtype(MHA_TYPES, fields["elementtype"], big_endian, path)
        return _Layout(end.end(), shape, dtype, _is_true(fields, "compresseddata"), affine)


def _read_voxels(path: Path, layout: _Layout) -> np.ndarray:
    """Exactly the voxels that the header promises, (X, Y, Z) as stored; the file is read to its end."""
    payload = np.empty(int(np.prod(layout.shape)) * layout.dtype.itemsize, np.uint8)
    view, num_read = memoryview(payload.data), 0
    with path.open("rb") as stream:
        stream.seek(layout.offset)
        for chunk in _chunks(stream.read, layout.packed):
            # One chunk too many is enough to know that the file is too long.
            num_new = min(len(chunk), len(payload) - num_read)
            view[num_read : num_read + num_new] = chunk[:num_new]
            num_read += len(chunk)
            if num_read > len(payload):
                break
    if num_read != len(payload):
        got = "more" if num_read > len(payload) else str(num_read)
        raise InputError(f"{path}: expected {len(payload)} bytes of voxels by its header, got {got}: damaged. Copy it again.")
    return payload.view(layout.dtype).reshape(layout.shape, order="F")


def _chunks(read: Callable[[int], bytes], packed: bool) -> Iterator[bytes]:
    """What follows, unpacked, in pieces of bounded size. Raises `zlib.error`."""
    if not packed:
        while chunk := read(CHUNK):
            yield chunk
        return
    unpack = zlib.decompressobj(GZIP_OR_ZLIB)
    while not unpack.eof:
        chunk = unpack.unconsumed_tail or read(CHUNK)
        unpacked = unpack.decompress(chunk, CHUNK)
        if not chunk and not unpacked:
            raise zlib.error("it ends too early")
        yield unpacked
    if unpack.unused_data or read(1):
        raise zlib.error("something lies behind them")


def _shape(text: str, path: Path, num_components: int = 1) -> tuple[int, ...]:
    shape = tuple(int(size) for size in text.split())
    if len(shape) != 3 or min(shape) < 1 or num_components != 1:
        raise InputError(f"{path}: expected a 3D volume of single numbers, got size {text} x {num_components}. {EXPORT_AGAIN}")
    return shape


def _dtype(types: Mapping[str, str], name: str, big_endian: bool, path: Path) -> np.dtype:
    if name not in types:
        raise InputError(f"{path}: expected whole or real numbers up to 64 bits, got type {name}. {EXPORT_AGAIN}")
    return np.dtype(types[name]).newbyteorder(">" if big_endian else "<")


def _affine(columns: np.ndarray, origin: np.ndarray, signs: tuple[int, int, int]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns.reshape(3, 3), origin
    return np.diag([*signs, 1.0]) @ affine


def _numbers(text: str, count: int) -> np.ndarray:
    numbers = np.array([float(word) for word in text.replace(",", " ").split()])
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers instead of {count}")
    return numbers


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").lower() == "true"


def _first_of(fields: Mapping[str, str], *names: str) -> str:
    return next((fields[name] for name in names if name in fields), "")


@contextmanager
def _fields_of(path: Path) -> Iterator[None]:
    """What is missing in a header or is no number, as one line."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path}: its header has no field {error.args[0]}. {EXPORT_AGAIN}") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: its header is damaged ({error}). {EXPORT_AGAIN}") from None


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """What the file system and zlib complain of, as one line."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Copy it again.") from None
    except zlib.error as error:
        raise InputError(f"{path}: its voxels cannot be unpacked ({error}). Copy it again.") from None
