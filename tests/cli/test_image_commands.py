"""The commands that take a run and images, in process."""

import argparse
import csv
import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import ahpcl
from ahpcl.evaluation.run_data import RunData


@pytest.fixture(scope='module')
def setting(toy_run, tmp_path_factory):
    """A finished run, and a folder of ten of its images."""
    run = RunData(
        Config.fromfile(toy_run.config), toy_run.checkpoint, device='cpu'
    )
    folder = tmp_path_factory.mktemp('new')
    for place in range(10):
        Image.fromarray(run.image(place)).save(folder / f'{place}.png')
    return SimpleNamespace(
        run=str(toy_run.work_dir),
        folder=folder,
        encoder=ahpcl.load(toy_run.work_dir, device='cpu'),
    )


def call(name, *arguments):
    module = importlib.import_module(f'ahpcl.cli.{name}')
    parser = argparse.ArgumentParser(description=module.__doc__)
    module.add_arguments(parser)
    return module.main(parser.parse_args([*map(str, arguments)]))


def test_embed_writes_every_format(setting, tmp_path, capsys):
    expected = setting.encoder.embed(setting.folder)
    for form in ('npz', 'csv', 'parquet'):
        out = tmp_path / f'new.{form}'
        assert call('embed', setting.run, setting.folder, '--out', out) == 0
        assert '10 images' in capsys.readouterr().out
    with np.load(tmp_path / 'new.npz') as content:
        np.testing.assert_array_equal(content['feature'], expected)
        assert content['path'][3] == str(setting.folder / '3.png')
    with (tmp_path / 'new.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[4]['feature_7']) == pytest.approx(expected[4, 7])
    pyarrow = pytest.importorskip('pyarrow.parquet')
    table = pyarrow.read_table(tmp_path / 'new.parquet')
    np.testing.assert_allclose(table['feature'][2].as_py(), expected[2])
    out = tmp_path / 'keys.npz'
    call(
        'embed',
        setting.run,
        setting.folder,
        '--out',
        out,
        '--space',
        'prototypes',
    )
    with np.load(out) as content:
        assert content['feature'].shape == (10, 128)


def test_embed_refuses_what_it_cannot_write_before_it_reads(setting):
    with pytest.raises(ValueError, match='--out ending in'):
        call('embed', 'nowhere', setting.folder, '--out', 'new.txt')


def test_unreadable_files_are_left_out_on_request(setting, tmp_path, capsys):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    images = (setting.folder, broken)
    with pytest.raises(ValueError, match='--skip-unreadable'):
        call('embed', setting.run, *images, '--out', tmp_path / 'a.csv')
    call(
        'embed',
        setting.run,
        *images,
        '--out',
        tmp_path / 'a.csv',
        '--skip-unreadable',
    )
    assert '10 images' in capsys.readouterr().out
    assert call('assign', setting.run, *images, '--skip-unreadable') == 0
    assert 'broken.png' in capsys.readouterr().out


def test_assign_shows_writes_and_sorts(setting, tmp_path, capsys):
    out, folder = tmp_path / 'new.csv', tmp_path / 'sorted'
    arguments = ('--out', out, '--sort-into', folder, '--level', 10)
    assert call('assign', setting.run, setting.folder, *arguments) == 0
    said = capsys.readouterr().out
    assert 'K = 10' in said and '10 links made, 0 there already' in said
    assert 'held-out training images' in said
    found = setting.encoder.assign(setting.folder)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    own = [int(row['k10_cluster']) for row in rows]
    assert own == found.levels[0].clusters.tolist()
    assert rows[0]['nearest_1'] and rows[0]['unlike'] in ('True', 'False')
    for place, cluster in enumerate(own):
        part = f'cluster_{cluster}'
        if found.unlike[place]:
            part = 'unlike'
        assert (folder / part / f'{place}.png').is_symlink()
    call('assign', setting.run, setting.folder, *arguments)
    assert '0 links made, 10 there already' in capsys.readouterr().out
    with pytest.raises(ValueError, match='got 7'):
        call('assign', setting.run, setting.folder, '--level', 7)


def test_similar_names_training_images(setting, tmp_path, capsys):
    out = tmp_path / 'found.json'
    image = setting.folder / '3.png'
    call('similar', setting.run, image, '--top', 2, '--json', out)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and str(image) in said[0]
    (row,) = json.loads(out.read_text())
    (expected,) = setting.encoder.similar(image, top=2)
    assert [one['path'] for one in row['similar']] == [*expected.images]


def test_export_writes_a_file_that_loads(setting, tmp_path, capsys):
    out = tmp_path / 'encoder.safetensors'
    call('export', setting.run, out, '--licence', 'mit')
    assert f'{out}.md' in capsys.readouterr().out
    again = ahpcl.load(out, device='cpu')
    np.testing.assert_array_equal(
        again.embed(setting.folder), setting.encoder.embed(setting.folder)
    )


def test_cluster_writes_a_folder_that_serves_as_a_run(
    setting, tmp_path, capsys
):
    out = tmp_path / 'frozen'
    call(
        'cluster',
        setting.folder,
        '--encoder',
        setting.run,
        '--out',
        out,
        '--levels',
        4,
        2,
        '--no-report',
    )
    printed = capsys.readouterr().out
    assert 'K = 4: 4 clusters' in printed
    assert 'kinds: not determined: ' in printed
    assert call('assign', out, setting.folder) == 0
    vectors = tmp_path / 'vectors.npz'
    call('embed', setting.run, setting.folder, '--out', vectors)
    call('cluster', vectors, '--out', tmp_path / 'own', '--levels', 4, 2)
    with (tmp_path / 'own' / 'images.csv').open() as file:
        rows = list(csv.DictReader(file))
    with (out / 'images.csv').open() as file:
        before = list(csv.DictReader(file))
    assert [r['k4_cluster'] for r in rows] == [r['k4_cluster'] for r in before]
    assert rows[2]['path'] == str(setting.folder / '2.png')
    np.savez(tmp_path / 'other.npz', x=np.ones((3, 3)))
    with pytest.raises(ValueError, match="'feature'"):
        call('cluster', tmp_path / 'other.npz', '--out', out)


def test_cluster_asks_for_safetensors_before_it_reads(
    setting, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(ImportError, match=r'ahpcl\[export\]'):
        call('cluster', 'nowhere', '--encoder', 'nothing', '--out', tmp_path)
    # Features alone need it not.
    vectors, out = tmp_path / 'vectors.npz', tmp_path / 'own'
    call('embed', setting.run, setting.folder, '--out', vectors)
    call('cluster', vectors, '--out', out, '--levels', 2)
    assert (out / 'images.csv').is_file()
