#!/usr/bin/env python
"""Unpack tar shards, zip archives or Parquet files of images to train on.

  shards.py train-{000..007}.tar data/birds      # 000.jpg beside 000.cls
  shards.py downloads/ data/birds --split train  # all shards below a folder
  shards.py photos.zip data/photos               # its folders are kept
  shards.py data/train-*.parquet data/birds      # a column of images

Images are copied as they are into <out>/<class>/<name>, the layout that
UnlabelledFolder and its decoded cache read by index, in any order; a shard
can be read from its beginning only. A class is that of the shard: a .cls or
.json file beside the image, the column of labels, or the image's folder.
Numbers become 00000, 00001, ..., so that their order stays. With several
shards, names begin with that of the shard.

Nothing in a shard is run, extracted by its own path, or unpacked beyond the
room on the disk. The folder appears when all shards are done and every file
was found with its size. An interrupted call goes on where it stopped when it
is given again. Training checks that the images can be decoded.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from shard_samples import (
    SHARDS,
    Sample,
    ending_of,
    image_format,
    read_shard,
)

from ahpcl.datasets.folder import IMAGE_EXTENSIONS
from ahpcl.datasets.mini_imagenet_layout import natural_key
from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.progress import bar_over_bytes
from ahpcl.utils.text import as_utf8, print_any_name

_SPLIT = re.compile(
    r'(?:^|[-_.])(train|validation|valid|val|dev|test)(?=[-_.]|$)'
)
_RANGE = re.compile(r'\{(\d+)\.\.(\d+)\}')
# A shard may become so many times its own bytes: images are packed already.
_MOST_UNPACKED = 200
# Arguments that change nothing in shards that are done.
_NO_MATTER = ('sources', 'out', 'split', 'skip_unreadable')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'sources',
        nargs='+',
        help=f'shards ({", ".join(SHARDS)}), or folders with some',
    )
    parser.add_argument('out', help='folder to make')
    parser.add_argument('--split', help='use the shards of this split only')
    parser.add_argument(
        '--no-labels', action='store_true', help='put no image in a class'
    )
    parser.add_argument(
        '--number',
        action='store_true',
        help='name images by their place in the shard, where their own names '
        'cannot be used',
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out, and count, what has the name of an image and is none',
    )
    parser.add_argument('--image-column', help='of Parquet files')
    parser.add_argument('--label-column', help='of Parquet files')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name, by default the process's.

    Returns:
        Exit status: 0, or 1 after an error message.
    """
    print_any_name()
    args = parse_args(argv)
    try:
        shards = find_shards(args.sources, args.split)
        convert(shards, Path(os.path.expanduser(args.out)), args)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def find_shards(sources: Sequence[str], split: str | None) -> list[Path]:
    """List the shards, in the order of their names and numbers.

    Args:
        sources: Files and folders; ``{000..007}`` means these numbers.
        split: Name of the split that is wanted; None if there is one only.

    Raises:
        ValueError: If there is none, one is no shard, or they are of several
            splits.
    """
    found: list[Path] = []
    for source in sources:
        for name in _numbered(source):
            path = Path(os.path.expanduser(name))
            if path.is_dir():
                found += [p for p in path.rglob('*') if _is_shard(p)]
            elif not path.exists():
                raise ValueError(f'expected a shard, got {path}: no such file')
            elif not _is_shard(path):
                raise ValueError(
                    f'expected a shard ({", ".join(SHARDS)}), got {path}'
                )
            else:
                found.append(path)
    by_split: dict[str, list[Path]] = {}
    for path in found:
        names = _SPLIT.findall(_stem(path).lower())
        # Hugging Face's own conversion: train/0000.parquet.
        names = names or _SPLIT.findall(f'.{path.parent.name.lower()}.')
        by_split.setdefault(names[-1] if names else '', []).append(path)
    if split is not None:
        by_split = {split: by_split.get(split, [])}
    chosen = [path for paths in by_split.values() for path in paths]
    if not chosen:
        raise ValueError(
            f'expected shards ({", ".join(SHARDS)}) '
            f'{"of " + split + " " if split else ""}in {", ".join(sources)}, '
            'got none'
        )
    if len(by_split) > 1:
        counts = ', '.join(
            f'{len(paths)} of {name or "no split"}'
            for name, paths in sorted(by_split.items())
        )
        raise ValueError(
            f'expected the shards of one split, got {counts}; choose with '
            '--split, and make a folder of each'
        )
    chosen = sorted(set(chosen), key=lambda path: natural_key(str(path)))
    stems: dict[str, Path] = {}
    for path in chosen:
        other = stems.setdefault(_stem(path).casefold(), path)
        if other != path:
            raise ValueError(
                f'expected shards of different names, got {other} and {path}; '
                'convert them into folders of their own'
            )
    return chosen


def _numbered(source: str) -> list[str]:
    found = _RANGE.search(source)
    if found is None or Path(source).exists():
        return [source]
    first, last = found.groups()
    return [
        _RANGE.sub(f'{number:0{len(first)}d}', source, count=1)
        for number in range(int(first), int(last) + 1)
    ]


def _is_shard(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SHARDS)


def _stem(path: Path) -> str:
    ends = [end for end in SHARDS if path.name.lower().endswith(end)]
    return path.name[: -len(max(ends, key=len, default=' '))]


@dataclass
class Unpacked:
    """What became of a shard.

    Attributes:
        files: Path below the folder and size in bytes of every image.
        left_out: Other files by ending.
    """

    files: list[tuple[str, int]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def convert(
    shards: Sequence[Path], out: Path, args: argparse.Namespace
) -> None:
    """Make the folder.

    Args:
        shards: What :func:`find_shards` found.
        out: Folder to make; must not exist.
        args: The other arguments.

    Raises:
        ValueError: If a shard is damaged, unsafe, or names images twice.
            ``out`` does not exist then.
    """
    if out.exists():
        raise ValueError(
            f'expected a folder that is still to be made, got {out}, which '
            'exists; remove it or choose another'
        )
    partial = out.parent / f'.{out.name}.partial'
    total = sum(path.stat().st_size for path in shards)
    order = {
        'shards': [_state(path) for path in shards],
        **{k: v for k, v in vars(args).items() if k not in _NO_MATTER},
    }
    _open_partial(partial, order)
    free = shutil.disk_usage(partial).free
    done = sum(p.stat().st_size for p in partial.rglob('*') if p.is_file())
    if total - done > free:
        raise ValueError(
            f'expected {(total - done) / 2**20:,.0f} MiB for the images of '
            f'{len(shards)} shards, got a disk with {free / 2**20:,.0f} MiB '
            f'free at {out.parent}'
        )
    names: dict[str, tuple[str, Path]] = {}
    everything = Unpacked()
    with bar_over_bytes('Unpacking shards', total) as advance:
        for number, path in enumerate(shards):
            prefix = f'{_stem(path)}_' if len(shards) > 1 else ''
            note = partial / 'done' / f'{number}.json'
            if note.is_file():
                content = json.loads(note.read_text('utf-8'))
                found = Unpacked(
                    [(name, size) for name, size in content['files']],
                    Counter(content['left_out']),
                )
                for name, _ in found.files:
                    names[name.casefold()] = name, path
                advance(path.stat().st_size)
            else:
                writer = _Writer(path, prefix, partial, names, args, advance)
                found = writer.unpack()
                with atomic_write(note) as beside:
                    beside.write_text(json.dumps(vars(found)), 'utf-8')
            everything.files += found.files
            everything.left_out += found.left_out
            print(f'{path}: {len(found.files)} images', flush=True)
    _publish(partial, out, everything)


def _state(path: Path) -> list:
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _open_partial(partial: Path, order: dict) -> None:
    """Make the unfinished folder, or take up that of an interrupted call."""
    note = partial / 'order.json'
    if any(partial.glob('done/*.json')):
        left = json.loads(note.read_text('utf-8'))
        if left != json.loads(json.dumps(order)):
            raise ValueError(
                f'expected {partial} to be left by a call with the same '
                'shards and options, got others; remove it to start afresh'
            )
    for left in partial.rglob('*.part'):
        left.unlink()
    (partial / 'images').mkdir(parents=True, exist_ok=True)
    (partial / 'done').mkdir(exist_ok=True)
    with atomic_write(note) as beside:
        beside.write_text(json.dumps(order), 'utf-8')


class _Writer:
    """Writes the images of a shard.

    Args:
        shard: The shard.
        prefix: Beginning of their names.
        partial: The unfinished folder.
        names: Every image that there is, by its name in small letters, and
            the shard it is from; added to.
        args: Arguments of the command line.
        advance: Told how many bytes were read.
    """

    def __init__(
        self,
        shard: Path,
        prefix: str,
        partial: Path,
        names: dict[str, tuple[str, Path]],
        args: argparse.Namespace,
        advance: Callable[[int], None],
    ) -> None:
        self.shard, self.prefix = shard, prefix
        self.folder = partial / 'images'
        self.names, self.args, self.advance = names, args, advance
        self.found = Unpacked()
        self.size = shard.stat().st_size
        self.read = 0  # bytes of images
        self.place = 0

    def unpack(self) -> Unpacked:
        """Write all; returns what there is."""
        read_shard(
            self.shard,
            self.take,
            self.found.left_out,
            image_column=self.args.image_column,
            label_column=self.args.label_column,
        )
        if not self.found.files:
            others = _counts(self.found.left_out) or 'nothing'
            raise ValueError(f'expected images in {self.shard}, got {others}')
        self.advance(max(0, self.size - self.read))
        return self.found

    def take(self, sample: Sample) -> None:
        """Write an image, unless an earlier call has.

        Raises:
            ValueError: If it is none, or its name is that of another.
        """
        place, self.place = self.place, self.place + 1
        size = len(sample.data)
        self.advance(min(size, max(0, self.size - self.read)))
        self.read += size
        if self.read > _MOST_UNPACKED * self.size + 2**20:
            raise ValueError(
                f'expected images of about the {self.size} bytes of '
                f'{self.shard}, got more than {_MOST_UNPACKED} times as many; '
                'refused'
            )
        kind = image_format(sample.data)
        if kind is None:
            if self.args.skip_unreadable:
                self.found.left_out['no images'] += 1
                return
            what = f'{size} bytes that are no image' if size else 'no bytes'
            raise ValueError(
                f'expected an image {sample.name} in {self.shard}, got '
                f'{what}; leave such files out with --skip-unreadable'
            )
        name = self._path(sample, place, kind)
        if name.casefold() in self.names:
            known, shard = self.names[name.casefold()]
            same = 'the same name'
            if known != name:
                same = 'names that differ in capitals alone'
            raise ValueError(
                f'expected every image once, got {sample.name} in '
                f'{self.shard} beside {known} of {shard}: {same}; name them '
                'by their place with --number'
            )
        self.names[name.casefold()] = name, self.shard
        target = self.folder / name
        if not target.is_file() or target.stat().st_size != size:
            with atomic_write(target) as beside:
                beside.write_bytes(sample.data)
        self.found.files.append((name, size))

    def _path(self, sample: Sample, place: int, kind: str) -> str:
        """Return where an image goes, below the folder."""
        path = PurePosixPath(sample.name)
        base, ending = path.name, path.suffix
        if ending.lower() not in IMAGE_EXTENSIONS:
            ending = '' if kind == 'large' else ending_of(kind)
            base += ending
        if self.args.number:
            base = f'{place:08d}{ending}'
        folders = [*path.parent.parts]
        if self.args.no_labels:
            folders = []
        elif sample.label is not None:
            label = sample.label
            text = f'{label:05d}' if isinstance(label, int) else label
            folders = [_plain(text)]
        return '/'.join([*folders, _plain(self.prefix + base)])


def _plain(name: str) -> str:
    """Return a name that is no path and no hidden file."""
    name = re.sub(
        r'[/\\\0]', lambda sign: f'%{ord(sign[0]):02X}', name.strip()
    )
    return f'%2E{name[1:]}' if name.startswith('.') else name or '%20'


def _publish(partial: Path, out: Path, found: Unpacked) -> None:
    """Compare the files with what was written, and give them their name."""
    images = partial / 'images'
    for name, size in found.files:
        path = images / name
        if not path.is_file() or path.stat().st_size != size:
            raise ValueError(
                f'expected {path} of {size} bytes, got another file; remove '
                f'{partial} and call again'
            )
    expected = {name for name, _ in found.files}
    for path in images.rglob('*'):
        if path.is_file() and (
            path.relative_to(images).as_posix() not in expected
        ):
            path.unlink()  # of a call that stopped within a shard
    top = images
    while True:
        inside = list(top.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if any(path.is_file() for path in inside[0].iterdir()):
            break
        top = inside[0]
    if top != images:
        print(f'left out the folder {top.relative_to(images)} around all')
    top.rename(out)
    shutil.rmtree(partial)
    parts = {path.name for path in out.iterdir() if path.is_dir()}
    if found.left_out:
        print(f'left out: {_counts(found.left_out)}')
    print(
        f'made {out}: {len(found.files)} images'
        + (f' in {len(parts)} folders' if parts else '')
    )
    loose = sum(path.is_file() for path in out.iterdir())
    if parts and loose:
        print(f'{loose} of them, whose shard says no class, lie beside these')
    print(f'train on it: python tools/train.py CONFIG --data {out}')


def _counts(left_out: Counter[str]) -> str:
    return ', '.join(
        f'{count} {as_utf8(kind)}' for kind, count in left_out.most_common()
    )


if __name__ == '__main__':
    sys.exit(main())
