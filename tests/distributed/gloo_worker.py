"""One rank of the two-process tests; writes what it saw to a file."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.runner import Runner

import ahpcl  # noqa: F401
from ahpcl.engine.extraction import extract_features

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'helpers'))
from toy import toy_config


def pieces(rank: int) -> dict:
    """The collective functions on known numbers."""
    from ahpcl.engine import EpochMeans
    from ahpcl.models import shuffle_batch, unshuffle_batch
    from ahpcl.utils.ranks import gather_rows, sync_batch_norm_stats

    indices = torch.arange(rank, 7, 2)  # 4 rows on rank 0, 3 on rank 1
    got_indices, rows = gather_rows(indices, indices.float().view(-1, 1))
    images = torch.arange(4.0).view(4, 1) + 10 * rank
    shuffled, order = shuffle_batch(images, torch.Generator().manual_seed(0))
    own, everything = unshuffle_batch(shuffled, order)
    norm = torch.nn.BatchNorm1d(2)
    norm.running_mean.fill_(float(rank))
    sync_batch_norm_stats(norm)
    means = EpochMeans()
    means.update(dict(acc_inst=10.0 + rank), 10 + 20 * rank)
    return dict(
        gathered=(got_indices, rows),
        shuffled=shuffled,
        own=torch.equal(own, images),
        everything=everything,
        norm=norm.running_mean,
        means=means.compute(torch.device('cpu')),
    )


def main(folder: str, images: int = 240, batch_size: int = 64) -> None:
    config = toy_config(folder)
    config.train_dataloader.dataset.limit = images
    config.train_dataloader.batch_size = batch_size
    config.custom_hooks[0].extract_dataloader.dataset.limit = images
    config.launcher = 'pytorch'
    config.train_cfg.max_epochs = 4
    config.train_cfg.val_interval = 4
    runner = Runner.from_cfg(config)
    rank = dist.get_rank()
    seen = pieces(rank)
    runner.train()
    model = runner.model.module
    hook = next(
        h for h in runner.hooks if type(h).__name__ == 'AdaptiveClusterHook'
    )
    seen.update(
        backend=dist.get_backend(),
        rungs=hook.ladder.current,
        policy=hook.policy.state_dict(),
        knn=runner.message_hub.get_scalar('val/knn/top1').data[0].tolist(),
        hierarchy=model.head.hierarchy.state_dict(),
        state=model.state_dict(),
        keys=extract_features(model, hook._estep.dataloader),
        images=len(runner.train_dataloader.dataset),
    )
    torch.save(seen, Path(folder) / f'rank_{rank}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1], *map(int, sys.argv[2:]))
