import numpy as np
import pytest
import torch

from ahpcl.core.clustering.hierarchy import build_hierarchy
from ahpcl.core.clustering.lineage import lineage
from ahpcl.visualization.colours import (
    distinct_colours,
    hierarchy_colours,
    to_oklab,
    to_srgb,
)
from ahpcl.visualization.tree import tree_figure
from ahpcl.visualization.tree_nodes import select_tree
from figure_text import assert_readable, texts


@pytest.fixture(params=['independent', 'agglomerative'])
def hierarchy(request):
    points = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    points = torch.nn.functional.normalize(points, dim=1)
    found = build_hierarchy(points, (24, 8, 3), linkage=request.param)
    return found, points


def lineages(hierarchy):
    return [*map(lineage, hierarchy.levels[:-1], hierarchy.levels[1:]), None]


def walk(nodes):
    for node in nodes:
        yield node
        yield from walk(node.children)


def test_nothing_is_left_out_of_a_small_tree(hierarchy):
    levels, _ = hierarchy
    roots = select_tree(
        levels, lineages(levels), max_children=24, max_leaves=99
    )
    found = list(walk(roots))
    assert sorted((n.level, n.cluster) for n in found) == [
        (level, cluster)
        for level, number in enumerate(levels.num_clusters)
        for cluster in range(number)
    ]
    for node in found:
        level = levels[node.level]
        own = level.assignments == node.cluster
        assert node.size == int(own.sum())
        assert node.left_out == 0
        for child in node.children:
            below = levels[child.level].assignments == child.cluster
            assert child.inside == int((own & below).sum())
        sizes = [child.inside for child in node.children]
        assert sizes == sorted(sizes, reverse=True)
    sizes = [root.size for root in roots]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_left_out_is_counted(hierarchy):
    levels, _ = hierarchy
    whole = select_tree(
        levels, lineages(levels), max_children=24, max_leaves=99
    )
    cut = select_tree(levels, lineages(levels), max_children=2, max_leaves=99)
    by_name = {(n.level, n.cluster): n for n in walk(whole)}
    assert any(node.left_out for node in walk(cut))
    for node in walk(cut):
        full = by_name[node.level, node.cluster].children
        assert [c.cluster for c in node.children] == [
            c.cluster for c in full[:2]
        ]
        assert node.left_out == len(full[2:])
        assert node.left_out_images == sum(c.inside for c in full[2:])


def test_roots_end_before_there_are_too_many_leaves(hierarchy):
    levels, _ = hierarchy
    parents = lineages(levels)
    assert len(select_tree(levels, parents, max_roots=2)) == 2
    for most in (1, 12, 20):
        roots = select_tree(levels, parents, max_children=9, max_leaves=most)
        assert len(roots) == 1 or sum(r.leaves for r in roots) <= most


def test_more_roots_rather_than_more_children(hierarchy):
    levels, _ = hierarchy
    parents = lineages(levels)
    settings = dict(max_children=9, max_leaves=12)
    few = select_tree(levels, parents, **settings, min_roots=1)
    many = select_tree(levels, parents, **settings, min_roots=3)
    assert len(many) == 3 > len(few)
    assert sum(root.leaves for root in many) <= 12
    assert max(len(node.children) for node in walk(many)) < max(
        len(node.children) for node in walk(few)
    )


def test_tree_can_be_read(hierarchy):
    levels, points = hierarchy

    def distances(level):
        own = levels[level].centroids[levels[level].assignments]
        return (points - own).norm(dim=1)

    figure = tree_figure(
        levels,
        lineages(levels),
        distances,
        lambda index: np.full((8, 8, 3), index % 256, dtype=np.uint8),
        max_roots=2,
        max_children=3,
    )
    assert_readable(figure)
    said = [text.get_text() for text in texts(figure)]
    roots = select_tree(levels, lineages(levels), max_roots=2, max_children=3)
    for node in walk(roots):
        assert any(line.startswith(f'#{node.cluster}  ') for line in said)
        if node.left_out:
            images = node.left_out_images
            assert any(
                line.startswith(f'+ {node.left_out} more')
                and f', {images} image' in line
                for line in said
            )
    shown = sum(root.size for root in roots)
    joined = ' '.join(said).replace('\n', ' ')
    assert '1 of the 3 clusters at the left' in joined
    assert f'{300 - shown} images' in joined


def test_edges_are_as_thick_as_their_images(hierarchy):
    levels, _ = hierarchy
    figure = tree_figure(
        levels,
        lineages(levels),
        lambda level: torch.zeros(300),
        lambda index: np.zeros((4, 4, 3), dtype=np.uint8),
    )
    widths = sorted(
        patch.get_linewidth() for axes in figure.axes for patch in axes.patches
    )
    nodes = walk(select_tree(levels, lineages(levels)))
    inside = sorted(c.inside for node in nodes for c in node.children)
    most = inside[-1]
    expected = [max(0.6, 10 * number / most) for number in inside]
    assert widths == pytest.approx(expected)


def test_colours_differ():
    few = distinct_colours(8)
    many = distinct_colours(100)
    assert few.shape == (8, 3)
    assert np.array_equal(many[:8], few)
    lab = to_oklab(many)
    gaps = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    gaps[np.diag_indices(100)] = 1
    assert gaps.min() > 0.055  # twice what the eye sees side by side
    assert many.min() >= 0
    assert many.max() <= 1
    assert distinct_colours(5000).shape == (5000, 3)


def test_oklab_is_as_published():
    # Ottosson's table of test values, XYZ of D65 white, and sRGB red.
    assert to_oklab(np.ones(3)) == pytest.approx([1, 0, 0], abs=1e-3)
    red = to_oklab(np.array([1.0, 0, 0]))
    assert red == pytest.approx([0.628, 0.2249, 0.1258], abs=1e-3)
    grid = np.random.default_rng(0).random((50, 3))
    assert to_srgb(to_oklab(grid)) == pytest.approx(grid, abs=1e-6)


def test_children_have_the_hue_of_their_parent(hierarchy):
    levels, _ = hierarchy
    parents = lineages(levels)
    colours = hierarchy_colours(levels.num_clusters, parents)
    assert [len(own) for own in colours] == [24, 8, 3]
    fine, coarse = to_oklab(colours[1]), to_oklab(colours[2])
    index = parents[1].parents.numpy()
    hues = np.arctan2(fine[:, 2], fine[:, 1])
    wanted = np.arctan2(coarse[index, 2], coarse[index, 1])
    apart = np.abs(np.angle(np.exp(1j * (hues - wanted))))
    assert apart.max() < 0.35  # some are clipped to what screens show
    for parent in range(3):
        light = np.sort(fine[index == parent, 0])
        assert (np.diff(light) > 0.02).all()
