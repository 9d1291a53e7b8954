"""Drops warnings of other packages that are about nothing in use here."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Beginnings of what is dropped while packages are imported.
DROPPED = (
    # mmcv-lite, when its transformers are imported, as mmcls and MMPretrain
    # do; no transformer here has this operator.
    'Fail to import ``MultiScaleDeformableAttention``',
    # The full mmcv at the same place.
    '``MultiScaleDeformableAttention`` has been moved',
    # torch 2.4 and some later releases, when mmengine imports an optimizer
    # for several ranks from torch.distributed.optim.
    '`TorchScript` support for functional optimizers is deprecated',
)


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Drops the warnings of :data:`DROPPED`, and shows all others at the end.

    torch sets a filter of its own around its warning, so that a filter from
    here does not reach it: what is shown meanwhile is recorded instead.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as recorded:
            caught = recorded
            for message in DROPPED:
                warnings.filterwarnings('ignore', message=message)
            yield
    finally:
        for one in caught:
            if not str(one.message).startswith(DROPPED):
                warnings.warn_explicit(
                    one.message, one.category, one.filename, one.lineno
                )


def import_transformers() -> None:
    """Imports mmcv's transformers, which warn once in a process.

    mmcls and MMPretrain import them later, with the first model.
    """
    with suppress(ImportError):
        importlib.import_module('mmcv.cnn.bricks.transformer')
