"""What all image datasets of this package have in common."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import Tensor

from .decode import WHITE
from .decoded_cache import DecodedCache
from .decoded_cache_build import (
    default_folder,
    open_or_build,
    warn_in_memory,
)
from .scan import SCAN_MODES, ScanMode, describe, scan_images
from .whole_batch import WholeBatch, pad_images


class ImageListDataset(BaseDataset):
    """A list of images, checked at the start, with labels where known.

    A subclass gives ``load_data_list``: dicts with ``img_path`` and, where
    the list names a class, ``gt_label`` (int from 0). ``sample_idx`` is added
    on access. Labels come from lists and folders only; what a clustering
    finds never enters a dataset, because loader workers keep old copies.

    Args:
        data_root: Folder of the dataset.
        on_unreadable: What to do about files that are missing, truncated, no
            images or smaller than ``min_size``: 'raise' stops with one error
            that names them, 'skip' leaves them out and logs their number.
        scan: How to look for them, see
            :func:`ahpcl.datasets.scan.scan_images`.
        min_size: Least width and height, in px.
        limit: Use this many images at most. With labels they are taken evenly
            from the classes, the first of each; without, evenly from the
            whole list. They are taken before the scan.
        metainfo: Overrides for the dataset's meta information.
        pipeline: Transforms, configs or callables.
        indices: mmengine's own cut: the first n, or these places, after the
            scan.
        serialize_data: Hold the list as one byte array, so that forked
            workers share it.
        test_mode: Whether a pipeline that returns None is an error.
        lazy_init: Read nothing before first use.
        max_refetch: Tries for another sample where a pipeline returns None.
        decoded_cache: Folder of a :class:`DecodedCache` of the images, built
            before first use; ``'auto'`` for one in ``data_root``; None to
            decode every image every time.
        decoded_max_side: Reduce longer sides to it in the cache, px; None
            keeps every pixel, so that the cache changes nothing.

    Raises:
        OSError: if the disk has no room for the cache.
        ValueError: if an option has an unknown value, files cannot be used
            and ``on_unreadable='raise'``, or no image is left.
    """

    def __init__(
        self,
        data_root: str = '',
        *,
        on_unreadable: Literal['raise', 'skip'] = 'raise',
        scan: ScanMode = 'auto',
        min_size: int = 2,
        limit: int | None = None,
        metainfo: Mapping[str, Any] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        decoded_cache: str | None = None,
        decoded_max_side: int | None = None,
    ) -> None:
        if on_unreadable not in ('raise', 'skip'):
            raise ValueError(
                "expected on_unreadable='raise' or 'skip', got "
                f'{on_unreadable!r}'
            )
        if scan not in SCAN_MODES:
            raise ValueError(
                f'expected scan to be one of {", ".join(SCAN_MODES)}, got '
                f'{scan!r}'
            )
        if limit is not None and limit < 1:
            raise ValueError(
                f'expected limit to be None or at least 1, got {limit}'
            )
        self.on_unreadable = on_unreadable
        self.scan = scan
        self.min_size = min_size
        self.limit = limit
        self.decoded_cache = decoded_cache
        self.decoded_max_side = decoded_max_side
        self._decoded: DecodedCache | None = None
        super().__init__(
            metainfo=metainfo,
            data_root=str(data_root),
            data_prefix={},
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def full_init(self) -> None:
        """Load the list, and open or build the decoded cache."""
        if self._fully_initialized:
            return
        super().full_init()
        if self.decoded_cache is None:
            return
        if getattr(self, 'store', None) is not None:
            warn_in_memory(self.describe())
            return
        for transform in self.pipeline.transforms:
            background = getattr(transform, 'background', WHITE)
            if background != WHITE:
                raise ValueError(
                    'expected a white background in LoadImageBGR with '
                    f'decoded_cache, got {background}: the cache holds '
                    'transparent images over white; leave one of them out'
                )
        paths = [self.get_data_info(i)['img_path'] for i in range(len(self))]
        folder = self.decoded_cache
        if folder == 'auto':
            folder = default_folder(
                self.data_root, paths, self.decoded_max_side
            )
        self._decoded = open_or_build(
            folder, paths, max_side=self.decoded_max_side
        )

    def prepare_data(self, idx: int) -> Any:
        """Entry ``idx`` through the pipeline, its pixels from the cache."""
        info = self.get_data_info(idx)
        if 'img' not in info and self._in_cache(idx, info):
            info['img'] = self._decoded.bgr(idx)
        return self.pipeline(info)

    def _in_cache(self, idx: int, info: dict) -> bool:
        # A list that was cut after the cache was made finds others there.
        return self._decoded is not None and self._decoded.is_of(
            idx, info['img_path']
        )

    def image_block(
        self, indices: Sequence[int]
    ) -> tuple[Tensor, Tensor | None] | None:
        """Images as they are stored, at once.

        Args:
            indices: Of the images.

        Returns:
            uint8 (n, 3, H, W), channels B, G, R, and heights and widths (n,
            2) where they differ; None where the images are neither in memory
            nor in a decoded cache.
        """
        images = []
        for index in indices:
            info = self.get_data_info(int(index))
            if 'img' in info:
                images.append(info['img'])
            elif self._in_cache(int(index), info):
                images.append(self._decoded.rgb(int(index))[:, :, ::-1])
            else:
                return None
        if len({image.shape for image in images}) == 1:
            block = torch.from_numpy(np.stack(images))
            return block.permute(0, 3, 1, 2).contiguous(), None
        return pad_images(
            [
                torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
                for image in images
            ]
        )

    def __getitems__(self, indices: Sequence[int]) -> list:
        """The items of a batch; a loader calls it with all its indices.

        Where the pipeline leaves the images as they are (augmentation on the
        device) and they are at hand decoded, the batch comes whole.
        """
        pack = _packs_raw(self.pipeline.transforms)
        if pack is None:
            return [self[index] for index in indices]
        if not self._fully_initialized:
            self.full_init()
        if self.pipeline.transforms[1].resident:
            found = torch.zeros(len(indices), 3, 0, 0).byte(), None
        else:
            found = self.image_block(indices)
        if found is None:
            return [self[index] for index in indices]
        block, sizes = found
        blank = np.zeros((1, 1, 3), np.uint8)
        batch = {
            'inputs': [block],
            'data_samples': [
                pack({'img': blank, 'sample_idx': int(index)})['data_samples']
                for index in indices
            ],
        }
        if sizes is not None:
            batch['sizes'] = sizes
        return WholeBatch(batch, len(indices))

    def filter_data(self) -> list[dict]:
        """Apply ``limit`` and the scan.

        Returns:
            The entries that remain.

        Raises:
            ValueError: see the class.
        """
        entries = self.data_list
        if entries and self.limit is not None:
            entries = [entries[i] for i in _limited(entries, self.limit)]
        entries = self._scanned(entries)
        if not entries:
            raise ValueError(
                f'expected at least one image, got none: {self.describe()}; '
                'check data_root and the options'
            )
        return entries

    def describe(self) -> str:
        """Name the dataset and where it reads, for messages."""
        return f'{type(self).__name__}(data_root={self.data_root!r})'

    def get_gt_labels(self) -> np.ndarray | None:
        """Labels in the order of the dataset.

        Returns:
            int64 array (N,), or None if no image has one. Images without a
            label among others that have one get -1.
        """
        found = [
            self.get_data_info(i).get('gt_label') for i in range(len(self))
        ]
        if all(label is None for label in found):
            return None
        return np.array(
            [-1 if label is None else label for label in found], dtype=np.int64
        )

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes of an image, as mmengine's ClassBalancedDataset asks."""
        label = self.get_data_info(idx).get('gt_label')
        return [] if label is None else [int(label)]

    def _scanned(self, entries: list[dict]) -> list[dict]:
        paths = [entry['img_path'] for entry in entries]
        problems = scan_images(paths, self.scan, self.min_size)
        if not problems:
            return entries
        text = describe(problems, len(paths))
        if self.on_unreadable == 'raise':
            raise ValueError(
                f'expected images that can be used, got {text}\n'
                f'in {self.describe()}. Delete or replace them, or set '
                "on_unreadable='skip' to leave them out"
            )
        print_log(
            f'{self.describe()} leaves out {text}',
            logger='current',
            level=logging.WARNING,
        )
        bad = {problem.index for problem in problems}
        return [e for i, e in enumerate(entries) if i not in bad]


def _packs_raw(transforms: Sequence[Any]) -> Any | None:
    """The packing transform of a pipeline that changes no pixel, or None."""
    if len(transforms) != 3:
        return None
    load, views, pack = transforms
    raw = (
        type(load).__name__ == 'LoadImageBGR'
        and getattr(views, 'on_device', False)
        and type(pack).__name__ == 'PackSelfSupInputs'
        and set(pack.algorithm_keys) <= {'sample_idx'}
        and not pack.pseudo_label_keys
        and not pack.meta_keys
    )
    return pack if raw else None


def _limited(entries: list[dict], limit: int) -> list[int]:
    """Places of at most ``limit`` entries, ascending."""
    total = len(entries)
    if limit >= total:
        return list(range(total))
    if all('gt_label' not in entry for entry in entries):
        return [i * total // limit for i in range(limit)]
    ranked: list[tuple[int, int, int]] = []
    seen: dict[int, int] = {}
    for index, entry in enumerate(entries):
        label = entry.get('gt_label', -1)
        rank = seen.get(label, 0)
        seen[label] = rank + 1
        ranked.append((rank, label, index))
    return sorted(index for _, _, index in sorted(ranked)[:limit])
