"""A folder and files of any name: training, then every tool on it."""

import csv
import json
import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ahpcl.utils.text import from_utf8
from commands import Command
from tools_modules import TOOLS
from toy import toy_config, train

# No UTF-8; a comma and blanks; what looks like an escape; a line feed.
ROOT = os.fsdecode(b'Bilder, neue \xe4\xf6')
CLASSES = [os.fsdecode(b'gr\xfcn'), 'c,d', '[e] f']
NAMES = [b'\xff%d.png', rb'\udcff %d.png', b'a\n%d.png', b'"%d,.png']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """60 images of three classes; returns their folder and their paths."""
    root = tmp_path_factory.mktemp('images') / ROOT
    rng = np.random.default_rng(0)
    paths = []
    for number in range(60):
        name = os.fsdecode(NAMES[number % 4] % number)
        path = root / CLASSES[number % 3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return root, paths


@pytest.fixture(scope='module')
def run(folder, tmp_path_factory):
    """Config and checkpoint of a run on them, with another data_root."""
    work_dir = tmp_path_factory.mktemp('run')
    config = toy_config(work_dir)
    config.data_root = str(folder[0])
    for loader in (
        config.train_dataloader,
        config.custom_hooks[0]['extract_dataloader'],
        config.extract_dataloader,
        *config.val_dataloader.dataset.datasets,
        *config.test_dataloader.dataset.datasets,
    ):
        settings = loader.get('dataset', loader)
        pipeline = settings.pipeline
        settings.clear()
        settings.update(
            type='UnlabelledFolder',
            data_root=str(folder[0]),
            labels_from_folders=True,
            pipeline=pipeline,
        )
    config.train_dataloader.batch_size = 20
    config.model.queue_len = 20
    config.custom_hooks[0]['ladder'] = dict(
        type='ClusterLadder', rungs=[10, 4], window=2
    )
    config.train_cfg.update(max_epochs=2, val_interval=9)
    train(config)
    config = Config.fromfile(work_dir / 'ahpcl_prototypes.py')
    moved = config.pretty_text.replace(repr(str(folder[0])), "'elsewhere'")
    assert moved.count("'elsewhere'") > 5
    (work_dir / 'ahpcl_prototypes.py').write_text(moved)
    return work_dir


@pytest.fixture(scope='module')
def tools():
    names = 'export_clusters', 'find_similar', 'report'
    return {name: Command(name) for name in names}


@pytest.fixture
def arguments(run, folder):
    files = str(run / 'ahpcl_prototypes.py'), str(run / 'epoch_2.pth')
    return [*files, '--data', str(folder[0])]


def test_the_log_names_the_folder(run, capfd):
    log = next(run.glob('*/*.log')).read_text('utf-8')
    assert 'Bilder, neue \\udce4\\udcf6: uses 60 images' in log


def test_tables_hold_every_path(tools, arguments, folder, tmp_path):
    forms = ['--format', 'csv', 'npz']
    tools['export_clusters'].main(
        [*arguments[:2], str(tmp_path), *arguments[2:], *forms]
    )
    with open(tmp_path / 'images.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    found = [from_utf8(row['path']) for row in rows]
    assert sorted(found) == sorted(folder[1])
    assert {from_utf8(row['class']) for row in rows} == {*CLASSES}
    with np.load(tmp_path / 'features.npz') as file:
        assert [from_utf8(name) for name in file['path'].tolist()] == found
    parquet = pytest.importorskip('pyarrow.parquet')
    tools['export_clusters'].main(
        [*arguments[:2], str(tmp_path), *arguments[2:], '--format', 'parquet']
    )
    written = parquet.read_table(tmp_path / 'images.parquet')['path']
    assert [from_utf8(name) for name in written.to_pylist()] == found


def test_similar_images_of_a_file_and_odd_ones(
    tools, arguments, folder, tmp_path, capfd
):
    out = tmp_path / 'found.json'
    path = folder[1][0]
    assert b'\xff' in os.fsencode(path)
    tools['find_similar'].main(
        [*arguments[:2], path, *arguments[2:], '--json', str(out)]
    )
    rows = json.loads(out.read_bytes().decode('utf-8'))
    assert len(rows) == 20
    assert from_utf8(rows[0]['path']) == path  # nothing is as like as itself
    tools['find_similar'].main([*arguments, '--outliers', '5'])
    assert '\\udcff' in capfd.readouterr().out


def test_report_and_figures(tools, arguments, run, tmp_path, monkeypatch):
    page = tools['report'].main(
        [str(run), *arguments[2:], '--out', str(tmp_path / 'report.html')]
    )
    text = page.read_bytes().decode('utf-8')
    assert 'Bilder, neue \\\\udce4\\\\udcf6' in text  # in the page's JSON
    assert '\ufffd' not in text
    kinds = ['--kinds', 'confusion', 'gallery', '--levels', '4']
    figures = str(TOOLS / 'analysis_tools' / 'figures.py')
    out = ['--out', str(tmp_path / 'figures')]
    monkeypatch.setattr('sys.argv', [figures, *arguments, *out, *kinds])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_path(figures, run_name='__main__')
    assert len(list((tmp_path / 'figures').glob('*.png'))) >= 2


def test_evaluation_of_the_folder(run, folder, arguments, tmp_path):
    found = Command('evaluate').main(
        [*arguments, '--data-root', str(folder[0])]
        + ['--tasks', 'knn', '--json', str(tmp_path / 'found.json')]
    )
    assert found['metrics']
    assert json.loads((tmp_path / 'found.json').read_text('utf-8'))


def test_the_home_folder(folder, monkeypatch, tmp_path):
    from ahpcl.datasets import UnlabelledFolder

    monkeypatch.setenv('HOME', str(tmp_path))
    shutil.copytree(folder[0], tmp_path / 'pictures, mine')
    found = UnlabelledFolder('~/pictures, mine')
    assert len(found) == 60
    assert Path(found.get_data_info(0)['img_path']).is_relative_to(tmp_path)
