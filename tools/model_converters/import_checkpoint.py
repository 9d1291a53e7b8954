#!/usr/bin/env python
r"""Make a checkpoint that load_from takes in the configs of this project.

Reads the official checkpoints of PCL, MoCo, HCSC and SwAV, those of mmselfsup
and torchvision's, and writes tensors under the names of this ecosystem:

  backbone.*              the query encoder's backbone
  neck.*                  MoCoV2Neck (v2), LinearNeck (v1) or SwAVNeck (SwAV)
  encoder_k.0.*, .1.*     backbone and neck of the key encoder; those of the
                          query encoder where the file has no key encoder
  head.loss.prototypes.*  SwAV's prototypes

Queues, optimizers and counters stay behind: they belong to the data and to the
run that they were made on. With --config only what this config's model takes
is written, under its names; without, load_from leaves out what does not fit.
Training starts with a key encoder that equals the query encoder in any case;
the other one is for evaluation and extract_backbone.py --encoder key.

  python tools/model_converters/import_checkpoint.py pcl_v2.pth.tar r50.pth
  python tools/train.py configs/ahpcl_minin_r50.py --cfg-options \
      load_from=r50.pth
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
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.api.export_weights import own_tensors
from ahpcl.api.layouts import KEY_PREFIXES, Parts, State, take_apart
from ahpcl.api.resnet_shapes import find_shape
from ahpcl.compat.frameworks import scope_of
from ahpcl.runtime.state_difference import compare_states, name_keys

PROTOTYPES = 'head.loss.prototypes.'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='file to read')
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--config', help='write what the model of this config takes'
    )
    add_layout_argument(parser)
    add_trust_argument(parser)
    return parser.parse_args(argv)


def convert(
    checkpoint: str,
    out: str,
    *,
    config: str | None = None,
    layout: str = 'auto',
    part: str | None = None,
    trust_pickle: bool = False,
) -> State:
    """Writes a checkpoint for ``load_from``.

    Args:
        checkpoint: File to read.
        out: File to write.
        config: Config whose model it is for; None for any.
        layout: Of the checkpoint: a key of :data:`LAYOUTS`, or ``auto``.
        part: See :func:`take_apart`.
        trust_pickle: See :func:`read_checkpoint`.

    Returns:
        The weights as written.

    Raises:
        ValueError: If the file cannot be read or has another layout, or if
            its backbone is not the config's.
    """
    content = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    parts = take_apart(content, layout, part)
    print(f'layout: {parts.layout}')
    own = None if config is None else model_state(config)
    if own is None:
        shape = find_shape(parts.backbone)
        settings = [f'{k}={v!r}' for k, v in shape.settings().items()]
        print(
            f'architecture: {shape.name}; for configs with '
            f"backbone=dict(type='{shape.type}', {', '.join(settings)})"
        )
    state = named_for(parts, own)
    if own is not None:
        state = fitting(state, own, config)
    state = own_tensors(state)
    write_checkpoint(out, {'meta': {}, 'state_dict': state}, checkpoint)
    print(f'wrote {out}: {len(state)} tensors; use it with load_from={out!r}')
    return state


def named_for(parts: Parts, own: State | None) -> State:
    """All parts under one roof.

    Args:
        parts: Parts of the checkpoint.
        own: State of the model that it is for; None for AHPCL's names.

    Returns:
        The weights by name.
    """
    key, prototypes = KEY_PREFIXES[1], PROTOTYPES
    if own is not None:
        nested = KEY_PREFIXES[0]
        key = nested if any(k.startswith(nested) for k in own) else key
        found = [k for k in own if 'prototypes.' in k]
        if found:
            prototypes = found[0].partition('prototypes.')[0] + 'prototypes.'
    has_key = bool(parts.key_backbone)
    sections = {
        'backbone.': parts.backbone,
        'neck.': parts.neck,
        f'{key}0.': parts.key_backbone if has_key else parts.backbone,
        f'{key}1.': parts.key_neck if has_key else parts.neck,
        prototypes: parts.prototypes,
    }
    return {
        f'{prefix}{name}': value
        for prefix, weights in sections.items()
        for name, value in weights.items()
    }


def fitting(state: State, own: State, config: str) -> State:
    """What a model takes of the weights.

    Args:
        state: Weights by name.
        own: State of the model.
        config: Its config, for the message.

    Returns:
        The weights that it has, of its shapes.

    Raises:
        ValueError: If its backbone is another one.
    """
    backbones = [
        {k: v for k, v in weights.items() if k.startswith('backbone.')}
        for weights in (own, state)
    ]
    wrong = compare_states(*backbones)
    if wrong:
        shape = find_shape(take_apart(state, 'ahpcl').backbone)
        raise ValueError(
            f'expected the backbone of {config}, got {shape.name}: '
            f'{wrong.describe()}; take a config with backbone=dict(type='
            f"'{shape.type}', depth={shape.depth}), or another checkpoint"
        )
    difference = compare_states(own, state)
    left = [*difference.unexpected, *(e[0] for e in difference.mis_shaped)]
    if left:
        print(f'left out, as the model differs: {name_keys(left, 12)}')
    if difference.missing:
        print(f'not in it: {name_keys(difference.missing, 12)}')
    return {key: value for key, value in state.items() if key not in left}


def model_state(path: str) -> State:
    """State of a config's model, as initialised."""
    config = Config.fromfile(path)
    init_default_scope(scope_of(config))
    return MODELS.build(config.model).state_dict()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    args = parse_args(argv)
    return run_tool(
        lambda: convert(
            args.checkpoint,
            args.out,
            config=args.config,
            layout=args.layout,
            part=args.part,
            trust_pickle=args.trust_pickle,
        )
    )


if __name__ == '__main__':
    sys.exit(main())
