"""The tests marked `gpu`: a part of `gpu_check.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _part import Record, parse_part
from _provenance import ROOT


class Outcomes:
    """A pytest plugin that records every test as a row.

    Args:
        record: Of the part.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test, once: its call, or a setup that was no success."""
        if (
            report.when == 'call'
            or (report.when == 'setup' and not report.passed)
            or report.failed
        ):
            self._add(report, report.duration)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a file that cannot be read."""
        if report.failed:
            self._add(report, 0.0)

    def _add(
        self, report: pytest.TestReport | pytest.CollectReport, took: float
    ) -> None:
        content = self.record.content
        row = dict(name=report.nodeid, outcome=report.outcome, took=took)
        if report.failed:
            row['error'] = report.longreprtext[-2000:]
            content['problems'].append(f'{report.nodeid} failed')
        elif report.skipped:
            *_, reason = report.longrepr
            row['reason'] = reason.removeprefix('Skipped: ')
        content['rows'].append(row)
        self.record.write()


def marked_files(folder: Path) -> Iterator[Path]:
    """Test files with the marker, so that no others are imported."""
    for path in sorted(folder.rglob('test_*.py')):
        if 'mark.gpu' in path.read_text('utf-8'):
            yield path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tests in this process."""
    args = parse_part(argv)
    record = Record(args.json, args.device, dict(small=args.small))
    files = [
        str(path.relative_to(ROOT)) for path in marked_files(ROOT / 'tests')
    ]
    os.chdir(ROOT)
    pytest.main(
        ['-m', 'gpu', '-q', '-p', 'no:cacheprovider', *files],
        plugins=[Outcomes(record)],
    )
    rows = record.content['rows']
    counts = {
        outcome: sum(row['outcome'] == outcome for row in rows)
        for outcome in ('passed', 'failed', 'skipped')
    }
    record.content['counts'] = counts
    if not counts['passed'] and args.device.type == 'cuda':
        record.content['problems'].append(
            f'expected tests marked gpu to pass, got {counts}'
        )
    record.write()


if __name__ == '__main__':
    main()
