"""Open the test patients of a finished run once and write its report: python analysis/report.py RUN."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from lungseg_train.command_line import parse
from lungseg_train.errors import command

PROG = "python analysis/report.py"


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Options of the command."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished run, as python tune/search.py leaves it."""
    data_dir: Path | None = None
    """Case folders of other patients: all of them are the test, in place of the run's own test share."""


@command
def main() -> None:
    options = parse(ReportCommand, PROG, "Score a run's best model on its test patients and write the report.")
    from analysis.load_run import load_run
    from analysis.scoring import score_once
    from analysis.test_set import choose_test_set

    run = load_run(options.run)
    test_set = choose_test_set(run, options.data_dir)
    result = score_once(run, test_set)

    from analysis.page import render_page
    from lungseg_train.evaluation.summary import headline_lines
    from lungseg_train.scans.volume import write_atomically

    write_atomically(test_set.report_path, render_page(run, result))
    print("\n".join(headline_lines(result.metrics)))
    print(f"report: {test_set.report_path}")


if __name__ == "__main__":
    main()
