"""The command-line tools, on a toy of a few numbers."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import processes
from ahpcl.cli import arguments
from ahpcl.utils import idle_threads
from ahpcl.utils.idle_threads import let_idle_threads_sleep, others_at_work
from commands import Command
from ranks import free_port

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'

TOY_MODULE = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, sync=False):
        super().__init__()
        norm = nn.SyncBatchNorm(4) if sync else nn.BatchNorm1d(4)
        self.net = nn.Sequential(nn.Linear(2, 4), norm, nn.Linear(4, 1))

    def forward(self, inputs, mode='tensor'):
        out = self.net(inputs)
        self.seen = str(self.net[0](inputs).dtype)
        if mode == 'loss':
            return {'loss': (out.float() - 1).square().mean()}
        return [{'value': row} for row in out]


@DATASETS.register_module()
class ToyData(Dataset):
    metainfo = {}

    def __init__(self, data_root='here'):
        self.data_root = data_root

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return {'inputs': torch.tensor([index / 16, 1 - index / 16])}


@METRICS.register_module()
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [s['value'].item() for s in data_samples]

    def compute_metrics(self, results):
        return {'mean': sum(results) / len(results), 'count': len(results)}
"""

TOY_CONFIG = """
custom_imports = dict(imports=['toy_parts'], allow_failed_imports=False)
default_scope = 'mmengine'
data_root = 'here'
model = dict(type='ToyModel')
train_dataloader = dict(
    dataset=dict(type='ToyData', data_root=data_root),
    batch_size=4,
    num_workers=0,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
train_cfg = dict(by_epoch=True, max_epochs=2)
val_dataloader = dict(
    dataset=dict(type='ToyData', data_root=data_root),
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='ToyMetric')
val_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05)
)
custom_hooks = [dict(type='SafeCheckpointHook')]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'))
randomness = dict(seed=0)
"""


@pytest.fixture
def toy(tmp_path) -> Path:
    (tmp_path / 'toy_parts.py').write_text(TOY_MODULE)
    path = tmp_path / 'toy_main.py'
    path.write_text(TOY_CONFIG)
    return path


def run(
    *arguments: object, cwd: Path, tool: Path | None = None, **extra: str
) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(
            [
                str(ROOT / 'projects'),
                str(cwd),
                os.environ.get('PYTHONPATH', ''),
            ]
        ),
        'PYTHON': sys.executable,
        'PYTHONWARNINGS': 'ignore',
        'CUDA_VISIBLE_DEVICES': '',
        'OMP_NUM_THREADS': '1',
        **extra,
    }
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'AHPCL_TRUST_PICKLE'):
        environment.pop(name, None)
    tool = tool or TOOLS / 'train.py'
    if tool.suffix == '.py':
        return processes.run(
            tool, *arguments, folder=cwd, cwd=cwd, env=environment
        )
    return subprocess.run(
        ['bash', str(tool), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope='module')
def tools():
    return {
        '_cli': arguments,
        'train': Command('run'),
        'test': Command('test'),
    }


# Arguments and config, without training.


def test_train_takes_the_hosts_command_line(tools):
    parse = tools['train'].parse_args
    args = parse(['c.py'])
    assert (args.config, args.work_dir, args.resume) == ('c.py', None, None)
    assert (args.amp, args.launcher, args.cfg_options) == (False, 'none', {})
    line = 'c.py --work-dir w --resume --amp --launcher slurm'
    options = '--local-rank 3 --cfg-options a.b=1 c=[1,2]'
    args = parse([*line.split(), *options.split()])
    assert (args.work_dir, args.resume, args.amp) == ('w', 'auto', True)
    assert (args.launcher, args.local_rank) == ('slurm', 3)
    assert args.cfg_options == {'a.b': 1, 'c': [1, 2]}
    assert parse(['c.py', '--resume', 'x.pth']).resume == 'x.pth'
    assert parse(['c.py', '--local_rank', '2']).local_rank == 2
    with pytest.raises(SystemExit):
        parse(['c.py', '--launcher', 'carrier-pigeon'])


@pytest.mark.parametrize(
    ('arguments', 'text', 'expected'),
    [
        ([], '', 'work_dirs/toy_main'),
        ([], "work_dir = 'mine'", 'mine'),
        (['--work-dir', 'w'], "work_dir = 'mine'", 'w'),
    ],
)
def test_the_work_folder(tools, toy, monkeypatch, arguments, text, expected):
    # A path without a folder, where mmselfsup's tool fails.
    monkeypatch.chdir(toy.parent)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.syspath_prepend(str(toy.parent))
    toy.write_text(f'a = 1\n{text}\n')
    args = tools['train'].parse_args([toy.name, *arguments])
    assert tools['_cli'].prepare(args).work_dir == expected


def test_a_missing_config_names_its_neighbour(tools, toy):
    with pytest.raises(SystemExit, match=r'toy_mian\.py.*did you mean.*main'):
        tools['_cli'].read_config(str(toy.with_name('toy_mian.py')))
    with pytest.raises(SystemExit, match='config of ahpcl'):
        tools['_cli'].read_config('ahpcl::no/such/config.py')


def test_options_that_lead_nowhere_are_warned_of(tools, capsys):
    cfg = Config(
        {
            'optim_wrapper': {'optimizer': {'lr': 1.0}},
            'hooks': [{'interval': 1}],
        }
    )
    tools['_cli'].apply_options(
        cfg,
        {
            'optim_wrapper.optimizer.lr': 2.0,
            'optim_wrapper.optimiser.lr': 3.0,
            'hooks.0.interval': 5,
            'randomness.seed': 1,
        },
    )
    warned = capsys.readouterr().out.splitlines()
    assert len(warned) == 1
    assert 'optim_wrapper.optimiser.lr' in warned[0]
    assert "did you mean 'optimizer'?" in warned[0]
    assert cfg.optim_wrapper.optimizer.lr == 2.0
    assert cfg.hooks[0].interval == 5
    assert cfg.randomness.seed == 1


def test_a_variable_reaches_the_settings_made_from_it(tools, capsys):
    cfg = Config(
        {
            'data_root': None,
            'batch_size': 4,
            'train': {'dataset': {'data_root': None}, 'batch_size': 4},
            'loaders': [{'data_root': None, 'batch_size': 8}],
            'other': {'data_root': 'elsewhere'},
        }
    )
    options = {'data_root': '/images', 'batch_size': 16}
    tools['_cli'].apply_options(cfg, options)
    assert cfg.train.dataset.data_root == '/images'
    assert cfg.loaders[0].data_root == '/images'
    assert cfg.other.data_root == 'elsewhere'
    assert (cfg.train.batch_size, cfg.loaders[0].batch_size) == (16, 8)
    assert 'also changes train.dataset.data_root' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['OptimWrapper', 'mmengine.OptimWrapper'])
def test_amp_means_bf16(tools, kind):
    cfg = Config({'optim_wrapper': {'type': kind, 'clip_grad': {'a': 1}}})
    tools['train'].use_amp(cfg)
    assert cfg.optim_wrapper == {
        'type': 'BF16OptimWrapper',
        'clip_grad': {'a': 1},
    }


def test_amp_replaces_the_hosts_wrapper_with_its_settings(tools):
    cfg = Config(
        {'optim_wrapper': {'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'}}
    )
    tools['train'].use_amp(cfg)
    assert cfg.optim_wrapper == {'type': 'BF16OptimWrapper'}


def test_amp_refuses_a_wrapper_of_its_own(tools):
    cfg = Config({'optim_wrapper': {'type': 'ApexOptimWrapper'}})
    with pytest.raises(SystemExit, match='ApexOptimWrapper'):
        tools['train'].use_amp(cfg)


def test_resume_from_nothing_starts_again(tools, tmp_path, capsys):
    cfg = Config({'work_dir': str(tmp_path)})
    tools['train'].use_resume(cfg, 'auto')
    assert cfg.resume is False
    assert 'starting from scratch' in capsys.readouterr().out


def test_resume_from_a_file_that_is_not_there(tools):
    with pytest.raises(SystemExit, match=r'nowhere\.pth'):
        tools['train'].use_resume(Config(), 'nowhere.pth')


def test_test_settings_come_from_val_where_absent(tools):
    fill = tools['test'].use_val_where_test_is_absent
    cfg = Config({'val_dataloader': {'a': 1}, 'val_evaluator': {'b': 2}})
    fill(cfg)
    assert cfg.test_dataloader == {'a': 1}
    assert cfg.test_evaluator == {'b': 2} and cfg.test_cfg == {}
    own = Config({'test_dataloader': {'own': 1}, **cfg._cfg_dict})
    own.test_dataloader = {'own': 1}
    fill(own)
    assert own.test_dataloader == {'own': 1}
    with pytest.raises(SystemExit, match='nothing to evaluate'):
        fill(Config({'model': {}}))


# Runs.


@pytest.mark.slow
def test_train_resume_and_test(toy):
    folder = toy.parent
    done = run(toy.name, cwd=folder)
    assert done.returncode == 0, done.stderr
    work = folder / 'work_dirs' / 'toy_main'
    assert torch.load(work / 'epoch_2.pth', weights_only=True)

    done = run(
        toy.name,
        '--resume',
        '--amp',
        '--cfg-options',
        'train_cfg.max_epochs=3',
        'data_root=there',
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 2' in done.stdout + done.stderr
    assert 'also changes train_dataloader.dataset.data_root' in done.stdout
    log = max(work.glob('*/*.log')).read_text()  # the names are times
    assert 'BF16OptimWrapper' in log
    assert (work / 'epoch_3.pth').is_file()

    done = run(
        toy.name,
        work / 'epoch_3.pth',
        cwd=folder,
        tool=TOOLS / 'test.py',
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r'^mean: -?\d+\.\d{4}$', done.stdout, re.MULTILINE)
    assert re.search(r'^count: 16$', done.stdout, re.MULTILINE)


def test_errors_end_without_a_traceback(toy):
    done = run('nothing.py', cwd=toy.parent)
    assert done.returncode != 0
    assert 'does not exist' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_scripts_say_how_to_use_them(script, tmp_path):
    done = run(cwd=tmp_path, tool=TOOLS / script)
    assert done.returncode == 2
    assert 'usage:' in done.stderr


def test_slurm_passes_on_what_it_gets(tmp_path):
    stub = tmp_path / 'srun'
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    done = run(
        'gpus', 'job', 'c.py', '--cfg-options', 'a=b c',
        cwd=tmp_path,
        tool=TOOLS / 'slurm_train.sh',
        PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--qos high',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert '--gres=gpu:8' in words and '--ntasks=16' in words
    assert words[words.index('--qos') + 1] == 'high'
    expected = ['--launcher', 'slurm', '--cfg-options', 'a=b c']
    assert words[-4:] == expected


@pytest.mark.campaign
@pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
def test_two_processes_train_one_model_on_the_cpu(toy):
    folder = toy.parent
    done = run(
        toy.name, 2, '--cfg-options', 'model.sync=True',
        cwd=folder,
        tool=TOOLS / 'dist_train.sh',
        PORT=str(free_port()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    work = folder / 'work_dirs' / 'toy_main'
    scalars = next(work.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [line for line in lines if 'loss' in line]
    # 16 images over 2 processes in batches of 4: 2 steps in each of 2 epochs.
    assert len(steps) == 4
    assert done.stdout.count('4 images on each of 2 processes') == 1
    log = next(work.glob('*/*.log')).read_text()
    assert 'Distributed launcher: pytorch' in log
    state = torch.load(work / 'epoch_2.pth', weights_only=True)['state_dict']
    assert not any(key.startswith('module.') for key in state)


def test_idle_threads_sleep_where_others_are_at_work(tmp_path, monkeypatch):
    load = tmp_path / 'loadavg'
    for running, expected in ((1, False), (2, True), (9, True)):
        load.write_text(f'0.52 0.58 0.59 {running}/467 12345\n')
        assert others_at_work(load) is expected
    load.write_text('')
    assert others_at_work(load) and others_at_work(tmp_path / 'none')
    name = 'OMP_WAIT_POLICY'
    for given, busy, expected in (
        (None, False, None),
        (None, True, 'PASSIVE'),
        ('ACTIVE', True, 'ACTIVE'),
    ):
        monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv(name, given)
        monkeypatch.setattr(idle_threads, 'others_at_work', lambda b=busy: b)
        let_idle_threads_sleep()
        assert os.environ.get(name) == expected


def test_idle_threads_are_told_before_torch_is_loaded():
    package = (ROOT / 'projects' / 'ahpcl' / '__init__.py').read_text()
    told = package.index('let_idle_threads_sleep()')
    assert told < package.index('from . import compat')
    assert 'torch' not in idle_threads.__dict__
    lines = (ROOT / 'tools' / 'train.py').read_text().splitlines()
    loaded = [
        n
        for n, line in enumerate(lines)
        if line.startswith(('import _threads', 'from ahpcl'))
    ]
    assert lines[loaded[0]].startswith('import _threads')
