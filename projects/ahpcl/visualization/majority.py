"""Which class most images of a cluster have."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ahpcl.core.clustering.agreement import contingency

ClassName = Callable[[int], str]


def class_table(assignments: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Return images of every cluster and class, (K, C) int64.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,); negative ones are not counted.
        clusters: K.

    Raises:
        ValueError: If no image has a label, or the images are not the same.
    """
    if len(assignments) != len(labels):
        raise ValueError(
            f'expected labels of {len(assignments)} images, got {len(labels)}'
        )
    if not bool((labels >= 0).any()):
        raise ValueError('expected labels of some images, got none')
    classes = int(labels.max()) + 1
    return contingency(assignments, labels, clusters, classes)


def majority_text(row: Tensor, class_name: ClassName = str) -> str:
    """Describe as '98 % are 7'; empty where no image has a label.

    Args:
        row: Images of a cluster by class, (C,).
        class_name: Name of a class.
    """
    total = int(row.sum())
    if total == 0:
        return ''
    best = int(row.argmax())
    return f'{100 * int(row[best]) / total:.0f} % are {class_name(best)}'
