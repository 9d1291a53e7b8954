import random
import sys

import numpy as np
import pytest
import torch

from ahpcl.core.clustering.hierarchy import build_hierarchy
from ahpcl.core.clustering.lineage import lineage
from ahpcl.visualization.colourings import by_class, by_prototype
from ahpcl.visualization.embedding import (
    Colouring,
    embedding_figure,
    label_places,
)
from ahpcl.visualization.projection import Projection, even_sample, project
from figure_text import assert_readable, texts


@pytest.fixture(scope='module')
def groups():
    """Three tight groups of 30 unit rows, far from each other."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(3).repeat_interleave(30, dim=0)
    rows = rows + 0.05 * torch.randn(90, 3, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1)


def make(rows, method, **settings):
    pytest.importorskip('openTSNE' if method == 'tsne' else 'umap')
    return project(rows, method=method, **settings)


@pytest.mark.campaign
@pytest.mark.parametrize(
    'method', ['tsne', pytest.param('umap', marks=pytest.mark.slow)]
)
def test_groups_and_their_prototypes_stay_together(groups, method):
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    found = make(groups, method, prototypes=[torch.eye(3), torch.eye(3)[:1]])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1][1])
    assert random.getstate() == states[2]
    assert found.indices.tolist() == list(range(90))
    assert [len(level) for level in found.prototypes] == [3, 1]
    centres = found.points.reshape(3, 30, 2).mean(1)
    for number, place in enumerate(found.prototypes[0]):
        apart = np.linalg.norm(centres - place, axis=1)
        assert apart.argmin() == number
    # Prototypes do not move images, and the seed gives the same picture.
    again = make(groups, method)
    assert np.array_equal(found.points, again.points)
    other = make(groups, method, seed=1)
    assert not np.array_equal(found.points, other.points)


def test_a_sample_has_as_many_of_every_class():
    labels = torch.tensor([0] * 60 + [1] * 25 + [2] * 5)
    labels = labels[torch.randperm(90, generator=torch.Generator())]
    chosen = even_sample(90, 45, labels, seed=0)
    assert len(set(chosen.tolist())) == 45
    assert chosen.tolist() == sorted(chosen.tolist())
    assert torch.bincount(labels[chosen]).tolist() == [20, 20, 5]
    assert torch.equal(chosen, even_sample(90, 45, labels, seed=0))
    assert not torch.equal(chosen, even_sample(90, 45, labels, seed=1))
    assert len(even_sample(90, 45, None, seed=0)) == 45
    assert even_sample(9, 45, None, seed=0).tolist() == list(range(9))


def test_clear_errors(groups, monkeypatch):
    with pytest.raises(ValueError, match=r"\['tsne', 'umap'\], got 'pca'"):
        project(groups, method='pca')
    with pytest.raises(ValueError, match='10 images'):
        project(groups[:4])
    with pytest.raises(ValueError, match='space of the keys'):
        project(groups, prototypes=[torch.eye(4)])
    monkeypatch.setitem(sys.modules, 'openTSNE', None)
    monkeypatch.setitem(sys.modules, 'umap', None)
    for method, name in (('tsne', 'openTSNE'), ('umap', 'umap-learn')):
        with pytest.raises(ImportError, match=rf'{name}.*ahpcl\[viz\]'):
            project(groups, method=method)


def grid_projection(number=90):
    points = np.random.default_rng(0).normal(size=(number, 2))
    return Projection('tsne', points, torch.arange(number), ())


def test_colourings_are_of_the_images_shown(groups):
    labels = torch.arange(90) % 4
    indices = torch.arange(5, 90, 2)
    points = np.random.default_rng(0).normal(size=(len(indices), 2))
    hierarchy = build_hierarchy(groups, (9, 3), linkage='agglomerative')
    places = tuple(np.zeros((level.num_clusters, 2)) for level in hierarchy)
    projection = Projection('tsne', points, indices, places)
    classes = by_class(projection, labels, lambda label: f'class {label}')
    assert classes.group.tolist() == [int(labels[i]) for i in indices]
    assert list(classes.names) == [f'class {label}' for label in range(4)]
    parents = lineage(hierarchy[0], hierarchy[1])
    fine, coarse = by_prototype(projection, hierarchy, [parents, None])
    for level, found in zip(hierarchy, (fine, coarse), strict=True):
        own = [int(level.assignments[i]) for i in indices]
        assert found.group.tolist() == own
        assert found.colours.shape == (level.num_clusters, 3)
    with pytest.raises(ValueError, match='labels of some'):
        by_class(projection, torch.full((90,), -1))


def test_points_have_the_colours_of_their_groups():
    projection = grid_projection()
    group = np.arange(90) % 3
    group[:9] = -1
    colours = np.eye(3)
    figure = embedding_figure(
        projection,
        [Colouring('by class', group, colours, ['a', 'b', 'c'])],
        num_images=1000,
        features='keys',
        source='epoch_1.pth',
    )
    grey, dots = figure.axes[0].collections
    assert len(grey.get_offsets()) == 9
    shown = {
        tuple(place): tuple(colour[:3])
        for place, colour in zip(
            np.asarray(dots.get_offsets()), dots.get_facecolors(), strict=True
        )
    }
    assert len(shown) == 81
    for image in range(9, 90):
        place = tuple(projection.points[image])
        assert shown[place] == tuple(colours[group[image]])
    assert_readable(figure)
    said = ' '.join(text.get_text() for text in texts(figure))
    assert 't-SNE of keys' in said
    assert '90 of 1,000 images' in said


def test_many_prototypes_can_be_read():
    places = np.random.default_rng(1).normal(size=(100, 2))
    projection = grid_projection(400)
    colouring = Colouring(
        'by prototype, K = 100',
        np.arange(400) % 100,
        np.random.default_rng(2).random((100, 3)),
        prototypes=places,
    )
    figure = embedding_figure(
        projection, [colouring] * 3, num_images=400, features='keys'
    )
    assert_readable(figure)
    numbers = [t for t in texts(figure) if t.get_text().isdigit()]
    assert 20 * 3 < len(numbers) < 100 * 3


def test_a_long_legend_is_left_out():
    names = [f'a class with a rather long name {n}' for n in range(13)]
    for number, rows in ((12, 12), (13, 0)):
        colouring = Colouring(
            'by class',
            np.arange(90) % number,
            np.ones((number, 3)),
            names[:number],
        )
        figure = embedding_figure(
            grid_projection(), [colouring], num_images=90, features='keys'
        )
        assert_readable(figure)
        said = [t.get_text() for t in texts(figure)]
        assert sum(text in names for text in said) == rows


def test_labels_fit_heaviest_first():
    places = np.array([[0, 0], [0, 0.1], [5, 0], [6.5, 0], [0, 9.0]])
    weights = np.array([1, 7, 1, 1, 3])
    # 0 touches 1; 2 has 3 in its way; 3 and 4 are alone.
    assert label_places(places, weights, 1.0) == [1, 4, 3]


def test_groups_of_other_images():
    colouring = Colouring('by class', np.zeros(3, int), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r'groups.* 90'):
        embedding_figure(
            grid_projection(), [colouring], num_images=90, features='keys'
        )
