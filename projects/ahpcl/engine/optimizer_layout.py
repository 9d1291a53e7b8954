"""The state of an optimizer in the memory format of its parameters."""

import torch
from torch import Tensor
from torch.optim import Optimizer


@torch.no_grad()
def align_optimizer_state(optimizer: Optimizer) -> int:
    """Give momenta the strides of their parameters.

    A state from a checkpoint has the strides that it was written with. The
    fused optimizers read parameter, gradient and state in the order of their
    memory and do not look at strides: a run that was stopped with one memory
    format and resumed with another would get the momentum of other weights,
    without an error.

    Args:
        optimizer: Its state is changed in place.

    Returns:
        How many tensors had other strides.
    """
    changed = 0
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if (
                isinstance(value, Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[name] = torch.empty_like(parameter).copy_(value)
                changed += 1
    return changed
