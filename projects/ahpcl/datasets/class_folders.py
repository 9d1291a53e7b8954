"""Which class an image of a folder has, by the usual layouts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from .roots import Roots, folder_of, roots_of

# Parts of a data set, which are no classes of it.
SPLITS = (
    *('train', 'training', 'val', 'valid', 'validation', 'test', 'testing'),
    *('eval', 'dev', 'unlabeled', 'unlabelled'),
)
_MANY = 12  # classes; of more, only the first are named
_FEW = 6


def class_names(
    root: Path, images: Sequence[str], least: int = 2
) -> tuple[list[str], tuple[str, ...], str]:
    """Find the class of every image of a folder.

    =====================================  ==================================
    layout                                 class
    =====================================  ==================================
    ``cat/1.png``, ``cat/deep/2.png``      the top folder
    ``n01/images/1.png`` (Tiny ImageNet)   the top folder
    ``images/cat/1.png``                   the second folder, where the top
                                           one is the only one
    ``images/1.png`` and                   the list's (Tiny ImageNet's
    ``val_annotations.txt``                ``val``)
    ``1.png``, and ``val.txt`` or          the list's (ImageNet's ``val``);
    ``meta/val.txt`` beside ``val``        the list is called as the folder
    =====================================  ==================================

    Lines of a list are ``name class``, parted by a tab, a comma or a blank;
    what comes after is not read.

    Args:
        root: The folder.
        images: Paths of the images below it, with '/'.
        least: Classes that there must be.

    Returns:
        The name of the class of every image; all classes in the order of
        their numbers: sorted, or 0, 1, ... where a list has numbers; and
        where they are from.

    Raises:
        ValueError: if there is none of these layouts, an image has no class,
            or there are too few.
    """
    parts = [name.split('/') for name in images]
    tops = {path[0] for path in parts if len(path) > 1}
    loose = [name for name, path in zip(images, parts, strict=True)
             if len(path) == 1]  # fmt: skip
    if not loose and tops and all(top.lower() in SPLITS for top in tops):
        first = sorted(tops)[0]
        raise ValueError(
            f'expected class folders in {str(root)!r}, got parts of a data '
            f'set: {", ".join(sorted(tops))}; set data_root='
            f'{str(root / first)!r} for one of them, or '
            'labels_from_folders=False'
        )
    if loose or len(tops) == 1:
        found = _from_list(root, images, least)
        if found is not None:
            return found
    if loose:
        raise ValueError(
            'expected every image in a class folder with '
            f'labels_from_folders=True, got {len(loose)} directly in '
            f'{str(root)!r}, first {loose[0]!r}; move them, write a list '
            f'{str(_lists(root)[1])!r} with lines "name class", or set '
            'labels_from_folders=False'
        )
    names, where = [path[0] for path in parts], 'its folders'
    if len(tops) == 1:
        deeper = {path[1] for path in parts if len(path) > 2}
        if len(deeper) > 1 and all(len(path) > 2 for path in parts):
            names = [path[1] for path in parts]
            where = f'the folders below {parts[0][0]!r}'
    classes = tuple(sorted(set(names)))
    check_several(root, classes, least)
    return names, classes, where


def describe_classes(
    names: Sequence[str], classes: Sequence[str], where: str
) -> str:
    """List classes and their numbers of images in a line."""
    counts = Counter(names)
    shown = classes if len(classes) <= _MANY else classes[:_FEW]
    text = ', '.join(f'{name} {counts[name]}' for name in shown)
    if len(shown) < len(classes):
        text += f' and {len(classes) - len(shown)} more'
    present = [counts[name] for name in classes if counts[name]]
    each = f'{min(present)}'
    if max(present) > min(present):
        each += f' to {max(present)}'
    text = f'{len(classes)} classes from {where}, {each} images each: {text}'
    empty = len(classes) - len(present)
    return f'{text}; {empty} without an image' if empty else text


def check_several(
    root: Roots, classes: Collection[str], least: int = 2
) -> None:
    """Refuse a single class, with which every answer is right.

    Raises:
        ValueError: if there are fewer than ``least``.
    """
    if len(classes) >= least:
        return
    first = Path(folder_of(roots_of(root)[0]))
    raise ValueError(
        f'expected at least two classes in {_shown(root)}, got '
        f'{list(classes)}: with one class every answer is right. Set '
        'data_root to the folder that holds a folder of every class, '
        f'write a list {str(_lists(first)[1])!r} with lines "name class", '
        'or set labels_from_folders=False'
    )


def _shown(root: Roots) -> str:
    return ', '.join(map(repr, roots_of(root)))


def _lists(root: Path) -> list[Path]:
    """Return where lists of classes are looked for."""
    root = root.resolve()
    return [
        root / 'val_annotations.txt',
        root.parent / f'{root.name}.txt',
        root.parent / f'{root.name}.csv',
        root.parent / 'meta' / f'{root.name}.txt',
        root / f'{root.name}.txt',
    ]


def _from_list(
    root: Path, images: Sequence[str], least: int
) -> tuple[list[str], tuple[str, ...], str] | None:
    """Return classes by a list; None where there is no list."""
    path = next((path for path in _lists(root) if path.is_file()), None)
    if path is None:
        return None
    listed: dict[str, str] = {}
    for line in path.read_text('utf-8-sig').splitlines():
        fields = next(
            (
                found
                for found in (line.split('\t'), line.split(','), line.split())
                if len(found) > 1
            ),
            [],
        )
        if fields:
            name = fields[0].strip().replace('\\', '/')
            listed[name.removeprefix('./')] = fields[1].strip()
    # A list may name files with folders, or without.
    names = [
        listed.get(
            image,
            listed.get(f'{root.name}/{image}', listed.get(_file(image), '')),
        )
        for image in images
    ]
    missing = [i for i, name in zip(images, names, strict=True) if not name]
    if missing:
        raise ValueError(
            f'expected a line "name class" of every image in {path}, got none '
            f'of {len(missing)} of {len(images)}, first {missing[0]!r}; add '
            'them, delete the list, or set labels_from_folders=False'
        )
    classes = tuple(sorted(set(names)))
    if all(re.fullmatch(r'\d{1,6}', name) for name in classes):
        names = [str(int(name)) for name in names]
        highest = max(map(int, names))
        check_several(root, set(names), least)
        classes = tuple(str(number) for number in range(highest + 1))
    check_several(root, classes, least)
    return names, classes, str(path)


def _file(image: str) -> str:
    return image.rsplit('/', 1)[-1]
