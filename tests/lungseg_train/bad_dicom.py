"""Damaged and odd DICOM: series, contours and segmentations."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from tests.dicom_files import RAS_TO_LPS, write_ct_series, write_rtstruct, write_seg
from tests.raw_scans import SHAPE, SPACING_MM, Kind, change_bytes, edit, edit_structures, halves, one, phantom, slices

RT, SEG, NIFTI = "DICOM + RTSTRUCT", "DICOM + SEG", "DICOM + NIfTI"
COMPRESSED = ("JPEG2000Lossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "RLELossless")
MIDDLE, LAST = slice(11, 12), slice(23, 24)


def _set(**tags: Any) -> Callable[[Dataset], object]:
    def change(dataset: Dataset) -> None:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    return change


def _without(*keywords: str) -> Callable[[Dataset], object]:
    return lambda dataset: [delattr(dataset, keyword) for keyword in keywords]


def _moved(millimetres: tuple[float, float, float]) -> Callable[[Dataset], object]:
    def change(dataset: Dataset) -> None:
        place = np.array(dataset.ImagePositionPatient, float) + millimetres
        dataset.ImagePositionPatient = [f"{number:.4f}" for number in place]

    return change


def _bytes(which: slice, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: [path.write_bytes(change(path.read_bytes())) for path in slices(folder)[which]]


def _extra(which: int, change: Callable[[Dataset], object], name: str = "extra.dcm") -> Callable[[Path], object]:
    """A further file made of one of the slices."""

    def write(folder: Path) -> None:
        dataset = pydicom.dcmread(slices(folder)[which])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
        change(dataset)
        dataset.save_as(slices(folder)[0].parent / name)

    return write


def _pixels(change: Callable[[np.ndarray], np.ndarray], **tags: Any) -> Callable[[Dataset], object]:
    def rewrite(dataset: Dataset) -> None:
        pixels = change(dataset.pixel_array)
        _set(**tags)(dataset)
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.PixelData = pixels.tobytes()

    return rewrite


def _syntax(uid: str) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        for path in slices(folder):
            dataset = pydicom.dcmread(path)
            if uid == ExplicitVRBigEndian:
                dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
            dataset.file_meta.TransferSyntaxUID = uid
            pydicom.dcmwrite(path, dataset, implicit_vr=uid == ImplicitVRLittleEndian, little_endian=uid != ExplicitVRBigEndian)

    return rewrite


def _compressed(name: str, which: slice = slice(None)) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        for path in slices(folder)[which]:
            if name == "RLELossless":
                dataset = pydicom.dcmread(path)
                dataset.compress(RLELossless)
                dataset.save_as(path)
                continue
            reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
            reader.SetFileName(str(path))
            assert reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer.SetFileName(str(path))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()

    return rewrite


def _turned(row: int, column: int) -> Callable[[Path], object]:
    """Each slice saved with its rows, or its columns, in the other direction: prone, feet first."""

    def change(dataset: Dataset) -> None:
        pixels, place = dataset.pixel_array[::column, ::row], np.array(dataset.ImagePositionPatient, float)
        place += [(SHAPE[0] - 1) * SPACING_MM[0] * (row < 0), (SHAPE[1] - 1) * SPACING_MM[1] * (column < 0), 0]
        dataset.ImagePositionPatient = [f"{number:.4f}" for number in place]
        dataset.ImageOrientationPatient = [row, 0, 0, 0, column, 0]
        dataset.PixelData = pixels.tobytes()

    return edit(change)


def _sagittal(folder: Path) -> None:
    """The same scan cut into sagittal slices: rows run to the back, columns down to the feet."""
    ct = phantom()[0]
    paths = slices(folder)
    first = pydicom.dcmread(paths[0])
    for path in paths:
        path.unlink()
    for index in range(SHAPE[0]):
        dataset = deepcopy(first)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(index)])
        place = RAS_TO_LPS @ ct.affine @ [index, SHAPE[1] - 1, SHAPE[2] - 1, 1.0]
        dataset.ImagePositionPatient = [f"{number:.4f}" for number in place[:3]]
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.PixelSpacing = [SPACING_MM[2], SPACING_MM[1]]
        pixels = (ct.array[index, ::-1, ::-1].T + 1024).astype(np.int16)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(paths[0].parent / f"CT.{index}.dcm")


def _dicomdir(folder: Path) -> None:
    """As on a patient's disc."""
    edit(_set(SeriesNumber=1, StudyDescription="chest"))(folder)
    files = FileSet()
    for path in slices(folder):
        files.add(path)
    shutil.rmtree(slices(folder)[0].parent)
    files.write(folder / "patient 1" / "disc")
    # The structures stay beside it.
    assert (folder / "patient 1" / "disc" / "DICOMDIR").is_file()


def _names_reversed(folder: Path) -> None:
    paths = slices(folder)
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"IM{len(paths) - number:04d}"))


def _second_series(folder: Path) -> None:
    """Another reconstruction of the patient in the same folder, without a mask of its own."""
    paths = slices(folder)
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
        dataset.save_as(path.with_name(f"B{number}.dcm"))


def _rtstruct(change: Callable[[np.ndarray], dict[str, np.ndarray]]) -> Callable[[Path], object]:
    """Contours of other structures."""

    def write(folder: Path) -> None:
        ct, mask = phantom()
        write_rtstruct(one(folder, "structures.dcm"), slices(folder), ct, change(mask))

    return write


def _contours(change: Callable[[list[Dataset]], list[Dataset]]) -> Callable[[Path], object]:
    """Change the list of contours of the first structure."""

    def rewrite(dataset: Dataset) -> None:
        structure = dataset.ROIContourSequence[0]
        structure.ContourSequence = change(list(structure.ContourSequence))

    return edit_structures(rewrite)


def _points(change: Callable[[np.ndarray], np.ndarray], which: slice = slice(None)) -> Callable[[Path], object]:
    """Change the points, (N, 3) in mm, of contours of the first structure."""

    def rewrite(contours: list[Dataset]) -> list[Dataset]:
        for contour in contours[which]:
            points = change(np.array(contour.ContourData, float).reshape(-1, 3))
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{number:.4f}" for number in points.ravel()]
        return contours

    return _contours(rewrite)


def _nan_point(folder: Path) -> None:
    path = one(folder, "structures.dcm")
    dataset = pydicom.dcmread(path)
    numbers = [str(number) for number in dataset.ROIContourSequence[0].ContourSequence[0].ContourData]
    dataset.save_as(path)
    old, new = numbers[0].encode(), b"NaN".ljust(len(numbers[0]))
    data = path.read_bytes()
    at = data.index(b"\\".join(number.encode() for number in numbers[:3]))
    path.write_bytes(data[:at] + data[at:].replace(old, new, 1))


def _outer_ring(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Lungs with a hole of air-filled lung in each slice."""
    return {"Lungs": _with_hole(mask)}


def _with_hole(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    _x, y, z = np.argwhere(mask).mean(axis=0).round().astype(int)
    side = np.flatnonzero(mask[:, y, z])
    middle = int(side[len(side) // 4])
    changed[middle, y, z - 2 : z + 3] = 0
    return changed


def _seg(change: Callable[[np.ndarray], dict[str, np.ndarray]]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        write_seg(one(folder, "lungs.dcm"), slices(folder), change(phantom()[1]))

    return write


def _seg_of_another_grid(folder: Path) -> None:
    """Drawn on a reconstruction whose slices lie 3 mm higher."""
    copies = folder.parent / "copies"
    shutil.copytree(slices(folder)[0].parent, copies)
    edit(_moved((0, 0, 3)))(copies)
    write_seg(one(folder, "lungs.dcm"), slices(copies), halves(phantom()[1]))


def _cut(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[:, :, 12] = 0
    return changed


def _far_frame(folder: Path) -> None:
    path = one(folder, "lungs.dcm")
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        if float(place.ImagePositionPatient[2]) > 33 + 12.5 * 14:
            place.ImagePositionPatient[2] += 12.5 * 8_000_000
    dataset.save_as(path)


def _other_patient(folder: Path) -> None:
    write_ct_series(folder / "patient 2" / "ct", phantom(6)[0], "another id")


def _corner(size: tuple[int, ...]) -> np.ndarray:
    """Outside of a circle, as scanners pad it."""
    first, second = np.ogrid[: size[0], : size[1]]
    return np.hypot((first + 0.5) / size[0] - 0.5, (second + 0.5) / size[1] - 0.5) > 0.6


def _padded(pixels: np.ndarray) -> np.ndarray:
    return np.where(_corner(pixels.shape), -2000, pixels).astype(np.int16)


def _pad(dataset: Dataset) -> None:
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    _pixels(_padded)(dataset)


def _padded_ct(ct: np.ndarray) -> np.ndarray:
    return np.where(_corner(ct.shape)[..., None], -2000 - 1024, ct)


def _one_slice_above(folder: Path) -> None:
    """The head end of the scan was not copied: its contours lie beyond the last slice."""
    top = int(np.argwhere(phantom()[1])[:, 2].max())
    for path in slices(folder)[top:]:
        path.unlink()


def _but_one_slice(contours: list[Dataset]) -> list[Dataset]:
    heights = sorted({float(contour.ContourData[2]) for contour in contours})
    return [contour for contour in contours if float(contour.ContourData[2]) != heights[3]]


def _middle(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[:, :, :9] = changed[:, :, 14:] = 0
    return changed


DUPLICATE = "Remove the duplicate slice"
SERIES = {
    "slice missing": Kind(RT, lambda f: slices(f)[11].unlink(), "1 slice(s) missing between"),
    "three slices missing": Kind(RT, lambda f: [path.unlink() for path in slices(f)[8:11]], "3 slice(s) missing between"),
    "slice twice under two names": Kind(RT, lambda f: shutil.copy(slices(f)[5], slices(f)[5].with_name("copy.dcm")), DUPLICATE),
    "two slices at one place": Kind(RT, _extra(5, lambda dataset: None), DUPLICATE),
    "slice truncated": Kind(RT, _bytes(MIDDLE, lambda d: d[: len(d) // 2]), "its pixels cannot be decoded"),
    "last slice truncated in its header": Kind(RT, _bytes(LAST, lambda d: d[:400]), "names no series"),
    "last slice cut to nothing": Kind(RT, _bytes(LAST, lambda d: b""), "its header is missing"),
    "last slice without preamble": Kind(RT, _bytes(LAST, lambda d: d[132:]), "its header is missing"),
    "last slice a dead link": Kind(
        RT, lambda f: [slices(f)[-1].with_name("link.dcm").symlink_to("gone.dcm"), slices(f)[-1].unlink()], "link leads nowhere"
    ),
    "unknown kind of value in the file's own header": Kind(
        RT,
        _bytes(MIDDLE, lambda data: data.replace(b"\2\0\2\0UI", b"\2\0\2\0U~", 1)),
        "its DICOM header cannot be read",
    ),
    "no PixelData": Kind(RT, edit(_without("PixelData"), MIDDLE), "has no PixelData"),
    "pixels of another matrix": Kind(RT, edit(_pixels(lambda p: p[:30, :30]), MIDDLE), "30x30 pixels, but"),
    "PixelData too long": Kind(RT, edit(lambda d: _set(PixelData=d.PixelData * 2)(d), MIDDLE), "pixels"),
    "another PixelSpacing": Kind(RT, edit(_set(PixelSpacing=[9.1, 8.5]), MIDDLE), "PixelSpacing differs"),
    "another orientation": Kind(RT, edit(_set(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), MIDDLE), "Orientation"),
    "orientation of no length": Kind(RT, edit(_set(ImageOrientationPatient=[0, 0, 0, 0, 1, 0])), "no pair of directions"),
    "tilted gantry": Kind(RT, lambda f: [edit(_moved((0, 2.0 * n, 0)), slice(n, n + 1))(f) for n in range(24)], "gantry tilt"),
    "unequal distances": Kind(RT, edit(_moved((0, 0, 2)), slice(12, None)), "Resample the scan to equal distances"),
    "no ImagePositionPatient": Kind(RT, edit(_without("ImagePositionPatient"), MIDDLE), "has no ImagePositionPatient"),
    "position of two numbers": Kind(RT, edit(_set(ImagePositionPatient=[1, 2]), MIDDLE), "is not 3 numbers"),
    "spacing 0": Kind(RT, edit(_set(PixelSpacing=[0, 0])), "PixelSpacing"),
    "negative spacing": Kind(RT, edit(_set(PixelSpacing=[-9, -8.5])), "PixelSpacing"),
    "two patients in one series": Kind(RT, edit(_set(PatientID="someone else"), slice(12, None)), "two patients"),
    "two slices": Kind(RT, lambda f: [path.unlink() for path in slices(f)[2:]], "2 slices are no scan"),
    "MR": Kind(RT, edit(_set(Modality="MR")), "the CT series it refers to is not there"),
    "PET": Kind(SEG, edit(_set(Modality="PT")), "the CT series it refers to is not there"),
    "no RescaleSlope": Kind(RT, edit(_without("RescaleSlope"), MIDDLE), "has no RescaleSlope"),
    "RescaleSlope 0": Kind(RT, edit(_set(RescaleSlope=0), MIDDLE), "slope 0.0"),
    "no rescale intercept": Kind(RT, edit(_set(RescaleIntercept=0)), "no value below 0"),
    "colour picture among the slices": Kind(
        RT, edit(_set(SamplesPerPixel=3, PhotometricInterpretation="RGB"), MIDDLE), "colour"
    ),
    "palette of colours": Kind(RT, edit(_set(PhotometricInterpretation="PALETTE COLOR")), "colour"),
    "multi-frame": Kind(RT, edit(_set(NumberOfFrames=2), MIDDLE), "multi-frame"),
    "one multi-frame file": Kind(
        RT, lambda f: [edit(_set(NumberOfFrames=24))(f), [path.unlink() for path in slices(f)[1:]]], "multi-frame"
    ),
    "deflated": Kind(RT, _syntax(DeflatedExplicitVRLittleEndian), "deflated"),
    "DICOM in big-endian": Kind(RT, _syntax(ExplicitVRBigEndian)),
    "implicit VR": Kind(RT, _syntax(ImplicitVRLittleEndian)),
    **{f"compressed by {name}": Kind(RT, _compressed(name)) for name in COMPRESSED},
    "JPEG 2000, truncated": Kind(
        RT, lambda f: [_compressed("JPEG2000Lossless")(f), _bytes(MIDDLE, lambda d: d[:-300])(f)], "cannot be decoded"
    ),
    "unsigned pixels": Kind(RT, edit(_pixels(lambda p: p.astype(np.uint16), PixelRepresentation=0))),
    "12 of 16 bits": Kind(RT, edit(_set(BitsStored=12, HighBit=11, PixelRepresentation=0))),
    "8-bit pixels": Kind(
        RT,
        edit(
            _pixels(
                lambda p: (p // 16).clip(0, 255).astype(np.uint8),
                BitsAllocated=8,
                BitsStored=8,
                HighBit=7,
                PixelRepresentation=0,
                RescaleSlope=16,
            )
        ),
        expected=lambda ct, mask: (((ct + 1024) // 16).clip(0, 255) * 16 - 1024, mask),
    ),
    "padding outside of the field": Kind(RT, edit(_pad), expected=lambda ct, mask: (_padded_ct(ct), mask)),
    "localizer in the series": Kind(
        RT,
        _extra(
            3,
            lambda d: [
                _set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])(d),
                _pixels(lambda p: p[:20])(d),
            ],
        ),
    ),
    "DICOMDIR": Kind(RT, _dicomdir),
    "junk beside the slices": Kind(
        RT, lambda f: [slices(f)[0].with_name(name).write_bytes(b"junk" * 99) for name in ("README", "Thumbs.db", "notes.txt")]
    ),
    "file names in the other direction": Kind(RT, _names_reversed),
    "second series in the folder": Kind(RT, _second_series),
    "prone": Kind(RT, _turned(-1, -1)),
    "feet first": Kind(RT, _turned(-1, 1)),
    "sagittal slices": Kind(NIFTI, _sagittal),
    "axial contours on sagittal slices": Kind(RT, _sagittal, "crosses slices"),
    "no patient id": Kind(RT, edit(_set(PatientID=""))),
    "another patient without a mask": Kind(RT, _other_patient, "no lung mask for this CT"),
    "mask file lost": Kind(RT, lambda f: one(f, "structures.dcm").unlink(), "no lung mask for this CT"),
}


STRUCTURES = {
    "RTSTRUCT truncated": Kind(RT, change_bytes("structures.dcm", lambda d: d[: len(d) // 2]), "structures.dcm"),
    "RTSTRUCT is text": Kind(RT, change_bytes("structures.dcm", lambda d: b"not DICOM" * 99), "its header is missing"),
    "contour outside of the scan": Kind(RT, _points(lambda p: p + [400, 0, 0], slice(3, 4)), "lies outside of the scan"),
    "contours above the scan": Kind(RT, _points(lambda p: p + [0, 0, 300]), "lies outside of the scan"),
    "contours one slice above the scan": Kind(RT, _one_slice_above, "lies outside of the scan"),
    "contours between the slices": Kind(RT, _points(lambda p: p + [0, 0, 4]), "between the CT's slices"),
    "contour across slices": Kind(
        RT, _points(lambda p: p + np.linspace(0, 40, len(p))[:, None] * [0, 0, 1], slice(3, 4)), "crosses slices"
    ),
    "contour of two points": Kind(RT, _points(lambda p: p[:2], slice(3, 4)), "at least three points"),
    "NaN in a contour": Kind(RT, _nan_point, "at least three points"),
    "same contour twice": Kind(RT, _contours(lambda contours: contours + contours[3:4]), "twice"),
    "contours missing on a slice": Kind(RT, _contours(_but_one_slice), "lacks contours on 1 slice(s)"),
    "structure without contours": Kind(RT, _contours(lambda contours: []), "no closed contours"),
    "hole by an inner contour": Kind(RT, _rtstruct(_outer_ring), expected=lambda ct, mask: (ct, _with_hole(mask))),
    "no lung among the structures": Kind(
        RT, _rtstruct(lambda mask: {"Heart": mask, "GTV": mask}), "found none among Heart, GTV"
    ),
    "one lung alone": Kind(RT, _rtstruct(lambda mask: {"Lung_L": mask}), "only Lung_L among Lung_L"),
    "no structures at all": Kind(RT, edit_structures(_without("StructureSetROISequence")), "found none among nothing"),
    "LUNG_LT and LUNG_RT": Kind(
        RT, _rtstruct(lambda mask: dict(zip(("LUNG_LT", "LUNG_RT"), halves(mask).values(), strict=True)))
    ),
    "Both lungs": Kind(RT, _rtstruct(lambda mask: {"Heart": mask, "Both lungs": mask})),
    "named by --roi": Kind(RT, _rtstruct(lambda mask: {"a": mask, "b": mask}), options={"roi": ("A",)}),
    "--roi that fits nothing": Kind(RT, lambda f: None, "no structure fits --roi pulmo*", options={"roi": ("pulmo*",)}),
    "two RTSTRUCTs": Kind(
        RT, lambda f: shutil.copy(one(f, "structures.dcm"), one(f, "structures.dcm").with_name("b.dcm")), "another RTSTRUCT"
    ),
    "RTSTRUCT of a CT that is not there": Kind(
        RT, lambda f: shutil.rmtree(slices(f)[0].parent), "CT series it refers to is not there"
    ),
    "RTSTRUCT that refers to no CT": Kind(RT, edit_structures(_without("ReferencedFrameOfReferenceSequence"))),
    "RTSTRUCT without its numbers": Kind(
        RT, edit_structures(lambda d: delattr(d.StructureSetROISequence[0], "ROINumber")), "cannot be read as an RTSTRUCT"
    ),
    "SEG truncated": Kind(SEG, change_bytes("lungs.dcm", lambda d: d[: len(d) - 300]), "cannot be read as a DICOM SEG"),
    "SEG on other slices": Kind(SEG, _seg_of_another_grid, "not those of the CT"),
    "SEG empty": Kind(SEG, _seg(lambda mask: {"Lungs": mask * 0}), "mask is empty"),
    "SEG without a slice in the middle": Kind(SEG, _seg(lambda mask: {"Lungs": _cut(mask)}), "no lungs on 1 slice(s)"),
    "SEG with a frame 100 km away": Kind(SEG, _far_frame, "regular stack"),
    "SEG of the heart": Kind(SEG, _seg(lambda mask: {"Heart": mask}), "found none among Heart"),
    "SEG on part of the slices": Kind(
        SEG, _seg(lambda mask: {"Lungs": _middle(mask), "Heart": mask}), expected=lambda ct, mask: (ct, _middle(mask))
    ),
    "SEG and RTSTRUCT": Kind(RT, lambda f: write_seg(f / "patient 1" / "seg.dcm", slices(f), {"Lungs": phantom()[1]})),
}
