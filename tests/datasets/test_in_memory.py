import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from mmengine.registry import DATASETS
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from ahpcl.datasets import Digits, HierarchicalShapes, ImageStore
from ahpcl.datasets.shapes_render import FAMILIES, MARKS, render

LOAD = [{'type': 'LoadImageBGR'}]


def images(dataset):
    return np.stack(
        [dataset.get_data_info(i)['img'] for i in range(len(dataset))]
    )


def test_store_gives_private_bgr_copies():
    rng = np.random.default_rng(0)
    blocks = [
        rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (2, 0, 3)
    ]
    store = ImageStore(blocks)
    flat = np.concatenate(blocks)
    assert len(store) == 5
    for index in range(5):
        image = store.bgr(index)
        np.testing.assert_array_equal(image, flat[index][..., ::-1])
        image[:] = 0
        np.testing.assert_array_equal(store.bgr(index), flat[index][..., ::-1])
    assert copy.deepcopy(store) is store
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.bgr(4), store.bgr(4))
    with pytest.raises(ValueError, match='uint8'):
        ImageStore([np.zeros((1, 4, 4, 3))])


def test_memory_is_shared_with_workers():
    dataset = Digits(img_size=8, pipeline=LOAD, limit=64)
    loader = DataLoader(
        dataset,
        batch_size=16,
        num_workers=2,
        collate_fn=list,
        multiprocessing_context='fork',
    )
    got = [item['img'] for batch in loader for item in batch]
    np.testing.assert_array_equal(np.stack(got), images(dataset))
    # What goes to a spawned worker is a handle, not the pixels.
    assert len(ForkingPickler.dumps(dataset.store)) < 2000


def test_digits_are_sklearns():
    raw = load_digits()
    dataset = Digits(split='all', img_size=8)
    assert len(dataset) == 1797
    np.testing.assert_array_equal(dataset.get_gt_labels(), raw.target)
    got = images(dataset)
    for channel in range(3):
        np.testing.assert_allclose(
            got[..., channel], raw.images * 255 / 16, atol=0.5
        )
    assert got.max() == 255


def test_the_training_digits_have_a_part_to_choose_on():
    def paths(split):
        digits = Digits(split=split, img_size=8)
        return [
            digits.get_data_info(i)['img_path'] for i in range(len(digits))
        ]

    fit, val, train = paths('fit'), paths('val'), paths('train')
    assert (len(fit), len(val)) == (1157, 285)
    assert sorted(fit + val) == train and not set(fit) & set(val)
    counts = np.bincount(Digits(split='val', img_size=8).get_gt_labels())
    assert counts.min() >= 27 and counts.max() <= 30


def test_digits_split_is_fixed_and_stratified():
    train, test = Digits(split='train'), Digits(split='test')
    assert (len(train), len(test)) == (1442, 355)
    whole = np.bincount(Digits(split='all').get_gt_labels())
    held = np.bincount(test.get_gt_labels())
    np.testing.assert_array_equal(held, whole // 5)
    paths = [
        {d.get_data_info(i)['img_path'] for i in range(len(d))}
        for d in (train, test)
    ]
    assert paths[0].isdisjoint(paths[1])
    # the fifth zero in scikit-learn's order
    fifth = np.nonzero(load_digits().target == 0)[0][4]
    assert f'digits/{fifth:04d}' in paths[1]


def test_digits_size_and_pipeline():
    dataset = DATASETS.build(
        {'type': 'Digits', 'img_size': 32, 'limit': 20, 'pipeline': LOAD}
    )
    assert dataset[3]['img'].shape == (32, 32, 3)
    assert dataset[3]['ori_shape'] == (32, 32)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2] * 10
    # Enlarged, not padded: block means are near the small image.
    small = images(Digits(img_size=8, limit=20)).astype(float)
    means = images(dataset).reshape(20, 8, 4, 8, 4, 3).mean((2, 4))
    assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > 0.97
    with pytest.raises(ValueError, match='fit, val, test'):
        Digits(split='validation')
    with pytest.raises(ValueError, match='at least 8'):
        Digits(img_size=7)


def test_shapes_truth_is_nested_and_balanced():
    dataset = HierarchicalShapes(100, branching=(4, 3, 3))
    truth = dataset.truth
    assert truth.shape == (100, 3)
    np.testing.assert_array_equal(truth[:, 2], dataset.get_gt_labels())
    sizes = [len(np.unique(truth[:, level])) for level in range(3)]
    assert sizes == [4, 12, 36]
    for fine in range(36):
        rows = truth[truth[:, 2] == fine]
        assert len(rows) in (2, 3)
        assert len(np.unique(rows[:, :2], axis=0)) == 1
    for middle in range(12):
        assert len(np.unique(truth[truth[:, 1] == middle, 0])) == 1
    names = dataset.metainfo['level_classes']
    assert [len(level) for level in names] == sizes
    for coarse, middle, fine in truth:
        assert names[1][middle].startswith(names[0][coarse] + '/')
        assert names[2][fine].startswith(names[1][middle] + '/')
    info = dataset.get_data_info(50)
    assert info['gt_levels'] == tuple(truth[50])


def test_shapes_truth_follows_subsets():
    dataset = HierarchicalShapes(40, indices=[7, 3])
    assert dataset.truth[:, 2].tolist() == [7, 3]


def test_shapes_image_depends_on_seed_split_and_place_only():
    few, many = HierarchicalShapes(40), HierarchicalShapes(90)
    np.testing.assert_array_equal(images(few), images(many)[:40])
    for other in ({'seed': 1}, {'split': 'test'}, {'split': 'val'}):
        changed = images(HierarchicalShapes(40, **other))
        assert (changed != images(few)).any(axis=(1, 2, 3)).all()


def test_shapes_are_drawn_alike_every_time():
    from ahpcl.datasets import shapes

    first = images(HierarchicalShapes(20))
    shapes._draw.cache_clear()
    state = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(images(HierarchicalShapes(20)), first)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def silhouette(family, shape, mark, seed=0, size=32):
    """Upright drawing in black on white, without nuisance."""
    image = render(family, shape, mark, size, 0.0, np.random.default_rng(seed))
    ground = image[0, 0].astype(float)
    return np.abs(image - ground).sum(2) > 12


def test_marks_change_less_than_shapes_and_all_classes_differ():
    plain = {
        (family, shape): silhouette(family, shape, 'plain')
        for family, shapes in FAMILIES.items()
        for shape in shapes
    }
    keys = list(plain)
    for i, first in enumerate(keys):
        assert 0.05 < plain[first].mean() < 0.6
        for second in keys[:i]:
            assert (plain[first] != plain[second]).mean() > 0.02
    for family, shape in keys:
        rng = [np.random.default_rng(5) for _ in MARKS]
        drawn = [
            render(family, shape, mark, 32, 0.0, r).astype(int)
            for mark, r in zip(MARKS, rng, strict=True)
        ]
        for i, first in enumerate(drawn):
            for second in drawn[:i]:
                changed = (np.abs(first - second).sum(2) > 12).mean()
                assert 0.003 < changed < 0.2


def test_colour_tells_nothing():
    dataset = HierarchicalShapes(1440)
    mean = images(dataset).reshape(1440, -1, 3).mean(1)
    coarse = dataset.truth[:, 0]
    classes = [mean[coarse == c].mean(0) for c in range(4)]
    spread = mean.std(0) / np.sqrt(360)
    assert (np.ptp(classes, axis=0) < 6 * spread).all()


def test_nuisance_moves_the_shape():
    still = HierarchicalShapes(144, nuisance=0.0)
    moved = HierarchicalShapes(144, nuisance=1.0)

    def corner_noise(dataset):
        return images(dataset)[:, :3, :3].astype(float).std((1, 2)).mean()

    assert corner_noise(still) == 0
    assert corner_noise(moved) > 1


@pytest.mark.parametrize(
    'options',
    [
        {'num_images': 0},
        {'seed': -1},
        {'img_size': 8},
        {'split': 'all'},
        {'branching': (4, 3)},
        {'branching': (5, 3, 3)},
        {'nuisance': 1.5},
    ],
)
def test_shapes_options(options):
    with pytest.raises(ValueError, match=f'expected {next(iter(options))}'):
        HierarchicalShapes(**options)
