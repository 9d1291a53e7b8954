"""The tools that compare methods: their arithmetic, and a run of seconds."""

import json

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ahpcl.utils.ranks import unwrap
from tools_modules import tool_modules
from toy import CONFIGS, toy_config

NAMES = ('_tables', '_runs', '_measure', 'methods', 'compare_runs')


@pytest.fixture(scope='module')
def tools():
    with tool_modules('benchmarks', *NAMES) as loaded:
        yield loaded


def write_toys(folder):
    """MoCo v2 and AHPCL on few images with a tiny encoder."""
    ahpcl = toy_config(folder / 'w')
    moco = Config.fromfile(CONFIGS / 'baselines' / 'mocov2.py')
    moco.model.update(queue_len=50, backbone=ahpcl.model.backbone)
    moco.model.neck.update(in_channels=32, hid_channels=32)
    moco.train_dataloader = ahpcl.train_dataloader
    paths = [folder / 'mocov2_toy.py', folder / 'ahpcl_toy.py']
    for path, config in zip(paths, (moco, ahpcl), strict=True):
        config.work_dir = str(folder / 'w')
        config.dump(path)
    return paths


# ---- speed and memory ----------------------------------------------------


@pytest.mark.campaign
def test_the_figures_of_a_run_belong_together(tools, tmp_path, capsys):
    paths = write_toys(tmp_path)
    out = tmp_path / 'deep' / 'bench.json'
    arguments = '--warmup 1 --iterations 4 --batch-size 80 --workers 0'
    report = tools['methods'].main(
        [*map(str, paths), *arguments.split(), '--json', str(out)]
    )
    assert json.loads(out.read_text()) == report
    assert report['settings']['batch_size'] == 80
    assert report['reference'] == 'mocov2_toy'
    assert {'cpu', 'torch', 'command', 'device'} <= set(report['machine'])
    moco, ahpcl = report['rows']
    assert (moco['method'], ahpcl['method']) == ('mocov2', 'ahpcl')
    for row in report['rows']:
        assert row['iterations'] == 4
        assert row['iterations_per_epoch'] == 240 // 80
        assert row['images_per_second'] == pytest.approx(
            80 / row['seconds_per_iteration']
        )
        epoch = (
            3 * row['seconds_per_iteration']
            + row['surrounding_seconds_per_epoch']
        )
        assert row['epoch_seconds'] == pytest.approx(epoch)
        assert row['epoch_images_per_second'] == pytest.approx(240 / epoch)
        update = row['update_seconds'] / row['update_interval']
        assert row['surrounding_seconds_per_epoch'] >= update
        assert row['update_share'] == pytest.approx(
            100 * row['surrounding_seconds_per_epoch'] / epoch
        )
        for ratio, speed in (
            ('ratio', 'images_per_second'),
            ('epoch_ratio', 'epoch_images_per_second'),
        ):
            assert row[ratio] == pytest.approx(row[speed] / moco[speed])
        # At least torch itself; and not the kibibytes of some systems.
        assert 50 * 2**20 < row['base_memory'] <= row['peak_memory']
        assert row['peak_mib'] == row['peak_memory'] / 2**20
    assert moco['ratio'] == moco['epoch_ratio'] == 1
    # Epochs have an E-step, though the config begins with a warm-up.
    assert ahpcl['update_share'] > moco['update_share']
    shown = capsys.readouterr().out.splitlines()[-2:]
    assert '| mocov2_toy |' in shown[0]
    assert '| 1.00 |' in shown[0]
    assert f'| {ahpcl["ratio"]:.2f} |' in shown[1]


def test_the_watch_counts_what_it_should(tools, monkeypatch):
    """Epochs of 3 iterations, 2 s each; 5 s before an epoch, 1 s after."""
    module = tools['_measure']
    clock = [0.0]
    monkeypatch.setattr(module, '_now', lambda: clock[0])
    watch = module.Watch(warmup=2, iterations=6)
    with pytest.raises(module._Enough):
        for epoch in range(9):
            watch.start()
            clock[0] += 5 + epoch
            watch.end_of_head()
            for number in range(3):
                clock[0] += 2
                watch.iteration(10, last=number == 2)
            watch.start()
            clock[0] += 1
            watch.end_of_tail()
    assert watch.done == 8  # two of the warm-up, six that count
    assert (watch.iterations, watch.images) == (6, 60)
    assert watch.seconds == 12
    assert watch.heads == [5, 6, 7]
    assert watch.tails == [1, 1]

    class Loaded:
        train_dataloader = range(3)

    found = module.summary(watch, Loaded(), interval=1, base=7)
    assert found['update_seconds'] == 7
    assert found['epoch_seconds'] == 3 * 2 + 7 + 1
    assert found['epoch_images_per_second'] == pytest.approx(30 / 14)
    assert found['surrounding_share'] == pytest.approx(8 / 14)
    # Every second epoch has an update: the third is one, the second not.
    found = module.summary(watch, Loaded(), interval=2, base=7)
    assert found['update_seconds'] == 7
    assert found['epoch_seconds'] == 3 * 2 + 7 / 2 + 1


def test_only_training_is_measured_and_with_prototypes(tools, tmp_path):
    path = write_toys(tmp_path)[1]
    config = tools['_measure'].prepare(
        dict(
            config=str(path),
            work_dir='w',
            options={'model.momentum': 0.5},
            batch_size=7,
            workers=1,
        )
    )
    assert config.val_dataloader is None
    assert config.default_hooks.checkpoint is None
    assert config.custom_hooks[0].warmup_epochs == 0
    assert config.model.momentum == 0.5
    loader = config.train_dataloader
    assert (loader.batch_size, loader.num_workers) == (7, 1)
    assert loader.persistent_workers
    assert tools['_measure'].update_interval(config) == 1
    config.custom_hooks[0].interval = 3
    assert tools['_measure'].update_interval(config) == 3


def test_all_methods_of_the_data_are_chosen(tools):
    parse, choose = tools['methods'].parse_args, tools['methods'].choose
    chosen, reference = choose(parse(['--data', 'tin100']))
    names = {path.stem for path in chosen}
    assert {'ahpcl_tin100', 'mocov2', 'simclr'} <= names
    assert 'pcl_v1' not in names
    assert reference.stem == 'mocov2'
    settings = tools['methods'].settings_of(
        parse(['--data', 'tin100']), reference
    )
    assert (settings['scale'], settings['batch_size']) == ('tin100', 128)
    with pytest.raises(SystemExit, match=r"--reference.*got 'moco'"):
        choose(parse(['--reference', 'moco']))
    with pytest.raises(SystemExit, match=r'got no/such\.py'):
        choose(parse(['no/such.py']))
    with pytest.raises(SystemExit):
        parse(['--iterations', '0'])


def test_a_config_that_fails_is_named_with_its_reason(tools, tmp_path):
    path = tmp_path / 'broken_toy.py'
    path.write_text("custom_imports = dict(imports=['no_such_part'])\n")
    settings = dict(
        warmup=0,
        iterations=1,
        threads=1,
        batch_size=2,
        workers=0,
        options={},
    )
    with pytest.raises(SystemExit, match=r'(?s)broken_toy.*no_such_part'):
        tools['methods'].measure(path, settings, 'cpu')


# ---- finished runs -------------------------------------------------------


def write_start(folder, stamp, *, epochs, end, knn, processes=1):
    """The logs of one start, with iterations of a quarter of a second."""
    target = folder / stamp / 'vis_data'
    target.mkdir(parents=True)
    rows = []
    for epoch in epochs:
        rows.append(
            dict(loss=1.0, time=0.25, epoch=epoch, iter=9, step=9 * epoch)
        )
        if epoch in knn:
            rows.append({'knn/top1': knn[epoch], 'time': 9.0, 'step': epoch})
    (target / 'scalars.json').write_text(
        '\n'.join(json.dumps(row) for row in rows)
    )
    (folder / stamp / f'{stamp}.log').write_text(
        f'2026/01/01 00:00:00 - mmengine - INFO - \nGPU number: {processes}\n'
        f'{end} - mmengine - INFO - the last line\nand its rest\n'
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / 'mocov2_toy'
    folder.mkdir()
    write_toys(folder)[1].unlink()
    (folder / 'w').mkdir()
    # Given up, started again, and resumed over the turn of the year.
    write_start(
        folder,
        '20251230_100000',
        epochs=[1, 2],
        end='2025/12/30 11:00:00',
        knn={2: 99.0},
    )
    write_start(
        folder,
        '20251231_100000',
        epochs=[1, 2],
        end='2025/12/31 10:01:40',
        knn={1: 50.0, 2: 60.0},
        processes=2,
    )
    write_start(
        folder,
        '20251231_235950',
        epochs=[3, 4],
        end='2026/01/01 00:00:10',
        knn={4: 70.0},
        processes=2,
    )
    return folder


def test_a_work_folder_is_read(tools, run):
    found = tools['_runs'].read_run(run)
    assert found['config'] == 'mocov2_toy'
    assert found['epochs'] == 4
    assert found['knn'] == {1: 50.0, 2: 60.0, 4: 70.0}
    assert found['knn_end'] == 70.0
    assert found['seconds'] == 100 + 20
    assert found['seconds_per_iteration'] == 0.25
    assert found['checkpoint'] is None
    with pytest.raises(ValueError, match='logs of a run'):
        tools['_runs'].read_run(run.parent)


def test_the_table_of_runs(tools, run, tmp_path, capsys):
    out = tmp_path / 'table'
    report = tools['compare_runs'].main(
        [str(run), '--no-untrained', '--out', str(out)]
    )
    (row,) = report['rows']
    assert row['images_per_second'] == 64 * 2 / 0.25
    assert row['knn_untrained'] is None
    cells = '| mocov2 | mocov2_toy | 4 | - | 70.00 | 512.0 | - | 120 |'
    assert capsys.readouterr().out.splitlines()[2] == cells
    assert (tmp_path / 'table.md').read_text().splitlines()[2] == cells
    stored = json.loads((tmp_path / 'table.json').read_text())
    assert stored['rows'][0]['knn_by_epoch'] == {'1': 50, '2': 60, '4': 70}

    bench = tmp_path / 'bench.json'
    measured = dict(
        config='mocov2_toy',
        epoch_images_per_second=300.0,
        peak_memory=5 * 2**20,
    )
    bench.write_text(json.dumps(dict(rows=[measured])))
    tools['compare_runs'].main(
        [str(run), '--no-untrained', '--benchmark', str(bench)]
    )
    cells = '| mocov2 | mocov2_toy | 4 | - | 70.00 | 300.0 | 5 | 120 |'
    assert capsys.readouterr().out.splitlines()[2] == cells
    with pytest.raises(SystemExit, match='expected a checkpoint'):
        tools['compare_runs'].main([str(run), '--split', 'test'])


@pytest.mark.slow
def test_the_untrained_encoder_is_the_one_that_training_starts_from(
    tools, tmp_path
):
    path = write_toys(tmp_path)[0]
    found = tools['compare_runs'].evaluate(str(path), None, 'val')
    config = Config.fromfile(path)
    config.launcher, config.experiment_name = 'none', 'untrained_toy'
    runner = Runner.from_cfg(config)
    unwrap(runner.model).init_weights()
    assert found == pytest.approx(runner.val()['knn/top1'], abs=1e-3)
