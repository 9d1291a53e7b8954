"""Read few-shot data sets from split files or class folders."""

import csv
import os
from pathlib import Path

from ahpcl.utils.file_kind import read_text
from ahpcl.utils.own_folder import is_own_folder

from .mini_imagenet_layout import SPLITS, Item, class_list_root

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
_COLUMNS = ('filename', 'label')


def read_csv_split(root: Path, split: str, images_dir: str) -> list[Item]:
    """Read ``<split>.csv`` and the images it names.

    An image lies in ``images/<filename>``, or in
    ``images/<label>/<filename>`` where there are such folders.

    Args:
        root: The dataset's folder.
        split: 'train', 'val' or 'test'.
        images_dir: Name of the folder of images.

    Returns:
        The images in the order of the file. Their files are not checked.

    Raises:
        ValueError: if the file, a column, a cell or the folder is missing,
            the file is empty, or it names an image twice.
    """
    path = root / f'{split}.csv'
    if not path.is_file():
        present = [s for s in SPLITS if (root / f'{s}.csv').is_file()]
        raise ValueError(
            f'expected the split file {path}, which does not exist; found '
            f'{", ".join(f"{s}.csv" for s in present) or "none"}'
        )
    images = root / images_dir
    if not images.is_dir():
        raise ValueError(
            f'expected a folder of images {images}, which does not exist; '
            'set images_dir if it has another name'
        )
    rows = read_split_file(path)
    nested = {
        label: (images / label).is_dir() for label in {r[1] for r in rows}
    }
    return [
        Item(
            name,
            label,
            _on_disk(images / label if nested[label] else images, name),
        )
        for name, label in rows
    ]


def _on_disk(folder: Path, name: str) -> str:
    """Return the path of a file that a list names.

    A list in another coding than UTF-8 has the name in its own bytes, or in
    those of Windows' western code page while the file's name is in UTF-8.
    """
    path = folder / name
    if not name.isascii() and not path.exists():
        other = os.fsencode(name).decode('cp1252', 'replace')
        if (folder / other).exists():
            return str(folder / other)
    return str(path)


def read_split_file(path: Path) -> list[tuple[str, str]]:
    """Read a split file with the header ``filename,label``.

    Semicolons or tabs may stand for the commas, blanks beside them, capitals
    in the header, and the text may be in another coding, see
    :func:`ahpcl.utils.file_kind.read_text`.

    Args:
        path: The CSV file.

    Returns:
        (filename, label) of every row.

    Raises:
        ValueError: if the file is no text, a column or a cell is missing, it
            is empty, or it names an image twice.
    """
    text = read_text(path).lstrip('\n')
    header = text.partition('\n')[0]
    sign = max(',;\t', key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=sign)
    columns = [name.strip().casefold() for name in next(reader, [])]
    if any(name not in columns for name in _COLUMNS):
        raise ValueError(
            f'expected columns filename and label in {path}, got '
            f'{", ".join(columns) or "an empty file"}; add the header '
            'filename,label'
        )
    at = [columns.index(name) for name in _COLUMNS]
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        cells += [''] * (len(columns) - len(cells))
        name, label = (cells[place].strip() for place in at)
        if not name or not label:
            raise ValueError(
                f'expected a filename and a label in every row, got '
                f'{cells} in line {reader.line_num} of {path}'
            )
        rows.append((name, label))
    if not rows:
        raise ValueError(f'expected images in {path}, got only a header')
    seen: set[str] = set()
    for name, _ in rows:
        if name in seen:
            raise ValueError(
                f'expected every image once in {path}, got {name} twice'
            )
        seen.add(name)
    return rows


def read_folder_split(root: Path, split: str) -> list[Item]:
    """List ``<split>/<class>/`` folders.

    Args:
        root: The dataset's folder.
        split: 'train', 'val' or 'test'.

    Returns:
        The images by class, in the order of their names.

    Raises:
        ValueError: if the folder, its class folders or their images are
            missing.
    """
    folder = root / split
    if not folder.is_dir():
        raise ValueError(
            f'expected a folder {folder} with a folder of images for every '
            'class, which does not exist'
        )
    items = []
    for class_dir in sorted(p for p in folder.iterdir() if p.is_dir()):
        inside = os.listdir(class_dir)
        if not is_own_folder(inside, inside):
            items += _images_below(class_dir, class_dir.name)
    if not items:
        raise ValueError(
            f'expected class folders with images in {folder}, got none; '
            f'looked for {", ".join(EXTENSIONS)}'
        )
    return items


def read_class_list_split(root: Path, split: str) -> list[Item]:
    """List ``data/<class>/`` of the classes in ``splits/*/<split>.txt``.

    CIFAR-FS is laid out so; of several folders of splits, that of its
    authors, ``bertinetto``, counts.

    Args:
        root: The folder with ``data`` and ``splits``, or that with
            ``cifar100``.
        split: 'train', 'val' or 'test'.

    Returns:
        The images by class, in the order of their names.

    Raises:
        ValueError: if the list, a class in it or its images are missing, or
            there are several lists.
    """
    base = class_list_root(root)
    found = [] if base is None else sorted(base.glob(f'splits/*/{split}.txt'))
    chosen = [path for path in found if path.parent.name == 'bertinetto']
    lists = chosen or found
    if base is None or len(lists) != 1:
        names = ', '.join(str(path) for path in lists)
        raise ValueError(
            f'expected one list of classes splits/<name>/{split}.txt in '
            f'{base or root}, got {names or "none"}'
        )
    items = []
    lines = (line.strip() for line in read_text(lists[0]).split('\n'))
    for name in dict.fromkeys(filter(None, lines)):
        folder = Path(_on_disk(base / 'data', name))
        if not folder.is_dir():
            raise ValueError(
                f'expected a folder {folder} for the class {name!r} of '
                f'{lists[0]}, which does not exist'
            )
        items += _images_below(folder, name)
    if not items:
        raise ValueError(
            f'expected images of the classes of {lists[0]} in '
            f'{base / "data"}, got none; looked for {", ".join(EXTENSIONS)}'
        )
    return items


def _images_below(folder: Path, label: str) -> list[Item]:
    files = [
        file
        for file in folder.rglob('*')
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith('.')
    ]
    return sorted(
        (Item(file.name, label, str(file)) for file in files),
        key=lambda item: item.order,
    )
