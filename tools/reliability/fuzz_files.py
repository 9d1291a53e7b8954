#!/usr/bin/env python
"""Give every reader files that were damaged at random, or made to do harm.

  python tools/reliability/fuzz_files.py --cases 5000

Lists (CSV), pickled caches, features (.npz), checkpoints, images, decoded
caches and archives are written as they should be, and changed: bytes
flipped, cut off, repeated, spliced, lengths set to the largest numbers; into
pickles and checkpoints a call is spliced that would leave a file if it ran.
Half of the indices of decoded caches get the right checksums after that, so
that what is behind these is reached.
Each reader must give an answer or its own error (ValueError or OSError)
within a time and memory limit: no other error, no hang, no end of the
interpreter, no call.

Prints a table; exit code 1 if anything else happened.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import numpy as np
import torch
from archives import read_tar, read_zip
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

import ahpcl  # noqa: F401  (checkpoints are loaded without pickle)
from ahpcl.datasets.decode import read_rgb
from ahpcl.datasets.decoded_cache import DecodedCache
from ahpcl.datasets.decoded_cache_build import build_cache
from ahpcl.datasets.decoded_index import INDEX, digest
from ahpcl.datasets.mini_imagenet_cache import read_cache
from ahpcl.datasets.mini_imagenet_files import read_split_file
from ahpcl.evaluation.feature_set import FeatureSet
from ahpcl.evaluation.load_model import load_model, load_weights
from ahpcl.runtime.checkpoint_files import defect_of

SECONDS = 20  # of one case
MEMORY = 2 * 2**30  # more than the process has before, in bytes
CANARY = 'executed'
Reader = Callable[[Path], Any]
CONFIG = Path(__file__).parents[2] / 'configs/baselines/mocov2.py'
MODEL = Config.fromfile(CONFIG)
MODEL.model.update(queue_len=8)
MODEL.model.backbone.update(stem_channels=4, base_channels=4)
MODEL.model.neck.update(in_channels=16, hid_channels=8)


class _Call:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, 'w')


# ---- files as they should be --------------------------------------------


def csv_seeds(_: Path) -> list[bytes]:
    """Lists of images."""
    rows = [f'n0{i % 4}{i:08d}.jpg,n0{i % 4}' for i in range(20)]
    text = '\n'.join(['filename,label', *rows])
    return [text.encode(), text.encode('utf-8-sig')]


def pickle_seeds(folder: Path) -> list[bytes]:
    """Caches of both layouts, and pickles that call."""
    images = np.arange(4 * 84 * 84 * 3, dtype=np.uint8).reshape(4, 84, 84, 3)
    content = dict(image_data=images, class_dict=dict(a=[0, 1], b=[2, 3]))
    other = dict(data=images, labels=[0, 0, 1, 1])
    call = dict(content, extra=_Call(str(folder / CANARY)))
    return [
        *(pickle.dumps(c, p) for c in (content, other) for p in (2, 4, 5)),
        pickle.dumps(call, 2),
        pickle.dumps(_Call(str(folder / CANARY)), 0),
    ]


def npz_seeds(folder: Path) -> list[bytes]:
    """Features, and arrays of objects."""
    path = folder / 'seed.npz'
    FeatureSet(
        features=torch.randn(6, 4),
        labels=torch.arange(6),
        query=torch.arange(6) > 3,
        keys=torch.randn(6, 3),
        paths=tuple('abcdef'),
        classes=('x', 'y'),
        digest='0' * 16,
    ).save(path)
    objects = io.BytesIO()
    np.savez(objects, features=np.array([_Call(str(folder / CANARY))]))
    return [path.read_bytes(), objects.getvalue()]


def checkpoint_seeds(folder: Path) -> list[bytes]:
    """Checkpoints of both formats of torch, and one that calls."""
    state = _model().state_dict()
    found = []
    for content in (
        dict(meta=dict(epoch=1, iter=2), state_dict=state),
        state,
        dict(state_dict=state, extra=_Call(str(folder / CANARY))),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    torch.save(
        dict(state_dict=state),
        buffer,
        _use_new_zipfile_serialization=False,
    )
    return [*found, buffer.getvalue()]


def image_seeds(_: Path) -> list[bytes]:
    """Images of six kinds."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    image = Image.fromarray(pixels)
    found = []
    for kind in ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP'):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        found.append(buffer.getvalue())
    return found


def cache_seeds(folder: Path) -> list[bytes]:
    """The index of a decoded cache."""
    paths = []
    for number in range(3):
        path = folder / f'{number}.png'
        pixels = np.full((8, 8 + number, 3), number, np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    cache = folder / 'cache'
    cache.mkdir(exist_ok=True)
    build_cache(cache, paths)
    return [(cache / INDEX).read_bytes()]


def archive_seeds(_: Path) -> list[bytes]:
    """Archives, one with a path that leads out of it, one with a link."""
    found = []
    for names in (('a/b.jpg', 'd.csv'), ('a/b.jpg', '../../c.jpg')):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, b'x' * 200)
        found.append(buffer.getvalue())
    for kind, link in (('w', False), ('w:gz', False), ('w', True)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=kind) as archive:
            member = tarfile.TarInfo('a/b.jpg')
            member.size = 200
            archive.addfile(member, io.BytesIO(b'x' * 200))
            if link:
                member = tarfile.TarInfo('c')
                member.type, member.linkname = tarfile.SYMTYPE, '/etc'
                archive.addfile(member)
        found.append(buffer.getvalue())
    return found


# ---- readers ------------------------------------------------------------


def read_checkpoint(path: Path) -> None:
    """Look at the file as a resume does, then load it."""
    defect_of(path)
    load_weights(_model(), path)


@cache
def _model() -> torch.nn.Module:
    init_default_scope('mmselfsup')
    return load_model(MODEL, None)[0]


def read_index(path: Path) -> None:
    """Open the cache with another index."""
    index = path.parent / 'cache' / INDEX
    index.write_bytes(path.read_bytes())
    cache = DecodedCache(index.parent)
    cache.index.places(cache.index.names)


def read_archive(path: Path) -> None:
    """Read all files of an archive."""

    def take(name: str, read: Callable[[], bytes]) -> None:
        if '..' in name.split('/') or name.startswith('/'):
            raise AssertionError(f'{name} leads out of the archive')
        read()

    zipped = path.read_bytes()[:2] == b'PK'
    (read_zip if zipped else read_tar)(path, take)


READERS: dict[str, tuple[Callable[[Path], list[bytes]], Reader]] = {
    'list (CSV)': (csv_seeds, read_split_file),
    'pickled cache': (pickle_seeds, read_cache),
    'features (.npz)': (npz_seeds, FeatureSet.load),
    'checkpoint': (checkpoint_seeds, read_checkpoint),
    'image': (image_seeds, read_rgb),
    'decoded cache': (cache_seeds, read_index),
    'archive (zip, tar)': (archive_seeds, read_archive),
}


# ---- damage -------------------------------------------------------------


def damaged(
    content: bytes, seeds: Sequence[bytes], dice: random.Random
) -> bytes:
    """A file with one to four changes."""
    data = bytearray(content)
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        if not data:
            break
        place = dice.randrange(len(data))
        kind = dice.randrange(7)
        if kind == 0:
            data[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[place] = dice.randrange(256)
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            stop = place + dice.randrange(1, 64)
            data[place:place] = data[place:stop] * dice.choice((1, 1, 50))
        elif kind == 4:
            del data[place : place + dice.randrange(1, 64)]
        elif kind == 5:
            width = dice.choice((1, 2, 4, 8))
            value = dice.choice((b'\xff', b'\x7f', b'\x80', b'\x00'))
            data[place : place + width] = value * width
        else:
            other = dice.choice(seeds)
            start = dice.randrange(len(other))
            data[place : place + 32] = other[start : start + 32]
    return bytes(data)


def signed(content: bytes) -> bytes:
    """The index of a decoded cache with the checksum of what it holds."""
    magic, rest = content[:16], content[32:]
    return magic + digest(rest) + rest


def damaged_index(
    content: bytes, seeds: Sequence[bytes], dice: random.Random
) -> bytes:
    """The index of a decoded cache; half of them with right checksums.

    In a half of these one array is changed, and the archive around it is
    made again, as that has checksums too.
    """
    kind = dice.randrange(4)
    if kind < 2:
        return damaged(content, seeds, dice)
    if kind == 2:
        return signed(content[:32] + damaged(content[32:], seeds, dice))
    with zipfile.ZipFile(io.BytesIO(content[32:])) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(list(arrays))
    arrays[name] = damaged(arrays[name], list(arrays.values()), dice)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, array in arrays.items():
            archive.writestr(name, array)
    return signed(content[:32] + buffer.getvalue())


DAMAGE = {'decoded cache': damaged_index}


# ---- running ------------------------------------------------------------


class _Hang(BaseException):
    """A case took too long."""


@contextmanager
def _limited() -> Iterator[None]:
    """Within, more than a while raises :class:`_Hang`."""

    def late(*_: Any) -> None:
        raise _Hang

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def work(name: str, folder: str, first: int, cases: int, seed: int) -> None:
    """Run the cases of a reader; results go to a file as they come."""
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel('CRITICAL')
    torch.set_num_threads(1)
    here = Path(folder)
    make, reader = READERS[name]
    change = DAMAGE.get(name, damaged)
    seeds = make(here)
    used = int(Path('/proc/self/statm').read_text().split()[0])
    used *= resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    path = here / 'case'
    with (here / 'results').open('a') as results:
        for case in range(first, cases):
            dice = random.Random(f'{seed} {name} {case}')
            path.write_bytes(change(dice.choice(seeds), seeds, dice))
            results.write(f'{case} ')
            results.flush()
            start, said = time.perf_counter(), 'answer'
            try:
                with _limited():
                    reader(path)
            except (ValueError, OSError) as error:
                said = 'own error'
                if not str(error):
                    said = f'bad: {type(error).__name__} without a word'
            except _Hang:
                said = f'bad: more than {SECONDS} s'
            except BaseException as error:
                said = f'bad: {type(error).__name__}: {error}'[:200]
            if (here / CANARY).exists():
                said = 'bad: a call in the file ran'
                (here / CANARY).unlink()
            took = time.perf_counter() - start
            results.write(json.dumps([said, took]) + '\n')
            results.flush()


def run_reader(name: str, cases: int, seed: int) -> tuple[str, list[str]]:
    """All cases of a reader.

    Returns:
        A row of the table, and what was not as it must be.
    """
    context = multiprocessing.get_context('fork')
    counts: Counter[str] = Counter()
    bad: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        results, first = Path(folder) / 'results', 0
        while first < cases:
            process = context.Process(
                target=work, args=(name, folder, first, cases, seed)
            )
            process.start()
            process.join()
            lines = results.read_text().splitlines()
            if process.exitcode == 0:
                break
            last, _, said = lines[-1].partition(' ')
            if not said:  # it did not come to say anything
                lines[-1] += json.dumps(
                    [f'bad: the process ended ({process.exitcode})', 0.0]
                )
            results.write_text('\n'.join(lines) + '\n')
            first = int(last) + 1
        for line in lines:
            case, _, said = line.partition(' ')
            kind, took = json.loads(said)
            counts[kind.partition(':')[0]] += 1
            slowest = max(slowest, took)
            if kind.startswith('bad'):
                bad.append(f'{name}, case {case}: {kind}')
    row = (
        f'| {name} | {sum(counts.values())} | {counts["answer"]} | '
        f'{counts["own error"]} | {counts["bad"]} | {slowest:.2f} s |'
    )
    return row, bad


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all readers.

    Returns:
        Exit status: 1 if a case ended otherwise than it must.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--cases', type=int, default=5000, help='per reader')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=list(READERS))
    args = parser.parse_args(argv)
    print('| file | cases | answers | own errors | anything else | slowest |')
    print('|---' * 6 + '|')
    bad = []
    for name in args.only or READERS:
        row, found = run_reader(name, args.cases, args.seed)
        print(row, flush=True)
        bad += found
    for text in bad[:40]:
        print(f'  {text}')
    return int(bool(bad))


if __name__ == '__main__':
    os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
    sys.exit(main())
