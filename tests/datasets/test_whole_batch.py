"""Batches that are fetched whole against their items put together."""

import re

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset

from ahpcl.datasets import (
    Digits,
    ImageStore,
    MiniImageNet,
    SampleList,
    UnlabelledFolder,
    WholeBatch,
    collate_batches,
)
from ahpcl.models import ViewPreprocessor

LOAD = dict(type='LoadImageBGR')
PACK = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])
VIEWS = dict(
    type='SeededMultiView',
    views=[[dict(type='RandomFlip', prob=0.5)]],
    num_views=[2],
)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'images'
    root.mkdir()
    source = np.random.default_rng(0)
    for i in range(11):
        size = (8 + i % 4, 12 - i // 3, 3)
        pixels = source.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{i:02d}.png')
    return root


@pytest.fixture(params=['memory', 'cache', 'equal', 'files'])
def dataset(request, folder, tmp_path):
    options = dict(pipeline=[LOAD, PACK])
    if request.param == 'memory':
        made = Digits(img_size=8, limit=20, **options)
    else:
        if request.param != 'files':
            options['decoded_cache'] = str(tmp_path / 'cache')
        if request.param == 'equal':
            for file in folder.iterdir():
                Image.open(file).crop((0, 0, 6, 7)).save(file)
        made = UnlabelledFolder(str(folder), **options)
    made.ragged = request.param in ('cache', 'files')
    return made


def said(sample):
    """A sample as text, without where in memory it lies."""
    return re.sub(' at 0x[0-9a-f]+', '', str(sample))


def same(batch, items):
    """Whether a batch is these items; images of one size or padded."""
    (images,) = batch['inputs']
    sizes = batch.get('sizes')
    assert images.dtype == torch.uint8
    for row, item in enumerate(items):
        (expected,) = item['inputs']
        height, width = expected.shape[1:]
        assert torch.equal(images[row, :, :height, :width], expected)
        if sizes is not None:
            assert sizes[row].tolist() == [height, width]
        assert not images[row, :, height:].any()
        assert not images[row, :, :, width:].any()
        assert said(batch['data_samples'][row]) == said(item['data_samples'])
    assert len(images) == len(batch['data_samples']) == len(items)
    return True


@pytest.mark.parametrize('workers', [0, 2])
def test_whole_batches_are_the_items_put_together(dataset, workers):
    whole = dataset.__getitems__([3, 1, 2])
    decoded = dataset.decoded is not None or isinstance(dataset, Digits)
    assert isinstance(whole, WholeBatch) is decoded
    assert len(whole) == 3
    items = [dataset[i] for i in range(len(dataset))]
    assert same(collate_batches(whole), [items[3], items[1], items[2]])
    order = torch.randperm(
        len(dataset), generator=torch.Generator().manual_seed(0)
    ).tolist()
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=order,
        num_workers=workers,
        collate_fn=collate_batches,
    )
    places = iter(order)
    for batch in loader:
        number = len(batch['inputs'][0])
        ours = [items[next(places)] for _ in range(number)]
        assert same(batch, ours)
        assert ('sizes' in batch) == dataset.ragged
    assert next(places, None) is None


def test_other_collate_functions_see_items(dataset):
    whole = dataset.__getitems__([4, 5, 6])
    items = [dataset[i] for i in (4, 5, 6)]
    for one, other in zip(whole, items, strict=True):
        assert torch.equal(one['inputs'][0], other['inputs'][0])
    if not dataset.ragged:
        assert same(default_collate(whole), items)


def test_the_block_is_that_of_the_images(dataset):
    found = dataset.image_block([2, 0])
    if dataset.decoded is None and not isinstance(dataset, Digits):
        assert found is None
        return
    block, sizes = found
    assert block.is_contiguous()
    assert (sizes is not None) == dataset.ragged
    for row, index in enumerate([2, 0]):
        image = dataset[index]['inputs'][0]
        height, width = image.shape[1:]
        assert torch.equal(block[row, :, :height, :width], image)


def test_a_part_of_a_data_set(dataset):
    items = [dataset[i]['inputs'][0] for i in range(len(dataset))]
    part = dataset.get_subset([5, 2])
    subset = Subset(dataset, [6, 5, 2])
    for one, places in [(part, [1, 0]), (subset, [2, 1])]:
        whole = one.__getitems__(places)
        assert torch.equal(whole[0]['inputs'][0], items[2])
        assert torch.equal(whole[1]['inputs'][0], items[5])


def test_a_store_of_blocks_of_several_sizes():
    source = np.random.default_rng(0)
    blocks = [
        source.integers(0, 256, (3, size, 6, 3), dtype=np.uint8)
        for size in (4, 5)
    ]
    store = ImageStore(blocks)
    block, sizes = store.block([4, 1])
    assert sizes.tolist() == [[5, 6], [4, 6]]
    assert np.array_equal(
        block[0].numpy(), blocks[1][1][:, :, ::-1].transpose(2, 0, 1)
    )
    assert np.array_equal(
        block[1, :, :4].numpy(), blocks[0][1][:, :, ::-1].transpose(2, 0, 1)
    )
    assert not block[1, :, 4:].any()


def test_pickled_mini_imagenet(tmp_path):
    import pickle

    images = np.random.default_rng(0).integers(
        0, 256, (6, 5, 4, 3), dtype=np.uint8
    )
    content = dict(image_data=images, class_dict=dict(a=[0, 2, 4], b=[5, 3]))
    content['class_dict']['b'].append(1)
    with open(tmp_path / 'mini-imagenet-cache-train.pkl', 'wb') as file:
        pickle.dump(content, file)
    dataset = MiniImageNet(str(tmp_path), pipeline=[LOAD, PACK])
    whole = dataset.__getitems__(list(range(6)))
    assert isinstance(whole, WholeBatch)
    assert same(whole.batch, [dataset[i] for i in range(6)])


# ---- pipelines that make something of the images ----------------------------


def test_views_of_the_workers_are_not_touched():
    dataset = Digits(img_size=8, pipeline=[LOAD, VIEWS, PACK], limit=6)
    items = dataset.__getitems__([0, 1])
    assert not isinstance(items, WholeBatch)
    batch, expected = collate_batches(items), default_collate(items)
    for one, other in zip(batch['inputs'], expected['inputs'], strict=True):
        assert torch.equal(one, other)
    assert list(map(said, batch['data_samples'])) == list(
        map(said, expected['data_samples'])
    )


@pytest.mark.parametrize(
    'pack',
    [
        dict(PACK, algorithm_keys=['sample_idx', 'gt_label']),
        dict(PACK, meta_keys=['img_shape']),
        dict(PACK, algorithm_keys=[]),
    ],
)
def test_other_fields_are_kept(pack):
    dataset = Digits(img_size=8, pipeline=[LOAD, pack], limit=6)
    items = dataset.__getitems__([0, 4])
    batch = collate_batches(items)
    assert not isinstance(items, WholeBatch)
    assert not isinstance(batch['data_samples'], SampleList)
    for found, item in zip(batch['data_samples'], items, strict=True):
        assert found is item['data_samples']


def test_images_of_several_sizes_are_for_device_views_alone(folder, tmp_path):
    digits = Digits(img_size=8, pipeline=[LOAD, PACK], limit=6)
    whole = digits.__getitems__([0, 4])
    assert isinstance(whole, WholeBatch)
    assert same(whole.batch, [digits[0], digits[4]])
    ragged = UnlabelledFolder(
        str(folder),
        pipeline=[LOAD, PACK],
        decoded_cache=str(tmp_path / 'cache'),
    )
    items = [ragged[i] for i in (0, 1, 2)]
    # Others would take the zeros beside an image for the image.
    batch = collate_batches(ragged.__getitems__([0, 1, 2]))
    with pytest.raises(ValueError, match=r'one size in a batch, got \[\(8, '):
        ViewPreprocessor()(batch)
    two = [{**item, 'inputs': item['inputs'] * 2} for item in items]
    with pytest.raises(ValueError, match=r'views of one size in a batch'):
        collate_batches(two)
    both = ConcatDataset([digits, digits])
    batch = collate_batches([both[0], both[10]])
    assert same(batch, [digits[0], digits[4]])


def test_no_inputs_is_what_mmengine_makes_of_it():
    assert collate_batches([1, 2]).tolist() == [1, 2]
    assert collate_batches([{'a': 1.5}]).keys() == {'a'}


def test_a_config_names_it():
    loader = Runner.build_dataloader(
        dict(
            batch_size=3,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='collate_batches'),
            dataset=dict(
                type='Digits', img_size=8, limit=7, pipeline=[LOAD, PACK]
            ),
        ),
        seed=0,
    )
    batches = list(loader)
    assert [len(b['inputs'][0]) for b in batches] == [3, 3, 1]
    found = torch.cat([b['data_samples'].indices for b in batches])
    assert found.tolist() == list(range(7))


# ---- samples ----------------------------------------------------------------


def test_samples_are_those_that_were_packed():
    import pickle

    dataset = Digits(img_size=8, pipeline=[LOAD, PACK], limit=6)
    plain = [dataset[i]['data_samples'] for i in (5, 0, 2)]
    samples = SampleList.of(plain)
    assert samples.indices.tolist() == [5, 0, 2]
    for found in (samples, pickle.loads(pickle.dumps(samples))):
        assert len(found) == 3
        assert [type(s) for s in found] == [type(s) for s in plain]
        assert list(map(said, found)) == list(map(said, plain))
        assert said(found[-1]) == said(plain[2])
        assert len(found[:2]) == 2
        # Who adds to a sample finds it there.
        found[1].set_field(torch.ones(2), 'feature')
        assert found[1].feature.tolist() == [1, 1]
    plain[1].set_metainfo(dict(a=1))
    assert SampleList.of(plain) is None
    assert SampleList.of([1, 2]) is None
