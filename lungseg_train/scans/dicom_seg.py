"""A lung mask as a DICOM SEG that belongs to the CT series it was made from."""

import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from lungseg_train.errors import InputError
from lungseg_train.scans.volume import Volume, on_file_axes, write_atomically

SOFTWARE = "lungseg-search"
SEGMENT_LABEL = "Lungs"
SERIES_NUMBER = 900
"""Behind the series of a scanner, which count from 1."""
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
"""What the standard wants every object to have, be it empty; exports of research software leave it out."""


def write_dicom_seg(path: Path, mask: np.ndarray, ct: Volume, model_id: str) -> None:
    """Write a mask, (X, Y, Z) in RAS+, of a CT that was read from DICOM. Raises `InputError`.

    As every object of a study it carries the identity of its patient, copied from the CT.
    """
    # The file's axes are column, row, slice.
    frames = np.ascontiguousarray(on_file_axes(mask > 0, ct).T, dtype=np.uint8)
    try:
        segmentation = _segmentation(frames, [_source(file) for file in ct.dicom_files], model_id)
        stream = io.BytesIO()
        segmentation.save_as(stream)
    # highdicom and pydicom complain of a source's headers in many kinds of errors.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        folder = Path(ct.dicom_files[0]).parent
        raise InputError(f"{folder}: its headers do not make a DICOM SEG ({reason}). Write the mask as .nii.gz.") from None
    write_atomically(path, stream.getvalue())


def _source(file: str) -> pydicom.Dataset:
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    for keyword in MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    return dataset


def _segmentation(frames: np.ndarray, sources: list[pydicom.Dataset], model_id: str) -> Any:
    """(slices, rows, columns) in the order of the sources."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    release = version(SOFTWARE)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=SOFTWARE, version=release, family=codes.DCM.ArtificialIntelligence, parameters={"model_sha256": model_id}
    )
    lungs = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT_LABEL,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[lungs],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=release,
        # Of a computed object the device is the model.
        device_serial_number=model_id[:16],
        series_description="Lung segmentation",
        content_label="LUNGS",
    )
