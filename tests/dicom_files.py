"""Real DICOM files made of volumes: a CT series, its RTSTRUCT, and a DICOM SEG."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from skimage.measure import find_contours

from lungseg_train.scans.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANTED_NAME = "Planted^Patient"
PLANTED_ID = "MRN-0815-4711"
PLANTED_DATE = "19230405"


def write_ct_series(folder: Path, ct: Volume, patient_id: str = PLANTED_ID) -> list[Path]:
    """One file a slice, axial, rows from anterior to posterior and columns from right to left of the patient."""
    folder.mkdir(parents=True, exist_ok=True)
    # RAS+ voxels, turned to LPS: columns run to the left, rows to the back.
    voxels = ct.array[::-1, ::-1, :]
    corner = RAS_TO_LPS @ ct.affine @ np.array([ct.shape[0] - 1, ct.shape[1] - 1, 0, 1.0])
    study, series, frame = (generate_uid(entropy_srcs=[str(folder), name]) for name in ("study", "series", "frame"))
    paths = []
    for index in range(ct.shape[2]):
        dataset = _dataset(CTImageStorage, generate_uid(entropy_srcs=[str(folder), str(index)]), patient_id)
        dataset.Modality, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "CT", study, series
        dataset.FrameOfReferenceUID = frame
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = ct.shape[2] - index
        height = corner[2] + index * ct.spacing_mm[2]
        dataset.ImagePositionPatient = [_decimal(number) for number in (corner[0], corner[1], height)]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [_decimal(ct.spacing_mm[1]), _decimal(ct.spacing_mm[0])]
        dataset.SliceThickness = _decimal(ct.spacing_mm[2])
        pixels = np.round(voxels[:, :, index].T + 1024).astype(np.int16)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
        dataset.PixelData = pixels.tobytes()
        # Names that do not sort like positions.
        paths.append(folder / f"CT.{(index * 7919) % 100_000:05d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_rtstruct(path: Path, ct_paths: list[Path], ct: Volume, masks: Mapping[str, np.ndarray]) -> None:
    """Contours of masks given on `ct.array`, halfway between voxels in and out of the mask."""
    first = pydicom.dcmread(ct_paths[0], stop_before_pixels=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(RTStructureSetStorage, generate_uid(entropy_srcs=[str(path)]), str(first.PatientID))
    dataset.Modality, dataset.StudyInstanceUID = "RTSTRUCT", first.StudyInstanceUID
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[str(path), "series"])
    dataset.StructureSetLabel = "contours"
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    study = Dataset()
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = first.FrameOfReferenceUID, [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, mask) in enumerate(masks.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, first.FrameOfReferenceUID
        dataset.StructureSetROISequence.append(roi)
        contours = Dataset()
        contours.ReferencedROINumber = number
        contours.ContourSequence = [_contour(points) for points in _outlines(mask, ct)]
        dataset.ROIContourSequence.append(contours)
    dataset.save_as(path, enforce_file_format=True)


def write_seg(path: Path, ct_paths: list[Path], masks: Mapping[str, np.ndarray]) -> None:
    """A binary DICOM SEG; masks on the RAS+ voxels of the CT."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [pydicom.dcmread(p) for p in ct_paths]
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(masks, start=1)
    ]
    # (slices, rows, columns, segments) in the order of the sources.
    frames = np.stack([mask[::-1, ::-1, :].T for mask in masks.values()], axis=-1).astype(np.uint8)
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)


def _dataset(sop_class: str, uid: str, patient_id: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    dataset.PatientName, dataset.PatientID = PLANTED_NAME, patient_id
    dataset.PatientBirthDate = dataset.StudyDate = dataset.SeriesDate = PLANTED_DATE
    dataset.PatientSex, dataset.AccessionNumber, dataset.StudyID = "O", PLANTED_ID, "1"
    dataset.StudyTime, dataset.ReferringPhysicianName = "120000", PLANTED_NAME
    return dataset


def _outlines(mask: np.ndarray, ct: Volume) -> list[np.ndarray]:
    """Closed outlines of each slice, (N, 3) in mm, LPS."""
    outlines = []
    for index in range(mask.shape[2]):
        padded = np.pad(mask[:, :, index] > 0, 1)
        for outline in find_contours(padded.astype(float), 0.5):
            voxels = np.column_stack([outline[:-1] - 1, np.full(len(outline) - 1, index), np.ones(len(outline) - 1)])
            outlines.append((voxels @ (RAS_TO_LPS @ ct.affine).T)[:, :3])
    return outlines


def _contour(points: np.ndarray) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    contour.ContourData = [_decimal(number) for number in points.ravel()]
    return contour


def _decimal(number: float) -> str:
    """A decimal string of at most 16 characters, as the standard wants it."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
