"""The tools as modules, for tests that call their functions."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[2] / 'tools'


@contextmanager
def tool_modules(folder: str, *names: str) -> Iterator[dict[str, ModuleType]]:
    """Load tools as Python runs them: from their own folder.

    Afterwards neither they nor what they loaded from beside them stay, so
    that tools of one name in two folders do not meet.

    Args:
        folder: Below ``tools``; empty for ``tools`` itself.
        names: Modules in it.

    Yields:
        The modules by name.
    """
    path = list(sys.path)
    before = {name: sys.modules.pop(name, None) for name in names}
    known = set(sys.modules)
    sys.path.insert(0, str(TOOLS / folder))
    try:
        try:
            loaded = {name: importlib.import_module(name) for name in names}
        finally:
            sys.path[:] = path
        yield loaded
    finally:
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], '__file__', None)
            if file and Path(file).is_relative_to(TOOLS):
                del sys.modules[name]
        sys.modules.update(
            {name: module for name, module in before.items() if module}
        )
