"""The benchmarks of the E-step and of the step: arithmetic, and tiny runs."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from tools_modules import tool_modules
from toy import CONFIGS

BENCHMARKS = Path(__file__).parents[3] / 'tools' / 'benchmarks'
NAMES = (
    *('_tables', '_floor', '_clustering', 'estep', 'scaling', 'scale'),
    *('throughput', 'epoch_features'),
)


@pytest.fixture(scope='module')
def tools():
    with tool_modules('benchmarks', *NAMES) as loaded:
        yield loaded


def test_the_slope_is_that_of_a_power(tools):
    sizes = [10, 20, 40, 80]
    seconds = [3 * size**1.5 for size in sizes]
    assert tools['_clustering'].slope(sizes, seconds) == pytest.approx(1.5)


def test_the_floor_is_the_larger_bound(tools):
    floor = tools['_floor'].floor_seconds
    assert floor(10, 3, matmul=5, copy=1) == 3
    assert floor(10, 1, matmul=5, copy=1) == 2


def test_the_objective_of_a_partition_by_a_loop(tools):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    assignments = torch.randint(7, (200,), generator=generator)
    total = 0.0
    for k in range(7):
        own = x[assignments == k].double()
        total += (own - own.mean(0)).square().sum().item()
    found = tools['_clustering'].partition_objective(x, assignments, 7)
    assert found == pytest.approx(total / 200)


def test_the_published_recipe_is_a_good_clustering(tools):
    pytest.importorskip('faiss')
    x = tools['_clustering'].drifting_features(600, 8, 1, groups=6)[0]
    found = tools['_clustering'].pcl_recipe(x, 6, 0)
    objective = tools['_clustering'].partition_objective
    brute = tools['_clustering']._brute_force(x, 6, 0)
    chance = torch.arange(600) % 6
    assert objective(x, found, 6) < 0.7 * objective(x, chance, 6)
    assert objective(x, brute, 6) == pytest.approx(
        objective(x, found, 6), rel=0.02
    )


def test_memory_of_some_work_is_seen():
    # In a process of its own: this one may hold freed memory to work in.
    work = """
import torch
from _clustering import measured
found, cost = measured(lambda: float(torch.ones(2**24).sum()),
                       torch.device('cpu'))
print(found == 2**24, cost.seconds > 0, cost.extra_mib)
"""
    done = subprocess.run(
        [sys.executable, '-c', work],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    right, timed, extra_mib = done.stdout.split()[-3:]
    assert right == timed == 'True'
    assert 30 < float(extra_mib) < 1000  # 64 MiB, and what torch needs


def test_the_e_step_is_measured_against_the_recipe(tools, tmp_path):
    pytest.importorskip('faiss')
    epochs = tools['_clustering'].drifting_features(900, 16, 3, groups=20)
    torch.save(
        dict(epochs=[rows.half() for rows in epochs]), tmp_path / 'f.pt'
    )
    out = tmp_path / 'estep.json'
    rows = tools['estep'].main(
        [
            *('--features', str(tmp_path / 'f.pt'), '--epochs', '2'),
            *('--clusters', '40', '10', '--json', str(out)),
        ]
    )
    recipe, *ours = rows
    assert recipe['ratio'] == 1.0
    assert [row['name'] for row in ours] == list(tools['estep'].VARIANTS)
    for row in ours:
        assert row['ratio'] == pytest.approx(
            recipe['seconds'] / row['seconds']
        )
        # Every second of the two epochs as configured, else both.
        every = 2 if row['name'] == tools['estep'].CONFIGURED else 1
        assert len(row['levels']) == 2 * 2 // every
        assert row['worst'] >= row['excess']
        assert row['worst'] < 30
        assert row['floor'] < recipe['floor'] * 1.1
    report = json.loads(out.read_text())
    assert {'cpu', 'device', 'command'} <= set(report['machine'])
    assert report['settings']['points'] == 900


def test_other_files_are_not_features(tools, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'f.pt')
    with pytest.raises(ValueError, match='epoch_features'):
        tools['_clustering'].read_features(tmp_path / 'f.pt')


def test_ranks_make_parts_of_the_same_features(tools):
    part = tools['scale'].part
    whole = part(0, 140_000, 8, 5)  # of three blocks
    assert torch.allclose(whole.norm(dim=1), torch.ones(len(whole)))
    cuts = (0, 10, 65_536, 131_071, 140_000)
    parts = [part(a, b, 8, 5) for a, b in pairwise(cuts)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(('ranks', 'at_once'), [(1, 1), (2, 2), (4, 2)])
def test_a_prediction_by_hand(tools, monkeypatch, ranks, at_once):
    scale = tools['scale']
    monkeypatch.setattr(scale, 'usable_cores', lambda: 2)
    args = scale.parse_args(['--clusters', '100', '--dims', '16'])
    found = scale.predicted(1 << 20, ranks, 1e9, args)
    # Three iterations and a pass, 2 N K D operations each.
    work = 4 * 2 * (1 << 20) * 100 * 16
    assert found['predicted_seconds'] == pytest.approx(work / 1e9 / at_once)
    # Features, 64 bytes an image, 64 MiB, and a few centroids.
    expected = 64 / ranks + 64 + 64
    assert found['predicted_mib'] == pytest.approx(expected, abs=0.1)


@pytest.mark.campaign
def test_a_large_clustering_is_compared_with_its_prediction(tools, tmp_path):
    out = tmp_path / 'scale.json'
    rows = tools['scale'].main(
        [
            *('--points', '60000', '--clusters', '20', '--dims', '8'),
            *('--sample', '20000', '--ranks', '1', '2', '--json', str(out)),
        ]
    )
    assert [row['ranks'] for row in rows] == [1, 2]
    for row in json.loads(out.read_text())['rows']:
        assert row['time_ratio'] == pytest.approx(
            row['seconds'] / row['predicted_seconds']
        )
        work = 4 * 2 * 60000 * 20 * 8
        at_once = tools['scale'].at_once(row['ranks'], threads=1)
        assert row['predicted_seconds'] == pytest.approx(
            work / (row['gflops'] * 1e9 * at_once)
        )
        assert row['mib'] > 4 * 60000 * 8 / row['ranks'] / 2**20


@pytest.mark.campaign
def test_sweeps_are_measured(tools, tmp_path):
    out = tmp_path / 'scaling.json'
    rows = tools['scaling'].main(
        [
            *('--points', '800', '--clusters', '20', '--dims', '8'),
            *('--point-sweep', '1', '2', '--cluster-sweep', '1', '2'),
            *('--ranks', '1', '2', '--repeats', '1', '--json', str(out)),
        ]
    )
    assert [(r['sweep'], r['points'], r['clusters']) for r in rows] == [
        ('N', 800, 20),
        ('N', 1600, 20),
        ('K', 800, 20),
        ('K', 800, 40),
        ('ranks', 800, 20),
        ('ranks', 800, 20),
    ]
    assert [r['ranks'] for r in rows] == [1] * 5 + [2]
    assert 'slope' in rows[1]
    assert json.loads(out.read_text())['rows'][0]['points'] == 800


def test_the_step_is_measured_against_the_hosts(tools, tmp_path):
    pytest.importorskip('kornia')
    out = tmp_path / 'throughput.json'
    rows = tools['throughput'].main(
        [
            *(str(CONFIGS / 'ahpcl_digits.py'), '--iterations', '1'),
            *('--rounds', '1', '--batch-size', '16', '--json', str(out)),
            *('--cfg-options', 'train_dataloader.dataset.limit=80'),
            'custom_hooks.0.extract_dataloader.dataset.limit=80',
            'model.queue_len=32',
            'custom_hooks.0.ladder.rungs=[20,10,5]',
        ]
    )
    host, *ours = rows
    assert host['ratio'] == 1.0
    assert len(ours) == 3
    for row in ours:
        assert row['ratio'] == pytest.approx(row['rate'] / host['rate'])
        assert 0 <= row['waiting'] <= 100
        # The same encoders in the same batches: the same operations, but
        # for the prototypes.
        assert row['floor_ms'] == pytest.approx(host['floor_ms'], rel=0.1)
    report = json.loads(out.read_text())
    for share in report['estep_share'].values():
        assert 0 < share['clustering'] <= share['share'] < 100
    assert report['features'] in ('extract', 'bank')
    assert 0 < report['norm_share'] < 100
    assert 0 < report['whole_norm_share'] < 100


def test_mmselfsups_own_pipeline_is_made_of_views_on_the_device(tools):
    throughput = tools['throughput']
    config = Config.fromfile(CONFIGS / 'ahpcl_cifar10.py')
    on_device = config.model.data_preprocessor
    assert on_device.type == 'DeviceViews'
    host = throughput.host_config(config)
    load, views, pack = host.train_dataloader.dataset.pipeline
    assert (load['type'], pack['type']) == (
        'LoadImageBGR',
        'PackSelfSupInputs',
    )
    assert views['type'] == 'mmselfsup.MultiView'
    assert views['transforms'] == on_device.views  # the config is as it was
    assert views['num_views'] == [2]
    assert 'decoded_cache' not in host.train_dataloader.dataset
    assert set(host.model.data_preprocessor) == {
        *('type', 'mean', 'std', 'bgr_to_rgb'),
    }


def test_features_of_checkpoints_are_unit_rows_of_views(tools, tmp_path):
    from toy import toy_config, train

    config = toy_config(tmp_path / 'run')
    config.train_cfg.max_epochs = 1
    config.train_cfg.val_interval = 1
    train(config)
    config.dump(tmp_path / 'config.py')
    tools['epoch_features'].main(
        [
            str(tmp_path / 'config.py'),
            *([str(tmp_path / 'run' / 'epoch_1.pth')] * 2),
            *('--points', '500', '--out', str(tmp_path / 'f.pt')),
        ]
    )
    one, two = tools['_clustering'].read_features(tmp_path / 'f.pt')
    assert one.shape[0] == 500  # of 240 images, two views and more
    assert torch.equal(one, two)
    assert torch.allclose(one, F.normalize(one, dim=1))
    assert len(torch.unique(one, dim=0)) > 450
