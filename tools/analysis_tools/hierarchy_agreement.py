"""Compare the prototypes of a checkpoint with labels known for the images.

Prints, for every level of the hierarchy, its agreement with every level of
the truth: NMI, and AMI, which chance does not inflate.
"""

import argparse
import json

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope

import ahpcl  # noqa: F401  (before the config is read)
from ahpcl.core import PrototypeHierarchy, clustering_agreement


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the run')
    parser.add_argument('checkpoint', help='checkpoint written by the run')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='as in train.py'
    )
    parser.add_argument('--json', help='write the figures to this file, too')
    return parser.parse_args()


def true_levels(dataset: object) -> dict[str, torch.Tensor]:
    """Labels of every image, by the name of their level."""
    if hasattr(dataset, 'truth'):
        truth = torch.as_tensor(dataset.truth)
        return {
            f'{len(column.unique())} classes': column for column in truth.t()
        }
    labels = [
        dataset.get_data_info(i).get('gt_label') for i in range(len(dataset))
    ]
    if any(label is None or label < 0 for label in labels):
        raise SystemExit(
            'expected a training set with labels, got one without; nothing '
            'to compare the prototypes with'
        )
    column = torch.tensor(labels)
    return {f'{len(column.unique())} classes': column}


def main() -> None:
    """Prints the table."""
    args = parse_args()
    config = Config.fromfile(args.config)
    if args.cfg_options is not None:
        config.merge_from_dict(args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmselfsup'))
    state = torch.load(args.checkpoint, map_location='cpu', weights_only=True)
    if state.get('ahpcl', {}).get('hierarchy') is None:
        raise SystemExit(
            f'expected a checkpoint with prototypes, got {args.checkpoint} '
            'without; it is of the warm-up or of another method'
        )
    hierarchy = PrototypeHierarchy.from_state_dict(state['ahpcl']['hierarchy'])
    dataset = DATASETS.build(config.train_dataloader.dataset)
    rows = []
    for name, labels in true_levels(dataset).items():
        for level in hierarchy.levels:
            scores = clustering_agreement(labels, level.assignments)._asdict()
            rows.append(
                dict(truth=name, clusters=level.num_clusters, **scores)
            )
            print(
                f'{name:>12}  K = {level.num_clusters:<5} '
                + '  '.join(f'{k} {v:.3f}' for k, v in scores.items())
            )
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()
