import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg_train.errors import InputError
from lungseg_train.scans.nifti_file import read_nifti
from lungseg_train.scans.volume import to_nifti, write_nifti, write_on_file_grid

ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*order)
]


def _ramp() -> np.ndarray:
    """Every voxel different, every axis of another length: (4, 5, 6)."""
    return np.arange(120, dtype=np.float32).reshape(4, 5, 6)


def _write_as(orientation: str, path: Path) -> None:
    """The ramp in RAS+, with the file's axes in another order and direction."""
    nifti = to_nifti(_ramp(), (2.0, 3.0, 4.0))
    target = nib.orientations.axcodes2ornt(orientation)
    write_nifti(path, nifti.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(nifti.affine), target)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_whatever_the_files_axes_the_network_sees_ras(orientation: str, tmp_path: Path) -> None:
    _write_as(orientation, tmp_path / "ct.nii.gz")
    assert nib.aff2axcodes(nib.load(tmp_path / "ct.nii.gz").affine) == tuple(orientation)
    volume = read_nifti(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(volume.array, _ramp())
    assert volume.spacing_mm == pytest.approx((2.0, 3.0, 4.0))
    np.testing.assert_allclose(volume.affine, to_nifti(_ramp(), (2.0, 3.0, 4.0)).affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_a_result_returns_to_the_files_own_axes_and_affine(orientation: str, tmp_path: Path) -> None:
    _write_as(orientation, tmp_path / "ct.nii.gz")
    volume = read_nifti(tmp_path / "ct.nii.gz")
    write_on_file_grid(tmp_path / "mask.nii.gz", volume.array > 60, volume, np.uint8)
    ct, mask = nib.load(tmp_path / "ct.nii.gz"), nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, ct.affine)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(ct.dataobj) > 60)


def test_the_hash_is_of_the_voxels_not_of_the_file(tmp_path: Path) -> None:
    for name, orientation in (("a.nii.gz", "RAS"), ("b.nii", "LPI"), ("c.nii.gz", "SRA")):
        _write_as(orientation, tmp_path / name)
    assert len({read_nifti(tmp_path / name).sha256 for name in ("a.nii.gz", "b.nii", "c.nii.gz")}) == 1


def test_scaled_integers_are_read_in_their_own_unit(tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(np.full((4, 4, 4), 24, np.int16), np.eye(4))
    nifti.header.set_slope_inter(2.0, -1024.0)
    payload = bytearray(nifti.to_bytes())
    header = nib.Nifti1Header(bytes(payload[:348]))
    header["scl_slope"], header["scl_inter"] = 2.0, -1024.0
    payload[:348] = header.binaryblock
    raw = np.full((4, 4, 4), 24, np.int16).tobytes()
    (tmp_path / "ct.nii").write_bytes(bytes(payload[:352]) + raw)
    assert np.unique(read_nifti(tmp_path / "ct.nii").array).tolist() == [-976.0]


def _bad_files(folder: Path) -> dict[str, Path]:
    """One file for each way in which a NIfTI can be damaged."""
    good = to_nifti(_ramp(), (2.0, 2.0, 2.0)).to_bytes()
    packed = gzip.compress(good)
    nan = _ramp()
    nan[1, 2, 3] = np.nan
    flat = nib.Nifti1Header(good[:348], check=False)
    flat["srow_z"] = 0.0
    contents = {
        "truncated gzip": ("a.nii.gz", packed[: len(packed) // 2]),
        "flipped bit in gzip": ("b.nii.gz", packed[:60] + bytes([packed[60] ^ 1]) + packed[61:]),
        "wrong checksum": ("c.nii.gz", packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]),
        "truncated": ("d.nii", good[:-1]),
        "trailing bytes": ("e.nii", good + b"\0"),
        "text": ("f.nii", b"not a scan at all" * 40),
        "empty": ("g.nii", b""),
        "not gzip": ("h.nii.gz", good),
        "NaN": ("i.nii", to_nifti(nan, (2.0, 2.0, 2.0)).to_bytes()),
        "4D": ("j.nii", nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)).to_bytes()),
        "singular affine": ("k.nii", flat.binaryblock + good[348:]),
    }
    for name, content in contents.values():
        (folder / name).write_bytes(content)
    return {kind: folder / name for kind, (name, _) in contents.items()}


def test_every_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    for path in (*_bad_files(tmp_path).values(), tmp_path / "missing.nii.gz"):
        with pytest.raises(InputError, match=path.name):
            read_nifti(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_to_the_header_escapes_as_another_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    payload = bytearray(to_nifti(_ramp(), (2.0, 2.0, 2.0)).to_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, 351))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "ct.nii"
    path.write_bytes(bytes(payload))
    try:
        volume = read_nifti(path)
    except InputError:
        return
    assert volume.array.ndim == 3 and np.isfinite(volume.array).all()
