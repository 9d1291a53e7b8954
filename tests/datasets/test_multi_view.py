import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader, Subset

from ahpcl.datasets import (
    Digits,
    HierarchicalShapes,
    SeededMultiView,
    set_epoch,
)

# Every random transform of the hosts that works on plain images.
HOST_TRANSFORMS = {
    'crop': {'type': 'mmselfsup.RandomResizedCrop', 'size': 16},
    'crop cls': {'type': 'mmcls.RandomResizedCrop', 'scale': 16},
    'plain crop': {'type': 'mmselfsup.RandomCrop', 'size': 12},
    'two crops': {
        'type': 'mmselfsup.RandomResizedCropAndInterpolationWithTwoPic',
        'size': 16,
        'interpolation': 'random',
    },
    'rotation': {'type': 'mmselfsup.RandomRotation', 'degrees': 90},
    'jitter': {
        'type': 'mmselfsup.ColorJitter',
        'brightness': 0.4,
        'contrast': 0.4,
        'saturation': 0.4,
        'hue': [0.0, 0.1],  # negative ones fail on NumPy 2
    },
    'our jitter': {
        'type': 'SafeColorJitter',
        'brightness': 0.4,
        'contrast': 0.4,
        'saturation': 0.4,
        'hue': 0.1,
    },
    'blur': {
        'type': 'mmselfsup.RandomGaussianBlur',
        'sigma_min': 0.1,
        'sigma_max': 2.0,
        'prob': 0.7,
    },
    'solarize': {'type': 'mmselfsup.RandomSolarize', 'prob': 0.5},
    'flip': {'type': 'RandomFlip', 'prob': 0.5},
    'gray': {
        'type': 'RandomGrayscale',
        'prob': 0.5,
        'keep_channels': True,
        'channel_weights': (0.114, 0.587, 0.2989),
    },
    'resize': {
        'type': 'RandomResize',
        'scale': (20, 20),
        'ratio_range': (0.5, 1.5),
    },
    'choice': {
        'type': 'RandomChoice',
        'transforms': [
            [{'type': 'RandomFlip', 'prob': 1.0}],
            [{'type': 'mmselfsup.RandomSolarize', 'prob': 1.0}],
        ],
    },
    'apply': {
        'type': 'RandomApply',
        'transforms': [{'type': 'mmselfsup.RandomSolarize', 'prob': 1.0}],
        'prob': 0.5,
    },
}
CROP = HOST_TRANSFORMS['crop']
RECIPE = [
    HOST_TRANSFORMS[name] for name in ('crop', 'our jitter', 'blur', 'flip')
]


class TorchNoise:
    """A transform that draws from torch."""

    def __call__(self, results):
        noise = torch.randint(0, 256, results['img'].shape, dtype=torch.uint8)
        results['img'] = noise.numpy()
        return results


def pipeline(*steps, **options):
    return [
        {'type': 'LoadImageBGR'},
        {
            'type': 'SeededMultiView',
            'views': [list(steps or RECIPE)],
            'num_views': [2],
            **options,
        },
    ]


def digits(*steps, limit=24, **options):
    return Digits(
        img_size=16, limit=limit, pipeline=pipeline(*steps, **options)
    )


def views(dataset, order=None):
    """{sample: views} read directly, in some order."""
    order = range(len(dataset)) if order is None else order
    return {i: copy.deepcopy(dataset[i]['img']) for i in order}


def loaded(loader):
    return {
        int(item['sample_idx']): item['img']
        for batch in loader
        for item in batch
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        for a, b in zip(first[key], second[key], strict=True):
            np.testing.assert_array_equal(a, b)


def share_that_differs(first, second):
    pairs = [
        (a, b)
        for key in first
        for a, b in zip(first[key], second[key], strict=True)
    ]
    return np.mean([a.shape != b.shape or (a != b).any() for a, b in pairs])


def test_same_views_with_any_workers_batches_and_order():
    dataset = digits()
    set_epoch(dataset, 3, 11)
    expected = views(dataset)
    assert_same(views(dataset, np.random.permutation(24)), expected)
    for workers, batch, shuffle in ((0, 5, True), (1, 4, False), (2, 7, True)):
        loader = DataLoader(
            dataset,
            batch_size=batch,
            shuffle=shuffle,
            num_workers=workers,
            collate_fn=list,
        )
        assert_same(loaded(loader), expected)


@pytest.mark.parametrize(
    'method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)]
)
def test_running_workers_see_a_new_epoch(method):
    dataset = digits(limit=12)
    loader = DataLoader(
        dataset,
        batch_size=3,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        collate_fn=list,
        multiprocessing_context=method,
    )
    seen = []
    for epoch, seed in ((0, 0), (1, 0), (1, 5), (0, 0)):
        assert set_epoch(dataset, epoch, seed) == 1
        got = loaded(loader)
        assert_same(got, views(dataset))
        seen.append(got)
    assert_same(seen[3], seen[0])
    assert share_that_differs(seen[0], seen[1]) > 0.9
    assert share_that_differs(seen[1], seen[2]) > 0.9


def test_workers_that_start_again_each_epoch():
    dataset = digits(limit=12)
    loader = DataLoader(dataset, 4, num_workers=2, collate_fn=list)
    for epoch in range(2):
        set_epoch(dataset, epoch, 1)
        assert_same(loaded(loader), views(dataset))


def test_views_samples_epochs_and_seeds_all_differ():
    same_picture = np.random.default_rng(0).integers(
        0, 256, (16, 16, 3), dtype=np.uint8
    )
    transform = SeededMultiView([RECIPE], 3)
    seen = []
    for seed in (0, 1):
        for epoch in (0, 1):
            transform.set_epoch(epoch, seed)
            for sample in range(4):
                out = transform({'img': same_picture, 'sample_idx': sample})
                assert len(out['img']) == 3
                seen += [view.tobytes() for view in out['img']]
    assert len(set(seen)) == len(seen) == 48


@pytest.mark.parametrize('name', HOST_TRANSFORMS)
def test_every_host_transform_is_reproducible(name):
    dataset = HierarchicalShapes(
        16, pipeline=pipeline(HOST_TRANSFORMS[name], num_views=[3])
    )
    set_epoch(dataset, 2, 4)

    def flat():
        return {
            i: [x for v in got for x in (v if isinstance(v, list) else [v])]
            for i, got in views(dataset).items()
        }

    first = flat()
    np.random.seed(99)
    random.seed(98)
    torch.manual_seed(97)
    assert_same(flat(), first)
    set_epoch(dataset, 3, 4)
    assert share_that_differs(flat(), first) > 0.2


def test_torch_randomness_is_covered_too():
    dataset = digits(TorchNoise(), limit=4)
    first = views(dataset)
    torch.manual_seed(5)
    assert_same(views(dataset), first)
    set_epoch(dataset, 1, 0)
    assert share_that_differs(views(dataset), first) == 1


class DrawAll:
    def __call__(self, results):
        np.random.randn()
        random.gauss(0, 1)
        torch.randn(3)
        return results


@pytest.mark.parametrize('pending', [False, True])
def test_generators_continue_as_if_nothing_had_happened(pending):
    def draw():
        return (
            [np.random.randn() for _ in range(3)],
            [random.gauss(0, 1) for _ in range(3)],
            torch.randn(3).tolist(),
        )

    def start():
        np.random.seed(1)
        random.seed(2)
        torch.manual_seed(3)
        if pending:  # half of a pair of normal deviates is left
            np.random.randn()
            random.gauss(0, 1)

    start()
    expected = draw()
    start()
    transform = SeededMultiView([[DrawAll()]], 2)
    transform({'img': np.zeros((4, 4, 3), np.uint8), 'sample_idx': 0})
    assert draw() == expected


def test_generators_continue_after_an_error_inside():
    def fail(results):
        np.random.rand()
        raise RuntimeError('inside')

    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    with pytest.raises(RuntimeError, match='inside'):
        SeededMultiView([[fail]])(
            {'img': np.zeros((2, 2, 3), np.uint8), 'sample_idx': 0}
        )
    assert np.random.rand() == expected


class DrawOutside:
    """A random transform beside the views."""

    def __call__(self, results):
        results['outside'] = np.random.randint(0, 2**31)
        return results


def test_workers_keep_their_own_randomness_outside():
    dataset = digits(limit=16)
    dataset.pipeline.transforms.append(DrawOutside())
    seen = []
    for epoch in (0, 0):
        set_epoch(dataset, epoch, 0)
        loader = DataLoader(dataset, 4, num_workers=1, collate_fn=list)
        seen += [item['outside'] for batch in loader for item in batch]
    assert len(set(seen)) > 30


def test_a_view_cannot_change_the_image_of_the_next():
    def paint(results):
        assert results['img'].max() == 7
        results['img'][:] = 0
        results['extra'] = 1
        return results

    image = np.full((2, 2, 3), 7, np.uint8)
    out = SeededMultiView([[paint]], 2)({'img': image, 'sample_idx': 0})
    assert image.min() == 7
    assert 'extra' not in out


def test_several_pipelines_in_order():
    def mark(value):
        def step(results):
            results['img'][:] = value
            return results

        return step

    transform = SeededMultiView([[mark(1)], [mark(2)]], [1, 2])
    out = transform({'img': np.zeros((2, 2, 3), np.uint8), 'sample_idx': 0})
    assert [view[0, 0, 0] for view in out['img']] == [1, 2, 2]
    assert len(SeededMultiView([[], []]).num_views) == 2


@pytest.mark.parametrize(
    ('views_given', 'num_views'),
    [([], None), ([[]], [1, 1]), ([[]], 0), ([[], []], 2)],
)
def test_wrong_numbers_of_views(views_given, num_views):
    with pytest.raises(ValueError, match='pipelines'):
        SeededMultiView(views_given, num_views)


def test_sample_idx_is_needed():
    with pytest.raises(ValueError, match=r'sample_idx.*img'):
        SeededMultiView([[]])({'img': np.zeros((2, 2, 3), np.uint8)})


def test_packed_for_the_host():
    dataset = Digits(
        img_size=16,
        pipeline=[
            *pipeline(),
            {'type': 'SetRole', 'role': 'query'},
            {
                'type': 'PackSelfSupInputs',
                'algorithm_keys': ['sample_idx', 'gt_label'],
                'meta_keys': ['img_path', 'role'],
            },
        ],
    )
    packed = dataset[5]
    assert [tuple(v.shape) for v in packed['inputs']] == [(3, 16, 16)] * 2
    assert packed['data_samples'].sample_idx.value.item() == 5
    assert packed['data_samples'].role == 'query'


def test_role_is_checked():
    with pytest.raises(ValueError, match="'reference' or 'query'"):
        digits({'type': 'SetRole', 'role': 'train'})


# The clock and the walk.


def clock_of(dataset):
    return dataset.pipeline.transforms[1].clock.get()


def test_clock_survives_copies_and_pickles():
    dataset = digits()
    set_epoch(dataset, 4, 2**40)
    for again in (
        copy.deepcopy(dataset),
        pickle.loads(pickle.dumps(dataset)),
        dataset.get_subset(list(range(5))),
    ):
        assert clock_of(again) == (4, 2**40)
        assert again.pipeline.transforms[1].clock._values.is_shared()
        set_epoch(again, 5, 6)
        assert clock_of(again) == (5, 6)
    assert clock_of(dataset) == (4, 2**40)


def test_set_epoch_finds_every_transform_once():
    inner = {
        'type': 'SeededMultiView',
        'views': [[{'type': 'RandomFlip', 'prob': 0.5}]],
    }
    nested = Digits(
        limit=12,
        pipeline=[
            {'type': 'LoadImageBGR'},
            {'type': 'RandomApply', 'transforms': [inner], 'prob': 0.5},
            {'type': 'RandomChoice', 'transforms': [[inner], [inner]]},
            {'type': 'SeededMultiView', 'views': [[CROP, inner]]},
        ],
    )
    assert set_epoch(nested, 1, 2) == 5
    one = digits()
    cases = {
        1: [
            one,
            RepeatDataset(one, 2),
            Subset(one, [0, 1]),
            ClassBalancedDataset(one, 0.1),
            ConcatDataset([one, one]),
            DataLoader(RepeatDataset(Subset(one, [1]).dataset, 2)),
        ],
        2: [
            ConcatDataset([one, digits()]),
            torch.utils.data.ConcatDataset([one, Subset(digits(), [0])]),
        ],
        0: [Digits(limit=3), [1, 2, 3], torch.utils.data.TensorDataset()],
    }
    for epoch, (count, wrapped) in enumerate(
        (n, w) for n, group in cases.items() for w in group
    ):
        assert set_epoch(wrapped, epoch, 7) == count
        if count:
            assert clock_of(one) == (epoch, 7)
