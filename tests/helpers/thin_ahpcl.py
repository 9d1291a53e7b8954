"""AHPCL on a thin encoder, a batch of noise and prototypes for it."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmselfsup.structures import SelfSupDataSample

import ahpcl.models  # noqa: F401  (registers them)
from ahpcl.core import PrototypeHierarchy, PrototypeLevel

BATCH = 6


def build(**changes):
    config = dict(
        type='AHPCL',
        queue_len=10,
        feat_dim=8,
        momentum=0.9,
        backbone=dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
            norm_cfg=dict(type='BN'),
        ),
        neck=dict(
            type='MoCoV2Neck',
            in_channels=64,
            hid_channels=16,
            out_channels=8,
        ),
        head=dict(type='HPCLHead'),
    )
    model = MODELS.build({**config, **changes})
    model.init_weights()
    return model


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    views = [
        torch.randn(BATCH, 3, 8, 8, generator=generator) for _ in range(2)
    ]
    samples = []
    for index in range(BATCH):
        sample = SelfSupDataSample()
        sample.sample_idx = InstanceData(value=torch.tensor([index]))
        samples.append(sample)
    return views, samples


def hierarchy(*counts, num_images=BATCH):
    levels = []
    for count in counts:
        generator = torch.Generator().manual_seed(count)
        levels.append(
            PrototypeLevel(
                F.normalize(torch.randn(count, 8, generator=generator)),
                torch.arange(num_images) % count,
                torch.full((count,), 0.2),
            )
        )
    return PrototypeHierarchy(tuple(levels))
