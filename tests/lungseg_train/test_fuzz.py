"""Random damage to good files of every kind: `InputError` or what the file honestly says, and nothing else."""

import functools
import gzip
import resource
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lungseg_train.errors import InputError
from lungseg_train.scans.volume import Volume
from tests.fuzz.readers import Reader, make_readers, small_scan

NAMES = (
    *("ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha", "packed.mha", "slice.dcm", "rt.dcm", "seg.dcm"),
    *("structures.dcm", "segments.dcm", "case.json", "ids.csv"),
)
EXAMPLES = dict.fromkeys(("slice.dcm", "seg.dcm", "structures.dcm", "segments.dcm"), 80)
FOLDER = tempfile.TemporaryDirectory(prefix="fuzz")
MAX_GROWTH_MIB = 200
"""Of the process's memory at its peak: the files have some KB, whatever they claim."""


@functools.cache
def _readers() -> dict[str, Reader]:
    return make_readers(Path(FOLDER.name))


@st.composite
def damage(draw: st.DrawFn, good: bytes) -> bytes:
    """A file with a few bytes changed, cut out, put in, or exchanged for numbers that programs stumble over."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        # Headers are at the front.
        at = draw(st.integers(0, min(len(data), 400)) | st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "flip", "cut", "delete", "insert", "number", "digit"]))
        if kind == "cut":
            del data[at:]
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif kind == "number":
            number = draw(st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f"]))
            data[at : at + 4] = number
        elif kind == "digit":
            places = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
            if places:
                data[draw(st.sampled_from(places))] = ord(draw(st.sampled_from("0123456789.-eN")))
        elif at < len(data):
            data[at] = draw(st.integers(0, 255)) if kind == "set" else data[at] ^ 1 << draw(st.integers(0, 7))
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_no_damage_escapes_as_another_error(name: str, tmp_path: Path) -> None:
    reader = _readers()[name]

    @settings(max_examples=EXAMPLES.get(name, 150), deadline=None, suppress_health_check=list(HealthCheck))
    @given(damage(reader.good))
    def check(data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        try:
            result = reader.read(tmp_path)
        except InputError as error:
            assert str(error).strip()
            return
        if isinstance(result, Volume):
            _check_volume(result, data, name)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MAX_GROWTH_MIB


def _check_volume(volume: Volume, data: bytes, name: str) -> None:
    assert volume.array.ndim == 3 and volume.array.size and np.isfinite(volume.array).all()
    assert np.isfinite(volume.affine).all() and abs(np.linalg.det(volume.affine[:3, :3])) > 0
    if name.startswith("ct.nii"):
        # The voxels in memory are those that nibabel finds in the same bytes.
        data = gzip.decompress(data) if name.endswith(".gz") else data
        version = nib.Nifti1Image if data[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") else nib.Nifti2Image
        other = nib.as_closest_canonical(version.from_bytes(data))
        np.testing.assert_allclose(volume.array, np.asarray(other.dataobj).reshape(volume.shape), rtol=1e-6)
    elif name == "slice.dcm":
        assert volume.shape == small_scan()[0].shape
    elif name.endswith(("nrrd", "mha")):
        # As many voxels as the file has bytes for.
        assert volume.array.size in {small_scan()[0].array.size * factor for factor in (0.25, 0.5, 1, 2)}


def test_the_undamaged_files_are_read(tmp_path: Path) -> None:
    ct, mask = small_scan()
    for name, reader in _readers().items():
        place = tmp_path / f"folder of {name}"
        place.mkdir()
        (place / name).write_bytes(reader.good)
        result = reader.read(place)
        if isinstance(result, Volume):
            np.testing.assert_array_equal(result.array, ct.array)
            np.testing.assert_allclose(result.affine, ct.affine, atol=1e-4)
        elif isinstance(result, np.ndarray):
            np.testing.assert_array_equal(result, mask)
        else:
            expected = {"case.json": {"other": "new"}, "structures.dcm": [True], "segments.dcm": [True]}
            assert result == expected[name] if name in expected else [case_id for case_id, _ in result] == ["P1", "P2"]
