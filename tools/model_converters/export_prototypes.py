#!/usr/bin/env python
"""Write the prototypes of a checkpoint as arrays.

The file is loaded with numpy.load(OUT) (no pickle). It holds, for every level
i, finest first and where the method has them,

  level<i>_centroids      (K, D) float32
  level<i>_assignments    (N,) int64, the cluster of every training image
  level<i>_counts         (K,) int64, the images of every cluster
  level<i>_concentration  (K,) float32, the temperature phi of every cluster
  level<i>_parents        (K,) int64, clusters of level i + 1

and num_clusters, (levels,) int64; source, whose they are: 'ahpcl', 'odc',
'pseudo_labels' (DeepCluster, SeLa: no centroids) or 'swav' (centroids alone);
img_name, (N,), the name below data_root of every image that was assigned,
where the checkpoint lists them; and with --config img_path, (N,), its file,
found by name and content, '' where it is gone.

  python tools/model_converters/export_prototypes.py epoch_30.pth protos.npz
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from checkpoint_files import (
    add_trust_argument,
    read_checkpoint,
    run_tool,
    write_arrays,
)
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.api.layouts import find_prototypes
from ahpcl.compat.frameworks import scope_of
from ahpcl.compat.options import set_data_root
from ahpcl.core.clustering.prototypes import PrototypeHierarchy
from ahpcl.datasets.manifest import Manifest, manifest_of
from ahpcl.runtime.checkpoint_layout import unwrapped_key
from ahpcl.runtime.run_images import IMAGES
from ahpcl.runtime.train_state import kept_state
from ahpcl.utils.text import as_utf8

Level = dict[str, Tensor | None]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='file to read')
    parser.add_argument('out', help='.npz file to write')
    parser.add_argument(
        '--config', help='config of the run, for the paths of its images'
    )
    parser.add_argument(
        '--data', metavar='PATH', help="folder, in place of the config's"
    )
    add_trust_argument(parser)
    return parser.parse_args(argv)


def export(
    checkpoint: str,
    out: str,
    *,
    config: str | None = None,
    data: str | None = None,
    trust_pickle: bool = False,
) -> dict[str, np.ndarray]:
    """Writes the prototypes of a checkpoint.

    Args:
        checkpoint: File to read.
        out: ``.npz`` file to write.
        config: Config of the run, for the paths of its training images.
        data: Folder of the images; None for that of the config.
        trust_pickle: See :func:`read_checkpoint`.

    Returns:
        The arrays as written.

    Raises:
        ValueError: If the checkpoint cannot be read or has no prototypes,
            or if the config's images are others.
    """
    content = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    source, levels = find_levels(content, checkpoint)
    arrays = {'source': np.array(source)}
    arrays['num_clusters'] = np.array([count(level) for level in levels])
    for index, level in enumerate(levels):
        for name, value in level.items():
            if value is not None:
                arrays[f'level{index}_{name}'] = to_array(value)
    labels = levels[0]['assignments']
    number = None if labels is None else len(labels)
    images = kept_state(content).get(IMAGES) if number is not None else None
    before = None if images is None else Manifest.from_state_dict(images)
    if before is not None:
        arrays['img_name'] = np.array([as_utf8(n) for n in before.names])
    if config is not None:
        arrays['img_path'] = image_paths(config, number, before, data)
    write_arrays(out, arrays, checkpoint)
    for name, array in arrays.items():
        shown = array if array.size < 20 else f'{array.dtype} {array.shape}'
        print(f'{name}: {shown}')
    print(f'wrote {out}')
    return arrays


def find_levels(content: Any, path: str) -> tuple[str, list[Level]]:
    """Finds the prototypes in a checkpoint.

    Args:
        content: What the file holds.
        path: Path of the file, for the message.

    Returns:
        Whose they are, and the levels, finest first.

    Raises:
        ValueError: If there are none.
    """
    if not isinstance(content, Mapping):
        content = {}
    kept = kept_state(content)
    hierarchy = kept.get('hierarchy')
    if hierarchy is not None:
        levels = PrototypeHierarchy.from_state_dict(hierarchy).levels
        names = ('centroids', 'assignments', 'concentration', 'parents')
        return 'ahpcl', [
            level_of(**{name: getattr(level, name) for name in names})
            for level in levels
        ]
    state = content.get('state_dict', content)
    state = {
        unwrapped_key(str(key)): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    if 'memory_bank.centroids' in state:
        return 'odc', [odc_level(state, path)]
    labels = kept.get('pseudo_labels')
    if labels is not None:
        head = state.get('head.fc_cls.weight')
        number = int(labels.max()) + 1 if head is None else len(head)
        return 'pseudo_labels', [
            level_of(assignments=labels.long(), number=number)
        ]
    swav = find_prototypes(state)
    if swav:
        found = sorted(swav.values(), key=len, reverse=True)
        return 'swav', [level_of(centroids=weight) for weight in found]
    raise ValueError(
        f'expected a checkpoint with prototypes, got {path} without: those '
        'are AHPCL, PCL and HCSC after the warm-up, SwAV, ODC, and '
        'DeepCluster and SeLa after the first labels; the official PCL, HCSC '
        'and MoCo checkpoints hold none'
    )


def odc_level(state: Mapping[str, Tensor], path: str) -> Level:
    """The memories of ODC.

    Args:
        state: Weights by name.
        path: Path of the file, for the message.

    Returns:
        The level.

    Raises:
        ValueError: If they have not been filled yet.
    """
    filled = state.get('memory_bank.initialised')
    if filled is not None and not bool(filled):
        raise ValueError(
            f"expected ODC's memories with labels, got {path}, whose are "
            'still empty; take the checkpoint of a later epoch'
        )
    labels = state.get('memory_bank.label_bank')
    return level_of(
        centroids=state['memory_bank.centroids'], assignments=labels
    )


def level_of(
    centroids: Tensor | None = None,
    assignments: Tensor | None = None,
    number: int | None = None,
    **others: Tensor | None,
) -> Level:
    """A level with the images of every cluster, where they are assigned.

    Args:
        centroids: (K, D), or None.
        assignments: (N,), or None.
        number: K, where there are no centroids.
        **others: What else there is, by name.
    """
    counts = None
    if assignments is not None:
        least = number if centroids is None else len(centroids)
        assert least is not None
        counts = torch.bincount(assignments.long(), minlength=least)
    return dict(
        centroids=centroids, assignments=assignments, counts=counts, **others
    )


def count(level: Level) -> int:
    """K."""
    known = level['centroids']
    return len(level['counts'] if known is None else known)


def to_array(tensor: Tensor) -> np.ndarray:
    """float32 or int64 on the CPU."""
    tensor = tensor.detach().cpu()
    wide = tensor.float() if tensor.is_floating_point() else tensor.long()
    return wide.numpy()


def image_paths(
    path: str,
    number: int | None,
    before: Manifest | None = None,
    data: str | None = None,
) -> np.ndarray:
    """Files of the training images, in the order of the assignments.

    Args:
        path: Path of the config.
        number: Images that were assigned; None if none were.
        before: Those that the checkpoint lists, if it lists any.
        data: Folder of the images; None for that of the config.

    Returns:
        (N,) text, see :func:`ahpcl.utils.text.as_utf8`; '' where an image is
        gone.

    Raises:
        ValueError: If there are other images than those, or none on disk.
    """
    config = Config.fromfile(path)
    if data is not None:
        set_data_root(config, data, print)
    init_default_scope(scope_of(config))
    dataset = DATASETS.build(config.train_dataloader.dataset)
    now = None if before is None else manifest_of(dataset)
    changes = None if now is None else before.compare(now)
    other = len(dataset) != number
    if changes is not None:
        other = bool((changes.places < 0).all())
    if number is None or other:
        raise ValueError(
            f'expected the {number or "no"} images of the assignments, got '
            f'{len(dataset)} from {path}; give the config of the run, or '
            'leave out --config'
        )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    if any('img_path' not in info for info in infos):
        raise ValueError(
            f'expected images with img_path, got a {type(dataset).__name__} '
            'whose images have none; leave out --config'
        )
    paths = [as_utf8(str(info['img_path'])) for info in infos]
    if changes is None:
        return np.array(paths)
    if not changes.none:
        print(f'of the images of {path} are {changes.describe()}')
    found = [''] * number
    for place, path in zip(changes.places.tolist(), paths, strict=True):
        if place >= 0:
            found[place] = path
    return np.array(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    args = parse_args(argv)
    return run_tool(
        lambda: export(
            args.checkpoint,
            args.out,
            config=args.config,
            data=args.data,
            trust_pickle=args.trust_pickle,
        )
    )


if __name__ == '__main__':
    sys.exit(main())
