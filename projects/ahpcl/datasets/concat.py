"""Several data sets as one, in which every image has a number of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS

from .manifest import Manifest, manifest_of
from .roots import folder_labels, roots_of


@DATASETS.register_module(name=['ConcatImages', 'ConcatDataset'], force=True)
class ConcatImages(ConcatDataset):
    """mmengine's ``ConcatDataset``, with a ``sample_idx`` for every image.

    mmengine's numbers the images of each part from 0, so that several images
    have one number. What is known of an image (its cluster, its label, its
    draws) is found by that number, so the training and extract loaders need
    one for each: here it is the place among all images. Takes the name of
    mmengine's class in configs.

    Args:
        datasets: Data sets, or their configs.
        lazy_init: Read nothing before first use.
        ignore_keys: Meta information in which the parts may differ.
    """

    def full_init(self) -> None:
        """Load the parts, and number the images of all of them."""
        if self._fully_initialized:
            return
        super().full_init()
        firsts = [0, *self.cumulative_sizes]
        self.datasets = [
            _numbered_from(first, part)
            for first, part in zip(firsts, self.datasets, strict=False)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return an entry, with the place among all images."""
        info: dict = super().get_data_info(idx)
        info['sample_idx'] = idx if idx >= 0 else len(self) + idx
        return info

    def manifest(self) -> Manifest | None:
        """Say which images these are, those of each part by its folder."""
        parts = [manifest_of(part) for part in self.datasets]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        labels = _labels(self.datasets)
        return Manifest(
            tuple(
                f'{label}{name}'
                for label, part in zip(labels, found, strict=True)
                for name in part.names
            ),
            np.concatenate([part.sizes for part in found]),
            np.concatenate([part.marks for part in found]),
        )


class _ShiftIndex:
    """Adds the number of the images before a part.

    Args:
        first: That number.
    """

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, results: dict) -> dict:
        """Return the results with another ``sample_idx``."""
        return {**results, 'sample_idx': results['sample_idx'] + self.first}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(first={self.first})'


def _numbered_from(first: int, part: Any) -> Any:
    """Return a part whose images are numbered from there, as another one."""
    if first == 0:
        return part
    part = copy.copy(part)
    if hasattr(part, 'datasets'):
        part.datasets = [_numbered_from(first, one) for one in part.datasets]
        return part
    part.pipeline = copy.copy(part.pipeline)
    transforms: list[Callable] = list(part.pipeline.transforms)
    # What loads an image stays the first, where tools look for it.
    loads = transforms and type(transforms[0]).__name__.startswith('Load')
    transforms.insert(1 if loads else 0, _ShiftIndex(first))
    part.pipeline.transforms = transforms
    return part


def _labels(parts: list) -> list[str]:
    """Return what the names of the images of every part begin with."""
    roots = [
        roots_of(getattr(part, 'data_root', None) or '') for part in parts
    ]
    if len(set(roots)) == 1 or any(root == ('',) for root in roots):
        return [''] * len(parts)
    # Names of a part with several folders tell these apart themselves.
    single = [root[0] for root in roots if len(root) == 1]
    label = dict(zip(single, folder_labels(single), strict=True))
    return [f'{label[root[0]]}/' if len(root) == 1 else '' for root in roots]
