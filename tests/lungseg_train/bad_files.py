"""Damaged and odd NIfTI, NRRD and MHA files: what is done to a good raw folder, and what is to come of it."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from tests.raw_scans import Kind, change_bytes, flip_bit, header, image, one, phantom, to_itk, unpacked

CANNOT_READ, NOT_ONE_PAIR = "cannot be read to its end", "expected one CT and one mask file"


def _rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: one(folder, old).rename(one(folder, old).with_name(new))


def _replace_by(make: Callable[[Path], object], name: str = "ct.nii.gz") -> Callable[[Path], object]:
    """Put something else where a file was."""

    def replace(folder: Path) -> None:
        path = one(folder, name)
        path.unlink()
        make(path)

    return replace


def _save(make: Callable[[np.ndarray, np.ndarray], object]) -> Callable[[Path], object]:
    """Save what `make` makes of the phantom's CT, (X, Y, Z) int16, and affine as ct.nii."""

    def save(folder: Path) -> None:
        one(folder, "ct.nii.gz").unlink()
        ct = phantom()[0]
        nib.save(make(ct.array.astype(np.int16), ct.affine), folder / "patient 1" / "ct.nii")

    return save


def _big_endian(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(array.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))


def _with_extension(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    nifti = nib.Nifti1Image(array, affine)
    nifti.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Planted^Patient" * 40))
    return nifti


def _scaled(folder: Path) -> None:
    """Stored as (HU + 1024) / 2 with slope and intercept."""
    ct = phantom()[0]
    nifti = nib.Nifti1Image(((ct.array + 1024) // 2).astype(np.int16), ct.affine)
    data = bytearray(nifti.to_bytes())
    block = nib.Nifti1Header(bytes(data[:348]))
    block["scl_slope"], block["scl_inter"] = 2.0, -1024.0
    one(folder, "ct.nii.gz").write_bytes(gzip.compress(block.binaryblock + bytes(data[348:])))


def _with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        changed = array.astype(np.float32)
        changed[3, 4, 5] = value
        return changed

    return change


def bomb_header(claim: tuple[int, int, int], dtype: type = np.uint8) -> bytes:
    block = nib.Nifti1Header()
    block.set_data_dtype(dtype)
    block.set_data_shape(claim)
    block.set_sform(np.diag([8.0, 8.0, 8.0, 1.0]), 1)
    block["vox_offset"] = 352
    block["magic"] = b"n+1"
    return block.binaryblock + b"\0" * 4


def _bomb(claim: tuple[int, int, int]) -> Callable[[Path], object]:
    """A .nii.gz that claims some shape and unpacks to 64 MB of zeros."""
    return lambda folder: one(folder, "ct.nii.gz").write_bytes(gzip.compress(bomb_header(claim) + bytes(2**26)))


def _rewritten(old: bytes, new: bytes, pattern: str) -> Callable[[Path], object]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change_bytes(pattern, change)


def _itk(make: Callable[[sitk.Image], sitk.Image], name: str, compress: bool = False) -> Callable[[Path], object]:
    def save(folder: Path) -> None:
        ct = phantom()[0]
        sitk.WriteImage(make(to_itk(ct.array.astype(np.int16), ct.affine)), str(one(folder, name)), useCompression=compress)

    return save


def _nrrd_like(encoding: str, payload: Callable[[bytes], bytes], end: str = "\n") -> Callable[[Path], object]:
    """A NRRD written by hand, its voxels encoded in some way."""

    def write(folder: Path) -> None:
        ct = phantom()[0]
        x_mm, y_mm, z_mm = ct.spacing_mm
        lines = [
            "NRRD0004",
            "type: short",
            "dimension: 3",
            "space: right-anterior-superior",
            f"sizes: {' '.join(map(str, ct.shape))}",
            f"space directions: ({x_mm},0,0) (0,{y_mm},0) (0,0,{z_mm})",
            "kinds: domain domain domain",
            "endian: little",
            f"encoding: {encoding}",
            f"space origin: ({','.join(map(str, ct.affine[:3, 3]))})",
        ]
        voxels = ct.array.astype("<i2").tobytes(order="F")
        one(folder, "ct.nrrd").write_bytes(end.join([*lines, "", ""]).encode() + payload(voxels))

    return write


def _ascii(voxels: bytes) -> bytes:
    return " ".join(map(str, np.frombuffer(voxels, "<i2"))).encode()


def _link_folder(folder: Path) -> None:
    """The patient's folder is a link to another place."""
    elsewhere = folder.parent / "elsewhere"
    (folder / "patient 1").rename(elsewhere)
    (folder / "patient 1").symlink_to(elsewhere)


def _loop(folder: Path) -> None:
    (folder / "patient 1" / "again").symlink_to(folder)


NIFTI = {
    "truncated gzip": Kind("NIfTI", change_bytes("ct.nii.gz", lambda d: d[: len(d) // 2]), CANNOT_READ),
    "gzip without its last byte": Kind("NIfTI", change_bytes("ct.nii.gz", lambda d: d[:-1]), CANNOT_READ),
    "one bit of the gzip flipped": Kind("NIfTI", change_bytes("ct.nii.gz", lambda d: flip_bit(d, 0.5)), CANNOT_READ),
    "one bit of its checksum flipped": Kind(
        "NIfTI", change_bytes("ct.nii.gz", lambda d: d[:-8] + flip_bit(d[-8:], 0.1)), CANNOT_READ
    ),
    "mask truncated": Kind("NIfTI", change_bytes("lung.nii.gz", lambda d: d[:-20]), "lung.nii.gz: cannot be read to its end"),
    "garbage behind the gzip": Kind("NIfTI", change_bytes("ct.nii.gz", lambda d: d + b"garbage"), CANNOT_READ),
    ".nii.gz that is not packed": Kind("NIfTI", change_bytes("ct.nii.gz", gzip.decompress), CANNOT_READ),
    "gzip named .nii": Kind("NIfTI", _rename("ct.nii.gz", "ct.nii"), "is compressed, but not named so"),
    "names in capitals": Kind(
        "NIfTI", lambda f: [_rename("ct.nii.gz", "CT.NII.GZ")(f), _rename("lung.nii.gz", "LUNG.NII.GZ")(f)]
    ),
    "empty file": Kind("NIfTI", change_bytes("ct.nii.gz", lambda d: b""), "does not begin with a whole NIfTI header"),
    "text instead of a scan": Kind(
        "NIfTI", unpacked(lambda d: b"not a scan at all\n" * 40), "does not begin with a whole NIfTI header"
    ),
    "half a header": Kind("NIfTI", unpacked(lambda d: d[:200]), "does not begin with a whole NIfTI header"),
    "one voxel short": Kind("NIfTI", unpacked(lambda d: d[:-2]), "bytes of voxels by its header, got 69118"),
    "one byte long": Kind("NIfTI", unpacked(lambda d: d + b"\0"), "got more"),
    "no magic word": Kind("NIfTI", header(magic=b""), "expected a NIfTI file with its voxels inside"),
    "header of a .hdr/.img pair": Kind("NIfTI", header(magic=b"ni1"), "expected a NIfTI file with its voxels inside"),
    ".hdr and .img": Kind(
        "NIfTI", lambda f: [_rename("ct.nii.gz", "ct.img")(f), _rename("lung.nii.gz", "lung.img")(f)], "no scans"
    ),
    "folder called ct.nii.gz": Kind("NIfTI", _replace_by(lambda path: path.mkdir()), NOT_ONE_PAIR),
    "link that leads nowhere": Kind("NIfTI", _replace_by(lambda path: path.symlink_to("gone.nii.gz")), "link leads nowhere"),
    "link to itself": Kind("NIfTI", _replace_by(lambda path: path.symlink_to(path.name)), "link leads nowhere"),
    "pipe called ct.nii.gz": Kind("NIfTI", _replace_by(os.mkfifo), NOT_ONE_PAIR),
    "patient's folder is a link": Kind("NIfTI", _link_folder),
    "folders linked in a circle": Kind("NIfTI", _loop),
    "big-endian": Kind("NIfTI", _save(_big_endian)),
    "NIfTI-2": Kind("NIfTI", _save(nib.Nifti2Image)),
    "fourth axis of length 1": Kind("NIfTI", _save(lambda array, affine: nib.Nifti1Image(array[..., None], affine))),
    "header extension": Kind("NIfTI", _save(_with_extension)),
    "real numbers": Kind("NIfTI", image(lambda ct: ct.astype(np.float32))),
    "64-bit real numbers": Kind("NIfTI", image(lambda ct: ct.astype(np.float64))),
    "32-bit integers": Kind("NIfTI", image(lambda ct: ct.astype(np.int32))),
    "slope 2, intercept -1024": Kind("NIfTI", _scaled, expected=lambda ct, mask: ((ct + 1024) // 2 * 2 - 1024, mask)),
    "4D": Kind(
        "NIfTI", _save(lambda array, affine: nib.Nifti1Image(np.stack([array] * 2, -1), affine)), "expected a 3D volume"
    ),
    "2D": Kind("NIfTI", _save(lambda array, affine: nib.Nifti1Image(array[..., 0], affine)), "expected a 3D volume"),
    "no voxels": Kind("NIfTI", _save(lambda array, affine: nib.Nifti1Image(array[:0], affine)), "expected a 3D volume"),
    "negative length of an axis": Kind("NIfTI", header(dim=[3, 40, -36, 24, 1, 1, 1, 1]), "expected a 3D volume"),
    "nine axes": Kind("NIfTI", header(dim=[9, 40, 36, 24, 1, 1, 1, 1]), "expected a 3D volume"),
    "32767 x 32767 x 32767 voxels": Kind("NIfTI", header(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "more than any CT has"),
    "colours": Kind("NIfTI", header(datatype=128, bitpix=24), "expected whole or real numbers"),
    "complex numbers": Kind("NIfTI", image(lambda ct: ct.astype(np.complex64)), "expected whole or real numbers"),
    "128-bit numbers": Kind("NIfTI", header(datatype=1536, bitpix=128), "expected whole or real numbers"),
    "unknown data type": Kind("NIfTI", header(datatype=77), "expected whole or real numbers"),
    "wrong number of bits": Kind("NIfTI", header(bitpix=8), "8 bits a voxel"),
    "voxels at byte 0": Kind("NIfTI", header(vox_offset=0), "expected the voxels right behind the header"),
    "voxels at byte NaN": Kind("NIfTI", header(vox_offset=np.nan), "expected the voxels right behind the header"),
    "voxels at byte 352.5": Kind("NIfTI", header(vox_offset=352.5), "expected the voxels right behind the header"),
    "voxels at byte 1e9": Kind("NIfTI", header(vox_offset=1e9), "expected the voxels right behind the header"),
    "slope infinite": Kind("NIfTI", header(scl_slope=np.inf, scl_inter=0), "scaling is not finite"),
    "slope NaN with an intercept": Kind("NIfTI", header(scl_slope=np.nan, scl_inter=5), "scaling is not finite"),
    "slope that overflows": Kind("NIfTI", header(scl_slope=3e38, scl_inter=0), "voxels are NaN or infinite"),
    "NaN voxel": Kind("NIfTI", image(_with_value(np.nan)), "1 voxels are NaN or infinite"),
    "infinite voxel": Kind("NIfTI", image(_with_value(np.inf)), "1 voxels are NaN or infinite"),
    "voxel beyond 32 bits": Kind("NIfTI", image(lambda ct: _with_value(0)(ct).astype(float) * 1e40), "NaN or infinite"),
    "NaN in the mask": Kind("NIfTI", image(_with_value(np.nan), "lung.nii.gz"), "lung.nii.gz: 1 voxels are NaN"),
    "singular affine": Kind("NIfTI", header(srow_z=[0, 0, 0, 0]), "affine is not finite and invertible"),
    "NaN in the affine": Kind("NIfTI", header(srow_x=[np.nan, 0, 0, 0]), "affine is not finite and invertible"),
    "qform NaN beside a good sform": Kind("NIfTI", header(quatern_b=np.nan, qoffset_x=np.nan)),
    "neither qform nor sform": Kind("NIfTI", header(qform_code=0, sform_code=0), "does not say where"),
    "sheared affine": Kind("NIfTI", header(srow_y=[0, 9, 3, -140.25]), "not at right angles"),
    "voxels of 8 m": Kind("NIfTI", image(lambda ct: ct, affine=np.diag([8000.0, 8000, 8000, 1])), "mm are no CT's"),
    "voxels in metres": Kind("NIfTI", image(lambda ct: ct, affine=np.diag([0.008, 0.009, 0.0125, 1])), "mm are no CT's"),
    "scan of 40 mm": Kind("NIfTI", image(lambda ct: ct, affine=np.diag([1.0, 1, 1, 1])), "holds no chest"),
    "bomb that claims 4 GiB": Kind("NIfTI", _bomb((2048, 2048, 1024)), "more than any CT has"),
    "bomb that claims little": Kind("NIfTI", _bomb((40, 36, 24)), "got more"),
}

NRRD_ELSEWHERE = "its voxels lie in another file"
ITK = {
    "NRRD in text": Kind("NRRD", _nrrd_like("ascii", _ascii), "encoding ascii"),
    "NRRD in RAS": Kind("NRRD", _nrrd_like("raw", bytes)),
    "NRRD in gzip, by hand": Kind("NRRD", _nrrd_like("gzip", gzip.compress)),
    "NRRD with Windows line ends": Kind("NRRD", _nrrd_like("raw", bytes, "\r\n")),
    "NRRD truncated": Kind("NRRD", change_bytes("ct.nrrd", lambda d: d[:-2]), "bytes of voxels by its header, got 69118"),
    "NRRD one byte long": Kind("NRRD", change_bytes("ct.nrrd", lambda d: d + b"\0"), "bytes of voxels by its header"),
    "NRRD gzip truncated": Kind("NRRD gzip", change_bytes("ct.nrrd", lambda d: d[: len(d) // 2]), "cannot be unpacked"),
    "NRRD gzip, bit flipped": Kind("NRRD gzip", change_bytes("ct.nrrd", lambda d: flip_bit(d, 0.5)), "cannot be unpacked"),
    "NRRD gzip, checksum": Kind(
        "NRRD gzip", change_bytes("ct.nrrd", lambda d: d[:-8] + flip_bit(d[-8:], 0.1)), "cannot be unpacked"
    ),
    "NRRD bomb": Kind(
        "NRRD", _nrrd_like("gzip", lambda voxels: gzip.compress(voxels + bytes(2**26))), "bytes of voxels by its header"
    ),
    "NRRD that claims 8 GiB": Kind(
        "NRRD", _rewritten(b"sizes: 40 36 24", b"sizes: 4096 2048 1024", "ct.nrrd"), "more than any CT has"
    ),
    "NRRD with voxels elsewhere": Kind(
        "NRRD", _rewritten(b"encoding: raw\n", b"encoding: raw\ndata file: /etc/passwd\n", "ct.nrrd"), NRRD_ELSEWHERE
    ),
    "NRRD, the same behind a long comment": Kind(
        "NRRD",
        _rewritten(b"encoding: raw\n", b"encoding: raw\n" + b"# long\n" * 20_000 + b"data file: /etc/passwd\n", "ct.nrrd"),
        "does not begin with a NRRD header",
    ),
    "MHA named .nrrd": Kind(
        "MHA", lambda f: [_rename("ct.mha", "ct.nrrd")(f), _rename("lung.mha", "lung.nrrd")(f)], "begin with a NRRD"
    ),
    "NRRD 4D": Kind("NRRD", _itk(lambda i: sitk.JoinSeries([i, i]), "ct.nrrd"), "expected a 3D volume"),
    "NRRD of vectors": Kind("NRRD", _itk(lambda i: sitk.Compose(i, i), "ct.nrrd"), "expected a 3D volume"),
    "NRRD without geometry": Kind(
        "NRRD",
        change_bytes("ct.nrrd", lambda d: b"\n".join(line for line in d.split(b"\n") if not line.startswith(b"space"))),
        "does not say where",
    ),
    "NRRD of zero spacing": Kind("NRRD", _rewritten(b"(0,0,12.5)", b"(0,0,0)", "ct.nrrd"), "affine is not finite"),
    "MHA truncated": Kind("MHA", change_bytes("ct.mha", lambda d: d[:-2]), "bytes of voxels by its header, got 69118"),
    "MHA one byte long": Kind("MHA", change_bytes("ct.mha", lambda d: d + b"\0"), "bytes of voxels by its header"),
    "MHA zlib truncated": Kind("MHA zlib", change_bytes("ct.mha", lambda d: d[: len(d) * 3 // 4]), "cannot be unpacked"),
    "MHA zlib, bit flipped": Kind("MHA zlib", change_bytes("ct.mha", lambda d: flip_bit(d, 0.5)), "cannot be unpacked"),
    "MHA with voxels elsewhere": Kind("MHA", _rewritten(b"= LOCAL", b"= /etc/passwd", "ct.mha"), NRRD_ELSEWHERE),
    "MHA, the same with a colon": Kind("MHA", _rewritten(b"File = LOCAL", b"File : /etc/passwd", "ct.mha"), NRRD_ELSEWHERE),
    "MHA, the same behind spaces": Kind(
        "MHA", _rewritten(b"ElementDataFile = LOCAL", b"  ElementDataFile = /etc/passwd", "ct.mha"), "begin with an MHA"
    ),
    "MHA with a list of files": Kind("MHA", _rewritten(b"= LOCAL", b"= LIST", "ct.mha"), NRRD_ELSEWHERE),
    "MHA with 'Local'": Kind("MHA", _rewritten(b"= LOCAL", b"= Local", "ct.mha")),
    "MHA with a slope": Kind(
        "MHA", _rewritten(b"NDims = 3", b"NDims = 3\nElementToIntensityFunctionSlope = 2", "ct.mha"), "scaling"
    ),
    "MHA in text": Kind("MHA", _rewritten(b"BinaryData = True", b"BinaryData = False", "ct.mha"), "expected binary voxels"),
    "MHA 4D": Kind("MHA", _itk(lambda i: sitk.JoinSeries([i, i]), "ct.mha"), "expected a 3D volume"),
    "MHA that claims 8 GiB": Kind(
        "MHA", _rewritten(b"DimSize = 40 36 24", b"DimSize = 4096 2048 1024", "ct.mha"), "more than any CT has"
    ),
    "MHA of real numbers": Kind("MHA", _itk(lambda i: sitk.Cast(i, sitk.sitkFloat64), "ct.mha")),
    "MHA with a NaN": Kind("MHA", _itk(lambda i: sitk.Sqrt(sitk.Cast(i, sitk.sitkFloat32)), "ct.mha"), "NaN or infinite"),
    "empty MHA": Kind("MHA", change_bytes("ct.mha", lambda d: b""), "begin with an MHA header"),
    "MHD with RAW": Kind("MHA", lambda f: [_rename("ct.mha", "ct.mhd")(f), _rename("lung.mha", "lung.mhd")(f)], "no scans"),
}
