"""How the prototypes of a run agree with labels, and with each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ahpcl.core.metrics.cluster_quality import grouping_report, level_agreement

from .run_data import RunData


def prototype_quality(run: RunData) -> dict[str, Any]:
    """Describe every level of a hierarchy on the training images.

    The images are as the last E-step assigned them; of labels only those of
    the training images count, where they are known.

    Args:
        run: A checkpoint.

    Returns:
        ``own``: whether the prototypes are those of the checkpoint;
        ``levels``: a row for every level and truth, finest first;
        ``agreement``: rows for every pair of levels.
    """
    truths = true_labels(run)
    rows = []
    for name, labels in truths.items():
        for level in run.hierarchy.levels:
            report = grouping_report(run.points, level.assignments, labels)
            phi = level.concentration.float()
            rows.append(
                {
                    'clusters': level.num_clusters,
                    'truth': name,
                    **report,
                    'phi_min': float(phi.min()),
                    'phi_max': float(phi.max()),
                }
            )
    return dict(
        own=run.own_prototypes,
        images=run.training.num_images,
        levels=rows,
        agreement=level_agreement(
            [level.assignments for level in run.hierarchy.levels]
        ),
    )


def true_labels(run: RunData) -> dict[str, Tensor | None]:
    """Return what is known of the training images, by name.

    Images whose classes are nested have several truths; without labels there
    is one, None.
    """
    dataset = run.training_loader.dataset
    if hasattr(dataset, 'truth'):
        columns = torch.as_tensor(dataset.truth).t()
        return {f'{len(c.unique())} classes': c for c in columns}
    if not run.training.has_labels:
        return {'none': None}
    labels = run.training.labels
    return {f'{len(labels[labels >= 0].unique())} classes': labels}
