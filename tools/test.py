#!/usr/bin/env python
"""Evaluate a checkpoint with the test loop of its config: see ``--help``."""

import sys

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import test
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(test))
