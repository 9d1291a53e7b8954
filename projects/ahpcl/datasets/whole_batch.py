"""Batches that are fetched at once, and how all batches are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import default_collate


class WholeBatch(list):
    """A batch that is one already; a list, as a loader expects one.

    Args:
        batch: What the model's preprocessor takes.
        size: B.
    """

    def __init__(self, batch: dict, size: int) -> None:
        super().__init__(range(size))
        self.batch = batch


@FUNCTIONS.register_module()
def collate_batches(items: Sequence[Any]) -> dict:
    """Put the items of a batch together.

    A :class:`WholeBatch` is passed on. Views of one size are stacked, (B, C,
    H, W) each; images of several sizes, as they are where augmentation is on
    the device, are padded at the right and at the bottom, and ``sizes`` (B,
    2) int64 says their height and width. Samples stay a list.

    Args:
        items: Dicts with ``inputs``, a list of views (C, H, W), and
            ``data_samples``.
    """
    if isinstance(items, WholeBatch):
        return items.batch
    if not items or not isinstance(items[0], dict) or 'inputs' not in items[0]:
        return default_collate(list(items))
    views = list(zip(*(item['inputs'] for item in items), strict=True))
    batch: dict[str, Any] = {
        'data_samples': [item.get('data_samples') for item in items]
    }
    if len(views) == 1:
        stacked, sizes = pad_images(views[0])
        batch['inputs'] = [stacked]
        if sizes is not None:
            batch['sizes'] = sizes
    else:
        batch['inputs'] = [torch.stack(list(view)) for view in views]
    return batch


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stack images (C, H, W); of several sizes with zeros beside them.

    Returns:
        (B, C, H, W), and the sizes (B, 2) where they differ.
    """
    if len({image.shape for image in images}) == 1:
        return torch.stack(list(images)), None
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = sizes.amax(dim=0).tolist()
    found = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for place, image in enumerate(images):
        found[place, :, : image.shape[1], : image.shape[2]] = image
    return found, sizes
