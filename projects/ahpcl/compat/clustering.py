"""PCA whitening of DeepCluster and ODC with a renamed faiss argument."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from .fix import Fix

_MODULE = 'mmselfsup.utils.clustering'


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls a function once, on a module that may be imported later.

    Importing the module now would import faiss with it.

    Args:
        name: Full name of the module.
        then: Called with the module, right after its code has run.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]):
        self.name = name
        self.then = then
        self._loader: Any = None
        self._searching = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> Any:
        """Finds the module by the other finders, and takes its loading."""
        if fullname != self.name or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> ModuleType | None:
        """Leaves the making of the module to its own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code, then the function."""
        self._loader.exec_module(module)
        sys.meta_path.remove(self)
        self.then(module)


class _FaissWithKeyword:
    """faiss for one module of mmselfsup: it accepts ``eigen_power``."""

    def __init__(self, faiss: Any):
        self._faiss = faiss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._faiss, name)

    def PCAMatrix(  # noqa: N802
        self,
        d_in: int,
        d_out: int,
        eigen_power: float = 0.0,
        random_rotation: bool = False,
    ) -> Any:
        """Builds faiss's PCAMatrix with positional arguments."""
        return self._faiss.PCAMatrix(d_in, d_out, eigen_power, random_rotation)


def _patch(module: Any) -> None:
    """Patches the loaded module if its faiss rejects the keyword."""
    if module.faiss is None:
        return
    try:
        module.faiss.PCAMatrix(2, 1, eigen_power=-0.5)
    except TypeError:
        module.faiss = _FaissWithKeyword(module.faiss)


def _needed() -> bool:
    if importlib.util.find_spec('mmselfsup') is None:
        return False
    return importlib.util.find_spec('faiss') is not None


def _apply() -> None:
    if _MODULE in sys.modules:
        _patch(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _AfterImport(_MODULE, _patch))


PCA_WHITENING = Fix(
    name='pca-whitening',
    symptom=(
        'TypeError: PCAMatrix ... unexpected keyword argument '
        "'eigen_power', in DeepCluster and ODC with PCA (faiss >= 1.14); "
        'probed when mmselfsup first imports its clustering'
    ),
    upstream='mmselfsup 1.0.0 utils/clustering.py; no thread known',
    needed=_needed,
    apply=_apply,
)
