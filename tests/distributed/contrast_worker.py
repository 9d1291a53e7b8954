"""One rank of the two-process tests of MoCo and SimCLR."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import all_reduce_params
from mmengine.registry import init_default_scope

import ahpcl  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'helpers'))
from small_encoders import CONTRAST, build


def averaged_step(kind: str, state: dict, views: list) -> dict:
    """Loss and the gradient that parallel training would step with."""
    model = build(kind, head=CONTRAST)
    model.load_state_dict(state)
    results = model.loss(views, [])
    (loss,) = (v for k, v in results.items() if 'loss' in k)
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    all_reduce_params(gradients, op='mean')
    return dict(
        loss=loss.item(),
        accuracy=float(results.get('acc_inst', -1.0)),
        gradients=gradients,
    )


def moco_queue(state: dict, views: list) -> dict:
    """The queue after a step, and the loss of this rank."""
    model = build(
        'AHPCL',
        head=dict(type='HPCLHead'),
        queue_len=10,
        feat_dim=6,
        momentum=0.9,
    )
    model.load_state_dict(state)
    loss = model.loss(views)['loss_inst']
    return dict(
        queue=model.queue.features,
        position=int(model.queue.position),
        loss=loss.item(),
    )


def main(folder: str) -> None:
    dist.init_process_group('gloo')
    init_default_scope('mmselfsup')
    torch.set_num_threads(1)
    rank = dist.get_rank()
    given = torch.load(Path(folder) / 'given.pt', weights_only=True)
    mine = slice(rank * 4, rank * 4 + 4)
    views = [view[mine] for view in given['views']]
    seen = dict(
        ours=averaged_step('SimCLRBaseline', given['simclr'], views),
        host=averaged_step('mmselfsup.SimCLR', given['simclr'], views),
        moco=moco_queue(given['moco'], views),
    )
    torch.save(seen, Path(folder) / f'rank_{rank}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
