"""What an optimizer remembers of its steps: laid out again, or forgotten."""

from collections.abc import Iterable

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
        optimizer: The optimizer, whose state is changed in place.

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


@torch.no_grad()
def forget_steps(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Let the next step of some parameters be as their first.

    Their state becomes zero and stays where it is: the fused optimizers take
    parameters with a state and without one in a step only together. (SGD
    with dampening alone tells a momentum of zero from none.)

    Args:
        optimizer: The optimizer, whose state is changed in place.
        parameters: Parameters whose state is forgotten; those that the
            optimizer does not know are skipped.
    """
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        for name, value in list(state.items()):
            if isinstance(value, Tensor):
                value.zero_()
            elif isinstance(value, int | float):
                state[name] = 0
