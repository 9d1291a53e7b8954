"""Import this first: what the tools share becomes importable."""

import sys
from pathlib import Path

_TOOLS = Path(__file__).resolve().parents[1]
for _folder in (_TOOLS / 'dataset_converters', _TOOLS):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
