"""How well two groupings of the same images agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ahpcl.core.validation import whole_number

__all__ = [
    'ClusterSizes',
    'ClusteringAgreement',
    'adjusted_mutual_information',
    'adjusted_rand',
    'cluster_sizes',
    'clustering_agreement',
    'contingency',
    'hungarian_accuracy',
    'observed_contingency',
    'pair_precision',
    'purity',
]


class ClusteringAgreement(NamedTuple):
    """Agreement of two groupings, 1 if they are the same.

    Args:
        nmi: Normalised mutual information, 0 to 1; grows with the number of
            clusters by chance.
        ami: The same, adjusted for chance, about 0 for random groupings.
        ari: Adjusted Rand index, about 0 for random groupings.
    """

    nmi: float
    ami: float
    ari: float


class ClusterSizes(NamedTuple):
    """Images per cluster, over all clusters, empty ones included.

    Args:
        minimum: Images of the smallest cluster.
        median: The middle one, or the mean of the middle two.
        maximum: Images of the largest cluster.
        empty: Clusters without an image.
    """

    minimum: int
    median: float
    maximum: int
    empty: int


def clustering_agreement(a: Tensor, b: Tensor) -> ClusteringAgreement:
    """Compare two groupings, or a grouping with labels.

    Args:
        a: Cluster of every image, (N,) integers.
        b: Another grouping of the same images, (N,).

    Raises:
        ValueError: If the shapes do not fit or N is 0.
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0])
        >>> clustering_agreement(a, b)
        ClusteringAgreement(nmi=1.0, ami=1.0, ari=1.0)
    """
    from sklearn import metrics

    _check_pair(a, b)
    first, second = a.cpu().numpy(), b.cpu().numpy()
    return ClusteringAgreement(
        nmi=float(metrics.normalized_mutual_info_score(first, second)),
        ami=adjusted_mutual_information(a, b),
        ari=adjusted_rand(a, b),
    )


def adjusted_rand(first: Tensor, second: Tensor) -> float:
    """Return the adjusted Rand index of two groupings, (N,) each.

    Raises:
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> adjusted_rand(torch.tensor([0, 0, 1]), torch.tensor([5, 5, 2]))
        1.0
    """
    from sklearn.metrics import adjusted_rand_score

    return float(
        adjusted_rand_score(first.cpu().numpy(), second.cpu().numpy())
    )


def adjusted_mutual_information(a: Tensor, b: Tensor) -> float:
    """Return the AMI with the arithmetic mean (Vinh et al., JMLR 2010).

    The expected mutual information depends on the sizes of a pair of groups
    alone, and few sizes are distinct: at 3,200 clusters of 38,400 images
    this takes milliseconds, where a loop over all pairs takes seconds.

    Args:
        a: Cluster of every image, (N,) integers.
        b: Another grouping of the same images, (N,).

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> round(adjusted_mutual_information(a, b), 3)
        -0.5
    """
    _check_pair(a, b)
    a, b = a.cpu(), b.cpu()
    num = len(a)
    sizes, entropy, numbers, images = [], [], [], []
    for groups in (a, b):
        _, number, count = torch.unique(
            groups, return_inverse=True, return_counts=True
        )
        count = count.double()
        entropy.append(float(-(count / num * (count / num).log()).sum()))
        sizes.append(torch.unique(count, return_counts=True))
        numbers.append(number)
        images.append(count)
    (rows, row_count), (columns, column_count) = sizes
    width = len(images[1])
    pairs, joint = torch.unique(
        numbers[0] * width + numbers[1], return_counts=True
    )
    joint = joint.double()
    if len(pairs) == len(images[0]) == width:
        return 1.0  # one grouping under two names
    alone = images[0][pairs // width] * images[1][pairs % width]
    mutual = float((joint / num * (joint * num / alone).log()).sum())
    expected = 0.0
    log_fact = torch.lgamma(torch.arange(num + 1).double() + 1)
    for size, often in zip(rows.long(), row_count, strict=True):
        s = int(size)
        common = torch.arange(1, s + 1)
        t = columns.long()[:, None]
        valid = (common <= t) & (common >= s + t - num)
        rest = (num - s - t + common).clamp(min=0)
        log_p = (
            log_fact[s]
            + log_fact[t]
            + log_fact[num - s]
            + log_fact[num - t]
            - log_fact[num]
            - log_fact[common]
            - log_fact[s - common]
            - log_fact[(t - common).clamp(min=0)]
            - log_fact[rest]
        )
        share = common.double() / num
        gain = share * (num * share * num / (s * t)).log()
        terms = torch.where(valid, gain * log_p.exp(), 0.0).sum(dim=1)
        expected += float(often * (terms * column_count).sum())
    # Where both are 0 the groupings say nothing: as scikit-learn, 0.
    above, below = mutual - expected, sum(entropy) / 2 - expected
    tiny = torch.finfo(torch.float64).eps
    below = min(below, -tiny) if below < 0 else max(below, tiny)
    return above / below


def hungarian_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Accuracy under the best one-to-one match of clusters and classes.

    Images of clusters that are left without a class count as wrong.

    Args:
        predicted: Cluster of every image, (N,) integers.
        labels: Class of every image, (N,).

    Returns:
        Percent.

    Raises:
        ValueError: If the shapes do not fit or N is 0.
        ImportError: If SciPy is not installed.

    Examples:
        >>> predicted = torch.tensor([1, 1, 0, 0])
        >>> hungarian_accuracy(predicted, labels=torch.tensor([0, 0, 1, 0]))
        75.0
    """
    from scipy import optimize

    table: Any = observed_contingency(predicted, labels)[0].numpy()
    rows, columns = optimize.linear_sum_assignment(table, maximize=True)
    return 100.0 * float(table[rows, columns].sum()) / len(predicted)


def purity(predicted: Tensor, labels: Tensor) -> float:
    """Accuracy if every cluster is called by its most frequent class.

    It grows with the number of clusters and is 100 at one image each.

    Args:
        predicted: Cluster of every image, (N,) integers.
        labels: Class of every image, (N,).

    Returns:
        Percent.

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> predicted = torch.tensor([0, 0, 1, 1])
        >>> purity(predicted, labels=torch.tensor([0, 0, 1, 0]))
        75.0
    """
    table, _, _ = observed_contingency(predicted, labels)
    return 100.0 * float(table.amax(dim=1).sum()) / len(predicted)


def pair_precision(predicted: Tensor, labels: Tensor) -> float:
    """Share of the pairs of images in one cluster that are of one class.

    The precision of pairs (Manning, Raghavan and Schuetze, "Introduction to
    Information Retrieval", 2008, section 16.3): what the attraction to a
    prototype is worth as a label. Unlike purity it does not grow with the
    number of clusters alone; by chance it is that of all pairs.

    Args:
        predicted: Cluster of every image, (N,) integers.
        labels: Class of every image, (N,).

    Returns:
        Percent; 0 if no cluster has two images, as precision is where nothing
        is found.

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> predicted = torch.tensor([0, 0, 1, 1])
        >>> pair_precision(predicted, labels=torch.tensor([0, 0, 1, 0]))
        50.0
    """
    table = observed_contingency(predicted, labels)[0].double()
    sizes = table.sum(dim=1)
    pairs = float((sizes * (sizes - 1)).sum())
    same = float((table * (table - 1)).sum())
    return 100.0 * same / pairs if pairs else 0.0


def cluster_sizes(assignments: Tensor, num_clusters: int) -> ClusterSizes:
    """Summarise the images per cluster.

    Args:
        assignments: Cluster of every image, (N,) integers below K.
        num_clusters: K.

    Raises:
        ValueError: If an assignment is out of range.

    Examples:
        >>> cluster_sizes(torch.tensor([0, 0, 0, 2]), num_clusters=3)
        ClusterSizes(minimum=0, median=1.0, maximum=3, empty=1)
    """
    count = whole_number(num_clusters, 'num_clusters', least=1)
    if assignments.ndim != 1 or assignments.dtype.is_floating_point:
        raise ValueError(
            f'expected integer assignments of shape (N,), got '
            f'{tuple(assignments.shape)} of {assignments.dtype}'
        )
    if bool(((assignments < 0) | (assignments >= count)).any()):
        raise ValueError(
            f'expected assignments from 0 to {count - 1}, got '
            f'{int(assignments.min())} to {int(assignments.max())}'
        )
    sizes = torch.bincount(assignments.cpu(), minlength=count).sort().values
    middle = sizes[(count - 1) // 2] + sizes[count // 2]
    return ClusterSizes(
        minimum=int(sizes[0]),
        median=float(middle) / 2,
        maximum=int(sizes[-1]),
        empty=int((sizes == 0).sum()),
    )


def contingency(a: Tensor, b: Tensor, num_a: int, num_b: int) -> Tensor:
    """Count the images of every pair of groups.

    Args:
        a: Group of every image, (N,) integers below R.
        b: Another grouping, (N,) integers below C; images whose entry is
            negative are not counted.
        num_a: R.
        num_b: C.

    Returns:
        (R, C) int64.

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> a, b = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
        >>> contingency(a, b, num_a=2, num_b=2).tolist()
        [[0, 2], [1, 0]]
    """
    _check_pair(a, b)
    known = b >= 0
    flat = a[known] * num_b + b[known]
    return torch.bincount(flat, minlength=num_a * num_b).view(num_a, num_b)


def observed_contingency(
    a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of the groups that occur, whatever their numbers.

    Args:
        a: Group of every image, (N,) integers.
        b: Another grouping, (N,) integers.

    Returns:
        (R, C) int64, and which groups rows (R,) and columns (C,) are,
        ascending.

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> table, rows, columns = observed_contingency(
        ...     torch.tensor([7, 7, 9]), torch.tensor([1, 1, 0])
        ... )
        >>> table.tolist(), rows.tolist(), columns.tolist()
        ([[0, 2], [1, 0]], [7, 9], [0, 1])
    """
    _check_pair(a, b)
    rows, row = torch.unique(a.cpu(), return_inverse=True)
    columns, column = torch.unique(b.cpu(), return_inverse=True)
    table = contingency(row, column, len(rows), len(columns))
    return table, rows, columns


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f'expected two groupings of the same images, each (N,), got '
            f'{tuple(a.shape)} and {tuple(b.shape)}'
        )
    if len(a) == 0:
        raise ValueError(
            'expected two groupings of the same images, one image or more, '
            'got none'
        )
