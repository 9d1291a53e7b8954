#!/usr/bin/env python
"""Replay the decisions of a run by another policy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import replay_policy
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(replay_policy))
