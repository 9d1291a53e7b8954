r"""Write the encoder of a run for another library.

  ahpcl export runs/photos encoder.onnx --preprocess
  ahpcl export runs/photos encoder.safetensors
  ahpcl export runs/photos r18.pth --to timm

onnx         features of images in onnxruntime and its like, a batch of any
             size; --preprocess takes uint8 pixels (B, H, W, 3)
safetensors  all that ahpcl.load needs: weights, prototypes, names of images
timm, torchvision, mmpretrain
             weights of the query backbone under the names of that library

A model card, FILE.md, is written beside it: rename it to README.md in the
repository of a hub. It shows how the file is loaded.
"""

from __future__ import annotations

import argparse

from ahpcl.cli.console import say

from .images import add_run_argument, load_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_run_argument(parser)
    parser.add_argument(
        'out', help='file to write: .onnx, .safetensors or .pth'
    )
    parser.add_argument(
        '--to',
        choices=('onnx', 'safetensors', 'timm', 'torchvision', 'mmpretrain'),
        help='library to write for (default: told from the ending)',
    )
    parser.add_argument(
        '--space',
        default='features',
        choices=('features', 'prototypes'),
        help='what an ONNX file gives (default: features)',
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='normalise in the ONNX file: uint8 (B, H, W, 3), R, G, B, go in',
    )
    parser.add_argument(
        '--licence',
        default='unknown',
        help='what the model card says, such as apache-2.0',
    )


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    path = load_encoder(args).export(
        args.out,
        to=args.to,
        space=args.space,
        preprocess=args.preprocess,
        licence=args.licence,
    )
    say(f'wrote {path}, {path.stat().st_size / 1e6:.1f} MB, and {path}.md')
    return 0
