import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from finished_run import Lab, change_json

from analysis import report
from lungseg_train.data.cases import load_case
from lungseg_train.evaluation import score
from lungseg_train.evaluation.summary import METRICS

REPORT_PY = Path(report.__file__)


def write_report(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, options)])
    report.main()


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as stop:
        write_report(monkeypatch, *options)
    lines = capsys.readouterr().err.splitlines()
    assert (stop.value.code, len(lines)) == (2, 1)
    return lines[0]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def change_a_voxel(path: Path) -> None:
    nifti = nibabel.load(path)
    voxels = np.asarray(nifti.dataobj).copy()
    voxels[0, 0, 0] += 7
    nibabel.save(nibabel.Nifti1Image(voxels, nifti.affine, nifti.header), path)


def test_the_report_scores_every_sealed_patient(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(monkeypatch, lab.run)
    sealed = json.loads((lab.run / "split.json").read_text())["test"]
    metrics = json.loads((lab.run / "test" / "metrics.json").read_text())
    with (lab.run / "test" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["case_id", *METRICS, "tolerance_mm"]
    assert [row["case_id"] for row in rows] == sealed
    assert metrics["num_cases"] == len(sealed) == 3
    assert metrics["dice"]["mean"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]))
    assert metrics["dice"]["ci95"][0] <= metrics["dice"]["mean"] <= metrics["dice"]["ci95"][1]
    planes = {f"{case_id}-{plane}.png" for case_id in sealed for plane in ("coronal", "axial", "sagittal")}
    assert names(lab.run / "test" / "overlays") == planes
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"test dice {metrics['dice']['mean']:.4f} (95 % interval ") and printed[0].endswith("n = 3)")
    assert [line.split()[1] for line in printed[:-1]] == ["dice", "iou", "hd95_mm", "surface_dice"]
    assert printed[-1] == f"report: {lab.run / 'report.html'}"


def test_a_second_report_does_not_open_the_test_again(opened_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, page = ((opened_lab.run / name).read_bytes() for name in ("test/opened.json", "report.html"))
    for case_id in json.loads((opened_lab.run / "split.json").read_text())["test"]:
        (opened_lab.cases / case_id / "ct.nii.gz").unlink()
    write_report(monkeypatch, opened_lab.run)
    assert ((opened_lab.run / "test/opened.json").read_bytes(), (opened_lab.run / "report.html").read_bytes()) == (
        opened,
        page,
    )


def test_results_from_before_the_distances_are_reported_as_they_are(
    opened_lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, known = opened_lab.run / "test", ("dice", "iou", "soft_dice", "loss")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({name: metrics[name] for name in ("num_cases", *known)}))
    with (folder / "cases.csv").open(newline="") as stream:
        rows = [{name: row[name] for name in ("case_id", *known)} for row in csv.DictReader(stream)]
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_report(monkeypatch, opened_lab.run)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]] == ["dice", "iou"]
    assert "HD95" not in (opened_lab.run / "report.html").read_text()


def test_a_model_that_predicts_nothing_is_reported_with_honest_counts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lungseg_train.evaluation.metrics.THRESHOLD", 2.0)
    write_report(monkeypatch, lab.run)
    metrics = json.loads((lab.run / "test" / "metrics.json").read_text())
    assert metrics["hd95_mm"] == {"mean": None, "ci95": [None, None], "num_cases": 0}
    assert metrics["surface_dice"]["mean"] == metrics["dice"]["mean"] == 0.0
    assert "NaN" not in (lab.run / "test" / "metrics.json").read_text()
    with (lab.run / "test" / "cases.csv").open(newline="") as stream:
        assert [(row["hd95_mm"], row["volume_error_percent"]) for row in csv.DictReader(stream)] == [("", "-100.0")] * 3
    assert "test hd95_mm: none of 3 patients has one" in capsys.readouterr().out.splitlines()
    assert "In 3 of 3 patients the model found no lung at all." in (lab.run / "report.html").read_text()


def test_another_model_opens_the_test_again_and_both_openings_are_told(
    opened_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.replace(opened_lab.run / "retrain" / "final_model.keras", opened_lab.run / "retrain" / "best_model.keras")
    write_report(monkeypatch, opened_lab.run)
    openings = json.loads((opened_lab.run / "test" / "opened.json").read_text())
    assert len(openings) == len({opening["model_sha256"] for opening in openings}) == 2
    assert all(opening["num_cases"] == 3 and opening["opened"].endswith("+00:00") for opening in openings)
    assert "opened 2 times" in (opened_lab.run / "report.html").read_text()


def test_a_missing_picture_is_made_again(opened_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = next((opened_lab.run / "test" / "overlays").iterdir())
    picture.unlink()
    write_report(monkeypatch, opened_lab.run)
    assert picture.exists()


@pytest.mark.parametrize("name", ["ct.nii.gz", "lung.nii.gz"])
def test_a_changed_test_patient_is_refused_before_anything_is_written(
    lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(lab.run)
    sealed = json.loads((lab.run / "split.json").read_text())["test"][-1]
    change_a_voxel(lab.cases / sealed / name)
    assert "split.json sealed" in refusal(monkeypatch, capsys, lab.run)
    assert names(lab.run) == before


def test_a_failure_in_the_midst_of_scoring_leaves_nothing_behind(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(lab.run)

    def score_half(model_path: Path, cases: list, on_case: score.OnCase) -> None:
        ct, mask = load_case(cases[0])
        on_case(score.ScoredCase(cases[0], ct, mask, mask.astype(np.float32)))
        raise RuntimeError("power cut")

    monkeypatch.setattr(score, "score_cases", score_half)
    with pytest.raises(RuntimeError, match="power cut"):
        write_report(monkeypatch, lab.run)
    assert names(lab.run) == before


def test_other_patients_get_a_test_folder_and_report_of_their_own(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(monkeypatch, lab.run, "--data_dir", lab.other)
    metrics = json.loads((lab.run / "test-other-hospital" / "metrics.json").read_text())
    assert metrics["num_cases"] == 1
    assert "other-hospital" in (lab.run / "report-other-hospital.html").read_text()
    assert not (lab.run / "test").exists()


@pytest.mark.parametrize("share", ["train", "val"])
def test_a_patient_of_the_search_among_the_others_is_refused(
    lab: Lab, share: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.loads((lab.run / "split.json").read_text())[share][0]
    os.replace(lab.cases / known, lab.other / "renamed")
    before = names(lab.run)
    assert f"shows the patient of {known}" in refusal(monkeypatch, capsys, lab.run, "--data_dir", lab.other)
    assert names(lab.run) == before


def test_a_run_without_test_patients_asks_for_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_json(lab.run / "split.json", test=[], test_sha256={})
    assert "--data_dir" in refusal(monkeypatch, capsys, lab.run)
    write_report(monkeypatch, lab.run, "--data_dir", lab.other)


def test_vanished_data_or_a_damaged_model_is_refused_in_one_line(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(lab.run)
    (lab.run / "retrain" / "best_model.keras").write_bytes(b"not a model")
    assert "best_model.keras" in refusal(monkeypatch, capsys, lab.run)
    os.replace(lab.cases, lab.cases.with_name("moved"))
    assert "no such folder" in refusal(monkeypatch, capsys, lab.run)
    assert names(lab.run) == before


@pytest.mark.parametrize("name", ["metrics.json", "opened.json", "cases.csv"])
def test_damaged_results_are_refused_in_one_line(
    opened_lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (opened_lab.run / "test" / name).write_text('{"num_cases": 3, "dice": 1, "iou": {}}')
    assert name in refusal(monkeypatch, capsys, opened_lab.run)


def test_a_finished_run_is_reported_without_ray_or_tensorflow(opened_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from analysis import report; sys.argv = ['report.py', sys.argv[1]]; report.main();"
        "print(sorted({'ray', 'tensorflow', 'keras', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(opened_lab.run)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_comes_without_heavy_imports() -> None:
    command = [sys.executable, "-X", "importtime", str(REPORT_PY), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--data-dir" in done.stdout.replace("_", "-")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "matplotlib", "nibabel", "jinja2", "keras"}
