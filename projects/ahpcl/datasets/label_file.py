"""Classes of images from a table: a CSV file of names and classes."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# Headers by which the two columns are told, in lower case.
_IMAGE = ('filename', 'file', 'path', 'image', 'image_path', 'name', 'img')
_CLASS = ('label', 'class', 'category', 'species', 'class_name', 'target')


def read_label_file(
    path: str | os.PathLike[str], names: Sequence[str]
) -> list[str | None]:
    """Return the class of every image, None where the table has none.

    The first line names the columns; those of the images and the classes are
    told by their names, such as ``filename,label``. An image is named by its
    path below the folder of the data, or by its file name alone where that is
    unique.

    Args:
        path: A CSV file, with commas, semicolons or tabs.
        names: Path of every image below the folder of the data, with '/'.

    Raises:
        ValueError: If the file is no such table, has two classes for an
            image, or names none of the images.
    """
    try:
        text = Path(path).read_text('utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f'expected a CSV file of labels, got {os.fspath(path)!r}: {error}'
        ) from error
    lines = text.splitlines()
    head = lines[0] if lines else ''
    delimiter = max(',;\t', key=head.count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    columns = [name.strip().lower() for name in rows[0]] if rows else []
    image = next((n for n in _IMAGE if n in columns), None)
    kind = next((n for n in _CLASS if n in columns), None)
    if image is None or kind is None:
        raise ValueError(
            f'expected a first line that names the columns in {path}, such as '
            f'filename,label, got {head!r}'
        )
    places = columns.index(image), columns.index(kind)
    found: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) <= max(places) or not row[places[1]].strip():
            continue
        name = row[places[0]].strip().replace('\\', '/').removeprefix('./')
        label = row[places[1]].strip()
        if found.setdefault(name, label) != label:
            raise ValueError(
                f'expected one class for every image, got {found[name]!r} and '
                f'{label!r} for {name!r} in {path}'
            )
    bases = Counter(name.rpartition('/')[2] for name in names)
    labels = []
    for name in names:
        base = name.rpartition('/')[2]
        label = found.get(name)
        if label is None and bases[base] == 1:
            label = found.get(base)
        labels.append(label)
    if all(label is None for label in labels):
        first = next(iter(found), 'nothing')
        raise ValueError(
            f'expected names of images such as {names[0]!r} in {path}, got '
            f'{first!r}'
        )
    return labels
