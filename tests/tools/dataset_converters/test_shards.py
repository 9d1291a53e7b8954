"""Tar shards, zip archives and Parquet files become folders of images."""

import io
import json
import os
import sys
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import UnlabelledFolder
from tools_modules import tool_modules


@pytest.fixture(scope='module')
def tool():
    names = 'shards', 'shard_samples', 'archives'
    with tool_modules('dataset_converters', *names) as loaded:
        yield loaded['shards']


@pytest.fixture
def run(tool, capsys):
    """Run the tool in this process; returns (status, stdout, stderr)."""

    def call(*args):
        status = tool.main([str(a) for a in args])
        return SimpleNamespace(
            **dict(zip(('out', 'err'), capsys.readouterr(), strict=True)),
            status=status,
        )

    return call


def picture(seed, kind='PNG', size=(7, 5)):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_tar(path, members, mode='w'):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def shard(number, images=6):
    """Members of a WebDataset shard, and its images."""
    members = []
    for place in range(images):
        key = f'{place:03d}'
        label = str((number + place) % 3)
        members += [
            (f'{key}.png', picture(100 * number + place)),
            (f'{key}.cls', f'{label}\n'.encode()),
            (f'{key}.txt', b'a caption'),
        ]
    return members


def tree(folder):
    """All files below a folder with their content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def expected_of_shards(numbers):
    return {
        f'{(number + place) % 3:05d}/birds-{number:04d}_{place:03d}.png': (
            picture(100 * number + place)
        )
        for number in numbers
        for place in range(6)
    }


# ---- tar -----------------------------------------------------------------


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:xz'])
def test_shards_of_webdataset(run, tmp_path, mode):
    ending = f'.tar{mode[1:].replace(":", ".")}'
    for number in range(3):
        write_tar(
            tmp_path / f'birds-{number:04d}{ending}', shard(number), mode
        )
    pattern = f'{tmp_path}/birds-{{0000..0002}}{ending}'
    done = run(pattern, tmp_path / 'out')
    assert done.status == 0, done.err
    assert tree(tmp_path / 'out') == expected_of_shards(range(3))
    assert '18 images in 3 folders' in done.out
    assert '18 .txt' in done.out
    dataset = UnlabelledFolder(str(tmp_path / 'out'), labels_from_folders=True)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [6, 6, 6]
    assert not list(tmp_path.glob('.*'))


def test_labels_before_after_in_json_or_none(run, tmp_path):
    members = [
        ('a.cls', b'11'),
        ('a.left.PNG', picture(0)),
        ('a.right.png', picture(1)),
        ('b.jpg', picture(2, 'JPEG')),
        ('b.json', b'{"label": "n\xc3\xa4rrisch/x", "width": 7}'),
        ('c.png', picture(3)),
        ('c.json', b'{"caption": "none", "label": true}'),
        ('d', picture(4, 'BMP')),
        ('e.png', picture(5)),
        ('e.cls', b'.hidden'),
    ]
    write_tar(tmp_path / 's.tar', members)
    done = run(tmp_path / 's.tar', tmp_path / 'out')
    assert done.status == 0, done.err
    assert tree(tmp_path / 'out') == {
        '00011/a.left.PNG': picture(0),
        '00011/a.right.png': picture(1),
        'närrisch%2Fx/b.jpg': picture(2, 'JPEG'),
        'c.png': picture(3),
        'd.bmp': picture(4, 'BMP'),
        '%2Ehidden/e.png': picture(5),
    }
    assert '2 of them' in done.out
    assert len(UnlabelledFolder(str(tmp_path / 'out'))) == 6
    run(tmp_path / 's.tar', tmp_path / 'flat', '--no-labels')
    assert len(list((tmp_path / 'flat').iterdir())) == 6


def test_names_with_dots_need_no_memory(run, tool, tmp_path):
    members = [(f'scan.{n:03d}.png', picture(n)) for n in range(40)]
    write_tar(tmp_path / 'scan.tar', members)
    assert run(tmp_path / 'scan.tar', tmp_path / 'out').status == 0
    assert tree(tmp_path / 'out') == dict(members)
    write_tar(tmp_path / 'late.tar', [*members, ('scan.cls', b'1')])
    done = run(tmp_path / 'late.tar', tmp_path / 'late')
    assert 'before scan.cls' in done.err


def test_names_of_other_bytes(run, tmp_path):
    name = os.fsdecode(b'gr\xfcn.png')
    write_tar(tmp_path / 's.tar', [(f'v\u00f6gel/{name}', picture(0))])
    assert run(tmp_path / 's.tar', tmp_path / 'out').status == 0
    assert [os.fsencode(p.name) for p in (tmp_path / 'out').iterdir()] == [
        'vögel'.encode()
    ]
    assert (tmp_path / 'out' / 'vögel' / name).is_file()


# ---- zip -----------------------------------------------------------------


def test_a_zip_of_class_folders(run, tmp_path):
    members = {
        'my set/cat/1.png': picture(0),
        'my set/dog/1.png': picture(1),
        'my set/dog/old/2.png': picture(2),
    }
    junk = {
        '__MACOSX/my set/cat/._1.png': b'x',
        'my set/.DS_Store': b'x',
        'my set/list.csv': b'x',
    }
    path = write_zip(tmp_path / 'a.zip', (members | junk).items())
    done = run(path, tmp_path / 'out')
    assert done.status == 0, done.err
    assert tree(tmp_path / 'out') == {
        name.removeprefix('my set/'): data for name, data in members.items()
    }
    assert '2 hidden, 1 .csv' in done.out
    assert 'left out the folder my set around all' in done.out
    # Two archives with one name inside: both are there.
    write_zip(tmp_path / 'b.zip', members.items())
    done = run(path, tmp_path / 'b.zip', tmp_path / 'both')
    assert done.status == 0, done.err
    assert sorted(tree(tmp_path / 'both'))[:2] == [
        'cat/a_1.png',
        'cat/b_1.png',
    ]


# ---- Parquet -------------------------------------------------------------


def write_parquet(path, columns, classes=None, **options):
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if classes:
        features = {
            name: {'names': names, '_type': 'ClassLabel'}
            for name, names in classes.items()
        }
        text = json.dumps({'info': {'features': features}})
        table = table.replace_schema_metadata({'huggingface': text})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **options)
    return path


def cells(count, paths=True):
    return [
        {'bytes': picture(n), 'path': f'some/{n}.png' if paths else None}
        for n in range(count)
    ]


def test_parquet_of_hugging_face(run, tmp_path):
    for part in range(2):
        write_parquet(
            tmp_path / f'data/train-{part:05d}-of-00002.parquet',
            {'image': cells(100), 'label': [1, 0, -1, None] * 25},
            {'label': ['tench, fish', 'gold']},
            row_group_size=30,
        )
    write_parquet(
        tmp_path / 'data/test-00000-of-00001.parquet',
        {'image': cells(3), 'label': [0, 0, 0]},
    )
    done = run(tmp_path / 'data', tmp_path / 'out')
    assert done.status == 1
    assert '1 of test, 2 of train; choose with --split' in done.err
    done = run(tmp_path / 'data', tmp_path / 'out', '--split', 'train')
    assert done.status == 0, done.err
    found = tree(tmp_path / 'out')
    assert len(found) == 200
    name = 'train-00001-of-00002_97.png'
    assert found[f'tench, fish/{name}'] == picture(97)
    assert sum(key.startswith('gold/') for key in found) == 50
    assert sum('/' not in key for key in found) == 100


def test_columns_of_other_names(run, tmp_path):
    path = write_parquet(
        tmp_path / 'x.parquet',
        {
            'img': cells(4, paths=False),
            'mask': cells(4),
            'fine': [0, 1, 2, 3],
            'coarse': [0, 0, 1, 1],
        },
        {'fine': list('abcd'), 'coarse': list('AB')},
    )
    done = run(path, tmp_path / 'out')
    assert 'fine, coarse; choose with --label-column' in done.err
    done = run(path, tmp_path / 'out', '--label-column', 'coarse')
    assert done.status == 0, done.err
    assert tree(tmp_path / 'out')['B/00000003.png'] == picture(3)
    options = ['--label-column', 'fine', '--image-column', 'mask']
    assert run(path, tmp_path / 'm', *options).status == 0
    assert tree(tmp_path / 'm')['d/3.png'] == picture(3)
    done = run(path, tmp_path / 'n', '--image-column', 'fine')
    assert 'mask (struct<bytes: binary, path: string>)' in done.err


def test_parquet_without_bytes_or_pyarrow(run, tmp_path, monkeypatch):
    path = write_parquet(
        tmp_path / 'x.parquet',
        {
            'image': [{'bytes': picture(0), 'path': 'a.png'}]
            + [{'bytes': None, 'path': 'b.png'}]
        },
    )
    done = run(path, tmp_path / 'out')
    assert 'row 1 of' in done.err
    assert "its path alone: 'b.png'" in done.err
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    done = run(path, tmp_path / 'other')
    assert (done.status, 'pip install "ahpcl[export]"' in done.err) == (
        1,
        True,
    )


# ---- again ---------------------------------------------------------------


def test_a_second_call_goes_on(run, tool, tmp_path, monkeypatch):
    for number in range(3):
        write_tar(tmp_path / f'birds-{number:04d}.tar', shard(number))
    out = tmp_path / 'out'
    taken = []
    take = tool._Writer.take

    def stop(self, sample):
        if len(taken) == 9:
            raise KeyboardInterrupt
        taken.append(sample.name)
        take(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(tool._Writer, 'take', stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, out)
    assert not out.exists()
    partial = tmp_path / '.out.partial'
    (partial / 'images' / '00000' / 'x.png.1.part').write_bytes(b'half')
    half = partial / 'images' / '00000' / 'birds-0001_002.png'
    half.write_bytes(half.read_bytes()[:9])  # the disk was full
    done = run(tmp_path, out, '--number')
    assert 'same shards and options' in done.err
    taken.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            tool._Writer,
            'take',
            lambda self, sample: (
                taken.append(self.shard.name),
                take(self, sample),
            ),
        )
        done = run(tmp_path, out)
    assert done.status == 0, done.err
    assert set(taken) == {'birds-0001.tar', 'birds-0002.tar'}
    assert tree(out) == expected_of_shards(range(3))
    assert not partial.exists()
    assert 'still to be made' in run(tmp_path, out).err


def test_what_changed_meanwhile_is_noticed(run, tmp_path):
    write_tar(tmp_path / 'a.tar', shard(0))
    path = write_tar(tmp_path / 'b.tar', [*shard(1), ('x.png', b'no image')])
    out = tmp_path / 'out'
    assert run(tmp_path, out).status == 1
    write_tar(path, shard(1))
    assert 'remove it to start afresh' in run(tmp_path, out).err


def test_a_lost_file_is_noticed(run, tmp_path):
    write_tar(tmp_path / 'a.tar', shard(0))
    path = write_tar(tmp_path / 'b.tar', [*shard(1), ('x.png', b'no image')])
    out = tmp_path / 'out'
    options = ['--skip-unreadable']
    good = path.read_bytes()
    stamp = os.stat(path).st_mtime_ns
    path.write_bytes(bytes(len(good)))
    os.utime(path, ns=(stamp, stamp))
    assert run(tmp_path, out, *options).status == 1
    path.write_bytes(good)
    os.utime(path, ns=(stamp, stamp))
    lost = tmp_path / '.out.partial' / 'images' / '00000' / 'a_000.png'
    lost.unlink()
    done = run(tmp_path, out, *options)
    assert 'a_000.png' in done.err
    assert not out.exists()


# ---- damaged and hostile -------------------------------------------------


def cases(tmp_path):
    """Name of a bad shard, what to say of it."""
    good = shard(0)
    whole = write_tar(tmp_path / 'whole.tar', good).read_bytes()
    (tmp_path / 'cut.tar').write_bytes(whole[:2000])
    (tmp_path / 'zeros.tar').write_bytes(bytes(4096))
    (tmp_path / 'empty.tar').write_bytes(b'')
    (tmp_path / 'page.tar').write_bytes(b'<!doctype html>' + b' ' * 600)
    (tmp_path / 'page.parquet').write_bytes(b'<!doctype html>' + b' ' * 600)
    (tmp_path / 'cut.zip').write_bytes(
        write_zip(tmp_path / 'whole.zip', good).read_bytes()[:900]
    )
    write_tar(tmp_path / 'nothing.tar', [('a.txt', b'x'), ('b.txt', b'x')])
    write_tar(tmp_path / 'out.tar', [('../../x.png', picture(0))])
    write_tar(tmp_path / 'root.tar', [('/etc/x.png', picture(0))])
    write_zip(tmp_path / 'out.zip', [('a/../../x.png', picture(0))])
    write_tar(tmp_path / 'twice.tar', [('a.png', picture(n)) for n in (0, 1)])
    write_tar(
        tmp_path / 'case.tar',
        [('x/A.png', picture(0)), ('x/a.PNG', picture(1))],
    )
    write_tar(tmp_path / 'no_image.tar', [('a.png', b'GIF8'), *good])
    write_tar(tmp_path / 'no_bytes.tar', [('a.png', b''), *good])
    write_tar(tmp_path / 'bad_json.tar', [('a.json', b'{'), *good])
    write_tar(tmp_path / 'bad_label.tar', [('a.cls', b'\xff'), *good])
    black = io.BytesIO()
    Image.new('RGB', (3000, 3000)).save(black, 'BMP')
    write_zip(
        tmp_path / 'bomb.zip',
        [(f'{n}.bmp', black.getvalue()) for n in range(3)],
    )
    link = tarfile.TarInfo('a.png')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    with tarfile.open(tmp_path / 'link.tar', 'w') as archive:
        archive.addfile(link)
    return {
        'cut.tar': 'complete tar',
        'zeros.tar': 'zeros',
        'empty.tar': 'an empty file',
        'page.tar': 'tar',
        'page.parquet': 'a web page',
        'cut.zip': 'complete zip',
        'nothing.tar': '2 .txt',
        'out.tar': '../../x.png',
        'root.tar': '/etc/x.png',
        'out.zip': 'a/../../x.png',
        'twice.tar': 'a.png',
        'case.tar': 'x/A.png',
        'no_image.tar': '4 bytes that are no image',
        'no_bytes.tar': 'no bytes',
        'bad_json.tar': 'a.json',
        'bad_label.tar': 'a.cls',
        'bomb.zip': 'refused',
        'link.tar': 'link or device',
    }


def test_bad_shards_are_named(run, tmp_path):
    for number, (name, text) in enumerate(cases(tmp_path).items()):
        out = tmp_path / f'o{number}'
        done = run(tmp_path / name, out)
        assert (done.status, name in done.err) == (1, True), (name, done.err)
        assert text in done.err, (name, done.err)
        assert '\n' not in done.err.strip()
        assert not out.exists()
    assert not (tmp_path.parent / 'x.png').exists()


def test_remedies_work(run, tmp_path):
    cases(tmp_path)
    for name in ('twice', 'case'):
        done = run(tmp_path / f'{name}.tar', tmp_path / name)
        assert '--number' in done.err
        done = run(tmp_path / f'{name}.tar', tmp_path / name, '--number')
        assert done.status == 0, done.err
        found = sorted(tree(tmp_path / name).values())
        assert found == sorted([picture(0), picture(1)])
    # After a shard that is done, too.
    (tmp_path / 'a').mkdir()
    write_tar(tmp_path / 'a' / '1.tar', shard(0))
    (tmp_path / 'no_image.tar').rename(tmp_path / 'a' / '2.tar')
    done = run(tmp_path / 'a', tmp_path / 'skip')
    assert '--skip-unreadable' in done.err
    done = run(tmp_path / 'a', tmp_path / 'skip', '--skip-unreadable')
    assert done.status == 0, done.err
    assert '1 no images' in done.out
    assert len(tree(tmp_path / 'skip')) == 12


def test_a_damaged_parquet_file(run, tmp_path):
    path = write_parquet(
        tmp_path / 'x.parquet',
        {'image': cells(64)},
        row_group_size=16,
        compression='NONE',
    )
    raw = bytearray(path.read_bytes())
    (tmp_path / 'cut.parquet').write_bytes(raw[: len(raw) // 2])
    middle = len(raw) // 3
    raw[middle : middle + 4000] = bytes(4000)
    (tmp_path / 'bad.parquet').write_bytes(raw)
    for name in ('cut', 'bad'):
        done = run(tmp_path / f'{name}.parquet', tmp_path / name)
        assert done.status == 1
        assert f'{name}.parquet' in done.err


def test_shards_that_cannot_be_told_apart(run, tmp_path):
    write_tar(tmp_path / 'a' / 's.tar', shard(0))
    write_tar(tmp_path / 'b' / 'S.tar', shard(1))
    assert 'different names' in run(tmp_path, tmp_path / 'out').err
    assert 'no such file' in run(tmp_path / 'x.tar', tmp_path / 'out').err
    (tmp_path / 'x.rar').write_bytes(b'Rar!')
    assert '.parquet' in run(tmp_path / 'x.rar', tmp_path / 'out').err
    (tmp_path / 'none').mkdir()
    assert 'got none' in run(tmp_path / 'none', tmp_path / 'out').err


def test_flipped_bytes_are_one_line_or_images(run, tmp_path):
    write_tar(tmp_path / 'a.tar', shard(0, 3))
    write_tar(tmp_path / 'a.tar.gz', shard(0, 3), 'w:gz')
    write_zip(tmp_path / 'a.zip', shard(0, 3))
    write_parquet(tmp_path / 'a.parquet', {'image': cells(4)})
    rng = np.random.default_rng(0)
    for name in ('a.tar', 'a.tar.gz', 'a.zip', 'a.parquet'):
        whole = (tmp_path / name).read_bytes()
        refused = 0
        for number in range(25):
            raw = bytearray(whole)
            for place in rng.integers(0, len(raw), 4):
                raw[place] = rng.integers(256)
            bad = tmp_path / f'{number}_{name}'
            bad.write_bytes(raw[: rng.integers(len(raw) // 2, len(raw) + 1)])
            done = run(bad, tmp_path / f'out_{number}_{name}')
            refused += done.status
            if done.status:
                assert bad.name in done.err
                assert done.err.startswith('error: expected')
        assert refused > 3
