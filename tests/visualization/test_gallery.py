import numpy as np
import pytest
import torch

from ahpcl.core.clustering.prototypes import PrototypeLevel
from ahpcl.visualization.clusters import class_table, majority_text
from ahpcl.visualization.gallery import gallery_figures, gallery_indices
from ahpcl.visualization.thumbnails import strip, thumbnail
from figure_text import assert_readable, texts


def images_of(index):
    return np.full((8, 8, 3), index % 251, dtype=np.uint8)


@pytest.fixture
def level():
    generator = torch.Generator().manual_seed(0)
    centroids = torch.randn(7, 4, generator=generator)
    assignments = torch.randint(0, 6, (90,), generator=generator)
    assignments[assignments == 2] = 3
    assignments[:3] = torch.tensor([2, 2, 2])  # few images, and none in 6
    return PrototypeLevel(
        centroids=torch.nn.functional.normalize(centroids, dim=1),
        assignments=assignments,
        concentration=torch.tensor([0.5, 0.1, 0.4, 0.3, 0.2, 0.6, 0.05]),
    )


@pytest.fixture
def distances():
    found = torch.rand(90, generator=torch.Generator().manual_seed(1))
    found[10:20] = 0.5  # equal ones
    return found


def test_indices_are_those_of_a_slow_loop(level, distances):
    found = gallery_indices(
        distances, level.assignments, 7, nearest=3, random=2, farthest=2
    )
    assert len(found) == 7
    for cluster, images in enumerate(found):
        own = [i for i in range(90) if int(level.assignments[i]) == cluster]
        own.sort(key=lambda i: (float(distances[i]), i))
        assert list(images.nearest) == own[:3]
        rest = own[3:]
        assert list(images.farthest) == rest[max(0, len(rest) - 2) :]
        between = rest[: max(0, len(rest) - 2)]
        assert set(images.random) <= set(between)
        assert len(images.random) == min(2, len(between))
        places = [own.index(i) for i in images.random]
        assert places == sorted(places)


def test_few_images_are_shown_once(level, distances):
    found = gallery_indices(distances, level.assignments, 7)
    assert found[6] == ((), (), ())
    assert sorted(found[2].nearest) == [0, 1, 2]
    assert found[2].random == found[2].farthest == ()
    for images in found:
        flat = sum(images, ())
        assert len(flat) == len(set(flat))


def test_the_random_ones_follow_the_seed(level, distances):
    def drawn(seed):
        found = gallery_indices(
            distances, level.assignments, 7, random=3, seed=seed
        )
        return [images.random for images in found]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_no_random_state_is_touched(level, distances):
    before = torch.get_rng_state()
    gallery_indices(distances, level.assignments, 7)
    assert torch.equal(before, torch.get_rng_state())


def test_distances_of_other_images(level, distances):
    with pytest.raises(ValueError, match='distances of 90'):
        gallery_indices(distances[:5], level.assignments, 7)


def test_pages_go_by_concentration(level, distances):
    labels = level.assignments % 2
    figures = list(
        gallery_figures(
            level,
            distances,
            images_of,
            labels=labels,
            class_name=lambda label: ('even', 'odd')[label],
            source='epoch_1.pth',
            per_page=4,
        )
    )
    assert len(figures) == 2
    headers = []
    for figure in figures:
        assert_readable(figure)
        headers += [
            text.get_text().split()
            for text in texts(figure)
            if text.get_text().startswith('#')
        ]
    # By phi: 6 is empty and left out.
    assert [words[0] for words in headers] == [
        *('#1', '#4', '#3', '#2', '#0', '#5')
    ]
    sizes = level.sizes()
    for words in headers:
        cluster = int(words[0][1:])
        assert int(words[1]) == int(sizes[cluster])
        assert float(words[4]) == pytest.approx(
            float(level.concentration[cluster]), abs=1e-3
        )
        assert words[-1] == ('even', 'odd')[cluster % 2]
    assert '1 without images left out' in ' '.join(
        text.get_text() for text in texts(figures[0])
    )


def test_clusters_that_are_asked_for_in_their_order(level, distances):
    (figure,) = gallery_figures(
        level, distances, images_of, clusters=[5, 1, 6]
    )
    said = [text.get_text() for text in texts(figure)]
    # 6 is empty.
    assert [t.split()[0] for t in said if t.startswith('#')] == ['#5', '#1']
    assert '2 clusters' in ' '.join(said)


def test_without_labels_no_class_is_named(level, distances):
    unknown = torch.full((90,), -1)
    for labels in (None, unknown):
        pages = gallery_figures(level, distances, images_of, labels=labels)
        for figure in pages:
            assert not any('% are' in t.get_text() for t in texts(figure))


def test_the_pictures_are_the_chosen_images(level, distances):
    chosen = gallery_indices(distances, level.assignments, 7)
    (figure,) = gallery_figures(level, distances, images_of)
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    expected = []
    for cluster in (1, 4, 3, 2, 0, 5):
        expected += [group for group in chosen[cluster] if group]
    assert len(pictures) == len(expected)
    for picture, indices in zip(pictures, expected, strict=True):
        shown = [int(picture[24, 24 + 50 * n, 0]) for n in range(len(indices))]
        assert shown == [index % 251 for index in indices]


def test_thumbnails_keep_proportions():
    wide = np.zeros((10, 20, 3), dtype=np.uint8)
    small = thumbnail(wide, 40)
    assert small.shape == (40, 40, 3)
    dark = (small == 0).all(axis=2)
    assert dark.any(axis=1).sum() == 20
    assert dark.any(axis=0).sum() == 40
    row = strip(images_of, [1, 2], 10, places=3, gap=1)
    assert row.shape == (10, 32, 3)
    assert (row[:, 22:] == 255).all()


def test_majority():
    assignments = torch.tensor([0, 0, 0, 1, 1])
    labels = torch.tensor([2, 2, 0, -1, -1])
    table = class_table(assignments, labels, 2)
    assert table.tolist() == [[1, 0, 2], [0, 0, 0]]
    assert majority_text(table[0], lambda c: f'class {c}') == (
        '67 % are class 2'
    )
    assert majority_text(table[1]) == ''
    with pytest.raises(ValueError, match='labels of some'):
        class_table(assignments, torch.full((5,), -1), 2)
    with pytest.raises(ValueError, match='labels of 5'):
        class_table(assignments, labels[:2], 2)
