"""From the tables of a run to one HTML page that needs no other file."""

import base64
import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

from analysis import figures, formatting
from analysis.commands import repeat_commands
from analysis.load_run import Run, Trial, winning_trial
from analysis.metric_words import in_order, words_of
from analysis.scoring import PLANES, TestResult

WIDE, NARROW = 8.6, 4.0
"""Width of a chart in inches of 72 CSS pixels, on a desk and on a phone."""
STATUS_WORDS = {
    "finished": "trained to the end",
    "stopped": "stopped early by ASHA",
    "diverged": "diverged",
    "failed": "failed",
    "interrupted": "interrupted",
}
SHARE_USES = {
    "train": "fits the weights",
    "val": "chooses between configurations and epochs",
    "test": "sealed until this report",
}
VAL_USE_WHEN_MERGED = "chooses between configurations, then joins the training of the winner"
UNPRINTED = ("name", "data_dir", "split", "cache_dir", "base")
"""Keys of search_config.json that name folders of the user or are printed elsewhere."""


def render_page(run: Run, result: TestResult) -> str:
    """The whole report as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
        "score": formatting.score,
        "cell": formatting.cell,
        "duration": formatting.duration,
        "moment": formatting.moment,
        "words": words_of,
    }
    context = {**_test_context(result), **_search_context(run), **_data_context(run, result)}
    return environment.get_template("report.html.j2").render(run_name=run.name, **context)


def pick_patients(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The worst, median and best of patients sorted worst first; of fewer than three, nobody twice."""
    if len(rows) == 1:
        return [("only patient", rows[0])]
    middle = [("median", rows[(len(rows) - 1) // 2])] if len(rows) > 2 else []
    return [("worst", rows[0]), *middle, ("best", rows[-1])]


def _test_context(result: TestResult) -> dict[str, Any]:
    rows = sorted(result.rows, key=lambda row: (row["dice"], row["case_id"]))
    interval = figures.Interval(result.metrics["dice"]["mean"], *result.metrics["dice"]["ci95"])
    values = [row["dice"] for row in rows]
    return {
        "metrics": result.metrics,
        # A run from before a metric existed has neither its column nor its mean.
        "metric_names": in_order(name for name in rows[0] if name in result.metrics),
        "num_cases": len(rows),
        "tolerances_mm": sorted({row["tolerance_mm"] for row in rows if "tolerance_mm" in row}),
        "num_unpredicted": sum(math.isnan(row.get("hd95_mm", 0.0)) for row in rows),
        "external_name": result.test_set.name,
        "rows": rows,
        "patients": [_patient(result, which, row) for which, row in pick_patients(rows)],
        "patient_chart": [figures.patient_scores(values, interval, (width, 1.5)) for width in (WIDE, NARROW)],
        "openings": result.openings,
        "hashes": result.hashes,
    }


def _patient(result: TestResult, which: str, row: dict[str, Any]) -> dict[str, Any]:
    paths = {plane: result.overlay_path(row["case_id"], plane) for plane in PLANES}
    pictures = {plane: base64.b64encode(path.read_bytes()).decode() for plane, path in paths.items()}
    return {"which": which, "pictures": pictures, **row}


def _search_context(run: Run) -> dict[str, Any]:
    winner = winning_trial(run)
    rungs = [int(epoch) for epoch in run.search["rungs"]]
    statuses = [trial.status for trial in run.trials]
    counts = [(statuses.count(status), words) for status, words in STATUS_WORDS.items() if status in statuses]
    sizes = ((WIDE, 4.4), (NARROW, 3.8))
    return {
        "trials": run.trials,
        "winner": winner,
        "rungs": rungs,
        "status_counts": counts,
        "epochs_trained": sum(trial.epochs for trial in run.trials),
        "epochs_full": len(run.trials) * int(run.search["max_epochs"]),
        "params": {
            name: formatting.column([trial.params[name] for trial in run.trials])
            for name in (run.trials[0].params if run.trials else ())
        },
        "search_chart": [figures.learning_curves(run.trials, winner, rungs, size) for size in sizes],
        "training_chart": [figures.training_curves(run.retraining, size) for size in sizes],
        "training": _training_summary(run),
        "has_curves": any(_has_curve(trial) for trial in run.trials),
    }


def _has_curve(trial: Trial) -> bool:
    return bool(trial.curve.points("val_dice")[0])


def _training_summary(run: Run) -> dict[str, Any]:
    """Epochs, first and last loss, number of reductions of the learning rate."""
    epochs, losses = run.retraining.points("loss")
    _, rates = run.retraining.points("learning_rate")
    steps = sum(later < earlier for earlier, later in itertools.pairwise(rates))
    first, last = (losses[0], losses[-1]) if losses else (math.nan, math.nan)
    return {
        "num_epochs": len(epochs),
        "first_loss": first,
        "last_loss": last,
        "num_reductions": steps,
        "rates": rates,
        "includes_val": _includes_val(run),
    }


def _includes_val(run: Run) -> bool:
    """Whether the winner was trained on the validation patients too: then nobody was left to validate on."""
    return bool(run.split.val) and not run.retraining.points("val_dice")[0]


def _data_context(run: Run, result: TestResult) -> dict[str, Any]:
    data_dir = str(run.search["data_dir"])
    uses = {**SHARE_USES, "val": VAL_USE_WHEN_MERGED} if _includes_val(run) else SHARE_USES
    return {
        "shares": [(share, len(getattr(run.split, share)), use) for share, use in uses.items()],
        "grid": _grid(next(iter(run.cases.values()), {})),
        "external_grid": _grid(vars(result.test_set.cases[0])) if result.test_set.name else "",
        "skipped": [
            {"case_id": case["case_id"], "reason": formatting.without_paths(str(case["reason"]), data_dir)}
            for case in run.skipped
        ],
        "config": dataclasses.asdict(run.best_config),
        "settings": {key: value for key, value in run.search.items() if key not in UNPRINTED},
        "environment": run.environment,
        "commands": repeat_commands(run, result.test_set.name),
    }


def _grid(case: dict[str, Any]) -> str:
    """`_grid(...) -> "64 × 64 × 64 voxels of 5 × 5 × 5 mm"`."""
    if not case:
        return ""
    shape = " × ".join(str(size) for size in case["shape"])
    return f"{shape} voxels of {' × '.join(f'{mm:.3g}' for mm in case['spacing_mm'])} mm"
