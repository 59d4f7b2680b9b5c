"""CTs that are none, masks that lie elsewhere, and names that are hard on a program."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from tests.raw_scans import SHAPE, Kind, image, one, phantom, to_itk

MASK = "lung.nii.gz"
Change = Callable[[np.ndarray], np.ndarray]


def _both(change: Change) -> Callable[[Path], object]:
    return lambda folder: [image(change, name)(folder) for name in ("ct.nii.gz", MASK)]


def _moved(millimetres: float) -> np.ndarray:
    affine = phantom()[0].affine.copy()
    affine[0, 3] += millimetres
    return affine


def _turned(orientation: str, name: str = MASK) -> Callable[[Path], object]:
    """The same voxels at the same places, with the file's axes in another order."""

    def rewrite(folder: Path) -> None:
        path = one(folder, name)
        nifti = nib.load(path)
        target = nib.orientations.axcodes2ornt(orientation)
        turned = nifti.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(nifti.affine), target))
        path.write_bytes(gzip.compress(turned.to_bytes(), mtime=0))

    return rewrite


def _scaled_to(low: float, high: float, dtype: type = np.float32) -> Change:
    def change(ct: np.ndarray) -> np.ndarray:
        return ((np.clip(ct, -1000, 400) + 1000) / 1400 * (high - low) + low).astype(dtype)

    return change


def _labels(mask: np.ndarray) -> np.ndarray:
    """As an atlas of organs has them: the body 1, the lungs 10 and 11."""
    body = (phantom()[0].array > -300).astype(np.int16)
    labels = np.where(mask > 0, 10, body).astype(np.int16)
    labels[SHAPE[0] // 2 :][mask[SHAPE[0] // 2 :] > 0] = 11
    return labels


def _half(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[SHAPE[0] // 2 :] = 0
    return changed


def _shifted_by_8_voxels(mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, 8, axis=2)


def _with_metal(ct: np.ndarray, hounsfield: float) -> np.ndarray:
    changed = ct.copy()
    changed[20, 20, 10:12] = hounsfield
    return changed


def _renamed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "patient 1").rename(folder / name)


def _mixed_formats(folder: Path) -> None:
    """CT as NIfTI, mask as NRRD."""
    one(folder, MASK).unlink()
    ct, mask = phantom()
    sitk.WriteImage(to_itk(mask, ct.affine), str(folder / "patient 1" / "lung.nrrd"))


NO_HU, NORMALISED, ELSEWHERE = "expected HU, got", "normalised. Export the CT in HU", "does not lie in the lungs"
MIRRORED = "mirrored"
CTS = {
    "CT from 0 to 1": Kind("NIfTI", image(_scaled_to(0, 1)), NORMALISED),
    "CT from -1 to 1": Kind("NIfTI", image(_scaled_to(-1, 1)), NORMALISED),
    "CT of 8 bits": Kind("NIfTI", image(_scaled_to(0, 255, np.uint8)), "an 8-bit picture"),
    "CT of mean 0 and deviation 1": Kind("NIfTI", image(lambda ct: ((ct - ct.mean()) / ct.std()).astype(np.float32)), NO_HU),
    "HU + 1024": Kind("NIfTI", image(lambda ct: ct + np.int16(1024)), "rescale intercept is missing"),
    "HU x 10": Kind("NIfTI", image(lambda ct: ct.astype(np.int32) * 10), NO_HU),
    "HU / 10": Kind("NIfTI", image(lambda ct: ct / 10.0), "found none to speak of"),
    "HU x -1": Kind("NIfTI", image(lambda ct: -ct), "HU"),
    "CT of one value": Kind("NIfTI", image(lambda ct: ct * 0 - 1000), "expected a body"),
    "CT of zeros": Kind("NIfTI", image(lambda ct: ct * 0), "normalised"),
    "CT without air": Kind("NIfTI", image(lambda ct: np.maximum(ct, -300)), "found none to speak of"),
    "CT without a body": Kind("NIfTI", image(lambda ct: np.minimum(ct, -500)), "expected a body"),
    "CT with metal of 30000 HU": Kind(
        "NIfTI", image(lambda ct: _with_metal(ct, 30_000)), expected=lambda ct, mask: (_with_metal(ct, 30_000), mask)
    ),
    "CT with a voxel of 1e9": Kind("NIfTI", image(lambda ct: _with_metal(ct.astype(np.float32), 1e9)), "values up to 1e+09"),
    "mask instead of the CT": Kind("NIfTI", lambda f: one(f, "ct.nii.gz").write_bytes(one(f, MASK).read_bytes()), NORMALISED),
}


MASKS = {
    "mask of another shape": Kind("NIfTI", image(lambda mask: mask[:, :, :-1], MASK), "mask grid (40, 36, 23) differs"),
    "mask on a shifted grid": Kind("NIfTI", image(lambda mask: mask, MASK, _moved(4.0)), "affine differs"),
    "mask on a grid 0.1 mm beside": Kind("NIfTI", image(lambda mask: mask, MASK, _moved(0.1))),
    "mask on a mirrored grid": Kind(
        "NIfTI", image(lambda mask: mask, MASK, phantom()[0].affine @ np.diag([-1, 1, 1, 1.0])), "affine differs"
    ),
    **{f"mask saved as {axes}": Kind("NIfTI", _turned(axes)) for axes in ("LPS", "SRA", "PIR")},
    "CT saved as LPI": Kind("NIfTI", _turned("LPI", "ct.nii.gz")),
    "mask mirrored left to right": Kind("NIfTI", image(lambda mask: mask[::-1], MASK), MIRRORED),
    "mask mirrored front to back": Kind("NIfTI", image(lambda mask: mask[:, ::-1], MASK), MIRRORED),
    "mask upside down": Kind("NIfTI", image(lambda mask: mask[:, :, ::-1], MASK), MIRRORED),
    "mask turned by 180 degrees": Kind("NIfTI", image(lambda mask: mask[::-1, ::-1], MASK), MIRRORED),
    "mask shifted by 8 slices": Kind("NIfTI", image(_shifted_by_8_voxels, MASK), ELSEWHERE),
    "mask inverted": Kind("NIfTI", image(lambda mask: 1 - mask, MASK), "the mask covers"),
    "mask empty": Kind("NIfTI", image(lambda mask: mask * 0, MASK), "mask is empty"),
    "mask full": Kind("NIfTI", image(lambda mask: mask * 0 + 1, MASK), "covers 100%"),
    "mask of fractions": Kind("NIfTI", image(lambda mask: mask * 0.5, MASK), "fractions or negative"),
    "mask of negative labels": Kind("NIfTI", image(lambda mask: -mask.astype(np.int16), MASK), "fractions or negative"),
    "mask of 0 and 255": Kind("NIfTI", image(lambda mask: mask * np.uint8(255), MASK)),
    "mask in real numbers": Kind("NIfTI", image(lambda mask: mask.astype(np.float64), MASK)),
    "mask of many organs": Kind("NIfTI", image(_labels, MASK), "has the labels 1 10 11. Name those of the lungs"),
    "the same with --labels": Kind("NIfTI", image(_labels, MASK), options={"labels": (10, 11)}),
    "--labels that are not there": Kind("NIfTI", image(_labels, MASK), "has no label 7", options={"labels": (7, 10)}),
    "--labels of the body": Kind("NIfTI", image(_labels, MASK), ELSEWHERE, options={"labels": (1,)}),
    "CT instead of the mask": Kind("NIfTI", lambda f: one(f, MASK).write_bytes(one(f, "ct.nii.gz").read_bytes()), "negative"),
    "one lung alone in the mask": Kind("NIfTI", image(_half, MASK), expected=lambda ct, mask: (ct, _half(mask))),
    "CT as NIfTI, mask as NRRD": Kind("NIfTI", _mixed_formats),
    "two masks": Kind("NIfTI", lambda f: (f / "patient 1" / "mask.nii").write_bytes(b""), "got 1 and 2"),
    "no mask": Kind("NIfTI", lambda f: one(f, MASK).unlink(), "got 1 and 0"),
    "mask file of another scan": Kind(
        "DICOM + NIfTI", image(lambda mask: mask[:-1], MASK), "mask grid (39, 36, 24) differs from its CT"
    ),
}

NAMES = {
    "spaces and umlauts": Kind("NIfTI", _renamed("Ünsal, Jörg  (CT)")),
    "emoji": Kind("DICOM + SEG", _renamed("🫁 lung")),
    "line break in the name": Kind("DICOM + RTSTRUCT", _renamed("first\nsecond")),
    "name that is no UTF-8": Kind("NIfTI", _renamed(b"caf\xe9".decode("utf-8", "surrogateescape"))),
    "NRRD under such a name": Kind("NRRD", _renamed(b"caf\xe9".decode("utf-8", "surrogateescape"))),
    "name like the table's markup": Kind("NIfTI", _renamed("[red]")),
    "name of 250 letters": Kind("DICOM + RTSTRUCT", _renamed("x" * 250)),
    "hidden folder": Kind("NIfTI", _renamed(".trash"), "no scans in it"),
    "no such folder": Kind("NIfTI", lambda folder: folder.rename(folder.with_name("moved")), "no such folder"),
    "empty folder": Kind("NIfTI", lambda f: [path.unlink() for path in (f / "patient 1").iterdir()], "no scans in it"),
}
