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
from .folder import ARRAY_REMEDY, LEAST_IMAGES, Files, UnlabelledFolder
from .pixel_survey import misfits, resolve
from .roots import Roots, image_names, read_list, roots_of
from .scan import Finding, Problem, scan_files

_SHOWN = 6  # entries of a line
_FILES = 3  # files that are named of a kind


def examine_folder(
    folder: Roots,
    extensions: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Look at all files of a folder as training would.

    Args:
        folder: The folder; or a text file that lists paths; or several.
        extensions: As in :class:`UnlabelledFolder`.

    Returns:
        Plain numbers and text: ``folder``; files by ending, ``used`` and
        ``left_out``, the number of ``hidden`` ones, and the folders of runs,
        ``own``; images by ``formats``,
        ``sizes`` (width x height, px), ``channels`` and ``depths``; how many
        have ``alpha``, are ``turned`` by EXIF or have several ``pages``;
        ``classes``, a line, or None; ``copies``, lists of files of one
        content; ``unusable`` files with their reasons; ``pixels``, the
        numbers by which they become 8 bits, or None; ``actions``, what will
        be done; and ``problems`` that stop a training.
    """
    roots = [os.path.expanduser(root) for root in roots_of(folder)]
    report: dict[str, Any] = dict(
        folder=', '.join(roots), problems=[], actions=[]
    )
    files, paths = _list_files(roots, extensions, report['problems'])
    if report['problems']:
        return report
    names = image_names(paths, roots)
    report['used'] = dict(files.used.most_common())
    report['left_out'] = dict(files.left_out.most_common())
    report['hidden'] = files.hidden
    report['own'] = files.own
    problems, findings = scan_files(paths)
    report |= _kinds(findings)
    report['copies'] = _copies(paths, names)
    report['classes'] = report['no_classes'] = None
    try:
        if paths:
            report['classes'] = _classes(roots, names)
    except (ValueError, OSError) as error:
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
    report['unusable'] = [[names[p.index], p.reason] for p in problems]
    _add_actions(report, problems, len(paths))
    return report


def _list_files(
    roots: Sequence[str],
    extensions: Sequence[str] | None,
    problems: list[str],
) -> tuple[Files, list[str]]:
    """Return the files of all folders and lists, and the paths of images."""
    dataset = UnlabelledFolder(
        list(roots),
        extensions=None if extensions is None else tuple(extensions),
        lazy_init=True,
    )
    files, paths, visited = Files(), [], set[str]()
    for root in roots:
        if os.path.isfile(root):
            try:
                listed = read_list(root)
            except ValueError as error:
                problems.append(str(error))
                continue
            paths += listed
            files.used.update(Path(path).suffix.lower() for path in listed)
        elif os.path.isdir(root):
            found = dataset.find(Path(root), visited)
            paths += [str(Path(root, name)) for name in found.images]
            files.used += found.used
            files.left_out += found.left_out
            files.hidden += found.hidden
            files.own += found.own
        else:
            problems.append(f'{root} does not exist')
    return files, paths


def _classes(roots: Sequence[str], names: Sequence[str]) -> str:
    """Describe the classes that ``labels_from_folders`` finds.

    Raises:
        ValueError: if it finds none.
    """
    if len(roots) == 1 and os.path.isdir(roots[0]):
        return describe_classes(*class_names(Path(roots[0]), names))
    dataset = UnlabelledFolder(
        list(roots), labels_from_folders=True, lazy_init=True
    )
    with quietly():
        entries = dataset.load_data_list()
    classes = dataset.metainfo['classes']
    found = [classes[entry['gt_label']] for entry in entries]
    return describe_classes(found, classes, 'the folders of all')


def describe_folder(report: dict[str, Any]) -> list[str]:
    """Write a report of :func:`examine_folder` as one screen of lines."""
    lines = [str(report['folder']), '']
    if 'used' in report:
        left_out = [
            *([_listed(report['left_out'])] if report['left_out'] else []),
            *([f'{report["hidden"]} hidden'] if report['hidden'] else []),
            *(f'{name}, which ahpcl wrote' for name in report['own'][:3]),
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
            or (report['no_classes'] and f'none: {report["no_classes"]}'),
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


def _copies(paths: Sequence[str], names: Sequence[str]) -> list[list[str]]:
    """Return files of one content, those that have the same size only."""
    by_size: dict[int, list[int]] = {}
    for place, path in enumerate(paths):
        try:
            by_size.setdefault(os.path.getsize(path), []).append(place)
        except OSError:
            continue
    candidates = [
        place
        for size, same in by_size.items()
        if size and len(same) > 1
        for place in same
    ]
    by_content: dict[bytes, list[str]] = {}
    for place in watched(candidates, 'Comparing images', len(candidates)):
        try:
            content = digest(Path(paths[place]).read_bytes())
        except OSError:
            continue
        by_content.setdefault(content, []).append(names[place])
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
            + (f'. {ARRAY_REMEDY}' if '.npy' in report['left_out'] else '')
        )
    if problems:
        report['problems'].append(
            f'{len(problems)} images cannot be used; delete them, or leave '
            'them out: `ahpcl train --skip-unreadable`, or '
            "on_unreadable='skip' on the dataset"
        )
    if report['classes'] is not None:
        actions.append(
            'labels_from_folders=True evaluates with these classes, which '
            '`ahpcl train` sets by itself'
        )
    elif usable:
        actions.append('trained without labels; nothing to evaluate with')
    if usable < LEAST_IMAGES:
        report['problems'].append(
            f'expected at least {LEAST_IMAGES} images that can be used, got '
            f'{usable}; add images, or name the folder above'
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
