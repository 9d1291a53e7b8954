"""Parts of fine-tuning: a copy of a backbone, and augmentation."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ahpcl.engine.extraction import preprocessed
from ahpcl.models.features import first_view, pool_features


class Learner:
    """A copy of a backbone with a linear layer of zeros.

    Args:
        model: The unwrapped algorithm; stays as it is.
        image: One image, (1, C, H, W) uint8, for the number of features.
        classes: Outputs of the layer.
    """

    def __init__(self, model: nn.Module, image: Tensor, classes: int) -> None:
        self.model = model
        self.backbone = copy.deepcopy(model.backbone)
        self.backbone.eval()
        for parameter in self.backbone.parameters():
            parameter.requires_grad_()
        self.device = next(model.parameters()).device
        with torch.no_grad():
            width = self._features(image).shape[1]
        # Weights of zeros need no draw from the random state.
        self.head = nn.utils.skip_init(nn.Linear, width, classes)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.head.to(self.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W) uint8."""
        return self.head(self._features(images))

    @torch.no_grad()
    def scores(self, images: Tensor, batch_size: int) -> Tensor:
        """Return logits (M, classes) on the CPU, in eval mode."""
        self.backbone.eval()
        return torch.cat(
            [self(part).cpu() for part in images.split(batch_size)]
        )

    def _features(self, images: Tensor) -> Tensor:
        batch = dict(inputs=[images.to(self.device)], data_samples=[])
        inputs, _ = preprocessed(self.model, batch)
        return pool_features(self.backbone(first_view(inputs)))


def augmented(
    images: Tensor, padding: int, flip: bool, generator: torch.Generator
) -> Tensor:
    """Return every image moved by some pixels and perhaps flipped."""
    count, _, height, width = images.shape
    if padding:
        padded = F.pad(images, [padding] * 4)
        moves = torch.randint(
            2 * padding + 1, (count, 2), generator=generator
        ).tolist()
        images = torch.stack(
            [
                image[:, y : y + height, x : x + width]
                for image, (y, x) in zip(padded, moves, strict=True)
            ]
        )
    if flip:
        turned = torch.rand(count, generator=generator) < 0.5
        images = torch.where(
            turned[:, None, None, None], images.flip(3), images
        )
    return images
