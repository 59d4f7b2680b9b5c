"""The test patients are opened once: scored, drawn, and the results put into the run folder whole or not at all."""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.load_run import Run
from analysis.read_files import number, read_json, read_json_list, read_table, sha256_of_file
from analysis.test_set import TestSet, fingerprint
from lungseg_train.errors import InputError
from lungseg_train.evaluation.summary import METRICS, summarize

HEADLINE = ("dice", "iou")
PLANES = ("coronal", "axial", "sagittal")


@dataclass(frozen=True)
class TestResult:
    """What is known about the test patients."""

    test_set: TestSet
    hashes: dict[str, dict[str, str]]
    """case_id -> ct_sha256, mask_sha256."""
    metrics: dict[str, Any]
    """metrics.json: num_cases and, per metric, mean, ci95 and, where it differs, num_cases; NaN for null."""
    rows: list[dict[str, Any]]
    """cases.csv: case_id and metrics of each patient; NaN where a patient has none."""
    openings: list[dict[str, Any]]
    """opened.json: each time the patients were opened."""

    __test__ = False

    def overlay_path(self, case_id: str, plane: str) -> Path:
        return self.test_set.folder / "overlays" / overlay_name(case_id, plane)


def overlay_name(case_id: str, plane: str) -> str:
    return f"{case_id}-{plane}.png"


def score_once(run: Run, test_set: TestSet) -> TestResult:
    """The test result: read where this model was scored on these patients before, else made. Raises `InputError`."""
    hashes = test_set.hashes()
    openings = _read_openings(test_set.folder)
    opening = {
        "opened": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python analysis/report.py {run.name}" + (f" --data_dir {test_set.name}" if test_set.name else ""),
        "model_sha256": sha256_of_file(run.model_path),
        "cases_sha256": fingerprint(hashes),
        "num_cases": len(hashes),
    }
    if not (openings and _is_same_test(openings[-1], opening) and _is_complete(test_set.folder, list(hashes))):
        with _replaced_whole(test_set.folder) as partial:
            _write_json(partial / "opened.json", [*openings, opening])
            _score(run, test_set, partial)
    return _read_result(test_set, hashes)


def _score(run: Run, test_set: TestSet, folder: Path) -> None:
    """Open the patients, score them, and write metrics.json, cases.csv and overlays into `folder`."""
    cases = test_set.cases
    from lungseg_train.device import configure_device, import_backend_quietly

    import_backend_quietly()
    configure_device()
    from lungseg_train.evaluation.metrics import THRESHOLD
    from lungseg_train.evaluation.overlay import overlay_planes, plane_png
    from lungseg_train.evaluation.score import ScoredCase, score_cases

    (folder / "overlays").mkdir()

    def draw(scored: ScoredCase) -> None:
        prediction = scored.probability >= THRESHOLD
        for plane in overlay_planes(scored.ct.array, scored.mask, prediction, scored.ct.spacing_mm):
            (folder / "overlays" / overlay_name(scored.case.case_id, plane.name)).write_bytes(plane_png(plane))

    rows = score_cases(run.model_path, cases, draw)
    _write_json(folder / "metrics.json", summarize(rows))
    table = io.StringIO()
    writer = csv.DictWriter(table, ["case_id", *METRICS, "tolerance_mm"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / "cases.csv").write_text(table.getvalue(), encoding="utf-8")


@contextmanager
def _replaced_whole(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` once it is complete."""
    partial, former = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("partial", "former"))
    try:
        partial.mkdir()
        yield partial
        if folder.exists():
            folder.rename(former)
        partial.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}). Make room and write access in the run folder."
        ) from None
    finally:
        if former.exists() and not folder.exists():
            former.rename(folder)
        for leftover in (partial, former):
            shutil.rmtree(leftover, ignore_errors=True)


def _read_openings(folder: Path) -> list[dict[str, Any]]:
    return read_json_list(folder / "opened.json") if (folder / "opened.json").exists() else []


def _is_same_test(before: dict[str, Any], now: dict[str, Any]) -> bool:
    return all(before.get(key) == now[key] for key in ("model_sha256", "cases_sha256"))


def _is_complete(folder: Path, case_ids: list[str]) -> bool:
    overlays = (f"overlays/{overlay_name(case_id, plane)}" for case_id in case_ids for plane in PLANES)
    return all((folder / name).is_file() for name in ("metrics.json", "cases.csv", *overlays))


def _read_result(test_set: TestSet, hashes: dict[str, dict[str, str]]) -> TestResult:
    rows: list[dict[str, Any]] = [
        {name: value if name == "case_id" else number(row, name) for name, value in row.items()}
        for row in read_table(test_set.folder / "cases.csv", ("case_id", *HEADLINE))
    ]
    return TestResult(
        test_set=test_set,
        hashes=hashes,
        metrics=_read_metrics(test_set.folder / "metrics.json"),
        rows=rows,
        openings=_read_openings(test_set.folder),
    )


def _read_metrics(path: Path) -> dict[str, Any]:
    metrics = read_json(path, ("num_cases", *HEADLINE))
    try:
        return {name: values if name == "num_cases" else _as_numbers(values) for name, values in metrics.items()}
    except (TypeError, KeyError, ValueError):
        raise InputError(f"{path}: expected mean and ci95 of each metric. Remove {path.name} to score again.") from None


def _as_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Mean, ci95 and, if it is there, num_cases of one metric; NaN for the null of a metric that no patient has."""
    mean, low, high = (math.nan if value is None else float(value) for value in (values["mean"], *values["ci95"]))
    count = {"num_cases": int(values["num_cases"])} if "num_cases" in values else {}
    return {"mean": mean, "ci95": [low, high], **count}


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
