#!/usr/bin/env python
"""Train from a config file, in one process or several: see ``--help``."""

import sys

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import run
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(run))
