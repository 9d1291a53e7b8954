"""Where a data set lies: one folder, several, or lists of paths."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

Path_ = str | os.PathLike[str]
#: A folder, a text file that lists paths, or several of them.
Roots = Path_ | Sequence[Path_]


def roots_of(root: Roots) -> tuple[str, ...]:
    """Return the folders and lists of a data set as text."""
    if isinstance(root, str | os.PathLike):
        return (os.fspath(root),)
    return tuple(map(os.fspath, root))


def image_names(paths: Sequence[str], root: Roots = '') -> list[str]:
    """Name images by their paths below the folders of the data.

    With several folders a name begins with that of its folder, with as many
    of those above as it takes to tell the folders apart, so that names stay
    when the folders move. A list of paths counts as the folder it is in.

    Args:
        paths: Path of every image.
        root: Folders of the data.

    Returns:
        Names with '/'; the whole path of an image outside of all folders.

    Example:
        >>> image_names(['a/x/1.png', 'b/x/1.png'], ['a/x', 'b/x'])
        ['a/x/1.png', 'b/x/1.png']
    """
    roots = roots_of(root)
    if len(roots) == 1:
        prefix = os.path.join(folder_of(roots[0]), '')
        return [
            path.removeprefix(prefix).replace(os.sep, '/') for path in paths
        ]
    folders = list(dict.fromkeys(map(folder_of, roots)))
    begin = dict(zip(folders, folder_labels(folders), strict=True))
    # The innermost folder of an image comes first.
    prefixes = [
        (os.path.join(folder, ''), begin[folder])
        for folder in sorted(folders, key=len, reverse=True)
    ]
    names = []
    for path in paths:
        name = path
        for prefix, label in prefixes:
            if path.startswith(prefix):
                name = f'{label}/{path.removeprefix(prefix)}'
                break
        names.append(name.replace(os.sep, '/'))
    return names


def folder_of(root: str) -> str:
    """Return the folder of a root: itself, or that of a list of paths."""
    path = Path(root)
    return str(path.parent if path.is_file() else path)


def folder_labels(folders: Sequence[str]) -> list[str]:
    """Return the shortest ends of different paths that tell them apart."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1) + 1):
        labels = ['/'.join(part[-length:]) for part in parts]
        if len(set(labels)) == len(set(parts)):
            return labels
    return labels


def read_list(file: str) -> list[str]:
    """Read a list of paths, one in a line; relative ones are to the file.

    Bytes that are no UTF-8 stay what they are, blank lines are left out.

    Args:
        file: The text file.

    Returns:
        The paths, in their order, each once.

    Raises:
        ValueError: if it cannot be read, is no text, names no path, or its
            lines end in something else, such as a label.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise ValueError(
            f'expected a folder of images or a list of paths, got {file}: '
            f'{error.strerror}'
        ) from error
    if content[:2] in (b'\xff\xfe', b'\xfe\xff'):
        content = content.decode('utf-16', 'replace').encode()
    if b'\0' in content:
        raise ValueError(
            f'expected a folder of images or a text file with a path in '
            f'every line, got {file}, which is no text; give the folder, or '
            'a list'
        )
    text = os.fsdecode(content.removeprefix(b'\xef\xbb\xbf'))
    lines = [line.removesuffix('\r') for line in text.split('\n')]
    lines = [line for line in lines if line.strip()]
    folder = Path(file).parent
    paths = []
    for line in lines:
        bare = line.strip()
        blanks = bare != line and (folder / line).exists()
        paths.append(folder / (line if blanks else bare))
    if not paths:
        raise ValueError(
            f'expected a path in every line of {file}, got none; give a '
            'folder, or a list'
        )
    first = lines[0].strip()
    begin = re.split(r'[\s,;]+\S*$', first)[0]
    if not paths[0].exists() and (folder / begin).is_file():
        raise ValueError(
            f'expected a path in every line of {file} and nothing else, got '
            f'{first!r}, though there is a file {begin!r}; leave out what '
            'comes after it'
        )
    return list(dict.fromkeys(map(str, paths)))
