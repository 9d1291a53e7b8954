"""MoCo and SimCLR on a small encoder without batch norm."""

import torch
from mmengine.registry import MODELS
from torch import nn

import ahpcl.baselines.simclr
import ahpcl.models  # noqa: F401  (registers them)


@MODELS.register_module(force=True)
class SmallStem(nn.Module):
    """(B, 3, 2, 2) to a map (B, 10, 1, 1)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 10)

    def forward(self, images):
        return (torch.tanh(self.linear(images.flatten(1)))[..., None, None],)


NECK = dict(type='MoCoV2Neck', in_channels=10, hid_channels=10, out_channels=6)
CONTRAST = dict(
    type='ContrastiveHead',
    loss=dict(type='mmcls.CrossEntropyLoss'),
    temperature=0.2,
)


def build(kind, **changes):
    """A method on the small encoder, in training mode."""
    model = MODELS.build(
        dict(type=kind, backbone=dict(type='SmallStem'), neck=NECK) | changes
    )
    model.init_weights()
    return model.train()
