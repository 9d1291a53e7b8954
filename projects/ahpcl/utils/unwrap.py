"""The algorithm inside a parallel wrapper."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The algorithm inside a parallel wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model
