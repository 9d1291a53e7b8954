"""Folders of links or copies, one for every cluster."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.own_folder import mark_new_folder

from .assignment import Assignment

How = Literal['link', 'copy']
UNLIKE = 'unlike'


@dataclass(frozen=True)
class Sorted:
    """What sorting did.

    Attributes:
        made: Files that were made.
        kept: Files that were there from an earlier run.
        folders: Folders by number of images.
    """

    made: int
    kept: int
    folders: dict[str, int]


def sort_into(
    found: Assignment,
    folder: str | os.PathLike,
    *,
    num_clusters: int | None = None,
    how: How = 'link',
    apart: bool = True,
) -> Sorted:
    """Sort image files into a folder for every cluster.

    Folders are called ``cluster_007`` or, of named clusters,
    ``cluster_007_cats``. Two images of one name get a part of the digest of
    their paths each, so that they stay apart and a second run finds them:
    what is there already is left alone, nothing is overwritten, and an
    interrupted run goes on.

    Args:
        found: Clusters of the images, which are files.
        folder: Folder to make the others in.
        num_clusters: Level to sort by; None for the coarsest.
        how: 'link' makes symbolic links to the images, 'copy' copies them.
        apart: Put images unlike anything that was trained on into
            ``unlike``, where the run can tell.

    Raises:
        ValueError: If an image is no file, or the level or an option is
            unknown.
        FileExistsError: If a file of another content has the name of a copy.
        OSError: If links or files cannot be made.
    """
    if how not in ('link', 'copy'):
        raise ValueError(f"expected how='link' or 'copy', got {how!r}")
    level = found.level(num_clusters or found.levels[-1].num_clusters)
    for name in found.names:
        if not Path(name).is_file():
            raise ValueError(
                f'expected images in files to sort, got {name}, which is none'
            )
    targets = Path(os.path.expanduser(folder))
    # Below the data they would be images twice.
    mark_new_folder(targets)
    digits = len(str(level.num_clusters - 1))
    base = [Path(name).name for name in found.names]
    counts: dict[str, int] = {}
    made = 0
    twice = _met_twice(found.names, base)
    for place, name in enumerate(found.names):
        cluster = int(level.clusters[place])
        label = _safe(str(level.cluster_names[place]))
        part = f'cluster_{cluster:0{digits}d}{label and "_" + label}'
        if apart and found.unlike is not None and found.unlike[place]:
            part = UNLIKE
        counts[part] = counts.get(part, 0) + 1
        source = Path(name).resolve()
        target = targets / part / base[place]
        if base[place] in twice:
            target = target.with_name(
                f'{target.stem}_{_digest(source)}{target.suffix}'
            )
        made += _put(source, target, how)
    return Sorted(made, len(base) - made, dict(sorted(counts.items())))


def _met_twice(names: tuple[str, ...], base: list[str]) -> set[str]:
    """File names that several images have, whatever the case of letters."""
    owners: dict[str, set[Path]] = {}
    for name, own in zip(names, base, strict=True):
        owners.setdefault(own.casefold(), set()).add(Path(name).resolve())
    return {own for own in base if len(owners[own.casefold()]) > 1}


def _put(source: Path, target: Path, how: How) -> bool:
    """Make a link or copy; False where it is there already."""
    if target.is_symlink() or target.exists():
        if _is_same(source, target, how):
            return False
        other = target.with_name(
            f'{target.stem}_{_digest(source)}{target.suffix}'
        )
        if other == target or other.exists() or other.is_symlink():
            if other != target and _is_same(source, other, how):
                return False
            raise FileExistsError(
                f'expected no file {other}, got one of another content; '
                'sort into an empty folder'
            )
        target = other
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == 'link':
        target.symlink_to(source)
    else:
        with atomic_write(target) as beside:
            shutil.copy2(source, beside)
    return True


def _is_same(source: Path, target: Path, how: How) -> bool:
    if target.is_symlink():
        return target.resolve() == source
    return (
        how == 'copy'
        and target.is_file()
        and filecmp.cmp(source, target, shallow=False)
    )


def _digest(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(path), digest_size=4).hexdigest()


def _safe(name: str) -> str:
    """Keep of a cluster's name what every file system takes."""
    return re.sub(r'[^\w.-]+', '-', name.strip()).strip('-.')[:80]
