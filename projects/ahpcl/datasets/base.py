"""What all image datasets of this package have in common."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from ahpcl.utils.said import log_once

from .decode import admit_pixels
from .decoded_dataset import DecodedDataset
from .manifest import Manifest
from .pixel_format import Pages
from .pixel_survey import Channels, Range, misfits, resolve
from .roots import Roots, roots_of
from .scan import SCAN_MODES, ScanMode, describe, scan_files

_quiet = False


class ImageListDataset(DecodedDataset):
    """A list of images, checked at the start, with labels where known.

    A subclass gives ``load_data_list``: dicts with ``img_path`` and, where
    the list names a class, ``gt_label`` (int from 0). ``sample_idx`` is added
    on access. Labels come from lists and folders only; what a clustering
    finds never enters a dataset, because loader workers keep old copies.

    Args:
        data_root: Folder of the dataset, as typed; ``~`` is the home folder.
            Several where a dataset says so.
        on_unreadable: What to do about files that are missing, truncated, no
            images or smaller than ``min_size``: 'raise' stops with one error
            that names them, 'skip' leaves them out and logs their number.
        scan: How to look for them, see
            :func:`ahpcl.datasets.scan.scan_images`.
        min_size: Least width and height, in px.
        max_pixels: Admit images of so many pixels, width times height, where
            Pillow would take them for a trap (above some 179 million); None
            for what Pillow admits. Holds for all of the process.
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
        channels: Bands of every image. ``'auto'`` has three for gray and
            colour files, and as many as there are where all files have as
            many others; ``1`` makes colour gray, other numbers take the first
            bands of every file. The encoder needs as many ``in_channels``.
        range: Which values become 0 and 255, for files of more than 8 bits:
            ``'auto'`` takes percentiles 0.1 and 99.9 of a sample of the data
            set and says so, ``'dtype'`` what the type may hold,
            ``(low, high)`` these, ``dict(percentiles=(low, high))`` others,
            ``dict(uint16=(low, high), ...)`` a pair for every type. 8-bit
            files stay as they are with the first two.
        pages: Which pages of a TIFF are read: ``'first'``, or all of them
            as ``'bands'``.
        show_bands: Three bands, from 0, that pictures show as red, green and
            blue where images have other than three; the first ones by
            default.

    Attributes:
        pixels: What ``channels``, ``range`` and ``pages`` became for this
            data set. ``pixels.as_dict()`` are plain numbers, which these
            options and ``LoadImageBGR`` take, for others that shall be read
            alike.

    Raises:
        OSError: if the disk has no room for the cache.
        ValueError: if an option has an unknown value, files cannot be used
            and ``on_unreadable='raise'``, or no image is left.
    """

    def __init__(
        self,
        data_root: Roots = '',
        *,
        on_unreadable: Literal['raise', 'skip'] = 'raise',
        scan: ScanMode = 'auto',
        min_size: int = 2,
        max_pixels: int | None = None,
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
        channels: Channels = 'auto',
        range: Range = 'auto',
        pages: Pages = 'first',
        show_bands: Sequence[int] | None = None,
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
        roots = [os.path.expanduser(root) for root in roots_of(data_root)]
        self.on_unreadable = on_unreadable
        self.scan = scan
        self.min_size = min_size
        self.max_pixels = max_pixels
        admit_pixels(max_pixels)
        self.limit = limit
        self.channels = channels
        self.range = range
        self.pages = pages
        self.show_bands = None if show_bands is None else tuple(show_bands)
        if self.show_bands is not None and len(self.show_bands) != 3:
            raise ValueError(
                f'expected three numbers of bands as show_bands, got '
                f'{show_bands}'
            )
        super().__init__(
            decoded_cache=decoded_cache,
            decoded_max_side=decoded_max_side,
            metainfo=metainfo,
            data_root=roots[0] if len(roots) == 1 else roots,
            data_prefix={},
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker that was spawned, whose limit is Pillow's."""
        self.__dict__.update(state)
        admit_pixels(self.max_pixels)

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
        problems, findings = scan_files(paths, self.scan, self.min_size)
        self.pixels, lines = resolve(
            paths,
            findings,
            channels=self.channels,
            range=self.range,
            pages=self.pages,
        )
        say_once(f'{self.describe()}: ', lines)
        by_place = {
            problem.index: problem
            for problem in [
                *misfits(self.pixels, paths, findings),
                *problems,
            ]
        }
        problems = [by_place[place] for place in sorted(by_place)]
        if not problems:
            return entries
        text = describe(problems, len(paths))
        if self.on_unreadable == 'raise':
            raise ValueError(
                f'expected images that can be used, got {text}\n'
                f'in {self.describe()}. Delete or replace them, or set '
                "on_unreadable='skip' to leave them out (`ahpcl train "
                '--skip-unreadable`)'
            )
        print_log(
            f'{self.describe()} leaves out {text}',
            logger='current',
            level=logging.WARNING,
        )
        bad = {problem.index for problem in problems}
        return [e for i, e in enumerate(entries) if i not in bad]


@contextmanager
def quietly() -> Iterator[None]:
    """Let data sets say nothing about their images; they do so later."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def say_once(about: str, lines: Sequence[str]) -> None:
    """Log lines about a data set, each of them once in every run."""
    if not _quiet:
        for line in lines:
            log_once(about + line)


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
