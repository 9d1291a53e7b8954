"""Writes an encoder for other libraries, and checks that it is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ahpcl.compat.frameworks import scope_of
from ahpcl.engine.training_index import INDEX
from ahpcl.models import TimmBackbone, TorchvisionBackbone
from ahpcl.utils.atomic_write import atomic_write

from .assignment import linkage_of
from .encoder_parts import SPACES, EncoderParts
from .export_onnx import write_onnx
from .export_weights import check_fit, how_to_load, own_tensors, packed
from .model_card import ExportFacts, model_card
from .preprocessing import Preprocessing, max_pixels_of
from .resnet_shapes import find_shape
from .run_files import PORTABLE_KEY, RunFiles, flatten

FORMATS = ('onnx', 'safetensors', 'timm', 'torchvision', 'mmpretrain')
_ENDINGS = {
    'onnx': ('.onnx',),
    'safetensors': ('.safetensors',),
    'timm': ('.pth', '.safetensors'),
    'torchvision': ('.pth', '.safetensors'),
    'mmpretrain': ('.pth',),
}


def export_encoder(
    files: RunFiles,
    parts: EncoderParts,
    size: tuple[int, int] | None,
    path: str | os.PathLike,
    *,
    to: str | None = None,
    space: str = 'features',
    preprocess: bool = False,
    licence: str = 'unknown',
) -> Path:
    """Write an encoder for another library, and a model card beside it.

    Args:
        files: What is in the run.
        parts: Its encoders.
        size: Height and width of the images, in px.
        path: File to write; it is replaced.
        to: One of :data:`FORMATS`; None tells it from the ending.
        space: Which features an ONNX file gives, 'features' or 'prototypes'.
            Weights for other libraries are those of the query backbone, whose
            pooled outputs are 'features'; 'safetensors' has all.
        preprocess: Make the normalisation part of an ONNX file: uint8 pixels
            (B, H, W, 3), R, G, B, go in.
        licence: What the card says of the licence.

    Returns:
        The file.

    Raises:
        ValueError: If the format is unknown, the encoder has no form in
            that library, or ``preprocess`` leaves out a step of the run.
        ImportError: If a library for the format is not installed.
    """
    target = Path(path)
    to = format_of(target, to)
    if space not in SPACES:
        raise ValueError(
            f'expected space to be one of {SPACES}, got {space!r}'
        )
    if to not in ('onnx', 'safetensors') and space != 'features':
        raise ValueError(
            f"expected space='features' for {to}, whose model is the "
            f'backbone, got {space!r}; an ONNX file holds either'
        )
    if preprocess and to != 'onnx':
        raise ValueError(
            f"expected preprocess=True with to='onnx' alone, got to={to!r}"
        )
    said: list[str] = []
    if to == 'onnx':
        own = Preprocessing.of(files.config)
        if preprocess and own.changes:
            raise ValueError(
                'expected preprocess=False of a run whose pipeline changes '
                f'pixels by {own.changes[0]["type"]}, which the graph does '
                'not hold, got preprocess=True; export without it, and apply '
                'and normalise as the model card says'
            )
        said += write_onnx(parts, size, target, space, preprocess, own.pixels)
    elif to == 'safetensors':
        _write_portable(files, size, target)
        said.append(f"encoder = ahpcl.load('{target.name}')")
    else:
        said.append(_write_weights(files, parts, target, to))
    facts = ExportFacts(
        file=target.name,
        format=to,
        space='both' if to == 'safetensors' else space,
        preprocess=preprocess,
        size=size,
        usage=tuple(said),
        licence=licence,
    )
    card = target.with_name(f'{target.name}.md')
    with atomic_write(card) as beside:
        beside.write_text(model_card(files, parts, facts), 'utf-8')
    return target


def format_of(path: Path, to: str | None) -> str:
    """Return the format of a file, by its ending if none is named.

    Raises:
        ValueError: If it is unknown, or does not go with the ending.
    """
    if to is None:
        to = {'.onnx': 'onnx', '.safetensors': 'safetensors'}.get(path.suffix)
    if to not in FORMATS:
        raise ValueError(
            f'expected a file ending in .onnx or .safetensors, or one of '
            f'to={", ".join(FORMATS)}, got {path.name!r} and to={to!r}'
        )
    if path.suffix not in _ENDINGS[to]:
        raise ValueError(
            f'expected a file ending in {" or ".join(_ENDINGS[to])} for '
            f'{to}, got {path.name!r}'
        )
    return to


def _write_weights(
    files: RunFiles, parts: EncoderParts, path: Path, to: str
) -> str:
    """Write the query backbone under the names of a library."""
    backbone = parts.backbone
    state = {k: v.detach().cpu() for k, v in backbone.state_dict().items()}
    libraries = {'timm': TimmBackbone, 'torchvision': TorchvisionBackbone}
    own = libraries.get(to)
    named = isinstance(backbone, TimmBackbone | TorchvisionBackbone)
    if named:
        bare = {key.removeprefix('model.'): v for key, v in state.items()}
        if own is not None and isinstance(backbone, own):
            _save(path, own_tensors(bare))
            return _how_by_name(to, backbone.model_name, files, path)
        if to == 'mmpretrain' or 'layer1.0.conv1.weight' not in bare:
            raise ValueError(
                f'expected a backbone that {to} has under the same names, got '
                f'{backbone.describe()}; use to={_name_of(backbone)!r}, '
                "'onnx' or 'safetensors'"
            )
        state = bare
    if 'layer1.0.conv1.weight' not in state:
        if to != 'mmpretrain':
            raise ValueError(
                f'expected a ResNet or a model of {to} for to={to!r}, got '
                f"{type(backbone).__name__}; use to='mmpretrain', 'onnx' or "
                "'safetensors'"
            )
        content = packed(state, to)
        _save(path, content)
        settings = {**files.config.model.backbone}
        settings['init_cfg'] = dict(
            type='Pretrained', checkpoint=path.name, prefix='backbone.'
        )
        return f'backbone={settings!r}'
    shape = find_shape(state)
    check_fit(state, shape, to)
    _save(path, packed(state, to))
    said = how_to_load(shape, to, path.name).removeprefix('load: ')
    if path.suffix == '.safetensors':
        said = said.replace(
            f'torch.load({path.name!r})',
            f'safetensors.torch.load_file({path.name!r})',
        )
    return said


def _how_by_name(to: str, name: str, files: RunFiles, path: Path) -> str:
    settings = {
        key: value
        for key, value in files.config.model.backbone.items()
        if key not in ('type', 'model_name', 'weights', 'init_cfg')
    }
    settings.pop('pooling', None) if to == 'torchvision' else None
    if 'pooling' in settings:
        pooling = settings.pop('pooling')
        if pooling is not None:
            settings['global_pool'] = pooling
    options = ''.join(f', {key}={value!r}' for key, value in settings.items())
    if to == 'timm':
        return (
            f'timm.create_model({name!r}, num_classes=0{options}, '
            f'checkpoint_path={path.name!r})'
        )
    read = 'torch.load'
    if path.suffix == '.safetensors':
        read = 'safetensors.torch.load_file'
    return (
        f'torchvision.models.get_model({name!r}{options}).load_state_dict('
        f'{read}({path.name!r}), strict=False)  # all but the classifier'
    )


def _name_of(backbone: TimmBackbone | TorchvisionBackbone) -> str:
    return 'timm' if isinstance(backbone, TimmBackbone) else 'torchvision'


def _save(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as beside:
        if path.suffix == '.safetensors':
            _save_safetensors(content, beside, {'format': 'pt'})
        else:
            torch.save(content, beside)


def check_safetensors() -> None:
    """Refuse to go on where safetensors cannot be written.

    Raises:
        ImportError: If safetensors is not installed.
    """
    try:
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'expected safetensors, got none; install it with: pip install '
            '"ahpcl[export]"'
        ) from error


def _save_safetensors(
    tensors: dict[str, Tensor], path: Path, told: dict[str, str]
) -> None:
    check_safetensors()
    from safetensors.torch import save_file

    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, path, metadata=told
    )


def _write_portable(
    files: RunFiles, size: tuple[int, int] | None, path: Path
) -> None:
    """Write all that :func:`ahpcl.load` needs, and no more, into one file."""
    tensors = {
        key: value.detach().cpu().clone()
        for key, value in files.state.items()
        if key.startswith(('backbone.', 'encoder_k.', 'cluster_space.'))
        and isinstance(value, Tensor)
    }
    kept = {
        key: files.kept[key]
        for key in ('hierarchy', INDEX, 'images')
        if files.kept.get(key) is not None
    }
    told = dict(
        config=minimal_config(files, size),
        kept=flatten(kept, tensors, 'ahpcl'),
        meta={
            key: files.meta[key]
            for key in ('epoch', 'iter', 'time')
            if isinstance(files.meta.get(key), int | str)
        },
    )
    metadata = {'format': 'pt', PORTABLE_KEY: json.dumps(told)}
    with atomic_write(path) as beside:
        _save_safetensors(tensors, beside, metadata)


def minimal_config(
    files: RunFiles, size: tuple[int, int] | None
) -> dict[str, Any]:
    """Return the part of a config that an encoder is built from.

    No path of the data is in it.
    """
    config = files.config
    given: Mapping[str, Any] = config.model.get('data_preprocessor') or {}
    names = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr')
    model = dict(
        type=config.model.type,
        backbone={
            key: value
            for key, value in config.model.backbone.items()
            if key not in ('init_cfg', 'weights', 'checkpoint_path')
        },
        data_preprocessor={k: given[k] for k in names if k in given},
    )
    if config.model.get('neck') is not None:
        model['neck'] = dict(config.model.neck)
    if 'cluster_space' in config.model:
        model['cluster_space'] = config.model.cluster_space
    found: dict[str, Any] = dict(
        default_scope=scope_of(config),
        model=model,
        extract_dataloader=dict(
            dataset=dict(
                pipeline=Preprocessing.of(config).pipeline,
                max_pixels=max_pixels_of(config),
            )
        ),
        custom_hooks=[
            dict(type='AdaptiveClusterHook', linkage=linkage_of(config))
        ],
    )
    if size is not None:
        found['input_size'] = list(size)
    return json.loads(json.dumps(found))
