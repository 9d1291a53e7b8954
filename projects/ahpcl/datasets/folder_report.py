"""What is in a folder of images, and what will be done with each kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ahpcl.utils.progress import watched

from .base import quietly
from .class_folders import class_names, describe_classes
from .decoded_index import digest
from .folder import UnlabelledFolder
from .pixel_survey import misfits, resolve
from .scan import Finding, Problem, scan_files

_SHOWN = 6  # entries of a line
_FILES = 3  # files that are named of a kind


def examine_folder(
    folder: str | os.PathLike[str],
    extensions: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Look at all files of a folder as training would.

    Args:
        folder: The folder.
        extensions: As in :class:`UnlabelledFolder`.

    Returns:
        Plain numbers and text: ``folder``; files by ending, ``used`` and
        ``left_out``, and the number of ``hidden`` ones; images by ``formats``,
        ``sizes`` (width x height, px), ``channels`` and ``depths``; how many
        have ``alpha``, are ``turned`` by EXIF or have several ``pages``;
        ``classes``, a line, or None; ``copies``, lists of files of one
        content; ``unusable`` files with their reasons; ``pixels``, the
        numbers by which they become 8 bits, or None; ``actions``, what will
        be done; and ``problems`` that stop a training.
    """
    root = Path(folder).expanduser()
    report: dict[str, Any] = dict(folder=str(root), problems=[], actions=[])
    if not root.is_dir():
        what = 'is not a folder' if root.is_file() else 'does not exist'
        report['problems'] = [f'{root} {what}']
        return report
    dataset = UnlabelledFolder(
        str(root),
        extensions=None if extensions is None else tuple(extensions),
        lazy_init=True,
    )
    files = dataset._find(root, set())
    paths = [str(root / name) for name in files.images]
    report['used'] = dict(files.used.most_common())
    report['left_out'] = dict(files.left_out.most_common())
    report['hidden'] = files.hidden
    problems, findings = scan_files(paths)
    report |= _kinds(findings)
    report['copies'] = _copies(paths, root)
    try:
        names, classes, where = class_names(root, files.images)
        report['classes'] = describe_classes(names, classes, where)
    except (ValueError, OSError) as error:
        report['classes'] = None
        reason = str(error).partition(', got ')[2] or str(error)
        report['no_classes'] = reason.partition(', or ')[0]
    report['pixels'] = None
    try:
        with quietly():
            pixels, lines = resolve(paths, findings)
        report['pixels'] = pixels.as_dict()
        report['actions'] += lines
        problems += misfits(pixels, paths, findings)
    except ValueError as error:
        report['problems'].append(str(error))
    report['unusable'] = [
        [os.path.relpath(p.path, root), p.reason] for p in problems
    ]
    _add_actions(report, problems, len(paths))
    return report


def describe_folder(report: dict[str, Any]) -> list[str]:
    """Write a report of :func:`examine_folder` as one screen of lines."""
    lines = [str(report['folder']), '']
    if 'used' in report:
        left_out = [
            *([_listed(report['left_out'])] if report['left_out'] else []),
            *([f'{report["hidden"]} hidden'] if report['hidden'] else []),
        ]
        rows = {
            'files used': _listed(report['used']) or 'none',
            'left out': ', '.join(left_out) or 'none',
            'formats': _listed(report['formats']),
            'sizes': _sizes(report['sizes']),
            'channels': _listed(report['channels']),
            'depths': _listed(report['depths']),
            'special': _special(report),
            'classes': report['classes']
            or f'none: {report.get("no_classes", "")}',
            'copies': _copied(report['copies']),
            'unusable': _unusable(report['unusable']),
        }
        lines += [f'  {name:11} {text}' for name, text in rows.items() if text]
        lines += ['', 'What will be done']
        lines += [f'  {action}' for action in report['actions']]
    if report['problems']:
        lines += ['', 'Problems', *(f'  {p}' for p in report['problems'])]
    verdict = 'can NOT' if report['problems'] else 'can'
    return [*lines, '', f'A training {verdict} start on this folder.']


def _kinds(findings: Iterable[Finding | None]) -> dict[str, Any]:
    kinds = [f.kind for f in findings if f is not None and f.kind is not None]

    def count(values: Iterable[Any]) -> dict[str, int]:
        return {str(k): n for k, n in Counter(values).most_common()}

    return dict(
        formats=count(kind.format for kind in kinds),
        sizes=count(f'{kind.size[0]} x {kind.size[1]}' for kind in kinds),
        channels=count(kind.bands for kind in kinds),
        depths=count(kind.dtype for kind in kinds),
        alpha=sum(kind.alpha for kind in kinds),
        turned=sum(kind.turned for kind in kinds),
        pages=sum(kind.pages > 1 for kind in kinds),
    )


def _copies(paths: Sequence[str], root: Path) -> list[list[str]]:
    """Return files of one content, those that have the same size only."""
    by_size: dict[int, list[str]] = {}
    for path in paths:
        try:
            by_size.setdefault(os.path.getsize(path), []).append(path)
        except OSError:
            continue
    candidates = [
        path
        for size, same in by_size.items()
        if size and len(same) > 1
        for path in same
    ]
    by_content: dict[bytes, list[str]] = {}
    for path in watched(candidates, 'Comparing images', len(candidates)):
        try:
            content = digest(Path(path).read_bytes())
        except OSError:
            continue
        by_content.setdefault(content, []).append(os.path.relpath(path, root))
    return [same for same in by_content.values() if len(same) > 1]


def _add_actions(
    report: dict[str, Any], problems: Sequence[Problem], images: int
) -> None:
    actions = report['actions']
    pixels, usable = report['pixels'], images - len(problems)
    depths, channels = report['depths'], report['channels']
    if pixels is not None and usable:
        kept = depths.get('uint8', 0)
        if kept:
            actions.insert(0, f'{kept} images of 8 bits keep their values')
        if pixels['channels'] == 3 and len(channels) > 1 and '1' in channels:
            actions.append(
                f'{channels["1"]} gray images get their value in three '
                'channels'
            )
        if pixels['channels'] != 3:
            actions.append(
                f'the encoder gets in_channels={pixels["channels"]}, mean and '
                'std are measured; what changes colours is left out'
            )
    if report['turned']:
        actions.append(f'{report["turned"]} are turned upright, as EXIF says')
    if report['copies']:
        extra = sum(len(same) - 1 for same in report['copies'])
        actions.append(f'{extra} copies stay: each counts as an image')
    if len(report['sizes']) > 1:
        actions.append('sizes differ: crops are resized to one size')
    if report['left_out'] or report['hidden']:
        actions.append(
            'other files are left out: their content is not that of an image'
            + (
                ", or they are arrays (extensions=('.npy',) takes those)"
                if '.npy' in report['left_out']
                else ''
            )
        )
    if problems:
        report['problems'].append(
            f'{len(problems)} images cannot be used; delete them, or set '
            "on_unreadable='skip' on the dataset to leave them out"
        )
    if report['classes'] is None:
        actions.append('trained without labels; nothing to evaluate with')
    else:
        actions.append('labels_from_folders=True evaluates with these classes')
    if not usable:
        report['problems'].append(
            f'expected images that can be used, got none of {images}'
        )


def _listed(counts: dict[str, int]) -> str:
    parts = [
        f'{count} {name or "without an ending"}'
        if not name.isdigit()
        else f'{count} of {name}'
        for name, count in list(counts.items())[:_SHOWN]
    ]
    rest = sum(list(counts.values())[_SHOWN:])
    return ', '.join([*parts, *([f'{rest} others'] if rest else [])])


def _sizes(sizes: dict[str, int]) -> str:
    if len(sizes) <= _SHOWN:
        return ', '.join(f'{count} of {size}' for size, count in sizes.items())
    pairs = sorted(
        (tuple(map(int, size.split(' x '))) for size in sizes),
        key=lambda pair: pair[0] * pair[1],
    )
    least, middle, most = pairs[0], pairs[len(pairs) // 2], pairs[-1]
    return f'{len(sizes)} sizes, ' + ', '.join(
        f'{name} {width} x {height}'
        for name, (width, height) in (
            ('smallest', least),
            ('middle', middle),
            ('largest', most),
        )
    )


def _special(report: dict[str, Any]) -> str:
    names = dict(
        alpha='with an alpha channel',
        turned='turned by EXIF',
        pages='with several pages or frames',
    )
    return ', '.join(
        f'{report[key]} {text}' for key, text in names.items() if report[key]
    )


def _copied(copies: Sequence[Sequence[str]]) -> str:
    if not copies:
        return 'none'
    shown = '; '.join(' = '.join(same[:_FILES]) for same in copies[:_FILES])
    return f'{sum(map(len, copies)) - len(copies)}: {shown}'


def _unusable(files: Sequence[Sequence[str]]) -> str:
    if not files:
        return 'none'
    shown = '; '.join(f'{name}: {reason}' for name, reason in files[:_FILES])
    more = len(files) - _FILES
    return f'{len(files)}: {shown}' + (
        f'; and {more} more' if more > 0 else ''
    )
