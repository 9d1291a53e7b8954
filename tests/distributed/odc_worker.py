"""One rank of the test of ODC's memories; writes what it saw to a file."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, init_default_scope

import ahpcl  # noqa: F401
from ahpcl.baselines.odc import OnlineDeepClustering
from ahpcl.baselines.online_memory import OnlineClusteringMemory
from ahpcl.baselines.pseudo_label import ClusterCrossEntropy

assert ClusterCrossEntropy and OnlineDeepClustering
IMAGES, DIM, CLUSTERS, STEPS = 60, 6, 5, 12


def first_memory() -> OnlineClusteringMemory:
    memory = OnlineClusteringMemory(IMAGES, DIM, CLUSTERS, 0.5, 11)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, DIM, generator=generator)
    memory.init_memory(features, torch.arange(IMAGES) % CLUSTERS)
    return memory


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What all ranks see together; the last image is a padded one."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(STEPS):
        idx = torch.randperm(IMAGES, generator=generator)[:16]
        idx[15] = idx[0]
        found.append((idx, torch.randn(16, DIM, generator=generator)))
    return found


def run_memory(part: slice) -> dict:
    """Every step of this rank; returns the memory and the ratios."""
    memory, ratios, small = first_memory(), [], 0
    for step, (idx, features) in enumerate(batches(), 1):
        ratio = memory.update_samples_memory(idx[part], features[part])
        ratios.append(float(ratio))
        if step % 3 == 0:
            memory.update_centroids_memory()
        small += memory.deal_with_small_clusters(seed=step)
    return dict(state=memory.state_dict(), ratios=ratios, small=small)


def wrapped_memory(rank: int) -> torch.Tensor:
    """What the wrapper makes of a memory that differs by rank."""
    model = MODELS.build(
        dict(
            type='OnlineDeepClustering',
            backbone=dict(
                type='mmcls.ResNet_CIFAR',
                depth=18,
                stem_channels=4,
                base_channels=4,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
            ),
            neck=dict(
                type='ODCNeck',
                in_channels=8,
                hid_channels=8,
                out_channels=DIM,
                norm_cfg=dict(type='BN1d'),
            ),
            head=dict(
                type='ClsHead',
                loss=dict(type='ClusterCrossEntropy'),
                in_channels=DIM,
                num_classes=CLUSTERS,
            ),
            memory_bank=dict(
                type='OnlineClusteringMemory',
                length=IMAGES,
                feat_dim=DIM,
                num_classes=CLUSTERS,
                min_cluster=5,
            ),
        )
    )
    model.memory_bank.load_state_dict(first_memory().state_dict())
    model.memory_bank.feature_bank[0] = float(rank)
    model.loss_weight.fill_(float(rank))
    wrapper = MMDistributedDataParallel(
        module=model, device_ids=None, broadcast_buffers=True
    )
    samples = [
        type('Sample', (), {'sample_idx': 1 + i, '__contains__': has})()
        for i in range(4)
    ]
    wrapper([torch.randn(4, 3, 8, 8)], samples, mode='loss')
    return torch.stack(
        [model.memory_bank.feature_bank[0, 0], model.loss_weight[0]]
    )


def has(self: object, name: str) -> bool:
    return name == 'sample_idx'


def main(folder: str) -> None:
    dist.init_process_group('gloo')
    init_default_scope('mmselfsup')
    rank = dist.get_rank()
    seen = run_memory(slice(8 * rank, 8 * rank + 8))
    seen['wrapped'] = wrapped_memory(rank)
    torch.save(seen, Path(folder) / f'rank_{rank}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
