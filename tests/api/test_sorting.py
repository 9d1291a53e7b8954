"""Sorting makes folders, overwrites nothing and goes on."""

import numpy as np
import pytest

from ahpcl.api.assignment import AssignedLevel, Assignment
from ahpcl.api.sorting import sort_into
from ahpcl.datasets import UnlabelledFolder
from ahpcl.utils.own_folder import MARKER


def assigned(paths, clusters, names=None, unlike=None):
    number = len(paths)
    levels = []
    for count, own in ((20, np.arange(number)), (2, np.array(clusters))):
        levels.append(
            AssignedLevel(
                num_clusters=count,
                clusters=own,
                distances=np.zeros(number),
                probabilities=np.ones(number),
                phi=np.ones(number),
                parents=None,
                cluster_names=np.array(names or [''] * number),
            )
        )
    return Assignment(
        names=tuple(map(str, paths)),
        levels=tuple(levels),
        unlike=None if unlike is None else np.array(unlike),
        threshold=None,
        threshold_rate=None,
        nearest=((),) * number,
        nearest_distances=np.zeros((number, 0)),
    )


@pytest.fixture
def paths(tmp_path):
    """Three files; the first and the last have one name."""
    found = []
    for name in ('a/x.png', 'a/y.png', 'b/x.png'):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        found.append(path)
    return found


def contents(folder):
    return sorted(
        (path.parent.name, path.read_text())
        for path in folder.rglob('*')
        if path.is_file() and path.name != MARKER
    )


@pytest.mark.parametrize('how', ['link', 'copy'])
def test_everything_goes_where_it_belongs_once(paths, tmp_path, how):
    out = tmp_path / 'out'
    found = assigned(paths, [0, 1, 0])
    expected = [
        ('cluster_0', 'a/x.png'),
        ('cluster_0', 'b/x.png'),
        ('cluster_1', 'a/y.png'),
    ]
    done = sort_into(found, out, how=how)
    assert (done.made, done.kept) == (3, 0)
    assert done.folders == {'cluster_0': 2, 'cluster_1': 1}
    assert contents(out) == expected
    links = [path for path in out.rglob('*') if path.is_symlink()]
    assert len(links) == (3 if how == 'link' else 0)
    again = sort_into(found, out, how=how)
    assert (again.made, again.kept) == (0, 3)
    assert contents(out) == expected
    # An interrupted run goes on.
    next(iter((out / 'cluster_1').iterdir())).unlink()
    assert sort_into(found, out, how=how).made == 1
    assert contents(out) == expected


def test_what_is_there_is_not_overwritten(paths, tmp_path):
    out = tmp_path / 'out'
    (out / 'cluster_1').mkdir(parents=True)
    mine = out / 'cluster_1' / 'y.png'
    mine.write_text('mine')
    done = sort_into(assigned(paths, [0, 1, 0]), out, how='copy')
    assert done.made == 3 and mine.read_text() == 'mine'
    assert ('cluster_1', 'a/y.png') in contents(out)
    assert sort_into(assigned(paths, [0, 1, 0]), out, how='copy').made == 0


def test_names_unlike_and_levels_show_in_folders(paths, tmp_path):
    found = assigned(
        paths, [0, 1, 0], ['my cats/dogs', '', ''], [False, True, False]
    )
    done = sort_into(found, tmp_path / 'out')
    assert set(done.folders) == {
        'cluster_0_my-cats-dogs',
        'cluster_0',
        'unlike',
    }
    done = sort_into(found, tmp_path / 'fine', num_clusters=20, apart=False)
    assert list(done.folders) == [
        'cluster_00_my-cats-dogs',
        'cluster_01',
        'cluster_02',
    ]


def test_what_cannot_be_sorted_is_refused(paths, tmp_path):
    with pytest.raises(ValueError, match='item 3'):
        sort_into(assigned([*paths, 'item 3'], [0] * 4), tmp_path / 'out')
    with pytest.raises(ValueError, match=r'\[20, 2\], got 7'):
        sort_into(assigned(paths, [0] * 3), tmp_path / 'out', num_clusters=7)
    with pytest.raises(ValueError, match="'link' or 'copy'"):
        sort_into(assigned(paths, [0] * 3), tmp_path / 'out', how='move')
    assert not (tmp_path / 'out').exists()


def test_a_folder_below_the_data_is_none_of_it(paths, tmp_path):
    """Copies of images are no further images."""
    folder = tmp_path / 'in' / 'by cluster'
    sort_into(assigned(paths, [0, 1, 0]), folder, how='copy')
    dataset = UnlabelledFolder(
        str(tmp_path / 'in'), extensions=('.png',), lazy_init=True
    )
    found = [e['img_path'] for e in dataset.load_data_list()]
    assert found == sorted(map(str, paths))
    # On its own it is a folder of classes.
    own = UnlabelledFolder(
        str(folder),
        extensions=('.png',),
        labels_from_folders=True,
        lazy_init=True,
    )
    assert len(own.load_data_list()) == 3
