"""Weights of a backbone under the names of another library."""

from __future__ import annotations

from ahpcl.runtime.state_difference import compare_states

from .layouts import State
from .resnet_shapes import ResNetShape, build_openmmlab, build_torchvision

TARGETS = ('torchvision', 'timm', 'mmpretrain', 'mmdetection')


def check_fit(backbone: State, shape: ResNetShape, target: str) -> None:
    """Compares with the architecture as the library builds it.

    Args:
        backbone: Weights by name.
        shape: The architecture.
        target: One of :data:`TARGETS`.

    Raises:
        ValueError: If a key is missing, unexpected or of another shape.
    """
    if target in ('torchvision', 'timm'):
        model = build_torchvision(shape)
    else:
        model = build_openmmlab(shape, cifar=target == 'mmpretrain')
    difference = compare_states(model.state_dict(), backbone)
    if not difference:
        return
    ways = 'train with a backbone that it has (_base_/models/ahpcl_r18.py)'
    if target != 'mmpretrain' and not compare_states(
        build_openmmlab(shape).state_dict(), backbone
    ):
        ways = f'use --to mmpretrain, whose {shape.type} takes it, or {ways}'
    raise ValueError(
        f'expected the weights of resnet{shape.depth} as {target} has it, '
        f'got {shape.name}: {difference.describe()}; {ways}'
    )


def packed(backbone: State, target: str) -> dict:
    """The content of the file that the library loads."""
    weights = own_tensors(backbone)
    if target in ('torchvision', 'timm'):
        return weights
    prefix = 'backbone.' if target == 'mmpretrain' else ''
    state = {f'{prefix}{key}': value for key, value in weights.items()}
    return {'meta': {}, 'state_dict': state}


def how_to_load(shape: ResNetShape, target: str, out: str) -> str:
    """One line of code that loads the file."""
    if target == 'torchvision':
        return (
            f'load: torchvision.models.resnet{shape.depth}().load_state_dict('
            f'torch.load({out!r}), strict=False)  # all but fc'
        )
    if target == 'timm':
        return (
            f"load: timm.create_model('resnet{shape.depth}', num_classes=0, "
            f'checkpoint_path={out!r})'
        )
    settings = ', '.join(f'{k}={v!r}' for k, v in shape.settings().items())
    prefix = ", prefix='backbone.'" if target == 'mmpretrain' else ''
    text = (
        f"load: backbone=dict(type='{shape.type}', {settings}, "
        f"init_cfg=dict(type='Pretrained', checkpoint={out!r}{prefix}))"
    )
    if shape.num_stages != 4:
        text += '  # strides as in its config: weights do not tell them'
    return text


def own_tensors(state: State) -> State:
    """Copy, so that no part of a larger storage is written with them."""
    return {key: value.detach().clone() for key, value in state.items()}
