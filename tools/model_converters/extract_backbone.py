#!/usr/bin/env python
"""Write the backbone of a checkpoint for another library.

Reads the official checkpoints of PCL, MoCo, HCSC and SwAV, those of mmselfsup
and of this project, and writes tensors alone, for

  torchvision  model.load_state_dict(torch.load(OUT), strict=False)
  timm         timm.create_model('resnet50', num_classes=0,
                                 checkpoint_path=OUT)
  mmpretrain   backbone=dict(type='ResNet', depth=50, init_cfg=dict(
                   type='Pretrained', checkpoint=OUT, prefix='backbone.'))
               (mmcls, too)
  mmdetection  backbone=dict(type='ResNet', depth=50, style='pytorch',
                   init_cfg=dict(type='Pretrained', checkpoint=OUT))

Images go in as RGB in all of them, with ImageNet's mean and deviation: (0.485,
0.456, 0.406) and (0.229, 0.224, 0.225) of pixels in [0, 1] where torchvision
and timm prepare them, (123.675, 116.28, 103.53) and (58.395, 57.12, 57.375) of
pixels in [0, 255] with bgr_to_rgb=True (to_rgb=True in mmpretrain) in the
OpenMMLab libraries. That is one and the same input, so the weights are the
same, too. A checkpoint of a config with another data_preprocessor wants that
one's mean and deviation.

Bottlenecks stride in their 3 x 3 convolution everywhere (style='pytorch').
"""

import argparse
import sys
from collections.abc import Sequence

from checkpoint_files import (
    add_layout_argument,
    add_trust_argument,
    read_checkpoint,
    run_tool,
    write_checkpoint,
)

from ahpcl.api.export_weights import TARGETS, check_fit, how_to_load, packed
from ahpcl.api.layouts import take_apart
from ahpcl.api.resnet_shapes import ResNetShape, find_shape


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='file to read')
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--to', required=True, choices=TARGETS, help='library to write for'
    )
    add_layout_argument(parser)
    parser.add_argument(
        '--encoder',
        default='query',
        choices=('query', 'key'),
        help='which encoder of a momentum method (default: query)',
    )
    add_trust_argument(parser)
    return parser.parse_args(argv)


def convert(
    checkpoint: str,
    out: str,
    target: str,
    *,
    layout: str = 'auto',
    part: str | None = None,
    encoder: str = 'query',
    trust_pickle: bool = False,
) -> ResNetShape:
    """Writes the backbone of a checkpoint for another library.

    Args:
        checkpoint: File to read.
        out: File to write.
        target: One of :data:`TARGETS`.
        layout: Of the checkpoint: a key of :data:`LAYOUTS`, or ``auto``.
        part: See :func:`take_apart`.
        encoder: ``query`` or ``key``.
        trust_pickle: See :func:`read_checkpoint`.

    Returns:
        The architecture.

    Raises:
        ValueError: If the file cannot be read, has another layout or lacks
            the encoder, or if its backbone does not fit the target's.
    """
    content = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    parts = take_apart(content, layout, part)
    print(f'layout: {parts.layout}')
    backbone = parts.backbone if encoder == 'query' else parts.key_backbone
    if not backbone:
        raise ValueError(
            f'expected a checkpoint with a {encoder} encoder, got '
            f'{checkpoint} without; use --encoder '
            f'{"key" if encoder == "query" else "query"}'
        )
    shape = find_shape(backbone)
    print(f'architecture: {shape.name}, {encoder} encoder')
    check_fit(backbone, shape, target)
    write_checkpoint(out, packed(backbone, target), checkpoint)
    print(f'wrote {out}: {len(backbone)} tensors, all keys fit {target}')
    print(how_to_load(shape, target, out))
    return shape


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    args = parse_args(argv)
    return run_tool(
        lambda: convert(
            args.checkpoint,
            args.out,
            args.to,
            layout=args.layout,
            part=args.part,
            encoder=args.encoder,
            trust_pickle=args.trust_pickle,
        )
    )


if __name__ == '__main__':
    sys.exit(main())
