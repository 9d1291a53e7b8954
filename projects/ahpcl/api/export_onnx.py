"""An encoder as an ONNX file, which needs neither torch nor this project."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ahpcl.datasets.pixel_format import PixelFormat
from ahpcl.utils.atomic_write import atomic_write

from .encoder_parts import EncoderParts
from .preprocessing import Normalise

#: Largest difference of a feature from that of torch, in units of the largest.
TOLERANCE = 1e-4
_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Graph(nn.Module):
    """What is exported: images to features.

    Args:
        parts: The encoders.
        space: 'features' or 'prototypes'.
        preprocess: Whether pixels (B, H, W, C) uint8, R, G, B or the bands
            of the run, go in, or images (B, C, H, W) float32 that were
            normalised.
    """

    def __init__(
        self, parts: EncoderParts, space: str, preprocess: bool
    ) -> None:
        super().__init__()
        own = parts.normalise
        # Pixels come as R, G, B, those of a pipeline as B, G, R.
        self.normalise = Normalise(swap=not own.swap) if preprocess else None
        if self.normalise is not None:
            for name in ('mean', 'std'):
                self.normalise.register_buffer(name, getattr(own, name))
        keys = space == 'prototypes' and parts.has_keys
        self.parts = EncoderParts(
            Normalise(),
            _plain_norms(parts.backbone),
            _plain_norms(parts.key_backbone) if keys else None,
            _plain_norms(parts.key_neck) if keys else None,
        )
        self.space = space
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Encode."""
        if self.normalise is not None:
            images = self.normalise(images.permute(0, 3, 1, 2))
        return self.parts(images, self.space)


def _plain_norms(part: nn.Module | None) -> nn.Module:
    """Return a copy with torch's batch norm, which in eval mode is the same.

    Other kinds look at the size of the batch, which is open here.
    """
    assert part is not None
    copied = copy.deepcopy(part)
    for name, module in list(copied.named_modules()):
        if not isinstance(module, _BatchNorm) or type(module) in _PLAIN:
            continue
        plain = _AnyBatchNorm(
            module.num_features,
            module.eps,
            module.momentum,
            module.affine,
            module.track_running_stats,
        )
        plain.load_state_dict(module.state_dict())
        parent = copied.get_submodule(name.rpartition('.')[0])
        setattr(parent, name.rpartition('.')[2], plain)
    return copied


class _AnyBatchNorm(_BatchNorm):
    """Batch norm of rows or of maps."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def write_onnx(
    parts: EncoderParts,
    size: tuple[int, int] | None,
    path: Path,
    space: str,
    preprocess: bool,
    pixels: PixelFormat,
) -> list[str]:
    """Write an encoder as ONNX, with a batch of any size.

    Where onnxruntime is installed its features are compared with torch's.

    Args:
        parts: The encoders.
        size: Height and width of the images, in px.
        path: File to write.
        space: 'features' or 'prototypes'.
        preprocess: Whether the normalisation is part of it.
        pixels: How files become the pixels that go in.

    Returns:
        Lines of Python that use the file.

    Raises:
        ImportError: If onnx or onnxscript is not installed.
        ValueError: If the run does not tell the size of its images, or what
            was written gives other features.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'expected onnx and onnxscript, got no {error.name}; install '
            'them with: pip install "ahpcl[export]"'
        ) from error
    if size is None:
        raise ValueError(
            'expected a run that tells the size of its images, got none: its '
            'pipeline has no crop; set input_size=(height, width) in the '
            'config (config=...)'
        )
    device = next(parts.parameters()).device
    graph = _Graph(parts.cpu(), space, preprocess)
    channels = pixels.channels
    example = _example(size, preprocess, channels)
    name = 'pixels' if preprocess else 'images'
    try:
        with atomic_write(path) as beside:
            _export(graph, example, name, beside)
            model = onnx.load(str(beside))
            told = dict(
                space=space,
                size=list(size),
                preprocess=preprocess,
                mean=_listed(parts.normalise.mean),
                std=_listed(parts.normalise.std),
                channels=_channels(parts, channels, preprocess),
                range=pixels.as_dict()['range'],
            )
            onnx.helper.set_model_props(model, {'ahpcl': json.dumps(told)})
            onnx.save(model, str(beside))
            _check_same(graph, example, name, beside)
    finally:
        parts.to(device)
    given = 'pixels' if preprocess else 'images'
    return [
        'import onnxruntime',
        f'session = onnxruntime.InferenceSession({path.name!r})',
        f"(features,) = session.run(None, {{'{given}': {given}}})",
    ]


def _export(graph: nn.Module, example: Tensor, name: str, path: Path) -> None:
    loud = logging.getLogger('torch.onnx').level
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph,
                (example,),
                str(path),
                input_names=[name],
                output_names=['features'],
                dynamic_shapes={'images': {0: torch.export.Dim('batch')}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logging.getLogger('torch.onnx').setLevel(loud)


def _example(
    size: tuple[int, int], preprocess: bool, channels: int, batch: int = 2
) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    if preprocess:
        shape = (batch, *size, channels)
        return torch.randint(
            256, shape, generator=generator, dtype=torch.uint8
        )
    return torch.randn(batch, channels, *size, generator=generator)


def _check_same(
    graph: nn.Module, example: Tensor, name: str, path: Path
) -> None:
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    for batch in (example, torch.cat([example] * 2)[:3], example[:1]):
        with torch.no_grad():
            expected = graph(batch).numpy()
        (found,) = session.run(None, {name: batch.numpy()})
        off = float(np.abs(found - expected).max())
        limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not off <= limit:
            raise ValueError(
                f'expected the features of torch from {path.name}, got some '
                f'that differ by {off:.2g}; this version of torch or '
                'onnxruntime translates the encoder wrongly'
            )


def _listed(values: Tensor | None) -> list[float] | None:
    return None if values is None else values.flatten().tolist()


def _channels(
    parts: EncoderParts, channels: int, preprocess: bool
) -> str | int:
    if channels != 3:
        return channels
    return 'RGB' if preprocess or parts.normalise.swap else 'BGR'
