"""The DICOM files of a folder, grouped into series by their headers; no pixel is read here."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lungseg_train.errors import InputError

MAGIC_OFFSET, MAGIC = 128, b"DICM"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
PADDING_TAG = 0xFFFCFFFC
"""An element that may stand behind all others and means nothing."""
END = b"end of file."
# Names and dates are never read: what is not read cannot leak.
HEADER_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientID",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedSeriesSequence",
]


@dataclass(frozen=True)
class DicomFile:
    """One file with what its header says; `header` has the tags of HEADER_TAGS that are there."""

    path: Path
    header: pydicom.Dataset

    def text(self, keyword: str) -> str:
        return str(self.header.get(keyword, "") or "")


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series."""

    series_uid: str
    modality: str
    patient_id: str
    files: tuple[DicomFile, ...]

    @property
    def folder(self) -> Path:
        return self.files[0].path.parent


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's magic number. Raises `InputError` if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAGIC_OFFSET + len(MAGIC))[MAGIC_OFFSET:] == MAGIC
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give it read access or remove it.") from None


def read_header(path: Path) -> DicomFile:
    """Header of one file. Raises `InputError`."""
    try:
        with quiet():
            # It would be unpacked whole, however large: a few MB may hold GB.
            if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                raise InputError(f"{path}: is a deflated DICOM file. Convert it to explicit VR little endian.")
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
            # pydicom decodes a value when it is asked for: ask for all, so that a damaged one is met here.
            for _ in (*header.file_meta, *header.iterall()):
                pass
            file = DicomFile(path, header)
            referenced_series(file)
        return file
    except InputError:
        raise
    except InvalidDicomError:
        raise InputError(f"{path}: expected a DICOM file, but its header is missing. Copy it again or remove it.") from None
    # pydicom meets damage with errors of many kinds, from struct.error to RecursionError.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: its DICOM header cannot be read ({reason}). Copy it again or remove it.") from None


def read_whole(path: Path) -> pydicom.Dataset:
    """A dataset that is there to its end: pydicom takes what is left of a file that was cut. Raises whatever it meets."""
    data = path.read_bytes()
    with quiet():
        meta = read_file_meta_info(path)
        little, implicit = meta.TransferSyntaxUID.is_little_endian, meta.TransferSyntaxUID.is_implicit_VR
        if not little:
            raise ValueError("big-endian")
        header = b"\xfc\xff\xfc\xff" + (b"" if implicit else b"OB\0\0") + len(END).to_bytes(4, "little")
        dataset = pydicom.dcmread(io.BytesIO(data + header + END))
        # Swallowed by an element or a sequence that was to go on.
        if dataset.get(PADDING_TAG) is None or dataset[PADDING_TAG].value != END:
            raise ValueError("it ends too early")
        del dataset[PADDING_TAG]
    return dataset


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings, which would stand between the lines of a command, except one that tells of lost data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="End of file reached")
        yield


def find_series(paths: Iterable[Path]) -> list[DicomSeries]:
    """Group files into series, in the order of their paths. Raises `InputError` for a file that cannot be read."""
    groups: dict[tuple[str, str], list[DicomFile]] = {}
    for file in _dicom_files(paths):
        groups.setdefault((file.text("SeriesInstanceUID"), file.text("Modality")), []).append(file)
    return [
        DicomSeries(series_uid, modality, files[0].text("PatientID"), tuple(files))
        for (series_uid, modality), files in groups.items()
    ]


def referenced_series(file: DicomFile) -> set[str]:
    """SeriesInstanceUIDs that an RTSTRUCT or SEG refers to."""
    sources: list[Any] = list(file.header.get("ReferencedSeriesSequence") or [])
    for frame in file.header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            sources += list(study.get("RTReferencedSeriesSequence") or [])
    return {str(source.get("SeriesInstanceUID", "")) for source in sources} - {""}


def _dicom_files(paths: Iterable[Path]) -> Iterator[DicomFile]:
    for path in paths:
        if not is_dicom(path) and path.suffix.lower() != ".dcm":
            continue
        file = read_header(path)
        with quiet():
            kind = str(file.header.file_meta.get("MediaStorageSOPClassUID"))
        if kind == DICOMDIR_CLASS:
            continue
        if not file.text("SeriesInstanceUID") or not file.text("Modality"):
            # Left aside, it would be a slice less at an end of its scan, which nothing else tells.
            raise InputError(f"{path}: its header names no series: cut or damaged. Copy it again or remove it.")
        yield file
