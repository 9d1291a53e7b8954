"""Sizes and confusion."""

import itertools

import numpy as np
import pytest
import torch

from ahpcl.visualization.clusters import size_histogram
from ahpcl.visualization.confusion import confusion_figure, ordered_confusion
from ahpcl.visualization.sizes import sizes_figure
from figure_text import assert_readable, texts


@pytest.mark.parametrize('bins', [None, 4, 1000])
def test_histogram_counts_every_cluster_once(bins):
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(0, 90, (57,), generator=generator)
    found = size_histogram(sizes, bins)
    for left, right, number in zip(
        found.edges[:-1], found.edges[1:], found.clusters, strict=True
    ):
        assert number == sum(left < size < right for size in sizes.tolist())
    assert found.clusters.sum() == 57
    assert len(set(np.diff(found.edges))) == 1
    ordered = sorted(sizes.tolist())
    assert (found.smallest, found.median, found.largest) == (
        *(ordered[0], ordered[28], ordered[-1]),
    )
    assert found.empty == ordered.count(0)


def test_sizes_that_are_equal():
    found = size_histogram(torch.full((3,), 5))
    assert found.clusters.tolist() == [3]


def test_bars_are_the_counts():
    sizes = [torch.tensor([1, 1, 2, 9, 0]), torch.tensor([6, 7])]
    figure = sizes_figure(sizes, source='epoch_1.pth')
    assert_readable(figure)
    for axes, own in zip(figure.axes, sizes, strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == size_histogram(own).clusters.tolist()
    said = ' '.join(text.get_text() for text in texts(figure))
    assert 'K = 5: min 0, median 1, max 9, 1 empty' in said
    assert '13 images' in said


def brute_force(table):
    """Most images that pairs of clusters and classes can agree on."""
    table = table if table.shape[0] <= table.shape[1] else table.T
    return max(
        sum(table[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(
            range(table.shape[1]), table.shape[0]
        )
    )


@pytest.mark.parametrize(('clusters', 'classes'), [(4, 4), (6, 3), (3, 6)])
def test_matched_pairs_are_on_the_diagonal(clusters, classes):
    generator = torch.Generator().manual_seed(clusters)
    assignments = torch.randint(0, clusters, (200,), generator=generator)
    labels = torch.randint(0, classes, (200,), generator=generator)
    labels[:20] = -1
    found = ordered_confusion(assignments, labels)
    table = np.zeros((clusters, classes), dtype=int)
    for cluster, label in zip(
        assignments.tolist(), labels.tolist(), strict=True
    ):
        if label >= 0:
            table[cluster, label] += 1
    for row, cluster in enumerate(found.clusters.tolist()):
        for column, label in enumerate(found.classes.tolist()):
            assert int(found.table[row, column]) == table[cluster, label]
    assert found.matched == min(clusters, classes)
    diagonal = sum(int(found.table[i, i]) for i in range(found.matched))
    assert diagonal == brute_force(table)
    pairs = found.classes[: found.matched].tolist()
    assert pairs == sorted(pairs)
    # The clusters of no class come by the class of most of their images.
    most = found.table[found.matched :].argmax(dim=1).tolist()
    assert most == sorted(most)


@pytest.mark.parametrize('clusters', [3, 12, 90])
def test_confusion_can_be_read(clusters):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (400,), generator=generator)
    assignments = torch.randint(0, clusters - 1, (400,), generator=generator)
    assignments[: clusters - 1] = torch.arange(clusters - 1)
    figure = confusion_figure(
        assignments,
        labels,
        clusters,
        class_name=lambda label: f'a long name {label}',
        source='epoch_1.pth',
    )
    assert_readable(figure)
    said = ' '.join(text.get_text() for text in texts(figure))
    assert f'{clusters} clusters against 5 classes' in said
    assert '400 images' in said
    assert '1 cluster without images left out' in said


def test_confusion_needs_labels():
    with pytest.raises(ValueError, match='labels of some'):
        ordered_confusion(torch.zeros(4).long(), torch.full((4,), -1))
