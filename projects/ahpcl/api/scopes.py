"""The scope of the registries, for as long as something is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DefaultScope


@contextmanager
def in_scope(name: str) -> Iterator[None]:
    """Build components of a scope; the scope that was there comes back.

    Runs of several scopes may so live in one process. A scope whose package
    is not installed serves what the root registries have.

    Args:
        name: Such as ``'mmselfsup'``.
    """
    with DefaultScope.overwrite_default_scope(name):
        yield
