import csv
import importlib
import io
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import MiniImageNet

TOOLS = Path(__file__).resolve().parents[3] / 'tools' / 'dataset_converters'


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process; returns (status, stdout, stderr)."""
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = importlib.import_module('mini_imagenet')

    def call(*args):
        status = tool.main([str(a) for a in args])
        return status, *capsys.readouterr()

    yield call
    for name in ('mini_imagenet', 'archives'):
        sys.modules.pop(name, None)


@pytest.fixture
def imagenet(tmp_path, make_image):
    """A folder of three classes, numbered in no tidy way."""
    root = tmp_path / 'ilsvrc'
    for label in ('n01', 'n02', 'n03'):
        for number in (10026, 7, 9999):
            make_image(
                root / 'train' / label / f'{label}_{number}.JPEG',
                seed=number,
                size=(60, 40),
            )
    return root


def write_splits(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in rows.items():
        with open(folder / f'{split}.csv', 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(('filename', 'label'))
            writer.writerows((name, name[:3]) for name in names)
    return folder


ROWS = {
    'train': ['n0100000001.jpg', 'n0100000003.jpg'],
    'val': ['n0200000002.jpg'],
    'test': ['n03_9999.JPEG'],
}


@pytest.fixture
def split_dir(tmp_path):
    return write_splits(tmp_path / 'splits', ROWS)


def left_over(out):
    return out.parent / f'.{out.name}.partial'


def test_help_as_a_script():
    done = subprocess.run(
        [sys.executable, TOOLS / 'mini_imagenet.py', '--help'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '--split-dir' in done.stdout


def test_from_imagenet(run, imagenet, split_dir, tmp_path):
    out = tmp_path / 'deep' / 'mini'
    status, text, _ = run(
        imagenet, out, '--split-dir', split_dir, '--size', 24
    )
    assert status == 0
    assert 'train: 2 images, 1 classes of 2' in text
    assert sorted(p.name for p in out.iterdir()) == [
        'images',
        'test.csv',
        'train.csv',
        'val.csv',
    ]
    assert not left_over(out).exists()
    dataset = MiniImageNet(
        str(out), split='all', pipeline=[{'type': 'LoadImageBGR'}]
    )
    assert len(dataset) == 4
    assert dataset[0]['img'].shape == (24, 24, 3)
    # Image 1 by number is 7, image 3 is 10026.
    for written, origin in (
        ('n0100000001.jpg', 'n01_7'),
        ('n0100000003.jpg', 'n01_10026'),
        ('n0200000002.jpg', 'n02_9999'),
        ('n03_9999.JPEG', 'n03_9999'),
    ):
        source = imagenet / 'train' / origin[:3] / f'{origin}.JPEG'
        expected = Image.open(source).resize((24, 24), Image.LANCZOS)
        got = Image.open(out / 'images' / written)
        difference = np.asarray(got, float) - np.asarray(expected, float)
        assert np.abs(difference).mean() < 12


def test_size_0_keeps_files(run, imagenet, split_dir, tmp_path):
    out = tmp_path / 'mini'
    assert (
        run(imagenet / 'train', out, '--split-dir', split_dir, '--size', 0)[0]
        == 0
    )
    assert (out / 'images' / 'n03_9999.JPEG').read_bytes() == (
        imagenet / 'train' / 'n03' / 'n03_9999.JPEG'
    ).read_bytes()


def fails(run, *args, message, out):
    status, _, text = run(*args)
    assert status == 1
    assert message in text
    assert not out.exists()


def test_imagenet_errors(run, imagenet, split_dir, tmp_path):
    out = tmp_path / 'mini'
    fails(run, imagenet, out, message='expected --split-dir', out=out)
    fails(
        run,
        tmp_path / 'none',
        out,
        message='which does not exist',
        out=out,
    )
    bad = write_splits(tmp_path / 's1', ROWS | {'val': ['n0200000004.jpg']})
    fails(
        run,
        imagenet,
        out,
        '--split-dir',
        bad,
        message='image number 4 of class n02, got a folder with 3',
        out=out,
    )


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ({'val': ['n0900000001.jpg']}, 'expected images of class n09'),
        ({'val': ['n02-x.jpg']}, 'expected n02-x.jpg to be a file'),
        ({'val': ['n0100000001.jpg']}, 'in train.csv and val.csv'),
    ],
)
def test_split_errors(run, imagenet, tmp_path, rows, message):
    out = tmp_path / 'mini'
    bad = write_splits(tmp_path / 's', ROWS | rows)
    fails(run, imagenet, out, '--split-dir', bad, message=message, out=out)


def test_class_name_that_is_a_path(run, imagenet, tmp_path):
    out = tmp_path / 'mini'
    bad = write_splits(tmp_path / 's', ROWS)
    (bad / 'val.csv').write_text('filename,label\na.jpg,../../n01\n')
    fails(
        run,
        imagenet,
        out,
        '--split-dir',
        bad,
        message="expected a plain name, got '../../n01'",
        out=out,
    )


def test_broken_image_and_taking_up_again(run, imagenet, split_dir, tmp_path):
    out = tmp_path / 'mini'
    culprit = imagenet / 'train' / 'n02' / 'n02_9999.JPEG'
    whole = culprit.read_bytes()
    culprit.write_bytes(whole[:400])
    args = (imagenet, out, '--split-dir', split_dir, '--size', 24)
    fails(run, *args, message='n02_9999.JPEG', out=out)
    early = left_over(out) / 'images' / 'n0100000001.jpg'
    stamp = early.stat().st_mtime_ns
    # Other arguments do not mix with what is there.
    fails(
        run,
        imagenet,
        out,
        '--split-dir',
        split_dir,
        '--size',
        30,
        message='remove it to start afresh',
        out=out,
    )
    culprit.write_bytes(whole)
    assert run(*args)[0] == 0
    kept = out / 'images' / 'n0100000001.jpg'
    assert kept.stat().st_mtime_ns == stamp
    assert len(MiniImageNet(str(out), split='all')) == 4


def test_existing_folder_is_left_alone(run, imagenet, split_dir, tmp_path):
    out = tmp_path / 'mini'
    out.mkdir()
    (out / 'mine').write_text('x')
    status, _, text = run(imagenet, out, '--split-dir', split_dir)
    assert status == 1
    assert 'which exists' in text
    assert [p.name for p in out.iterdir()] == ['mine']


# Archives.

NAMES = {
    split: [n[:3] + '1.png' for n in rows[:1]] for split, rows in ROWS.items()
}


def picture(size=12):
    buffer = io.BytesIO()
    Image.new('RGB', (size, size), 'red').save(buffer, 'PNG')
    return buffer.getvalue()


def members(tmp_path):
    """Name to bytes of a usual archive."""
    folder = write_splits(tmp_path / 'in', NAMES)
    found = {f'mini/{p.name}': p.read_bytes() for p in folder.iterdir()}
    for names in NAMES.values():
        for name in names:
            found[f'mini/images/{name}'] = picture()
    found['mini/images/._n011.png'] = b'resource fork'
    found['mini/images/unused.png'] = picture()
    found['mini/README.txt'] = b'hello'
    return found


def pack(path, content):
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, 'w:gz') as archive:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize('ending', ['tar.gz', 'zip'])
def test_from_archive(run, tmp_path, ending):
    source = pack(tmp_path / f'mini.{ending}', members(tmp_path))
    out = tmp_path / 'mini'
    assert run(source, out, '--size', 12)[0] == 0
    assert sorted(p.name for p in (out / 'images').iterdir()) == [
        'n011.png',
        'n021.png',
        'n031.png',
    ]
    assert (out / 'images' / 'n011.png').read_bytes() == picture()
    assert len(MiniImageNet(str(out), split='all')) == 3


@pytest.mark.parametrize('ending', ['tar.gz', 'zip'])
def test_split_files_from_elsewhere(run, tmp_path, ending):
    content = {
        name: data
        for name, data in members(tmp_path).items()
        if not name.endswith('.csv')
    }
    source = pack(tmp_path / f'mini.{ending}', content)
    out = tmp_path / 'mini'
    fails(run, source, out, message='give --split-dir', out=out)
    again = tmp_path / 'again'
    assert run(source, again, '--split-dir', tmp_path / 'in')[0] == 0
    assert Image.open(again / 'images' / 'n011.png').size == (84, 84)


@pytest.mark.parametrize('ending', ['tar.gz', 'zip'])
@pytest.mark.parametrize('name', ['../evil.png', '/evil.png', 'a/../../e.csv'])
def test_paths_that_lead_out(run, tmp_path, ending, name):
    source = pack(
        tmp_path / f'x.{ending}', {name: picture()} | members(tmp_path)
    )
    out = tmp_path / 'deep' / 'mini'
    before = set(tmp_path.rglob('*'))
    fails(run, source, out, message='refused', out=out)
    new = set(tmp_path.rglob('*')) - before
    assert all(
        left_over(out) in (p, *p.parents) or p == out.parent for p in new
    )


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links(run, tmp_path, kind):
    source = tmp_path / 'x.tar'
    with tarfile.open(source, 'w') as archive:
        info = tarfile.TarInfo('images/n011.png')
        info.type, info.linkname = kind, '/etc/passwd'
        archive.addfile(info)
    out = tmp_path / 'mini'
    fails(run, source, out, message='a link or device', out=out)


def test_a_tar_whose_first_name_looks_packed(run, tmp_path):
    archives = sys.modules['archives']
    path, found = tmp_path / 'a.tar', {}
    with tarfile.open(path, 'w') as tar:
        member = tarfile.TarInfo('BZh9.txt')
        member.size = 3
        tar.addfile(member, io.BytesIO(b'abc'))
    archives.read_archive(
        path, lambda name, read: found.update({name: read()})
    )
    assert found == {'BZh9.txt': b'abc'}


@pytest.mark.parametrize('ending', ['tar', 'gz', 'bz2', 'xz'])
@pytest.mark.parametrize(
    'kind',
    [
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    ],
)
@pytest.mark.parametrize('first', [True, False])
def test_long_headers_take_no_memory(run, tmp_path, ending, kind, first):
    source = tmp_path / ('x.tar' if ending == 'tar' else f'x.tar.{ending}')
    mode = 'w' if ending == 'tar' else f'w:{ending}'
    with tarfile.open(source, mode) as archive:
        if not first:
            archive.addfile(tarfile.TarInfo('a.txt'))
        header = tarfile.TarInfo('x')
        header.type, header.size = kind, 32 * 2**20
        archive.addfile(header, io.BytesIO(b'x' * header.size))
        archive.addfile(tarfile.TarInfo('b.txt'))
    out = tmp_path / 'mini'
    tracemalloc.start()
    try:
        fails(run, source, out, message='65536 bytes of headers', out=out)
        # xz has a dictionary of 8 MiB.
        assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


def test_sparse_files_and_many_global_attributes(run, tmp_path):
    source, out = tmp_path / 'x.tar', tmp_path / 'mini'
    with tarfile.open(source, 'w') as archive:
        info = tarfile.TarInfo('a.csv')
        info.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(info)
    fails(run, source, out, message='a sparse file', out=out)
    many = {f'k{i}': 'v' for i in range(101)}
    with tarfile.open(source, 'w', pax_headers=many) as archive:
        archive.addfile(tarfile.TarInfo('a.txt'))
    fails(run, source, out, message='100 global attributes', out=out)


@pytest.mark.parametrize('format', [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize('ending', ['tar', 'tar.bz2', 'tar.xz', 'tgz'])
def test_long_names_are_read(run, tmp_path, ending, format):
    source = tmp_path / f'x.{ending}'
    mode = dict(tar='w', tgz='w:gz').get(ending, f'w:{ending[4:]}')
    with tarfile.open(source, mode, format=format) as archive:
        for name, data in members(tmp_path).items():
            info = tarfile.TarInfo(f'{"deep/" * 100}{name}')
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert run(source, tmp_path / 'mini', '--size', 12)[0] == 0


@pytest.mark.parametrize('ending', ['tar.gz', 'tar.bz2', 'tar.xz'])
def test_damaged_tar(run, tmp_path, ending):
    source, out = tmp_path / f'x.{ending}', tmp_path / 'mini'
    with tarfile.open(source, f'w:{ending[4:]}') as archive:
        archive.addfile(tarfile.TarInfo('a.txt'))
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 0xFF
    source.write_bytes(data)
    fails(run, source, out, message='expected a complete tar', out=out)


def test_archive_without_an_image(run, tmp_path):
    content = members(tmp_path)
    del content['mini/images/n021.png']
    out = tmp_path / 'mini'
    fails(
        run,
        pack(tmp_path / 'x.zip', content),
        out,
        message='1 of them are missing: n021.png',
        out=out,
    )


def test_one_name_twice(run, tmp_path):
    content = members(tmp_path) | {'mini/other/n011.png': picture()}
    out = tmp_path / 'mini'
    fails(
        run, pack(tmp_path / 'x.zip', content), out, message='twice', out=out
    )


@pytest.mark.parametrize('ending', ['tar.gz', 'zip'])
def test_cut_archive(run, tmp_path, ending):
    source = pack(tmp_path / f'x.{ending}', members(tmp_path))
    source.write_bytes(source.read_bytes()[:-300])
    out = tmp_path / 'mini'
    fails(run, source, out, message='expected a complete', out=out)


def test_no_archive(run, tmp_path):
    source = tmp_path / 'x.rar'
    source.write_bytes(b'x')
    out = tmp_path / 'mini'
    fails(run, source, out, message='expected an archive', out=out)


# Caches.


def test_from_caches(run, tmp_path):
    source = tmp_path / 'caches'
    source.mkdir()
    rng = np.random.default_rng(0)
    kept = {}
    for split in ('train', 'val', 'test'):
        images = rng.integers(0, 256, (4, 84, 84, 3), dtype=np.uint8)
        kept[split] = images
        classes = {f'b{split}': [2, 0], f'a{split}': [1, 3]}
        (source / f'mini-imagenet-cache-{split}.pkl').write_bytes(
            pickle.dumps({'image_data': images, 'class_dict': classes})
        )
    out = tmp_path / 'mini'
    status, text, _ = run(source, out)
    assert status == 0
    assert 'test: 4 images, 2 classes of 2' in text
    for split, images in kept.items():
        cached, made = (
            MiniImageNet(
                str(root), split=split, pipeline=[{'type': 'LoadImageBGR'}]
            )
            for root in (source, out)
        )
        np.testing.assert_array_equal(
            made.get_gt_labels(), cached.get_gt_labels()
        )
        for i in range(4):
            np.testing.assert_array_equal(made[i]['img'], cached[i]['img'])
        np.testing.assert_array_equal(made[0]['img'], images[0][..., ::-1])


class Hostile:
    def __reduce__(self):
        return eval, ('1 / 0',)


def test_hostile_cache(run, tmp_path):
    source = tmp_path / 'caches'
    source.mkdir()
    (source / 'mini-imagenet-cache-train.pkl').write_bytes(
        pickle.dumps(Hostile())
    )
    out = tmp_path / 'mini'
    fails(run, source, out, message='builtins.eval', out=out)
