#!/usr/bin/env python
"""Lay out CIFAR-10 as class folders: train/<class>/0000.png to 4999.png.

  cifar10.py cifar-10-binary.tar.gz data/cifar10

The archive is the binary version of CIFAR-10 (Krizhevsky, "Learning Multiple
Layers of Features from Tiny Images", 2009), from www.cs.toronto.edu/~kriz/.
Images of a class are numbered in the order of the archive. The folder is
written beside and renamed at the end, so that it is complete or not there.
"""

import argparse
import shutil
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = (
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
)
PARTS = {
    **{f'data_batch_{number}.bin': 'train' for number in range(1, 6)},
    'test_batch.bin': 'test',
}
_SIDE, _PIXELS = 32, 3 * 32 * 32
_MOST_BYTES = 64 * 2**20  # of a batch; a real one has 30 MB


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('archive', help='cifar-10-binary.tar.gz')
    parser.add_argument('out', help='folder that is made')
    return parser.parse_args(argv)


def read_batches(archive: Path) -> dict[str, np.ndarray]:
    """Records (N, 3073) uint8 of every batch, by its name.

    Raises:
        ValueError: If the file is no such archive.
    """
    found = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                if name not in PARTS or not member.isfile():
                    continue
                if member.size > _MOST_BYTES or member.size % (1 + _PIXELS):
                    raise ValueError(
                        f'expected {name} of records of {1 + _PIXELS} bytes '
                        f'in {archive}, got {member.size} bytes; give the '
                        'binary version'
                    )
                file = tar.extractfile(member)
                assert file is not None
                records = np.frombuffer(file.read(), np.uint8)
                found[name] = records.reshape(-1, 1 + _PIXELS)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(
            f'expected the archive cifar-10-binary.tar.gz, got {archive}, '
            f'which cannot be read ({error})'
        ) from error
    missing = PARTS.keys() - found.keys()
    if missing:
        raise ValueError(
            f'expected {", ".join(PARTS)} in {archive}, got none of '
            f'{", ".join(sorted(missing))}; give the binary version, '
            'cifar-10-binary.tar.gz'
        )
    return found


def write(batches: dict[str, np.ndarray], out: Path) -> Counter[str]:
    """Write the images.

    Args:
        batches: What `read_batches` yields.
        out: Folder, which must not exist.

    Returns:
        Images of each part.

    Raises:
        ValueError: If there is such a folder, or a label is unknown.
    """
    if out.exists():
        raise ValueError(
            f'expected a folder that does not exist, got {out}; remove it or '
            'name another'
        )
    beside = out.with_name(f'{out.name}.partial')
    shutil.rmtree(beside, ignore_errors=True)
    numbers: Counter[tuple[str, int]] = Counter()
    for name, part in PARTS.items():
        for record in batches[name]:
            label = int(record[0])
            if label >= len(CLASSES):
                raise ValueError(
                    f'expected labels from 0 to {len(CLASSES) - 1}, got '
                    f'{label} in {name}'
                )
            folder = beside / part / CLASSES[label]
            number = numbers[part, label]
            if number == 0:
                folder.mkdir(parents=True, exist_ok=True)
            pixels = record[1:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)
            image = Image.fromarray(np.ascontiguousarray(pixels))
            image.save(folder / f'{number:04d}.png')
            numbers[part, label] += 1
    beside.rename(out)
    totals: Counter[str] = Counter()
    for (part, _), count in numbers.items():
        totals[part] += count
    return totals


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name, by default the process's.

    Returns:
        Exit status: 0, or 1 after an error message.
    """
    args = parse_args(argv)
    try:
        totals = write(read_batches(Path(args.archive)), Path(args.out))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.out}: {totals["train"]} training and {totals["test"]} test')
    return 0


if __name__ == '__main__':
    sys.exit(main())
