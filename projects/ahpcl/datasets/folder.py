"""A plain folder of images."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from .base import ImageListDataset

IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.gif',
    '.webp',
    '.tif',
    '.tiff',
    '.ppm',
)


@DATASETS.register_module()
class UnlabelledFolder(ImageListDataset):
    """All images below a folder: any nesting, no labels, no list files.

    Sorted by path. Files and folders whose names start with a dot are left
    out; links to folders are followed, each folder once.

    Args:
        data_root: The folder.
        extensions: File name endings, in any case.
        labels_from_folders: Take the top-level folder as the class of an
            image, numbered in sorted order, for those who have such folders.
        per_class: (start, stop): use the images at these places of every
            class folder, in sorted order and from 0; None for all.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if the folder does not exist or holds no image, or if
            ``labels_from_folders`` and images lie outside any class folder, or
            if ``per_class`` asks for images that a class does not have.
    """

    def __init__(
        self,
        data_root: str,
        *,
        extensions: tuple[str, ...] = IMAGE_EXTENSIONS,
        labels_from_folders: bool = False,
        per_class: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        if per_class is not None:
            start, stop = per_class
            if not 0 <= start < stop:
                raise ValueError(
                    'expected per_class=(start, stop) with 0 <= start < stop, '
                    f'got {tuple(per_class)}'
                )
            if not labels_from_folders:
                raise ValueError(
                    'expected labels_from_folders=True with per_class='
                    f'{tuple(per_class)}, got False'
                )
        self.per_class = per_class
        self.extensions = tuple(
            ending.lower() if ending.startswith('.') else f'.{ending.lower()}'
            for ending in extensions
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
        images, others = self._find(root)
        if not images:
            seen = ', '.join(
                f'{count} {ending or "without ending"}'
                for ending, count in others.most_common(5)
            )
            raise ValueError(
                f'expected images in {self.data_root!r} or below, got none; '
                f'looked for {", ".join(self.extensions)} and found '
                f'{seen or "no files"}; set data_root or extensions'
            )
        entries = [{'img_path': str(root / name)} for name in images]
        if self.labels_from_folders:
            self._label(entries, images)
        if self.per_class is not None:
            entries = self._part_of_every_class(entries, *self.per_class)
        return entries

    def _part_of_every_class(
        self, entries: list[dict], start: int, stop: int
    ) -> list[dict]:
        """The images at the places start to stop - 1 of every class."""
        seen: Counter[int] = Counter()
        part = []
        for entry in entries:
            label = entry['gt_label']
            if start <= seen[label] < stop:
                part.append(entry)
            seen[label] += 1
        for label, count in sorted(seen.items()):
            if count < stop:
                name = self._metainfo['classes'][label]
                raise ValueError(
                    f'expected at least {stop} images of every class in '
                    f'{self.data_root!r} for per_class={(start, stop)}, got '
                    f'{count} of {name!r}; lower per_class or add images'
                )
        return part

    def _find(self, root: Path) -> tuple[list[str], Counter[str]]:
        """Sorted paths of images below root, and endings of other files."""
        images: list[str] = []
        others: Counter[str] = Counter()
        visited: set[str] = set()
        for folder, subfolders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                subfolders.clear()
                continue
            visited.add(real)
            subfolders[:] = sorted(
                name for name in subfolders if not name.startswith('.')
            )
            for name in files:
                if name.startswith('.'):
                    continue
                ending = os.path.splitext(name)[1].lower()
                if ending in self.extensions:
                    path = Path(folder, name).relative_to(root)
                    images.append(path.as_posix())
                else:
                    others[ending] += 1
        return sorted(images), others

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
        tops = [name.split('/', 1)[0] for name in images]
        classes = tuple(sorted(set(tops)))
        numbers = {name: number for number, name in enumerate(classes)}
        for entry, top in zip(entries, tops, strict=True):
            entry['gt_label'] = numbers[top]
        self._metainfo.setdefault('classes', classes)
