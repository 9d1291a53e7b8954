"""Read mini-ImageNet from split files or class folders."""

import csv
import os
from pathlib import Path

from ahpcl.utils.own_folder import is_own_folder

from .mini_imagenet_layout import SPLITS, Item

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
            str(images / label / name if nested[label] else images / name),
        )
        for name, label in rows
    ]


def read_split_file(path: Path) -> list[tuple[str, str]]:
    """Read a split file with the header ``filename,label``.

    Args:
        path: The CSV file.

    Returns:
        (filename, label) of every row.

    Raises:
        ValueError: if a column or a cell is missing, the file is empty, or it
            names an image twice.
    """
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        absent = [c for c in _COLUMNS if c not in columns]
        if absent:
            raise ValueError(
                f'expected columns filename and label in {path}, got '
                f'{", ".join(columns) or "an empty file"}; add the header '
                'filename,label'
            )
        rows = []
        for row in reader:
            if not row['filename'] or not row['label']:
                raise ValueError(
                    f'expected a filename and a label in every row, got '
                    f'{row} in line {reader.line_num} of {path}'
                )
            rows.append((row['filename'], row['label']))
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
        if is_own_folder(inside, inside):
            continue
        files = [
            file
            for file in class_dir.rglob('*')
            if file.suffix.lower() in EXTENSIONS
            and not file.name.startswith('.')
        ]
        items += sorted(
            (Item(f.name, class_dir.name, str(f)) for f in files),
            key=lambda item: item.order,
        )
    if not items:
        raise ValueError(
            f'expected class folders with images in {folder}, got none; '
            f'looked for {", ".join(EXTENSIONS)}'
        )
    return items
