"""Policies built from a config; the policies themselves are in core."""

from mmengine.registry import TASK_UTILS

from ahpcl.core import (
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
)

for _policy in (
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
):
    TASK_UTILS.register_module(module=_policy)
