"""The cache of decoded images, and batches fetched whole."""

import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from ahpcl.datasets import (
    DecodedCache,
    Digits,
    UnlabelledFolder,
    WholeBatch,
    build_cache,
    collate_batches,
    open_or_build,
    read_rgb,
)

LOAD = dict(type='LoadImageBGR')
PACK = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'images'
    root.mkdir()
    source = np.random.default_rng(0)
    for i in range(9):
        size = (8 + i, 12 - i // 3, 3)
        pixels = source.integers(0, 256, size, dtype=np.uint8)
        ending = 'png' if i % 2 else 'jpg'
        Image.fromarray(pixels).save(root / f'{i}.{ending}')
    Image.fromarray(pixels[..., 0]).save(root / 'grey.png')
    Image.fromarray(pixels).convert('RGBA').save(root / 'alpha.png')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(root / 'turned.jpg', exif=turned)
    return root


def paths(folder):
    return [str(p) for p in sorted(folder.iterdir()) if p.is_file()]


def test_pixels_are_those_of_decoding(folder, tmp_path):
    files = paths(folder)
    cache = open_or_build(tmp_path / 'cache', files)
    assert len(cache) == len(files)
    for place, file in enumerate(files):
        assert np.array_equal(cache.rgb(place), read_rgb(file))
        assert np.array_equal(cache.bgr(place), read_rgb(file)[:, :, ::-1])


def test_a_data_set_gives_the_same_items_with_it(folder, tmp_path):
    settings = dict(data_root=str(folder), pipeline=[LOAD, PACK])
    plain = UnlabelledFolder(**settings)
    cached = UnlabelledFolder(
        **settings, decoded_cache=str(tmp_path / 'cache')
    )
    few = UnlabelledFolder(
        **settings, limit=4, decoded_cache=str(tmp_path / 'few')
    )
    assert (tmp_path / 'cache' / 'images.bin').stat().st_size > 1000
    # What it reads comes from the cache, not from the files.
    names = [plain.get_data_info(i)['img_path'] for i in range(len(plain))]
    expected = [plain[i]['inputs'][0] for i in range(len(plain))]
    for name in names:
        os.truncate(name, 0)
    for i, image in enumerate(expected):
        assert torch.equal(cached[i]['inputs'][0], image)
    for i in range(4):
        place = names.index(few.get_data_info(i)['img_path'])
        assert torch.equal(few[i]['inputs'][0], expected[place])


def test_auto_keeps_it_out_of_the_data_set(folder):
    settings = dict(data_root=str(folder), decoded_cache='auto')
    number = len(UnlabelledFolder(**settings))
    assert (folder / '.decoded').is_dir()
    assert len(UnlabelledFolder(**settings)) == number


@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_workers_share_it(folder, tmp_path, start):
    # The loader's own context: forked and spawned workers open the map.
    dataset = UnlabelledFolder(
        data_root=str(folder),
        pipeline=[LOAD, PACK],
        decoded_cache=str(tmp_path / 'cache'),
    )
    expected = [dataset[i]['inputs'][0] for i in range(len(dataset))]
    loader = DataLoader(
        dataset,
        batch_size=5,
        num_workers=2,
        multiprocessing_context=start,
        collate_fn=list,
    )
    found = [item['inputs'][0] for batch in loader for item in batch]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def written(cache):
    return (cache / 'images.bin').stat().st_ino


def test_a_changed_file_of_the_same_size_is_noticed(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    open_or_build(where, files)
    first = written(where)
    bmp = folder / '1.png'
    content = bytearray(bmp.read_bytes())
    pixels = np.asarray(Image.open(bmp)).copy()
    for _ in range(500):  # another picture of as many bytes
        pixels[0, 0] += 1
        Image.fromarray(pixels).save(bmp)
        if len(bmp.read_bytes()) == len(content):
            break
    assert len(bmp.read_bytes()) == len(content)
    cache = open_or_build(where, files)
    assert written(where) != first
    place = files.index(str(bmp))
    assert np.array_equal(cache.rgb(place), pixels)


def test_a_touched_file_is_not_built_anew(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    open_or_build(where, files)
    first = written(where)
    os.utime(files[0], ns=(1, 1))
    open_or_build(where, files)
    assert written(where) == first
    assert DecodedCache(where).index.mtimes[0] == 1


def test_other_images_and_another_size_build_anew(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    open_or_build(where, files)
    assert len(open_or_build(where, files[:5])) == 5
    small = open_or_build(where, files, max_side=10)
    sides = [max(small.rgb(i).shape[:2]) for i in range(len(files))]
    assert max(sides) == 10
    assert (
        small.rgb(0).shape[0] < read_rgb(files[0]).shape[0]
        or min(read_rgb(files[0]).shape[:2]) <= 10
    )


def test_truncated_pixels_are_named_with_the_way_out(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    open_or_build(where, files)
    os.truncate(where / 'images.bin', 100)
    with pytest.raises(ValueError, match=r'truncated.*delete the folder'):
        open_or_build(where, files)
    # Pixels of another build, of the same length.
    build_cache(where, files)
    os.replace(where / 'index.npz', tmp_path / 'index.npz')
    build_cache(where, files)
    os.replace(tmp_path / 'index.npz', where / 'index.npz')
    with pytest.raises(ValueError, match='one build'):
        DecodedCache(where)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_mutated_index_is_refused_or_right(folder, data):
    where = folder.parent / 'cache'
    if not where.exists():
        build_cache(where, paths(folder))
        shutil.copy(where / 'index.npz', folder.parent / 'good')
    content = bytearray((folder.parent / 'good').read_bytes())
    kind = data.draw(st.sampled_from(['flip', 'cut', 'more']))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == 'flip':
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == 'cut':
        del content[place:]
    else:
        content += b'x' * (place % 50 + 1)
    (where / 'index.npz').write_bytes(bytes(content))
    with pytest.raises(ValueError, match='delete the folder'):
        DecodedCache(where)


def test_no_pickle_is_executed(folder, tmp_path):
    from ahpcl.datasets.decoded_cache import _digest

    where = tmp_path / 'cache'
    build_cache(where, paths(folder))
    np.savez(tmp_path / 'evil.npz', meta=np.array([{}], dtype=object))
    content = (tmp_path / 'evil.npz').read_bytes()
    (where / 'index.npz').write_bytes(_digest(content) + content)
    with pytest.raises(ValueError, match='allow_pickle=False'):
        DecodedCache(where)


def test_a_full_disk_is_found_before_the_work(folder, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1, 1, 1000))
    with pytest.raises(OSError, match='GiB free for the decoded cache'):
        open_or_build(tmp_path / 'cache', paths(folder))
    assert not list((tmp_path / 'cache').iterdir())


def test_a_build_that_stops_leaves_no_cache(folder, tmp_path):
    files = [*paths(folder), str(folder / 'gone.png')]
    with pytest.raises(ValueError, match=r'gone\.png: no such file'):
        build_cache(tmp_path / 'cache', files)
    assert not list((tmp_path / 'cache').iterdir())
    with pytest.raises(ValueError, match='max_side of at least 1'):
        build_cache(tmp_path / 'cache', files, max_side=0)


def test_a_background_of_its_own_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='white background'):
        UnlabelledFolder(
            data_root=str(folder),
            decoded_cache=str(tmp_path),
            pipeline=[dict(LOAD, background=(0, 0, 0)), PACK],
        )


# ---- whole batches ----------------------------------------------------------


def raw(dataset):
    """Its augmentation is on the device."""
    dataset.pipeline.transforms[1].on_device = True
    return dataset


VIEWS = dict(
    type='SeededMultiView',
    views=[[dict(type='RandomFlip', prob=0.5)]],
    num_views=[2],
)


@pytest.mark.parametrize('kind', ['memory', 'cache', 'files'])
@pytest.mark.parametrize('workers', [0, 2])
def test_whole_batches_are_the_items_put_together(
    folder, tmp_path, kind, workers
):
    pipeline = [LOAD, VIEWS, PACK]
    if kind == 'memory':
        dataset = Digits(img_size=8, pipeline=pipeline, limit=20)
    else:
        cache = str(tmp_path / 'cache') if kind == 'cache' else None
        dataset = UnlabelledFolder(
            data_root=str(folder), pipeline=pipeline, decoded_cache=cache
        )
    raw(dataset)
    whole = dataset.__getitems__([3, 1, 2])
    assert isinstance(whole, WholeBatch) == (kind != 'files')
    items = [dataset[i] for i in range(len(dataset))]
    loader = DataLoader(
        dataset, batch_size=5, num_workers=workers, collate_fn=collate_batches
    )
    place = 0
    for batch in loader:
        (images,) = batch['inputs']
        number = len(images)
        sizes = batch.get('sizes')
        assert (sizes is None) == (kind == 'memory')
        for row in range(number):
            expected = items[place]['inputs'][0]
            height, width = expected.shape[1:]
            image = images[row]
            assert torch.equal(image[:, :height, :width], expected)
            if sizes is not None:
                assert sizes[row].tolist() == [height, width]
                assert not image[:, height:].any()
                assert not image[:, :, width:].any()
            index = batch['data_samples'][row].sample_idx.value
            assert int(index) == place
            place += 1
    assert place == len(dataset)


def test_other_pipelines_are_not_touched():
    dataset = Digits(img_size=8, pipeline=[LOAD, VIEWS, PACK], limit=6)
    items = dataset.__getitems__([0, 1])
    assert not isinstance(items, WholeBatch)
    batch = collate_batches(items)
    assert [view.shape for view in batch['inputs']] == [(2, 3, 8, 8)] * 2
    assert len(batch['data_samples']) == 2
