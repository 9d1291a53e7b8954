"""A plain folder of images."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.registry import DATASETS
from PIL import Image

from .base import ImageListDataset
from .label_file import read_label_file

# A file with such an ending is meant as an image: where it cannot be read,
# that is said.
IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.dib', '.gif'),
    *('.webp', '.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm'),
    *('.jp2', '.j2k', '.jpx', '.avif', '.tga'),
)
# Formats that are told by their content alone, whatever the file is called.
_SNIFFED = (
    *('JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF', 'PPM', 'JPEG2000', 'AVIF'),
    *('MPO', 'QOI', 'SGI', 'SUN', 'PSD'),
)
# Folders about which the log has said already what is used of them.
_described: set[tuple[str, tuple[str, ...] | None]] = set()


@dataclass
class _Files:
    """The files below a folder.

    Attributes:
        images: Sorted paths below the folder, with '/'.
        used: Number of images by ending.
        left_out: Number of other files by ending.
        hidden: Number of files and folders whose names begin with a dot.
    """

    images: list[str] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def describe(self, why: str) -> str:
        """Say how many files of which endings are used, and which not."""
        text = f'uses {len(self.images)} images ({_by_ending(self.used)})'
        left_out = []
        if self.left_out:
            count = self.left_out.total()
            left_out.append(f'{count} ({_by_ending(self.left_out)}) {why}')
        if self.hidden:
            left_out.append(f'{self.hidden} whose names begin with a dot')
        if left_out:
            text += f'; leaves out {" and ".join(left_out)}'
        return text


@DATASETS.register_module()
class UnlabelledFolder(ImageListDataset):
    """All images below a folder: any nesting, no labels, no list files.

    Sorted by path. Files and folders whose names start with a dot are left
    out; links to folders are followed, each folder once. The log says how
    many files of which endings are used, and which are not.

    Args:
        data_root: The folder.
        extensions: Only files with these name endings, in any case. None for
            all files with the usual endings of images and all others, also
            without an ending, whose content is that of an image.
        labels_from_folders: Take the top-level folder as the class of an
            image, numbered in sorted order, for those who have such folders.
        labels: CSV file with the class of images, here or in
            ``data_root``, see :func:`read_label_file`; None for none.
        per_class: (start, stop): use the images at these places of every
            class, in sorted order and from 0, or, with two floats, at
            these shares of it, such as (0.8, 1.0); None for all.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if the folder does not exist or holds no image, or if
            ``labels_from_folders`` and images lie outside any class folder, if
            ``labels`` cannot be read, or if ``per_class`` asks for images
            that a class does not have.
    """

    def __init__(
        self,
        data_root: str,
        *,
        extensions: tuple[str, ...] | None = None,
        labels_from_folders: bool = False,
        labels: str | None = None,
        per_class: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if per_class is not None:
            start, stop = per_class
            if not 0 <= start < stop:
                raise ValueError(
                    'expected per_class=(start, stop) with 0 <= start < stop, '
                    f'got {tuple(per_class)}'
                )
            if not labels_from_folders and labels is None:
                raise ValueError(
                    'expected labels_from_folders=True or labels with '
                    f'per_class={tuple(per_class)}, got neither'
                )
        if labels_from_folders and labels is not None:
            raise ValueError(
                'expected labels_from_folders or labels, got both: True and '
                f'{labels!r}'
            )
        self.labels = labels
        self.per_class = per_class
        self.extensions: tuple[str, ...] | None = None
        if extensions is not None:
            self.extensions = tuple(
                f'.{ending.lower().removeprefix(".")}' for ending in extensions
            )
        self.labels_from_folders = labels_from_folders
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            Entries with ``img_path``, and ``gt_label`` if asked for.

        Raises:
            ValueError: see the class.
        """
        root = Path(self.data_root)
        if not self.data_root or not root.is_dir():
            what = 'is not a folder' if root.is_file() else 'does not exist'
            raise ValueError(
                f'expected a folder of images, got {self.data_root!r}, which '
                f'{what}; set data_root'
            )
        files = self._find(root)
        images = files.images
        if not images:
            looked_for = ', '.join(self.extensions or IMAGE_EXTENSIONS)
            if self.extensions is None:
                looked_for += ' and, in all others, for the content of images'
            raise ValueError(
                f'expected images in {self.data_root!r} or below, got none; '
                f'looked for {looked_for} and found '
                f'{_by_ending(files.left_out) or "no files"}; set data_root '
                'or extensions'
            )
        seen = (str(root), self.extensions)
        listens = MMLogger.get_current_instance().isEnabledFor(logging.INFO)
        if seen not in _described and listens:
            _described.add(seen)
            why = (
                'that are no images'
                if self.extensions is None
                else 'whose endings are not among extensions'
            )
            print_log(f'{root}: {files.describe(why)}', logger='current')
        entries = [{'img_path': str(root / name)} for name in images]
        if self.labels_from_folders:
            self._label(entries, images)
        if self.labels is not None:
            self._label_by_table(entries, images, self.labels)
        if self.per_class is not None:
            entries = self._part_of_every_class(entries, *self.per_class)
        return entries

    def _part_of_every_class(
        self, entries: list[dict], start: float, stop: float
    ) -> list[dict]:
        """Return the images from start to stop, exclusive, of every class."""
        counts = Counter(entry.get('gt_label') for entry in entries)
        counts.pop(None, None)
        shares = isinstance(stop, float)
        for label, count in sorted(counts.items()):
            if not shares and count < stop:
                name = self._metainfo['classes'][label]
                raise ValueError(
                    f'expected at least {stop} images of every class in '
                    f'{self.data_root!r} for per_class={(start, stop)}, got '
                    f'{count} of {name!r}; lower per_class or add images'
                )
        seen: Counter[int] = Counter()
        part = []
        for entry in entries:
            label = entry.get('gt_label')
            if label is None:
                continue
            count = counts[label] if shares else 1
            if int(start * count) <= seen[label] < int(stop * count):
                part.append(entry)
            seen[label] += 1
        return part

    def _find(self, root: Path) -> _Files:
        """Return the files below root."""
        found = _Files()
        visited: set[str] = set()
        for folder, subfolders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                subfolders.clear()
                continue
            visited.add(real)
            shown = [name for name in subfolders if not name.startswith('.')]
            found.hidden += len(subfolders) - len(shown)
            subfolders[:] = sorted(shown)
            for name in files:
                if name.startswith('.'):
                    found.hidden += 1
                    continue
                path = Path(folder, name)
                ending = path.suffix.lower()
                if self._is_image(path, ending):
                    found.images.append(path.relative_to(root).as_posix())
                    found.used[ending] += 1
                else:
                    found.left_out[ending] += 1
        found.images.sort()
        return found

    def _is_image(self, path: Path, ending: str) -> bool:
        if self.extensions is not None:
            return ending in self.extensions
        return ending in IMAGE_EXTENSIONS or _has_image_content(path)

    def _label(self, entries: list[dict], images: list[str]) -> None:
        """Add the label of the top-level folder to every entry."""
        loose = [name for name in images if '/' not in name]
        if loose:
            raise ValueError(
                'expected every image in a class folder with '
                f'labels_from_folders=True, got {len(loose)} directly in '
                f'{self.data_root!r}, first {loose[0]!r}; move them or set '
                'labels_from_folders=False'
            )
        self._number(entries, [name.split('/', 1)[0] for name in images])

    def _label_by_table(
        self, entries: list[dict], images: list[str], table: str
    ) -> None:
        """Add the label that a table has to every entry that it names."""
        path = Path(table)
        if not path.is_file():
            path = Path(self.data_root, table)
        self._number(entries, read_label_file(path, images))

    def _number(
        self, entries: list[dict], names: Sequence[str | None]
    ) -> None:
        """Number classes in sorted order; an entry without one has none."""
        classes = tuple(sorted({name for name in names if name is not None}))
        numbers = {name: number for number, name in enumerate(classes)}
        for entry, name in zip(entries, names, strict=True):
            if name is not None:
                entry['gt_label'] = numbers[name]
        self._metainfo.setdefault('classes', classes)


def _has_image_content(path: Path) -> bool:
    """Tell whether a file begins like a known image format."""
    try:
        with Image.open(path, formats=_SNIFFED):
            return True
    except Exception:  # Pillow's readers raise many kinds
        return False


def _by_ending(counts: Counter[str]) -> str:
    """Describe endings as '20 .jpg, 3 without an ending'."""
    parts = [
        f'{count} {ending or "without an ending"}'
        for ending, count in counts.most_common(8)
    ]
    rest = counts.total() - sum(count for _, count in counts.most_common(8))
    return ', '.join([*parts, *([f'{rest} others'] if rest else [])])
