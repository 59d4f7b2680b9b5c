"""Masks as DICOM SEG, whatever the headers of the CT lack."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from lungseg_train.errors import InputError
from lungseg_train.scans.contours import read_dicom_seg
from lungseg_train.scans.dicom_seg import write_dicom_seg
from lungseg_train.scans.scan import read_scan
from tests.dicom_files import write_ct_series
from tests.lungseg_train.models import as_volume

SHAPE, SPACING_MM = (12, 10, 8), (3.0, 4.0, 5.0)


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_ct_series(folder, as_volume(np.zeros(SHAPE), SPACING_MM))
    return folder


def test_a_seg_of_no_lung_at_all_can_be_written(dicom: Path, tmp_path: Path) -> None:
    ct = read_scan(dicom)
    write_dicom_seg(tmp_path / "m.dcm", np.zeros(ct.shape, bool), ct, model_id="0" * 64)
    assert not read_dicom_seg(tmp_path / "m.dcm", ct).any()


def test_a_series_without_optional_headers_makes_a_seg_and_one_without_its_frame_is_one_line(
    dicom: Path, tmp_path: Path
) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3, 4, 5] = True
    for name, keywords in (("good", ["StudyID", "PatientBirthDate", "AccessionNumber"]), ("bad", ["FrameOfReferenceUID"])):
        (tmp_path / name).mkdir()
        for path in dicom.iterdir():
            dataset = pydicom.dcmread(path)
            for keyword in keywords:
                delattr(dataset, keyword)
            dataset.save_as(tmp_path / name / path.name)
    good, bad = read_scan(tmp_path / "good"), read_scan(tmp_path / "bad")
    write_dicom_seg(tmp_path / "m.dcm", mask, good, model_id="0" * 64)
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "m.dcm", good), mask)
    with pytest.raises(InputError, match="bad: its headers do not make a DICOM SEG.*Frame Of Reference"):
        write_dicom_seg(tmp_path / "none.dcm", mask, bad, model_id="0" * 64)
    assert not (tmp_path / "none.dcm").exists()
