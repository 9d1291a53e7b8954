"""One rank that trains every method for two epochs; writes what came out."""

import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.runner import Runner

import ahpcl  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'helpers'))
from toy import toy_method


def main(folder: str, methods: list[str]) -> None:
    for method in methods:
        config = toy_method(method, Path(folder) / method, epochs=2)
        config.launcher = 'pytorch'
        # Two ranks share what one had.
        config.train_dataloader.batch_size = 32
        runner = Runner.from_cfg(config)
        runner.train()
        rank = dist.get_rank()
        torch.save(
            dict(
                state=runner.model.module.state_dict(),
                iterations=runner.iter,
            ),
            Path(folder) / f'{method}_{rank}.pt',
        )
        del runner
        gc.collect()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
