"""Tells a ResNet from its weights, and builds it to compare with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from ahpcl.runtime.state_difference import name_keys

_STAGES = {
    'basic': {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)},
    'bottleneck': {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)},
}


@dataclass(frozen=True)
class ResNetShape:
    """What the shapes of the weights say of a ResNet.

    Strides and dilations are not in the weights.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        num_stages: Stages, 1 to 4.
        in_channels: Channels of the image.
        stem_channels: After the first convolution.
        base_channels: Channels of the first stage, before expansion.
        stem_kernel: 7 (ResNet), or 3 (ResNet_CIFAR).
    """

    depth: int
    num_stages: int = 4
    in_channels: int = 3
    stem_channels: int = 64
    base_channels: int = 64
    stem_kernel: int = 7

    @property
    def name(self) -> str:
        """Such as ``resnet50``, with what is unusual about it."""
        extra = [
            f'{field}={value}'
            for field, value in self.settings().items()
            if field not in ('depth', 'strides', 'dilations', 'out_indices')
        ]
        cifar = '_cifar' * (self.stem_kernel == 3)
        name = f'resnet{self.depth}{cifar}'
        return f'{name} ({", ".join(extra)})' if extra else name

    @property
    def type(self) -> str:
        """Class of mmpretrain that it is of."""
        return 'ResNet_CIFAR' if self.stem_kernel == 3 else 'ResNet'

    def settings(self) -> dict[str, Any]:
        """Arguments of that class, without those that are its defaults."""
        usual = ResNetShape(self.depth)
        names = ('in_channels', 'stem_channels', 'base_channels')
        settings: dict[str, Any] = {'depth': self.depth}
        for name in names:
            if getattr(self, name) != getattr(usual, name):
                settings[name] = getattr(self, name)
        if self.num_stages != usual.num_stages:
            settings |= dict(
                num_stages=self.num_stages,
                strides=(1, 2, 2, 2)[: self.num_stages],
                dilations=(1,) * self.num_stages,
                out_indices=(self.num_stages - 1,),
            )
        return settings


def find_shape(backbone: Mapping[str, Tensor]) -> ResNetShape:
    """Tells the architecture from the shapes of the weights.

    Args:
        backbone: Weights under torchvision's names.

    Returns:
        The architecture nearest to them; it may differ in other keys.

    Raises:
        ValueError: If it is no ResNet.
    """
    stem = backbone.get('conv1.weight')
    first = backbone.get('layer1.0.conv1.weight')
    if stem is None or first is None or stem.ndim != 4:
        raise ValueError(
            'expected the weights of a ResNet (conv1.weight, '
            f'layer1.0.conv1.weight, ...), got {name_keys(list(backbone))}'
        )
    last = backbone.get('layer1.0.conv3.weight')
    counts = tuple(
        len({key.split('.')[1] for key in backbone if key.startswith(stage)})
        for stage in ('layer1.', 'layer2.', 'layer3.', 'layer4.')
    )
    counts = tuple(count for count in counts if count)
    kind = 'basic' if last is None else 'bottleneck'
    depths = [
        depth
        for depth, blocks in _STAGES[kind].items()
        if blocks[: len(counts)] == counts
    ]
    if not depths:
        raise ValueError(
            'expected a ResNet of depth 18, 34, 50, 101 or 152, got one with '
            f'{counts} {kind} blocks per stage'
        )
    return ResNetShape(
        depth=depths[0],
        num_stages=len(counts),
        in_channels=stem.shape[1],
        stem_channels=stem.shape[0],
        base_channels=len(first) if last is None else len(last) // 4,
        stem_kernel=stem.shape[2],
    )


def build_openmmlab(shape: ResNetShape, *, cifar: bool = True) -> nn.Module:
    """The ResNet of mmcls, whose names mmpretrain and mmdetection share.

    Args:
        shape: The architecture.
        cifar: Whether the library has ResNet_CIFAR (mmdetection has not).

    Returns:
        The backbone.
    """
    from mmcls.models import ResNet, ResNet_CIFAR

    kinds = {'ResNet': ResNet, 'ResNet_CIFAR': ResNet_CIFAR}
    kind = kinds[shape.type] if cifar else ResNet
    return kind(**shape.settings())


def build_torchvision(shape: ResNetShape) -> nn.Module:
    """The ResNet of that depth of torchvision, whose names timm shares.

    Args:
        shape: The architecture; only its depth counts, as torchvision has
            one stem and one width.

    Returns:
        The model without its classifier, without memory for its weights.
    """
    with torch.device('meta'):
        model = getattr(torchvision.models, f'resnet{shape.depth}')()
    model.fc = nn.Identity()
    return model
