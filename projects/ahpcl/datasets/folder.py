"""A plain folder of images."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from PIL import Image

from ahpcl.utils.own_folder import is_own_folder

from .base import ImageListDataset, say_once
from .class_folders import check_several, class_names, describe_classes
from .label_file import read_label_file
from .roots import Roots, folder_of, image_names, read_list, roots_of

# A file with such an ending is meant as an image: where it cannot be read,
# that is said.
IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.dib', '.gif'),
    *('.webp', '.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm'),
    *('.jp2', '.j2k', '.jpx', '.avif', '.tga'),
)
# Arrays may be images or anything else: they are used where they are named.
_ARRAYS = '.npy'
ARRAY_REMEDY = (
    "Arrays (H, W) or (H, W, C) are images with extensions=('.npy',), or "
    'where a text file that lists their paths takes the place of the folder'
)
#: Fewest images of a training: two for every part of a split batch norm.
LEAST_IMAGES = 16
# Formats that are told by their content alone, whatever the file is called.
_SNIFFED = (
    *('JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF', 'PPM', 'JPEG2000', 'AVIF'),
    *('MPO', 'QOI', 'SGI', 'SUN', 'PSD'),
)


@dataclass
class Files:
    """The files below a folder.

    Attributes:
        images: Sorted paths below the folder, with '/'.
        used: Number of images by ending.
        left_out: Number of other files by ending.
        hidden: Number of files and folders whose names begin with a dot.
        own: Folders that runs and tools of this package wrote.
    """

    images: list[str] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    own: list[str] = field(default_factory=list)

    def describe(self, why: str) -> str:
        """Say how many files of which endings are used, and which not."""
        text = f'uses {len(self.images)} images ({_by_ending(self.used)})'
        left_out = []
        if self.left_out:
            count = self.left_out.total()
            left_out.append(f'{count} ({_by_ending(self.left_out)}) {why}')
        if self.hidden:
            left_out.append(f'{self.hidden} whose names begin with a dot')
        if self.own:
            count = len(self.own)
            what = 'a folder' if count == 1 else f'{count} folders'
            left_out.append(f'{what} of ahpcl ({", ".join(self.own[:3])})')
        if left_out:
            text += f'; leaves out {" and ".join(left_out)}'
        if self.left_out[_ARRAYS]:
            text += f'. {ARRAY_REMEDY}'
        return text


@DATASETS.register_module()
class UnlabelledFolder(ImageListDataset):
    """All images below a folder: any nesting, no labels, no list files.

    Sorted by path. Files and folders whose names start with a dot are left
    out, and the folders that runs and tools of this package wrote; links to
    folders are followed, each folder once. The log says how many files of
    which endings are used, and which are not.

    Args:
        data_root: The folder; or a text file with the path of an image in
            every line, relative ones to the file; or several of both, whose
            images follow each other in this order.
        extensions: Only files with these name endings, in any case. None for
            all files with the usual endings of images and all others, also
            without an ending, whose content is that of an image.
        labels_from_folders: Take the top-level folder as the class of an
            image, numbered in sorted order, for those who have such folders;
            :func:`ahpcl.datasets.class_folders.class_names` has the other
            layouts that are known. Of several folders of data, classes of one
            name are one class.
        labels: CSV file with the class of images, here or in
            ``data_root``, see :func:`read_label_file`; None for none.
        per_class: (start, stop): use the images at these places of every
            class, in sorted order and from 0, or, with two floats, at
            these shares of it, such as (0.8, 1.0); None for all.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if a folder does not exist or holds no image, or if
            ``labels_from_folders`` and images have no class, or all the same,
            if ``labels`` cannot be read, or if ``per_class`` asks for images
            that a class does not have.
    """

    def __init__(
        self,
        data_root: Roots,
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
        visited: set[str] = set()
        paths: list[str] = []
        images: list[tuple[Path, list[str]]] = []
        for one in roots_of(self.data_root) or ('',):
            root = Path(one)
            if one and root.is_file():
                listed = read_list(one)
                paths += listed
                images.append((Path(folder_of(one)), image_names(listed, one)))
                continue
            found = self._images_in(one, visited)
            images.append((root, found))
            paths += [str(root / name) for name in found]
        entries = [{'img_path': path} for path in paths]
        if self.labels_from_folders:
            self._label(entries, images)
        if self.labels is not None:
            self._label_by_table(entries, images, self.labels)
        if self.per_class is not None:
            entries = self._part_of_every_class(entries, *self.per_class)
        return entries

    def _images_in(self, folder: str, visited: set[str]) -> list[str]:
        """Return the images of one folder of the data, and describe it."""
        root = Path(folder)
        if not folder or not root.is_dir():
            raise ValueError(
                f'expected a folder of images, or a list of paths, got '
                f'{folder!r}, which does not exist; set data_root'
            )
        files = self.find(root, visited)
        if not files.images:
            looked_for = ', '.join(self.extensions or IMAGE_EXTENSIONS)
            if self.extensions is None:
                looked_for += ' and, in all others, for the content of images'
            own = f', leaving out {", ".join(files.own)}' if files.own else ''
            raise ValueError(
                f'expected images in {folder!r} or below, got none; '
                f'looked for {looked_for} and found '
                f'{_by_ending(files.left_out) or "no files"}{own}; set '
                'data_root or extensions'
                + (f'. {ARRAY_REMEDY}' if files.left_out[_ARRAYS] else '')
            )
        why = (
            'that are no images'
            if self.extensions is None
            else 'whose endings are not among extensions'
        )
        say_once(f'{root}: ', [files.describe(why)])
        return files.images

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

    def find(self, root: Path, visited: set[str]) -> Files:
        """Return the files below root, but for folders visited before."""
        found = Files()
        for folder, subfolders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                subfolders.clear()
                continue
            visited.add(real)
            if folder != str(root) and is_own_folder(subfolders, files):
                found.own.append(Path(folder).relative_to(root).as_posix())
                subfolders.clear()
                continue
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

    def _label(
        self, entries: list[dict], images: list[tuple[Path, list[str]]]
    ) -> None:
        """Add the label of its class to every entry, and list the classes.

        Args:
            entries: Entries of all folders.
            images: Every folder, and the names of its images, in their order.
        """
        found = [
            class_names(root, names, least=1 if len(images) > 1 else 2)
            for root, names in images
        ]
        names = [name for of_folder, _, _ in found for name in of_folder]
        classes, where = found[0][1], found[0][2]
        if len(found) > 1:
            classes = tuple(sorted({name for f in found for name in f[1]}))
            where = 'the folders of all'
            check_several(self.data_root, classes)
        self._number(entries, names, classes, where)

    def _label_by_table(
        self,
        entries: list[dict],
        images: list[tuple[Path, list[str]]],
        table: str,
    ) -> None:
        """Add the label that a table has to every entry that it names."""
        path = Path(table)
        if not path.is_file():
            path = Path(images[0][0], table)
        names = read_label_file(path, [n for _, part in images for n in part])
        classes = tuple(sorted({name for name in names if name is not None}))
        self._number(entries, names, classes, str(path))

    def _number(
        self,
        entries: list[dict],
        names: Sequence[str | None],
        classes: tuple[str, ...],
        where: str,
    ) -> None:
        """Number classes in their order; an entry without one has none."""
        known = [name for name in names if name is not None]
        say_once(
            f'{self.data_root}: ', [describe_classes(known, classes, where)]
        )
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
    except Image.DecompressionBombError:
        return True  # one that the scan refuses, with a remedy
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
