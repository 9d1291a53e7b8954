"""Clusters as tables, images like an image, and the odd ones."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from ahpcl.core.metrics.neighbours import neighbour_outliers
from ahpcl.evaluation.cluster_table import prototype_table, write_table
from ahpcl.evaluation.run_data import RunData
from ahpcl.utils.text import from_utf8
from commands import Command
from toy import CONFIGS

NAMES = ('export_clusters', 'find_similar')


@pytest.fixture(scope='module')
def tools():
    return {name: Command(name) for name in NAMES}


@pytest.fixture(scope='module')
def files(toy_run, tmp_path_factory):
    """Config and checkpoint in a folder of our own."""
    folder = tmp_path_factory.mktemp('run')
    shutil.copy(toy_run.checkpoint, folder)
    return [str(toy_run.config), str(folder / toy_run.checkpoint.name)]


@pytest.fixture(scope='module')
def run(files):
    return RunData(Config.fromfile(files[0]), files[1])


@pytest.fixture(scope='module')
def tables(tools, files, tmp_path_factory):
    out = tmp_path_factory.mktemp('tables')
    forms = ['--format', 'csv', 'npz']
    written = tools['export_clusters'].main([*files, str(out), *forms])
    assert sorted(out.iterdir()) == sorted(written)
    return out


def read_csv(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_every_image_has_its_cluster_at_every_level(tables, run):
    state = torch.load(run.checkpoint, weights_only=True)['ahpcl']
    hierarchy = PrototypeHierarchy.from_state_dict(state['hierarchy'])
    fine, coarse = hierarchy.levels
    assert (fine.num_clusters, coarse.num_clusters) == (10, 5)
    rows = read_csv(tables / 'images.csv')
    dataset = run.training_loader.dataset
    assert len(rows) == len(dataset) == 240
    for i in (0, 77, 239):
        info, row = dataset.get_data_info(i), rows[i]
        assert row['path'] == info['img_path']
        assert row['label'] == row['class'] == str(info['gt_label'])
        own = int(fine.assignments[i])
        assert int(row['k10_cluster']) == own
        assert float(row['k10_phi']) == pytest.approx(
            float(fine.concentration[own])
        )
        apart = (run.training.keys[i] - fine.centroids[own]).norm()
        assert float(row['k10_distance']) == pytest.approx(float(apart))
        parent = int(run.lineage(0).parents[own])
        assert int(row['k10_parent']) == parent
        assert int(row['k5_cluster']) == int(coarse.assignments[i])
    assert 'k5_parent' not in rows[0]


def test_every_prototype_has_its_images(tables, run):
    level = run.hierarchy.levels[0]
    rows = read_csv(tables / 'prototypes_k10.csv')
    labels = run.training.labels
    for cluster, row in enumerate(rows):
        own = labels[level.assignments == cluster].tolist()
        assert int(row['size']) == len(own)
        counts = [own.count(label) for label in range(10)]
        assert int(row['class']) == counts.index(max(counts))
        share = max(counts) / len(own)
        assert float(row['class_share']) == pytest.approx(share)
        assert float(row['centroid_7']) == pytest.approx(
            float(level.centroids[cluster, 7]), rel=1e-5
        )
    assert (tables / 'prototypes_k5.npz').is_file()


def test_npz_needs_no_pickle_and_holds_whole_arrays(tables, run):
    with np.load(tables / 'features.npz', allow_pickle=False) as file:
        assert np.array_equal(file['feature'], run.training.features)
        assert np.array_equal(file['key'], run.training.keys)
        assert file['path'].tolist() == list(run.training.paths)


def test_parquet_reads_back_what_was_written(tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    table = dict(path=np.array(['a', 'b,"c', 'é', '']), vector=rows)
    write_table(table, tmp_path / 'table.parquet')
    found = parquet.read_table(tmp_path / 'table.parquet').to_pydict()
    assert found['path'] == table['path'].tolist()
    assert np.array_equal(np.array(found['vector'], np.float32), rows)
    write_table(table, tmp_path / 'table.csv')
    back = read_csv(tmp_path / 'table.csv')
    assert [row['path'] for row in back] == table['path'].tolist()
    assert [float(row['vector_2']) for row in back] == rows[:, 2].tolist()
    with pytest.raises(ValueError, match=r'csv, .*table\.xls'):
        write_table(table, tmp_path / 'table.xls')


def test_classes_of_a_set_with_few_labels(files):
    run = RunData(Config.fromfile(files[0]), files[1])
    level, labels = run.hierarchy.levels[0], run.training.labels.clone()
    labels[level.assignments == 3] = -1  # of one cluster none is known,
    labels[::2] = -1  # of the others every second
    run.training = replace(run.training, labels=labels)
    table = prototype_table(run, 0)
    for cluster in range(10):
        own = labels[level.assignments == cluster].tolist()
        counts = [own.count(label) for label in range(10)]
        if cluster == 3:
            assert max(counts) == 0
            assert (table['class'][3], table['class_share'][3]) == ('', 0)
        else:
            assert table['class'][cluster] == str(counts.index(max(counts)))
            assert table['class_share'][cluster] == pytest.approx(
                max(counts) / sum(counts)
            )
    run.training = replace(run.training, labels=torch.full_like(labels, -1))
    assert 'class' not in prototype_table(run, 0)


def test_names_that_are_no_text(tmp_path):
    names = ['a\nb', '=1+1', 'x\udcff.png', '']
    table = dict(path=np.array(names), index=np.arange(4))
    for form in ('csv', 'npz'):
        write_table(table, tmp_path / f'table.{form}')
    written = ['a\nb', '=1+1', 'x\\udcff.png', '']
    assert [from_utf8(name) for name in written] == names
    with np.load(tmp_path / 'table.npz', allow_pickle=False) as file:
        assert file['path'].tolist() == written
    path = tmp_path / 'table.csv'
    with path.open(newline='', encoding='utf-8') as file:
        assert [row['path'] for row in csv.DictReader(file)] == written
    parquet = pytest.importorskip('pyarrow.parquet')
    write_table(table, tmp_path / 'table.parquet')
    found = parquet.read_table(tmp_path / 'table.parquet')['path'].to_pylist()
    assert found == written


def test_a_checkpoint_without_prototypes_is_refused(tools, files, tmp_path):
    content = torch.load(files[1], weights_only=True)
    del content['ahpcl']
    bare = str(tmp_path / 'bare.pth')
    torch.save(content, bare)
    export = tools['export_clusters'].main
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match=r'bare\.pth'):
        export([files[0], bare, str(out)])
    assert not (tmp_path / 'features').exists()  # nothing was extracted
    written = export([files[0], bare, str(out), '--tables', 'features'])
    assert written == [out / 'features.csv']
    written = export([files[0], bare, str(out), '--fresh'])
    assert out / 'prototypes_k30.csv' in written
    found = tools['find_similar'].main([files[0], bare, '--outliers', '2'])
    assert list(found) == ['neighbours']
    assert set(found['neighbours'][0]) == {'score', 'index', 'path', 'class'}


def test_checkpoints_of_another_model_are_refused(tools, files, tmp_path):
    config = Config.fromfile(CONFIGS / 'baselines' / 'simclr.py')
    out = tmp_path / 'out'

    def refused():
        config.dump(tmp_path / 'simclr.py')
        arguments = [str(tmp_path / 'simclr.py'), files[1], str(out)]
        with pytest.raises(SystemExit) as caught:
            tools['export_clusters'].main(arguments)
        message = str(caught.value.code)
        assert '\n' not in message
        return message

    # Another backbone; then the same one, in a method without prototypes.
    assert 'another architecture' in refused()
    config.model.backbone.update(stem_channels=8, base_channels=8)
    config.model.neck.update(in_channels=32)
    assert 'not of the SimCLRBaseline of the config' in refused()
    assert not out.exists()


def test_images_like_a_training_image(tools, files, run, tmp_path):
    out = tmp_path / 'found.json'
    arguments = [*files, '17', '--top', '5', '--json', str(out)]
    found = tools['find_similar'].main(arguments)
    unit = torch.nn.functional.normalize(run.training.features, dim=1)
    cosine = unit @ unit[17]
    cosine[17] = -2
    assert [row['index'] for row in found] == cosine.topk(5).indices.tolist()
    assert json.loads(out.read_text()) == found
    assert {'cosine', 'path', 'class', 'k10', 'k5'} <= set(found[0])


def test_images_like_a_file(tools, files, run, tmp_path):
    Image.fromarray(run.image(42)).save(tmp_path / 'mine.png')
    path = str(tmp_path / 'mine.png')
    found = tools['find_similar'].main([*files, path, '--top', '3'])
    assert found[0]['index'] == 42
    assert found[0]['cosine'] == pytest.approx(1, abs=1e-5)


def test_the_odd_ones_are_named(tools, files, run):
    found = tools['find_similar'].main([*files, '--outliers', '4'])
    far = neighbour_outliers(run.training.features)
    assert [row['index'] for row in found['neighbours']] == (
        far.topk(4).indices.tolist()
    )
    apart = run.distances(0)
    level = run.hierarchy.levels[0]
    apart = apart / level.concentration[level.assignments]
    assert [row['index'] for row in found['prototypes']] == (
        apart.topk(4).indices.tolist()
    )
    sizes = [each.sizes() for each in run.hierarchy.levels]
    smallest = min(
        float(own.min()) / max(float(own.median()), 1) for own in sizes
    )
    assert found['small'][0]['size_to_median'] == pytest.approx(smallest)
    loosest = [row['distance_to_mean'] for row in found['loose']]
    assert loosest == sorted(loosest, reverse=True)
    assert loosest[0] > 1


def test_a_cluster_without_images_is_small_and_valid_json(
    tools, run, monkeypatch, tmp_path
):
    fine, coarse = run.hierarchy.levels
    emptied = fine.assignments.clone()
    emptied[emptied == 4] = 5
    fine = PrototypeLevel(
        fine.centroids, emptied, fine.concentration, parents=fine.parents
    )
    monkeypatch.setitem(
        run.__dict__, 'hierarchy', PrototypeHierarchy((fine, coarse))
    )
    tool = tools['find_similar']
    monkeypatch.setattr(tool.module, 'open_run', lambda args: run)
    out = tmp_path / 'odd.json'
    arguments = ['config', 'checkpoint', '--outliers', '3', '--json']
    found = tool.main([*arguments, str(out)])
    first = found['small'][0]
    assert (first['level'], first['cluster'], first['size']) == ('k10', 4, 0)
    assert first['distance'] is None

    def refuse(word):
        raise AssertionError(word)

    read = json.loads(out.read_text(), parse_constant=refuse)
    assert read == found
    assert all(math.isfinite(row['distance']) for row in read['loose'])
    with pytest.raises(SystemExit, match='error: '):
        tool.main([*arguments, str(out / 'below a file.json')])


def test_brackets_in_a_path_are_text(tools, capsys):
    rows = [{'path': 'x[old]/[/b]/a.png', 'cosine': None}]
    tools['find_similar'].show('like [old]/b.png', rows)
    printed = capsys.readouterr().out
    assert 'like [old]/b.png' in printed
    assert 'x[old]/[/b]/a.png' in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['999'], 'a number below 240'),
        (['none.png'], 'does not exist'),
        ([], 'either an image or --outliers'),
        (['3', '--outliers', '2'], 'either an image or --outliers'),
        (['--outliers', '0'], 'at least 1'),
    ],
)
def test_bad_requests_are_one_line(tools, files, arguments, message):
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        tools['find_similar'].main([*files, *arguments])


def test_bad_files_are_one_line(tools, files, tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(SystemExit, match='image file'):
        tools['find_similar'].main([*files, str(tmp_path / 'text.png')])
    export = tools['export_clusters'].main
    with pytest.raises(SystemExit, match=r'got none\.py'):
        export(['none.py', files[1], str(tmp_path)])
    with pytest.raises(SystemExit, match=r'none\.pth'):
        export([files[0], 'none.pth', str(tmp_path)])
