"""One rank of the tests of AHPCL's gradient; or all of it in one process."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import all_reduce_params, get_rank, get_world_size
from mmengine.registry import init_default_scope

import ahpcl  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'helpers'))
from thin_ahpcl import batch, build, hierarchy

BATCH = 12  # of all ranks: 2, 3 and 4 divide it


def step(norm: str, splits: int) -> dict:
    """Losses, accuracies, gradient and queue of one step.

    Args:
        norm: 'fixed' or 'split': statistics that stay, or those of the part
            of the batch that a rank has.
        splits: Parts that one process makes of its batch.
    """
    torch.manual_seed(0)
    kind = dict(type='SplitBN', num_splits=splits)
    model = build(queue_len=24, shuffle_bn=False)
    state = model.state_dict()
    model = build(
        queue_len=24,
        shuffle_bn=False,
        backbone=dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
            norm_cfg=kind if splits > 1 else dict(type='BN'),
        ),
    )
    model.load_state_dict(state)
    model.double()  # rounding does not hide, or feign, a difference
    model.train(norm == 'split')
    model.head.set_prototypes(hierarchy(5, 3, num_images=BATCH), {5: 0.1})
    parts = [batch(seed) for seed in (0, 1)]
    views = [
        torch.cat(pair).double()
        for pair in zip(*(p[0] for p in parts), strict=True)
    ]
    samples = [sample for _, some in parts for sample in some]
    for index, sample in enumerate(samples):
        sample.sample_idx.value = torch.tensor([index])
    size = BATCH // get_world_size()
    mine = slice(get_rank() * size, (get_rank() + 1) * size)
    results = model.loss([view[mine] for view in views], samples[mine])
    (results['loss_inst'] + results['loss_proto']).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    values = {name: value.detach() for name, value in results.items()}
    all_reduce_params([*gradients, *values.values()], op='mean')
    return dict(values=values, gradients=gradients, queue=model.queue.features)


def main(folder: str) -> None:
    """Both kinds of batch norm on this rank."""
    dist.init_process_group('gloo')
    init_default_scope('mmselfsup')
    torch.set_num_threads(1)
    seen = {norm: step(norm, 1) for norm in ('fixed', 'split')}
    torch.save(seen, Path(folder) / f'rank_{dist.get_rank()}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
