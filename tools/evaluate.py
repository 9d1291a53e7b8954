#!/usr/bin/env python
"""Measure what a checkpoint learnt: see ``--help``."""

import sys

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import evaluate
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(evaluate))
