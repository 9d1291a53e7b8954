#!/usr/bin/env python
"""t-SNE of the features of a checkpoint: see ``--help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _threads  # noqa: F401  # isort: skip  (before torch)
from ahpcl.cli import visualize_tsne
from ahpcl.cli.main import call

if __name__ == '__main__':
    sys.exit(call(visualize_tsne))
