#!/usr/bin/env python
"""Plot the scalars of runs, or say how fast they were."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import analyze_logs
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(analyze_logs))
