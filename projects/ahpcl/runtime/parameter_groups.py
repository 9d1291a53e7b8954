"""Optimizers whose parameters have settings of their own, in few groups."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedConstructor(DefaultOptimWrapperConstructor):
    """Builds an optimizer with one group for all parameters of equal settings.

    mmengine's own makes a group of every parameter, which a fused optimizer
    then steps one by one, and warns of each that is not trained, such as those
    of the key encoder. What is learnt is the same, bit for bit.

    In configs: ``optim_wrapper=dict(constructor='GroupedConstructor',
    paramwise_cfg=...)``.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the trained parameters of a module, see mmengine's method."""
        if not any(p.requires_grad for p in module.parameters()):
            return
        super().add_params(params, module, prefix, is_dcn_module)
        if not prefix:  # all modules are done
            params[:] = _joined(params)


def _joined(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups whose settings differ, each with the parameters of all alike."""
    found: list[dict[str, Any]] = []
    for group in groups:
        settings = {k: v for k, v in group.items() if k != 'params'}
        for known in found:
            if settings == {k: v for k, v in known.items() if k != 'params'}:
                known['params'].extend(group['params'])
                break
        else:
            found.append({**settings, 'params': list(group['params'])})
    return found
