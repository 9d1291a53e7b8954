"""One of two ranks: codes of its half by ours and by mmselfsup."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from mmselfsup.utils import distributed_sinkhorn

from ahpcl.baselines.swav_loss import _over_ranks
from ahpcl.core import sinkhorn


def main(folder: str, data: str) -> None:
    dist.init_process_group('gloo')
    rank = dist.get_rank()
    scores = torch.from_numpy(np.load(data)['scores'])
    half = scores.chunk(2)[rank]
    ours = sinkhorn(half, reduce=_over_ranks)
    host = distributed_sinkhorn(half.clone(), 3, 2, 0.05)
    torch.save((ours, host), Path(folder) / f'{rank}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
