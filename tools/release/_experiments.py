"""Import this first: the modules of the experiments become importable.

They come before those beside this file, one of which has the name of one of
theirs (`_plan`).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'experiments'))
