"""Weights drawn anew without touching the global random state."""

import torch
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize

from ahpcl.utils.random_state import random_state_kept


@torch.no_grad()
def reinitialise(module: BaseModule, seed: int) -> None:
    """Initialise a module afresh, as its ``init_cfg`` says.

    Args:
        module: With at least one parameter.
        seed: Of the draw; the global random state stays as it is.
    """
    device = next(module.parameters()).device
    with random_state_kept(seed, device):
        for part in module.modules():
            if hasattr(part, 'reset_parameters'):
                part.reset_parameters()
        if module.init_cfg:
            initialize(module, module.init_cfg)
