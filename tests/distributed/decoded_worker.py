"""Worker of test_decoded.py: one of several ranks opens a decoded cache."""

import sys
import time
from pathlib import Path

import torch
from mmengine.dist import get_rank
from torch import distributed

import ahpcl.datasets.decoded_cache_open as module
from ahpcl.datasets import build_cache, open_or_build


def slowly(*args, **kwargs):
    """Build it, so late that the others would have been there before."""
    assert get_rank() == 0
    time.sleep(1)
    build_cache(*args, **kwargs)


def main(folder: Path) -> None:
    """Open a cache, then one that cannot be built."""
    distributed.init_process_group('gloo')
    module.build_cache = slowly
    files = sorted(str(file) for file in (folder / 'images').iterdir())
    cache, places = open_or_build(folder / 'cache', files)
    seen = dict(
        build=cache.index.build.hex(),
        images=[torch.from_numpy(cache.bgr(place)) for place in places],
    )
    try:
        open_or_build(folder / 'other', [*files, str(folder / 'gone.png')])
    except (ValueError, RuntimeError) as error:
        seen['error'] = repr(error)
    torch.save(seen, folder / f'rank_{get_rank()}.pt')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
