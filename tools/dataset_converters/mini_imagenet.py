#!/usr/bin/env python
"""Make a mini-ImageNet folder: images/ beside train.csv, val.csv, test.csv.

From one of

  imagenet  a folder of ImageNet's training images, <class>/*.JPEG or
            train/<class>/*.JPEG, with the split files of Ravi & Larochelle
            given by --split-dir. There, n0153282900000005.jpg means the fifth
            image of class n01532829 by image number, counted from 1; a
            file's own name works too.
  archive   a .tar, .tar.gz, .tgz or .zip with the images and the split files
            (or --split-dir).
  pickle    a folder with mini-imagenet-cache-{train,val,test}.pkl,
            miniImageNet_category_split_*.pickle, CIFAR_FS_*.pickle or
            another cache of docs/data_formats.md. Nothing in them is run.

Images become <size> x <size> px JPEG (Lanczos); images that have that size
already are copied as they are, and those of pickles are kept exactly, as PNG.
The folder appears only when it is complete. An interrupted run goes on where
it stopped when started again with the same arguments.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from archives import ARCHIVES, read_archive
from PIL import Image

from ahpcl.datasets.decode import to_rgb
from ahpcl.datasets.mini_imagenet_cache import read_cache_split
from ahpcl.datasets.mini_imagenet_files import EXTENSIONS, read_split_file
from ahpcl.datasets.mini_imagenet_layout import (
    SPLITS,
    find_layout,
    natural_key,
)
from ahpcl.utils.atomic_write import atomic_write

Rows = list[tuple[str, str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name, by default the process's.

    Returns:
        Exit status: 0, or 1 after an error message.
    """
    args = parse_args(argv)
    try:
        report = convert(
            args.source, args.out, args.kind, args.split_dir, args.size
        )
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for line in report:
        print(line)
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path, help='what to convert')
    parser.add_argument('out', type=Path, help='folder to make')
    parser.add_argument(
        '--kind',
        choices=('auto', 'imagenet', 'archive', 'pickle'),
        default='auto',
        help='what the source is (default: find out)',
    )
    parser.add_argument(
        '--split-dir',
        type=Path,
        help='folder with train.csv, val.csv and test.csv',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=84,
        help='side of the images in px, 0 to keep them (default: %(default)s)',
    )
    return parser.parse_args(argv)


def convert(
    source: Path, out: Path, kind: str, split_dir: Path | None, size: int
) -> list[str]:
    """Make the folder.

    Args:
        source: A folder or an archive.
        out: Folder to make; must not exist.
        kind: 'auto', 'imagenet', 'archive' or 'pickle'.
        split_dir: Folder with the split files, where the source has none.
        size: Side of the images in px; 0 keeps them.

    Returns:
        Lines that say what was made.

    Raises:
        ValueError: if something is missing, contradicts itself or is unsafe.
            ``out`` does not exist then.
    """
    if size < 0:
        raise ValueError(f'expected --size of at least 0, got {size}')
    if not source.exists():
        raise ValueError(
            f'expected a folder or archive, got {source}, which does not exist'
        )
    if out.exists():
        raise ValueError(
            f'expected a folder that is still to be made, got {out}, which '
            'exists; remove it or choose another'
        )
    kind = find_kind(source) if kind == 'auto' else kind
    partial = out.parent / f'.{out.name}.partial'
    order = {
        'source': str(source.resolve()),
        'kind': kind,
        'split_dir': str(split_dir.resolve())
        if split_dir and kind == 'imagenet'
        else None,
        'size': size,
    }
    open_partial(partial, order)
    if kind == 'pickle':
        splits = from_pickles(source, partial)
    elif kind == 'archive':
        splits = from_archive(source, partial, split_dir, size)
    else:
        splits = from_imagenet(source, partial, split_dir, size)
    report = verify(partial, splits)
    for split, rows in splits.items():
        write_csv(partial / f'{split}.csv', rows)
    (partial / 'order.json').unlink()
    partial.rename(out)
    return [*report, f'made {out}']


def find_kind(source: Path) -> str:
    """Tell what a source is."""
    if source.is_file():
        if source.name.lower().endswith(ARCHIVES):
            return 'archive'
        raise ValueError(
            f'expected an archive ({", ".join(ARCHIVES)}) or a folder, got '
            f'{source}'
        )
    try:
        if find_layout(source) == 'pickle':
            return 'pickle'
    except ValueError:
        pass  # not in a layout of mini-ImageNet: class folders, or an error
    return 'imagenet'


def open_partial(partial: Path, order: dict) -> None:
    """Make the unfinished folder, or take up that of an interrupted run."""
    for left in partial.glob('*.part'):
        left.unlink()
    note = partial / 'order.json'
    images = partial / 'images'
    if images.is_dir() and any(images.iterdir()):
        left = json.loads(note.read_text()) if note.is_file() else None
        if left != order:
            raise ValueError(
                f'expected {partial} to be left by a run with the same '
                f'arguments, got {left}; remove it to start afresh'
            )
    images.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(order))


def from_pickles(source: Path, partial: Path) -> dict[str, Rows]:
    """Write the images of cache files as PNG."""
    splits = {}
    for split in SPLITS:
        items, pixels = read_cache_split(source, split)
        count: dict[str, int] = {}
        rows = []
        for item in items:
            number = count[item.label] = count.get(item.label, 0) + 1
            name = f'{safe_name(item.label)}{number:08d}.png'
            rows.append((name, item.label))
            image = Image.fromarray(pixels[item.index])
            write_once(partial / 'images' / name, lambda i=image: png(i))
        splits[split] = rows
    return splits


def from_imagenet(
    source: Path, partial: Path, split_dir: Path | None, size: int
) -> dict[str, Rows]:
    """Pick and resize the images that the split files name."""
    if split_dir is None:
        raise ValueError(
            'expected --split-dir with train.csv, val.csv and test.csv, got '
            'none; the split files of Ravi & Larochelle name the images'
        )
    splits = read_splits(split_dir)
    train = source / 'train' if (source / 'train').is_dir() else source
    listed: dict[str, list[Path]] = {}
    for rows in splits.values():
        for name, label in rows:
            if label not in listed:
                listed[label] = class_files(train, label)
            file = pick(name, label, listed[label])
            write_once(
                partial / 'images' / safe_name(name),
                lambda f=file: resized(f.read_bytes(), size, f),
            )
    return splits


def class_files(train: Path, label: str) -> list[Path]:
    """Images of a class by number."""
    folder = train / safe_name(label)
    files = [
        file
        for file in (folder.iterdir() if folder.is_dir() else ())
        if file.suffix.lower() in EXTENSIONS
    ]
    if not files:
        raise ValueError(
            f'expected images of class {label} in {folder}, got none; unpack '
            "ImageNet's training images there, one folder a class"
        )
    return sorted(files, key=lambda file: natural_key(file.name))


def pick(name: str, label: str, files: list[Path]) -> Path:
    """Find the image that a split file names."""
    stem = PurePosixPath(name).stem
    for file in files:
        if file.stem == stem:
            return file
    number = stem.removeprefix(label)
    if not stem.startswith(label) or not number.isdecimal():
        raise ValueError(
            f'expected {name} to be a file of class {label}, or '
            f'{label}<number>.jpg; got neither'
        )
    if not 1 <= int(number) <= len(files):
        raise ValueError(
            f'expected image number {int(number)} of class {label}, got a '
            f'folder with {len(files)} images; is it complete?'
        )
    return files[int(number) - 1]


def from_archive(
    source: Path, partial: Path, split_dir: Path | None, size: int
) -> dict[str, Rows]:
    """Take images and split files out of an archive.

    Members are read, not extracted: every file that is written gets a name
    made here.
    """
    images = partial / 'images'
    seen: set[str] = set()

    def take(name: str, read: Callable[[], bytes]) -> None:
        path = PurePosixPath(name)
        base = path.name
        if base.startswith('.') or '__MACOSX' in path.parts:
            return
        if path.suffix.lower() in EXTENSIONS:
            if base in seen:
                raise ValueError(
                    f'expected every image name once in {source}, got {base} '
                    'twice'
                )
            seen.add(base)
            write_once(
                images / base, lambda: resized(read(), size, source / name)
            )
        elif path.stem in SPLITS and path.suffix == '.csv':
            write_file(partial / f'{path.stem}.csv', read())

    read_archive(source, take)
    return read_splits(split_dir if split_dir is not None else partial)


def read_splits(folder: Path) -> dict[str, Rows]:
    """Read the three split files; no image may be in two."""
    absent = [s for s in SPLITS if not (folder / f'{s}.csv').is_file()]
    if absent:
        raise ValueError(
            f'expected {", ".join(f"{s}.csv" for s in absent)}, got none in '
            'the source or --split-dir; give --split-dir'
        )
    splits = {s: read_split_file(folder / f'{s}.csv') for s in SPLITS}
    owner: dict[str, str] = {}
    for split, rows in splits.items():
        for name, _ in rows:
            if owner.setdefault(name, split) != split:
                raise ValueError(
                    f'expected every image in one split, got {name} in '
                    f'{owner[name]}.csv and {split}.csv'
                )
    return splits


def verify(partial: Path, splits: dict[str, Rows]) -> list[str]:
    """Compare the images with the split files.

    Returns:
        A line on every split.

    Raises:
        ValueError: if images are missing.
    """
    present = {entry.name for entry in os.scandir(partial / 'images')}
    named = {name for rows in splits.values() for name, _ in rows}
    missing = sorted(named - present)
    if missing:
        raise ValueError(
            f'expected {len(named)} images, {len(missing)} of them are '
            f'missing: {", ".join(missing[:10])}'
        )
    for name in present - named:
        (partial / 'images' / name).unlink()
    report = []
    for split, rows in splits.items():
        classes: dict[str, int] = {}
        for _, label in rows:
            classes[label] = classes.get(label, 0) + 1
        low, high = min(classes.values()), max(classes.values())
        each = str(low) if low == high else f'{low} to {high}'
        report.append(
            f'{split}: {len(rows)} images, {len(classes)} classes of {each}'
        )
    return report


def resized(data: bytes, size: int, origin: Path) -> bytes:
    """An image file at a size; as it is where it has that size already."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if size == 0 or image.size == (size, size):
                return data
            rgb = Image.fromarray(to_rgb(image))
    except Exception as error:
        raise ValueError(
            f'expected a readable image, got {origin}: {error}'
        ) from error
    buffer = io.BytesIO()
    small = rgb.resize((size, size), Image.Resampling.LANCZOS)
    small.save(buffer, 'JPEG', quality=95)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def safe_name(name: str) -> str:
    """Refuse a file or class name that is a path."""
    if not name or name in ('.', '..') or '/' in name or '\\' in name:
        raise ValueError(f'expected a plain name, got {name!r}')
    return name


def write_once(path: Path, make: Callable[[], bytes]) -> None:
    """Write a file unless an earlier run has."""
    if not path.exists():
        write_file(path, make())


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as beside:
        beside.write_bytes(data)


def write_csv(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a split file."""
    with io.StringIO(newline='') as text:
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(('filename', 'label'))
        writer.writerows(rows)
        write_file(path, text.getvalue().encode())


if __name__ == '__main__':
    sys.exit(main())
