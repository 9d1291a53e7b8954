"""Joined data sets number their images as one."""

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ahpcl.datasets import ConcatImages, Digits, UnlabelledFolder
from ahpcl.datasets.manifest import manifest_of


def load(results):
    return dict(results, seen=results['sample_idx'])


def after(results):
    return dict(results, later=results['sample_idx'])


class Listed(BaseDataset):
    """A data set of another package."""

    def load_data_list(self):
        return [dict(img_path=f'{self.data_root}/{i}') for i in range(3)]


@pytest.fixture
def folders(tmp_path, make_image):
    for seed, name in enumerate(('left', 'right')):
        for number in range(2):
            make_image(tmp_path / name / f'{number}.tif', seed=seed + number)
    return [str(tmp_path / name) for name in ('left', 'right')]


def test_mmengines_name_makes_ours(folders):
    parts = [dict(type='UnlabelledFolder', data_root=f) for f in folders]
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    assert isinstance(joined, ConcatImages)
    assert [joined[i]['sample_idx'] for i in range(4)] == [0, 1, 2, 3]
    assert [joined.get_data_info(i)['sample_idx'] for i in (0, 3, -1)] == [
        *(0, 3, 3),
    ]
    assert manifest_of(joined).names == (
        *('left/0.tif', 'left/1.tif', 'right/0.tif', 'right/1.tif'),
    )


def test_every_transform_sees_the_number(folders):
    part = UnlabelledFolder(folders[0], pipeline=[load, after])
    other = Listed(data_root='x', pipeline=[load, after])
    inner = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='Digits', limit=4, pipeline=[load]),
            dict(type='Digits', limit=5, pipeline=[load, after]),
        ],
    )
    joined = ConcatImages([part, other, inner, other], ignore_keys=['classes'])
    assert len(joined) == 2 + 3 + 9 + 3
    assert [item['seen'] for item in joined] == list(range(17))
    assert [joined[i]['later'] for i in (0, 4, 9, 16)] == [0, 4, 9, 16]
    # The parts are still what they were.
    assert [item['seen'] for item in other] == [0, 1, 2]


def test_what_loads_an_image_stays_the_first(folders):
    from ahpcl.datasets import LoadImageBGR
    from ahpcl.evaluation.images import load_image

    parts = [
        UnlabelledFolder(f, pipeline=[LoadImageBGR(), after]) for f in folders
    ]
    joined = ConcatImages(parts)
    assert (load_image(joined, 3) == load_image(parts[1], 1)).all()
    assert joined[3]['later'] == 3


def test_parts_of_one_set_keep_their_names():
    joined = ConcatImages([Digits(limit=3), Digits(split='test', limit=2)])
    assert joined.manifest().names[:1] == ('digits/0000',)
    assert len(set(joined.manifest().names)) == 5
