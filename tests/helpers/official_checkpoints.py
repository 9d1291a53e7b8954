"""Small models with the names of the published programs, and their files.

Written from the key names that the programs' checkpoints have: PCL and MoCo
(``builder.py``, ``main_*.py``), HCSC (``hcsc.py``, ``pretrain.py``) and SwAV
(``resnet50.py``, ``main_swav.py``). Depth, dimensions and queues are small.
"""

from collections import OrderedDict

import torch
import torchvision
from torch import nn


def randomised(model, seed=0):
    """Weights, biases and statistics away from what they start with."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith('running_var'):
                value.copy_(1 + 0.2 * noise.abs())
            elif value.ndim == 1:
                value.add_(0.1 * noise)
    return model


def resnet_with_fc(depth, dim, mlp, seed):
    """The encoder of PCL, MoCo and HCSC: torchvision's, fc as projection."""
    torch.manual_seed(seed)
    model = getattr(torchvision.models, f'resnet{depth}')(num_classes=dim)
    if mlp:
        width = model.fc.in_features
        model.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), model.fc)
    return randomised(model, seed)


class Momentum(nn.Module):
    """Names of the modules and buffers of MoCo, PCL and HCSC."""

    def __init__(self, depth, dim=16, length=32, mlp=True, index=False):
        super().__init__()
        self.encoder_q = resnet_with_fc(depth, dim, mlp, seed=1)
        self.encoder_k = resnet_with_fc(depth, dim, mlp, seed=2)
        self.register_buffer('queue', torch.randn(dim, length))
        self.register_buffer('queue_ptr', torch.zeros(1, dtype=torch.long))
        if index:
            self.register_buffer('queue_index', torch.arange(length))


class Swav(nn.Module):
    """Names of SwAV's model: torchvision's, its heads beside the stages."""

    def __init__(self, depth, prototypes=12, dim=16, hidden=24):
        super().__init__()
        trunk = resnet_with_fc(depth, dim, False, seed=3)
        width = trunk.fc.in_features
        del trunk.fc
        for name, child in trunk.named_children():
            self.add_module(name, child)
        self.projection_head = randomised(
            nn.Sequential(
                nn.Linear(width, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, dim),
            )
        )
        if isinstance(prototypes, list):
            self.prototypes = nn.Module()
            for index, number in enumerate(prototypes):
                self.prototypes.add_module(
                    f'prototypes{index}', nn.Linear(dim, number, bias=False)
                )
        else:
            self.prototypes = nn.Linear(dim, prototypes, bias=False)


def parallel(model):
    """State of a model inside DistributedDataParallel."""
    return OrderedDict(
        (f'module.{key}', value) for key, value in model.state_dict().items()
    )


def write_official(path, model, arch='resnet18', **extra):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.save(
        {
            'epoch': 200,
            'arch': arch,
            'state_dict': parallel(model),
            'optimizer': optimizer.state_dict(),
            **extra,
        },
        path,
    )
    return path


def pooled(model, images):
    """Features of torchvision's ResNet, from its parts."""
    model.eval()
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        x = model.layer4(model.layer3(model.layer2(model.layer1(x))))
    return x.mean((2, 3))


def images(size=64):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(2, 3, size, size, generator=generator)
