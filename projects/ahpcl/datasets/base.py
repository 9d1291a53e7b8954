"""What all image datasets of this package have in common."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from .decoded_dataset import DecodedDataset
from .manifest import Manifest
from .scan import SCAN_MODES, ScanMode, describe, scan_images


class ImageListDataset(DecodedDataset):
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
            before first use, outside of ``data_root``; ``'auto'`` for one in
            the user's cache folder if it is small and can be, see
            :func:`ahpcl.datasets.decoded_cache_auto.open_automatic`; None to
            decode every image every time.
        decoded_max_side: Reduce longer sides to it, px, for large
            photographs, with and without a cache alike: they are other
            pixels then. None keeps every pixel.

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
        super().__init__(
            decoded_cache=decoded_cache,
            decoded_max_side=decoded_max_side,
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

    def manifest(self) -> Manifest:
        """Say which images these are, by name, size and content.

        Looks at every file; keep it rather than ask again.
        """
        return Manifest.of(self._paths(), self.data_root)

    def get_gt_labels(self) -> np.ndarray | None:
        """Return labels in the order of the dataset.

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
        """Return the classes of an image, for ClassBalancedDataset."""
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


def _limited(entries: list[dict], limit: int) -> list[int]:
    """Return places of at most ``limit`` entries, ascending."""
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
