"""The parts of mmselfsup that our configs use, where it is not installed.

Names of weights and results are mmselfsup's, in eval mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn


class PlainNeck(nn.Module):
    """Layers, by name and in order, on pooled or flat features.

    Args:
        layers: Name and layer; the same name never twice. A ReLU is applied
            where the layer is None.
        with_avg_pool: Whether to pool maps (B, C, H, W) first.
    """

    def __init__(
        self, layers: Sequence[tuple[str, nn.Module]], with_avg_pool: bool
    ) -> None:
        super().__init__()
        self.with_avg_pool = with_avg_pool
        self.order = []
        for name, layer in layers:
            self.add_module(name, layer)
            self.order.append(name)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone, the last of which counts, to [(B, D)]."""
        rows = maps[-1]
        if self.with_avg_pool:
            rows = nn.functional.adaptive_avg_pool2d(rows, 1)
        rows = rows.flatten(1)
        for name in self.order:
            rows = getattr(self, name)(rows)
        return [rows]


def resnet(**settings: Any) -> nn.Module:
    """Build mmcls's ResNet, whose stages mmselfsup counts from 1."""
    stages = settings.pop('out_indices', (4,))
    if min(stages) < 1:
        raise ValueError(
            'expected out_indices of stages, 1 to 4, got '
            f'{tuple(stages)}: the stem alone needs mmselfsup'
        )
    indices = tuple(stage - 1 for stage in stages)
    return MODELS.build(
        dict(type='mmcls.ResNet', out_indices=indices, **settings)
    )


def moco_v2_neck(
    in_channels: int,
    hid_channels: int,
    out_channels: int,
    with_avg_pool: bool = True,
) -> nn.Module:
    """Build fc-relu-fc."""
    mlp = nn.Sequential(
        nn.Linear(in_channels, hid_channels),
        nn.ReLU(inplace=True),
        nn.Linear(hid_channels, out_channels),
    )
    return PlainNeck([('mlp', mlp)], with_avg_pool)


def linear_neck(
    in_channels: int, out_channels: int, with_avg_pool: bool = True
) -> nn.Module:
    """Build one fc."""
    fc = nn.Linear(in_channels, out_channels)
    return PlainNeck([('fc', fc)], with_avg_pool)


def non_linear_neck(
    in_channels: int,
    hid_channels: int,
    out_channels: int,
    num_layers: int = 2,
    with_bias: bool = False,
    with_last_bn: bool = True,
    with_last_bn_affine: bool = True,
    with_last_bias: bool = False,
    with_avg_pool: bool = True,
    norm_cfg: dict | None = None,
) -> nn.Module:
    """Build fc-bn, then relu-fc-bn as often as asked for."""
    layers: list[tuple[str, nn.Module]] = []
    width = in_channels
    for place in range(num_layers):
        last = place == num_layers - 1 and place > 0
        out = out_channels if last else hid_channels
        if place:
            layers.append((f'relu{place}', nn.ReLU()))
        bias = with_last_bias if last else with_bias
        layers.append((f'fc{place}', nn.Linear(width, out, bias=bias)))
        if not last or with_last_bn:
            affine = with_last_bn_affine if last else True
            # In eval mode all kinds of batch norm are one.
            layers.append((f'bn{place}', nn.BatchNorm1d(out, affine=affine)))
        width = out
    return PlainNeck(layers, with_avg_pool)


#: What mmselfsup registers under these names.
PLAIN: dict[str, Callable[..., nn.Module]] = {
    'ResNet': resnet,
    'MoCoV2Neck': moco_v2_neck,
    'LinearNeck': linear_neck,
    'NonLinearNeck': non_linear_neck,
}
