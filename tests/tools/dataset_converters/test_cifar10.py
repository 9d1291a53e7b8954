"""CIFAR-10's binary archive as class folders, and the config's parts of it."""

import importlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import UnlabelledFolder

TOOLS = Path(__file__).resolve().parents[3] / 'tools' / 'dataset_converters'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    yield importlib.import_module('cifar10')
    sys.modules.pop('cifar10', None)


def records(labels, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return np.concatenate(
        [np.array(labels, np.uint8)[:, None], pixels], axis=1
    )


def pack(path, batches):
    with tarfile.open(path, 'w:gz') as tar:
        for name, content in batches.items():
            info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def batches(tool):
    return {
        name: records([3, 0, 3], seed) for seed, name in enumerate(tool.PARTS)
    }


def test_images_are_numbered_in_the_order_of_the_archive(
    tool, batches, tmp_path, capsys
):
    archive, out = tmp_path / 'a.tar.gz', tmp_path / 'cifar10'
    pack(archive, {name: b.tobytes() for name, b in batches.items()})
    assert tool.main([str(archive), str(out)]) == 0
    assert '15 training and 3 test' in capsys.readouterr().out
    cats = sorted(p.name for p in (out / 'train' / 'cat').iterdir())
    assert cats == [f'{n:04d}.png' for n in range(10)]
    # The fourth cat is the second of the second batch; planes of red,
    # green and blue, rows from the top.
    record = batches['data_batch_2.bin'][2]
    with Image.open(out / 'train' / 'cat' / '0003.png') as image:
        assert image.getpixel((5, 7)) == tuple(
            int(record[1 + plane * 1024 + 7 * 32 + 5]) for plane in range(3)
        )
    assert tool.main([str(archive), str(out)]) == 1
    assert 'that does not exist' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'give the binary version'),
        ({'test_batch.bin': b'123'}, 'records of 3073 bytes'),
        ({'test_batch.bin': b'\x0a' + bytes(3072)}, 'labels from 0 to 9'),
    ],
)
def test_another_archive_is_refused(
    tool, batches, tmp_path, capsys, content, message
):
    archive = tmp_path / 'a.tar.gz'
    known = {name: b.tobytes() for name, b in batches.items()}
    pack(archive, {**known, **content} if content else {})
    assert tool.main([str(archive), str(tmp_path / 'out')]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_what_is_no_archive_is_named(tool, tmp_path, capsys):
    file = tmp_path / 'a.tar.gz'
    file.write_bytes(b'nothing')
    assert tool.main([str(file), str(tmp_path / 'out')]) == 1
    assert 'which cannot be read' in capsys.readouterr().err


# ---- a part of every class ------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    for name, count in (('a', 4), ('b', 6)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new('RGB', (4, 4)).save(tmp_path / name / f'{number}.png')
    return tmp_path


def names(dataset):
    return [
        '/'.join(Path(dataset.get_data_info(i)['img_path']).parts[-2:])
        for i in range(len(dataset))
    ]


def test_places_of_every_class(folders):
    part = UnlabelledFolder(
        str(folders), labels_from_folders=True, per_class=(1, 3)
    )
    assert names(part) == ['a/1.png', 'a/2.png', 'b/1.png', 'b/2.png']
    assert part.get_gt_labels().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(per_class=(0, 5)), r"at least 5 .* got 4 of 'a'"),
        (dict(per_class=(3, 3)), r'0 <= start < stop, got \(3, 3\)'),
        (
            dict(per_class=(0, 2), labels_from_folders=False),
            r'labels.* with per_class',
        ),
    ],
)
def test_places_that_are_not_there(folders, settings, message):
    settings = dict(labels_from_folders=True) | settings
    with pytest.raises(ValueError, match=message):
        UnlabelledFolder(str(folders), **settings)
