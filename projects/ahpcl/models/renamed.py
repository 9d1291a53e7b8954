"""Models of version 0.1 that configs may still name, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

from mmengine.registry import MODELS

from ahpcl.utils.deprecation import REMOVAL

from .ahpcl import AHPCL


@MODELS.register_module(name='MoCoBaseline')
def moco_baseline(head: dict | None = None, **options: Any) -> AHPCL:
    """MoCo v2, which is AHPCL without an ``AdaptiveClusterHook``.

    Args:
        head: Config of mmselfsup's ``ContrastiveHead``, of which the
            temperature counts.
        **options: The other options, which AHPCL has as well.
    """
    warnings.warn(
        "'MoCoBaseline' is now 'AHPCL' without an AdaptiveClusterHook: change "
        "the type in the config, and the head to dict(type='HPCLHead', "
        "loss_inst=dict(type='InfoNCELoss', temperature=...)); the old name "
        f'{REMOVAL}',
        FutureWarning,
        stacklevel=2,
    )
    temperature = (head or {}).get('temperature', 0.1)
    loss = dict(type='InfoNCELoss', temperature=temperature)
    return AHPCL(head=dict(type='HPCLHead', loss_inst=loss), **options)
