"""The table of bad input, printed behind the tests that made it."""

from collections.abc import Iterator

import pytest

BAD_INPUT = "bad input"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = sorted(set(_rows(terminalreporter)))
    if not rows:
        return
    terminalreporter.section(f"bad input: {len(rows)} kinds")
    width = max(len(kind) for kind, *_ in rows)
    for kind, verdict, message in rows:
        terminalreporter.write_line(f"{kind:{width}}  {verdict:8} {message}".rstrip())


def _rows(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, str, str]]:
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = report.user_properties if isinstance(report, pytest.TestReport) and report.when == "call" else []
            yield from (tuple(value) for name, value in properties if name == BAD_INPUT)
