"""The baseline that every encoder must be compared with: raw pixels."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class PixelBackbone(BaseModule):
    """A backbone that learns nothing: the pixels are the features.

    Args:
        size: Images are resized by area to (size, size) first; None keeps
            them.
        init_cfg: As in mmengine.
    """

    def __init__(
        self, size: int | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.size = size

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(B, C, H, W) to one map (B, C * size * size)."""
        if self.size is not None:
            images = F.interpolate(images, self.size, mode='area')
        return (images.flatten(1),)
