"""Ideas on trial for gate 2c, for one process.

What gains by the rows moves into the package, the rest goes and leaves its
rows and a line on the results' page.
"""

from __future__ import annotations

from typing import Any

import torch
from _oracle import PrototypeSelection
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module(force=True)
class FarNegatives(PrototypeSelection):
    """Leaves the prototypes nearest to the own one out of the negatives.

    Args:
        share: Of a level's prototypes, the own one included. With C kinds of
            equal size 1 / C of the prototypes are of the own kind.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f'expected a share in (0, 1), got {share}')
        self.share = share

    @torch.no_grad()
    def prototype_masks(
        self, hierarchy: Any, sample_idx: Tensor, generator: Any
    ) -> list[Tensor]:
        """Masks (B, K), one per level."""
        masks = []
        for level in hierarchy.levels:
            own = level.assignments.cpu()[sample_idx.cpu()]
            own = own.to(level.centroids.device)
            cosines = level.centroids[own] @ level.centroids.t()
            count = max(int(self.share * level.num_clusters), 1)
            near = cosines.topk(count).indices
            mask = torch.ones_like(cosines, dtype=torch.bool)
            masks.append(mask.scatter_(1, near, False))
        return masks
