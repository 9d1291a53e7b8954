"""One of three ranks, the last of which does not come."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ahpcl.runtime.lost_ranks import LostRankDetector


def main(folder: str) -> None:
    """Wait for the last rank in vain, and call the roll."""
    dist.init_process_group('gloo', timeout=timedelta(seconds=4))
    rank, detector = dist.get_rank(), LostRankDetector(patience=4)
    said = 'asleep'
    if rank < 2:
        try:
            dist.all_reduce(torch.zeros(1))
            said = 'it came'
        except RuntimeError as error:
            detector.sign()
            said = detector.words(error)
    else:
        time.sleep(12)
    (Path(folder) / f'{rank}.txt').write_text(said)


if __name__ == '__main__':
    main(sys.argv[1])
