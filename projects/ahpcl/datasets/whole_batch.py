"""Fetches batches in one piece, and collates all batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.registry import FUNCTIONS
from torch import Tensor

from .sample_list import SampleList
from .transforms import LoadImageBGR

_BLANK = np.zeros((1, 1, 3), np.uint8)


class WholeBatch(Sequence):
    """A batch in one piece. Other collate functions see its single items.

    Args:
        batch: ``inputs``, a list of one tensor (B, 3, H, W), uint8, B, G, R;
            ``data_samples``; and ``sizes`` (B, 2) int64, heights and widths,
            where images differ and have zeros at the right and the bottom.
    """

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch['data_samples'])

    def __getitem__(self, place: int) -> dict[str, Any]:
        image = self.batch['inputs'][0][place]
        if 'sizes' in self.batch:
            height, width = self.batch['sizes'][place].tolist()
            image = image[:, :height, :width]
        return {
            'inputs': [image],
            'data_samples': self.batch['data_samples'][place],
        }


@FUNCTIONS.register_module()
def collate_batches(items: Sequence[Any]) -> dict:
    """Put the items of a batch together.

    A :class:`WholeBatch` is passed on; anything else becomes what mmengine's
    ``default_collate`` makes of it. Single images of several sizes get zeros
    beside them and the batch their ``sizes``, as ``DeviceViews`` takes them;
    other preprocessors refuse them. Samples that hold an index only become a
    :class:`SampleList`.

    Args:
        items: What the data set gave.

    Raises:
        ValueError: if views differ in size.
    """
    if isinstance(items, WholeBatch):
        return items.batch
    if not isinstance(items[0], dict) or 'inputs' not in items[0]:
        return default_collate(items)
    sizes = None
    for views in zip(*(item['inputs'] for item in items), strict=True):
        shapes = sorted({tuple(view.shape) for view in views})
        if len(shapes) == 1:
            continue
        if len(items[0]['inputs']) > 1:
            raise ValueError(
                f'expected views of one size in a batch, got {shapes[0]} and '
                f'{shapes[-1]}; crop or resize them in the pipeline'
            )
        block, sizes = pad_images(views)
        items = [
            {**item, 'inputs': [image]}
            for item, image in zip(items, block, strict=True)
        ]
    batch = default_collate(items)
    if sizes is not None:
        batch['sizes'] = sizes
    if 'data_samples' in batch:
        samples = SampleList.of(batch['data_samples'])
        if samples is not None:
            batch['data_samples'] = samples
    return batch


def fetch(dataset: Any, indices: Sequence[int]) -> Sequence[Any]:
    """Return the items of a batch, as one block where that is possible.

    It is possible where the images are decoded and the pipeline leaves them
    as they are: ``LoadImageBGR``, and ``PackSelfSupInputs`` with nothing but
    ``sample_idx``.

    Args:
        dataset: An :class:`ahpcl.datasets.base.ImageListDataset`.
        indices: Indices of the images.
    """
    pack = _raw_packing(dataset.pipeline.transforms)
    found = None if pack is None else dataset.image_block(indices)
    if found is None:
        return [dataset[index] for index in indices]
    block, sizes = found
    blank = pack({'img': _BLANK, 'sample_idx': 0})['data_samples']
    batch = {
        'inputs': [block],
        'data_samples': SampleList(
            torch.tensor(indices), type(blank), type(blank.sample_idx)
        ),
    }
    if sizes is not None:
        batch['sizes'] = sizes
    return WholeBatch(batch)


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stack images; those of several sizes with zeros beside them.

    Args:
        images: B of (C, H, W).

    Returns:
        (B, C, H, W), and heights and widths (B, 2) int64 where they differ.
    """
    if len({image.shape for image in images}) == 1:
        return torch.stack(list(images)), None
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = sizes.amax(dim=0).tolist()
    found = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for place, image in enumerate(images):
        found[place, :, : image.shape[1], : image.shape[2]] = image
    return found, sizes


def _raw_packing(transforms: Sequence[Any]) -> Any | None:
    """Return the packing of a pipeline that changes no pixel, else None."""
    if len(transforms) != 2:
        return None
    load, pack = transforms
    raw = (
        isinstance(load, LoadImageBGR)
        and type(pack).__name__ == 'PackSelfSupInputs'
        and pack.key == 'img'
        and list(pack.algorithm_keys) == ['sample_idx']
        and not pack.pseudo_label_keys
        and not pack.meta_keys
    )
    return pack if raw else None
