"""The cache of decoded images against decoding them."""

import copy
import errno
import io
import os
import shutil
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from PIL import Image
from torch.utils.data import DataLoader

import processes
from ahpcl.datasets import (
    DecodedCache,
    Digits,
    MiniImageNet,
    UnlabelledFolder,
    build_cache,
    decoded_cache_auto,
    open_or_build,
    read_rgb,
)
from ahpcl.datasets.decoded_index import INDEX, CacheIndex, digest

LOAD = dict(type='LoadImageBGR')
PACK = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])


@pytest.fixture(scope='module')
def _pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('pictures') / 'images'
    (root / 'deep').mkdir(parents=True)
    source = np.random.default_rng(0)
    for i in range(9):
        size = (8 + i, 12 - i // 3, 3)
        pixels = source.integers(0, 256, size, dtype=np.uint8)
        ending = 'png' if i % 2 else 'jpg'
        Image.fromarray(pixels).save(root / f'{i}.{ending}')
    Image.fromarray(pixels[..., 0]).save(root / 'deep' / 'grey.png')
    Image.fromarray(pixels).convert('RGBA').save(root / 'alpha.png')
    wide = pixels[..., 0].astype(np.uint16) * 200
    Image.fromarray(wide).save(root / 'wide.tif', compression='tiff_lzw')
    Image.fromarray(pixels).convert('P').save(root / 'palette.gif')
    Image.fromarray(pixels).convert('CMYK').save(root / 'print.jpg')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(root / 'turned.jpg', exif=turned)
    return root


@pytest.fixture
def folder(_pictures, tmp_path):
    root = tmp_path / 'images'
    shutil.copytree(_pictures, root)
    return root


@pytest.fixture
def log():
    """Lines that were logged."""
    MMLogger.get_instance('decoded', log_level='INFO')
    lines = []
    handler = MMLogger.get_current_instance().handlers[0]
    write = handler.emit
    handler.emit = lambda record: lines.append(record.getMessage())
    yield lines
    handler.emit = write


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of the caches that nobody asked for, empty."""
    folder = tmp_path / 'home'
    folder.mkdir()
    monkeypatch.setenv('AHPCL_CACHE', str(folder))
    return folder


def paths(folder):
    return [str(p) for p in sorted(folder.rglob('*')) if p.is_file()]


def opened(where, files, **options):
    return open_or_build(where, files, **options)[0]


def written(where):
    (file,) = where.glob('images-*')
    return file.name


# ---- the pixels -------------------------------------------------------------


def test_pixels_are_those_of_decoding(folder, tmp_path):
    files = paths(folder)
    cache, places = open_or_build(tmp_path / 'cache', files)
    assert places.tolist() == list(range(len(files)))
    for place, file in enumerate(files):
        image = cache.bgr(place)
        assert np.array_equal(image, read_rgb(file)[:, :, ::-1])
        image[:] = 0  # nobody else's
        assert cache.bgr(place).any()


def test_a_data_set_gives_the_same_items_with_it(folder, tmp_path):
    options = dict(data_root=str(folder), pipeline=[LOAD, PACK])
    options['range'] = 'dtype'  # that of a part of the images is another
    plain = UnlabelledFolder(**options)
    options['decoded_cache'] = str(tmp_path / 'cache')
    cached = UnlabelledFolder(**options)
    few = UnlabelledFolder(**options, limit=4)  # of the same cache
    odd = cached.get_subset([7, 2, 5])
    assert len(list((tmp_path / 'cache').glob('images-*'))) == 1
    # What it reads comes from the cache, not from the files.
    names = [plain.get_data_info(i)['img_path'] for i in range(len(plain))]
    expected = [plain[i]['inputs'][0] for i in range(len(plain))]
    for name in names:
        os.truncate(name, 0)
    for dataset in (cached, few, odd, copy.deepcopy(cached)):
        for i in range(len(dataset)):
            place = names.index(dataset.get_data_info(i)['img_path'])
            item = dataset[i]
            assert torch.equal(item['inputs'][0], expected[place])
            assert item['data_samples'].sample_idx.value.item() == i
    assert torch.equal(odd[0]['inputs'][0], expected[7])


@pytest.mark.parametrize('protocol', ['class', 'image'])
def test_mini_imagenet_with_it(make_mini, protocol):
    options = dict(
        data_root=str(make_mini()), protocol=protocol, pipeline=[LOAD, PACK]
    )
    plain = MiniImageNet(**options)
    cached = MiniImageNet(**options, decoded_cache='auto')
    assert cached.decoded is not None
    assert len(plain) == len(cached)
    for i in range(len(plain)):
        assert torch.equal(plain[i]['inputs'][0], cached[i]['inputs'][0])


def test_images_in_memory_need_none(tmp_path, log):
    dataset = Digits(img_size=8, decoded_cache=str(tmp_path / 'cache'))
    assert dataset.decoded is None
    assert any('decoded_cache is not used' in line for line in log)
    assert not (tmp_path / 'cache').exists()


def test_longer_sides_can_be_reduced(folder, tmp_path):
    Image.fromarray(
        np.repeat(np.arange(32, dtype=np.uint8).reshape(4, 8), 2, 0)[
            :, :, None
        ].repeat(3, axis=2)
    ).save(folder / 'even.png')
    files = paths(folder)
    cache = opened(tmp_path / 'cache', files, max_side=4)
    for place, file in enumerate(files):
        height, width = read_rgb(file).shape[:2]
        found = cache.bgr(place).shape
        assert max(found[:2]) == 4
        assert found[0] / found[1] == pytest.approx(height / width, abs=0.4)
    # A box of 2 x 2 whose rows are equal: the mean of two neighbours.
    even = cache.bgr(files.index(str(folder / 'even.png')))[..., 0]
    pairs = np.arange(32).reshape(4, 4, 2).mean(axis=2)
    assert np.abs(even - pairs).max() <= 0.5
    assert np.array_equal(
        opened(tmp_path / 'whole', files, max_side=10_000).bgr(0),
        read_rgb(files[0])[:, :, ::-1],
    )
    with pytest.raises(ValueError, match=r'decoded_max_side=None.*got 4'):
        open_or_build(tmp_path / 'cache', files)
    with pytest.raises(ValueError, match='max_side of'):
        build_cache(tmp_path / 'cache', files, max_side=0)


def test_a_background_of_its_own_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='white background'):
        UnlabelledFolder(
            data_root=str(folder),
            decoded_cache=str(tmp_path),
            pipeline=[dict(LOAD, background=(0, 0, 0)), PACK],
        )


# ---- who reads it -----------------------------------------------------------


@pytest.mark.parametrize(('start', 'workers'), [('fork', 2), ('spawn', 1)])
def test_workers_share_it(folder, tmp_path, start, workers):
    dataset = UnlabelledFolder(
        data_root=str(folder),
        pipeline=[LOAD, PACK],
        decoded_cache=str(tmp_path / 'cache'),
    )
    expected = [dataset[i]['inputs'][0] for i in range(len(dataset))]
    loader = DataLoader(
        dataset,
        batch_sampler=[[4, 3, 2], [0], [1, 5]],
        num_workers=workers,
        multiprocessing_context=start,
        collate_fn=list,
    )
    found = [item['inputs'][0] for batch in loader for item in batch]
    for one, place in zip(found, [4, 3, 2, 0, 1, 5], strict=True):
        assert torch.equal(one, expected[place])


def test_a_new_build_leaves_readers_alone(folder, tmp_path):
    import pickle

    files, where = paths(folder), tmp_path / 'cache'
    old = opened(where, files)
    expected = old.bgr(3)
    sent = pickle.dumps(old)
    assert len(sent) < 500  # not the index of a million images
    assert np.array_equal(pickle.loads(sent).bgr(3), expected)
    build_cache(where, files[::-1])
    assert np.array_equal(old.bgr(3), expected)
    with pytest.warns(UserWarning, match='built again meanwhile'):
        assert pickle.loads(sent) is None


def test_runs_that_start_together_build_once(folder, tmp_path, monkeypatch):
    import ahpcl.datasets.decoded_cache_open as module

    files, where = paths(folder), tmp_path / 'cache'
    builds = []

    def build(*args, **kwargs):
        builds.append(args)
        build_cache(*args, **kwargs)

    monkeypatch.setattr(module, 'build_cache', build)
    found = []
    runs = [
        threading.Thread(target=lambda: found.append(opened(where, files)))
        for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(builds) == 1
    assert len({cache.index.build for cache in found}) == 1
    assert len(found) == 4


# ---- whether it still holds -------------------------------------------------


def test_a_changed_file_of_the_same_size_is_noticed(folder, tmp_path, log):
    victim = folder / 'plain.bmp'
    pixels = np.zeros((5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(victim)
    files, where = paths(folder), tmp_path / 'cache'
    opened(where, files)
    first, size = written(where), victim.stat().st_size
    pixels[2, 3] = 200
    Image.fromarray(pixels).save(victim)
    assert victim.stat().st_size == size
    cache = opened(where, files)
    assert written(where) != first
    assert any('plain.bmp has changed' in line for line in log)
    place = files.index(str(victim))
    assert np.array_equal(cache.bgr(place), pixels)


def test_a_touched_file_is_not_built_again(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    opened(where, files)
    first = written(where)
    os.utime(files[1], ns=(1, 1))
    opened(where, files)
    assert written(where) == first
    # It is remembered, so it is not read again.
    assert DecodedCache(where).index.mtimes[1] == 1


def test_a_data_set_that_moved_keeps_it(folder, tmp_path, home):
    options = dict(decoded_cache='auto', pipeline=[LOAD, PACK])
    before = UnlabelledFolder(str(folder), **options)
    first = written(before.decoded.folder)
    folder.rename(tmp_path / 'elsewhere')
    after = UnlabelledFolder(str(tmp_path / 'elsewhere'), **options)
    assert len(after) == len(before)
    assert after.decoded.folder == before.decoded.folder
    assert written(after.decoded.folder) == first
    assert len(list(home.glob('decoded/*'))) == 1


def test_files_that_are_gone_are_read_from_it(folder, tmp_path, log):
    files, where = paths(folder), tmp_path / 'cache'
    expected = opened(where, files).bgr(2)
    os.unlink(files[2])
    assert np.array_equal(opened(where, files).bgr(2), expected)
    assert any(f'1 of {len(files)} files are gone' in line for line in log)


def test_other_images_are_refused(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    opened(where, files[1:])
    first = written(where)
    with pytest.raises(ValueError, match=f'without 1 of them, .*{files[0]}'):
        open_or_build(where, files)
    assert written(where) == first
    _, places = open_or_build(where, [files[5], files[3]])
    assert places.tolist() == [4, 2]


def test_auto_has_one_for_every_list(folder, log, home):
    before = sorted(folder.rglob('*'))
    options = dict(data_root=str(folder), decoded_cache='auto')
    number = len(UnlabelledFolder(**options))
    assert len(UnlabelledFolder(**options)) == number
    UnlabelledFolder(**options, limit=3)
    UnlabelledFolder(**options, decoded_max_side=8)
    assert len(list(home.glob(f'decoded/*/{INDEX}'))) == 3
    assert sorted(folder.rglob('*')) == before  # nothing among the images
    built = [line for line in log if 'decodes' in line]
    assert len(built) == 3
    assert any('2 others beside it' in line for line in log)
    said = [line for line in log if 'reduced' in line]
    assert len(said) == 2
    assert 'longer side than 8 px' in said[0]
    assert '15 of 15 images' in said[1]


def test_auto_keeps_two_folders_with_the_same_names_apart(tmp_path, home):
    found = []
    for value in (0, 255):
        root = tmp_path / str(value)
        root.mkdir()
        pixels = np.full((4, 5, 3), value, np.uint8)
        Image.fromarray(pixels).save(root / 'a.bmp')
        dataset = UnlabelledFolder(
            str(root), decoded_cache='auto', pipeline=[LOAD, PACK]
        )
        found.append(dataset.decoded.folder)
        assert (dataset[0]['inputs'][0] == value).all()
    assert found[0] != found[1]


@pytest.mark.parametrize('fault', ['read-only', 'full', 'a file', 'large'])
def test_auto_goes_on_without_a_cache_and_says_why(
    folder, home, log, monkeypatch, fault
):
    options = dict(data_root=str(folder), pipeline=[LOAD, PACK])
    plain = UnlabelledFolder(**options)
    usage = namedtuple('usage', 'total used free')
    if fault == 'read-only':

        def refuse(*_, **__):
            raise OSError(errno.EROFS, 'Read-only file system', str(home))

        monkeypatch.setattr(Path, 'mkdir', refuse)
    elif fault == 'full':
        monkeypatch.setattr(decoded_cache_auto, '_SHARE', 1e9)
        monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1, 1, 1))
    elif fault == 'a file':
        (home / 'decoded').write_text('in the way')
    else:
        monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1, 1, 1000))
    dataset = UnlabelledFolder(**options, decoded_cache='auto')
    assert dataset.decoded is None
    for one, other in zip(dataset, plain, strict=True):
        assert torch.equal(one['inputs'][0], other['inputs'][0])
    (said,) = [line for line in log if 'no decoded cache' in line]
    reason = {
        'read-only': 'Read-only file system',
        'full': 'free for the decoded cache',
        'a file': str(home),
        'large': '10% of the free disk',
    }
    assert reason[fault] in said
    assert 'give a folder as decoded_cache' in said


# Reads every image in batches, within a quarter of what they take decoded.
LARGER_THAN_MEMORY = """
import re, resource, sys
from pathlib import Path
import numpy as np
from mmengine.registry import init_default_scope
from ahpcl.datasets import UnlabelledFolder, collate_batches
init_default_scope('mmselfsup')
pack = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])
images = UnlabelledFolder(
    sys.argv[1],
    decoded_cache='auto',
    pipeline=[dict(type='LoadImageBGR'), pack],
)
size = images.decoded.index.pixel_bytes
status = Path('/proc/self/status').read_text()
used = re.search(r'VmData:\\s+(\\d+) kB', status)
limit = 1024 * int(used[1]) + size // 4
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones(size, np.uint8)
except MemoryError:
    print('too large for the memory')
for start in range(0, len(images), 2):
    batch = collate_batches(images.__getitems__([start, start + 1]))
    print(*batch['inputs'][0][:, 0, 0, 0].tolist())
"""


@pytest.mark.skipif(
    not Path('/proc/self/status').exists(), reason='limits memory on Linux'
)
def test_a_data_set_may_be_larger_than_the_memory(tmp_path, home):
    (tmp_path / 'images').mkdir()
    for value in range(24):
        # 3 MB each, of two sizes.
        picture = Image.new('RGB', (1000, 990 + value % 2), (value,) * 3)
        picture.save(tmp_path / 'images' / f'{value:02}.png')
    program = tmp_path / 'read.py'
    program.write_text(LARGER_THAN_MEMORY)
    done = processes.run(program, tmp_path / 'images', folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first, *rows = [line for line in lines if ' INFO ' not in line]
    assert first == 'too large for the memory'
    assert [int(v) for row in rows for v in row.split()] == list(range(24))


def test_auto_builds_a_damaged_one_again(folder, home, log):
    options = dict(data_root=str(folder), decoded_cache='auto')
    where = UnlabelledFolder(**options).decoded.folder
    os.truncate(where / written(where), 100)
    dataset = UnlabelledFolder(**options)
    assert np.array_equal(
        dataset.decoded.bgr(0), read_rgb(paths(folder)[0])[:, :, ::-1]
    )
    assert any('truncated' in line and 'again' in line for line in log)


def test_a_worker_goes_on_where_the_cache_has_vanished(folder, tmp_path):
    import pickle

    options = dict(
        data_root=str(folder), pipeline=[LOAD, PACK], decoded_max_side=6
    )
    cached = UnlabelledFolder(**options, decoded_cache=str(tmp_path / 'cache'))
    expected = [item['inputs'][0] for item in cached]
    sent = pickle.dumps(cached)
    shutil.rmtree(tmp_path / 'cache')
    with pytest.warns(UserWarning, match='decodes every image'):
        dataset = pickle.loads(sent)
    assert dataset.image_block([0, 1]) is None
    for item, image in zip(dataset, expected, strict=True):
        assert torch.equal(item['inputs'][0], image)


def test_a_file_that_is_not_in_the_list_is_reduced_alike(folder, tmp_path):
    options = dict(data_root=str(folder), pipeline=[LOAD, PACK])
    options.update(decoded_max_side=6)
    cached = UnlabelledFolder(**options, decoded_cache=str(tmp_path / 'cache'))
    for index, item in enumerate(cached):
        path = cached.get_data_info(index)['img_path']
        alone = cached.prepare_file(dict(img_path=path, sample_idx=0))
        assert torch.equal(alone['inputs'][0], item['inputs'][0])
        assert max(item['inputs'][0].shape) == 6


def test_auto_writes_nothing_where_its_own_folder_is_among_the_images(
    folder, log, monkeypatch
):
    monkeypatch.setenv('AHPCL_CACHE', str(folder / 'deep' / 'cache'))
    dataset = UnlabelledFolder(str(folder), decoded_cache='auto')
    assert dataset.decoded is None
    assert not (folder / 'deep' / 'cache').exists()
    assert any('set AHPCL_CACHE' in line for line in log)


def test_a_folder_among_the_images_is_refused(folder, home):
    with pytest.raises(ValueError, match='outside of the data'):
        UnlabelledFolder(
            str(folder), decoded_cache=str(folder / 'inside' / 'cache')
        )
    assert not (folder / 'inside').exists()


def test_the_cache_of_version_0_1_is_mentioned(folder, home, log):
    (folder / '.decoded').mkdir()
    UnlabelledFolder(str(folder), decoded_cache='auto')
    assert any('.decoded' in line and 'delete it' in line for line in log)


def test_truncated_pixels_are_named_with_the_remedy(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    opened(where, files)
    pixels = where / written(where)
    whole = pixels.read_bytes()
    os.truncate(pixels, 100)
    with pytest.raises(ValueError, match=r'truncated; delete the folder'):
        open_or_build(where, files)
    pixels.write_bytes(whole[:-16] + b'x' * 16)
    with pytest.raises(ValueError, match='pixels of build'):
        open_or_build(where, files)
    pixels.unlink()
    with pytest.raises(ValueError, match=f'in {pixels}, got 0'):
        open_or_build(where, files)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_mutated_index_is_refused(folder, data):
    where, good = folder.parent / 'cache', folder.parent / 'good'
    if not good.exists():
        build_cache(where, paths(folder))
        shutil.copy(where / INDEX, good)
    content = bytearray(good.read_bytes())
    kind = data.draw(st.sampled_from(['flip', 'cut', 'more']))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == 'flip':
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == 'cut':
        del content[place:]
    else:
        content += b'x' * (place % 50 + 1)
    (where / INDEX).write_bytes(bytes(content))
    with pytest.raises(ValueError, match='delete the folder'):
        DecodedCache(where)


@pytest.mark.parametrize(
    ('field', 'value', 'says'),
    [
        ('offsets', np.array([0, 5]), 'offsets is int64'),
        ('shapes', np.full((15, 2), -3, np.int32), 'do not fit'),
        ('names', np.zeros(15, np.int64), 'names is int64'),
        ('names', np.array(7, np.uint64), r'names is uint64 \(\)'),
        ('offsets', np.array(0), r'offsets is int64 \(\)'),
        ('max_side', [1, 2], r'max_side is int64 \(2,\)'),
        ('max_side', 1j, 'max_side is complex128'),
        ('hashes', np.zeros((15, 3), np.uint8), 'hashes is uint8'),
    ],
)
def test_an_index_that_does_not_fit_itself(
    folder, tmp_path, field, value, says
):
    where = tmp_path / 'cache'
    build_cache(where, paths(folder))
    index = CacheIndex.read(where)
    assert len(index) == 15
    setattr(index, field, value)
    index.write(where)
    with pytest.raises(ValueError, match=says):
        DecodedCache(where)


@pytest.mark.parametrize('head', [b"{'descr': (", b"{'descr'", b'x\n('])
def test_a_signed_index_of_other_arrays(folder, tmp_path, head):
    """The checksum is right; what is behind it is no array."""
    where = tmp_path / 'cache'
    build_cache(where, paths(folder))
    index = where / INDEX
    content = index.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content[32:])) as good:
        array = good.read('max_side.npy')
        start = array.index(b'{')
        array = array[:start] + head.ljust(118 - start) + array[118:]
        with zipfile.ZipFile(buffer, 'w') as bad:
            for name in good.namelist():
                bad.writestr(
                    name, array if 'side' in name else good.read(name)
                )
    changed = buffer.getvalue()
    index.write_bytes(content[:16] + digest(changed) + changed)
    with pytest.raises(ValueError, match='delete the folder'):
        DecodedCache(where)


def test_no_pickle_is_executed(folder, tmp_path):
    where = tmp_path / 'cache'
    build_cache(where, paths(folder))
    head = (where / INDEX).read_bytes()[:16]
    np.savez(tmp_path / 'evil.npz', max_side=np.array([{}], dtype=object))
    content = (tmp_path / 'evil.npz').read_bytes()
    (where / INDEX).write_bytes(head + digest(content) + content)
    with pytest.raises(ValueError, match='allow_pickle=False'):
        DecodedCache(where)


# ---- the build --------------------------------------------------------------


def test_a_full_disk_is_found_before_the_work(folder, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1, 1, 2**20))
    with pytest.raises(OSError, match=r'64 MiB free .*, got 1 MiB; give'):
        open_or_build(tmp_path / 'cache', paths(folder))
    assert not list((tmp_path / 'cache').glob('i*'))


def test_what_is_needed_is_what_is_written(folder, tmp_path, monkeypatch):
    import ahpcl.datasets.decoded_cache_build as module

    monkeypatch.setattr(module, '_SPARE', 0)
    usage = namedtuple('usage', 'total used free')
    for number, max_side in enumerate([None, 7]):
        where = tmp_path / str(number)
        build_cache(where, paths(folder), max_side=max_side)
        size = CacheIndex.read(where).offsets[-1] + 64 * 15
        for free, fits in [(size, True), (size - 1, False)]:
            found = usage(1, 1, int(free))
            monkeypatch.setattr(shutil, 'disk_usage', lambda _, u=found: u)
            if fits:
                build_cache(where, paths(folder), max_side=max_side)
                continue
            with pytest.raises(OSError, match='free for the decoded cache'):
                build_cache(where, paths(folder), max_side=max_side)


def test_a_build_that_stops_leaves_no_cache(folder, tmp_path):
    where = tmp_path / 'cache'
    files = [*paths(folder), str(folder / 'gone.png')]
    with pytest.raises(ValueError, match=r'gone\.png: no such file'):
        build_cache(where, files)
    assert not list(where.iterdir())
    (folder / 'gone.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'gone\.png: not an image'):
        open_or_build(where, files)
    assert not list(where.glob('i*'))


def test_what_a_killed_build_left_is_no_cache(folder, tmp_path):
    files, where = paths(folder), tmp_path / 'cache'
    cache = opened(where, files)
    name = f'images-{"0" * 32}'
    (where / INDEX).unlink()
    (where / f'{name}.part').write_bytes(b'half')
    (where / f'{name}.bin').write_bytes(b'pixels whose index is not there')
    again = opened(where, files)
    assert again.index.build != cache.index.build
    assert [f.name for f in where.glob('images-*')] == [written(where)]


def test_a_lazy_data_set_says_it_again(folder, tmp_path):
    (tmp_path / 'cache').mkdir()
    (tmp_path / 'cache' / INDEX).write_bytes(b'nothing')
    dataset = UnlabelledFolder(
        str(folder), decoded_cache=str(tmp_path / 'cache'), lazy_init=True
    )
    for _ in range(2):
        with pytest.raises(ValueError, match='index of a decoded cache'):
            len(dataset)
