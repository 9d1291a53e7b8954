"""Checkpoints that do not fit are refused, with a real Runner."""

import importlib
import logging
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

import processes
from ahpcl.runtime.checkpoint_layout import find_family
from ahpcl.runtime.state_difference import compare_states
from official_checkpoints import Momentum, Swav, write_official
from toy import CONFIGS, ROOT, toy_config, train

TOOLS = ROOT / 'tools' / 'model_converters'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint after the warm-up epoch, and what it holds."""
    folder = tmp_path_factory.mktemp('trained')
    config = toy_config(folder)
    config.train_cfg.update(max_epochs=1, val_interval=9)
    train(config)
    path = folder / 'epoch_1.pth'
    return path, torch.load(path, weights_only=True)


def start(folder, path, *, resume=False, **model):
    """Load as training and testing do it; answers the model."""
    config = toy_config(folder)
    config.merge_from_dict({'model': model})
    config.load_from, config.resume = str(path), resume
    config.experiment_name = folder.name
    runner = Runner.from_cfg(config)
    runner.load_or_resume()
    return runner.model


@pytest.fixture
def heard(caplog, monkeypatch):
    """What the hook writes; mmengine's logger hands nothing on."""
    module = importlib.import_module('ahpcl.runtime.start_checkpoint_hook')

    def hand_on(message, logger=None, level=logging.INFO):
        logging.getLogger('heard').log(level, message)

    monkeypatch.setattr(module, 'print_log', hand_on)
    caplog.set_level(logging.INFO, 'heard')
    return lambda: [
        r.getMessage() for r in caplog.records if r.name == 'heard'
    ]


# ---- what fits -----------------------------------------------------------


def test_its_own_checkpoint_loads_without_a_word(trained, tmp_path, heard):
    path, content = trained
    model = start(tmp_path, path)
    assert heard() == []
    for key, value in model.state_dict().items():
        assert torch.equal(value, content['state_dict'][key]), key


def test_parts_that_differ_are_left_out_and_named(trained, tmp_path, heard):
    path, content = trained
    model = start(
        tmp_path,
        path,
        feat_dim=64,
        neck=dict(out_channels=64),
    )
    (line,) = heard()
    assert 'the backbone fits' in line
    for key in ('neck.fc1.weight', 'encoder_k.1.fc1.weight', 'queue.features'):
        assert key in line.partition('as their shapes differ')[2]
    state = model.state_dict()
    saved = content['state_dict']
    same = [
        k for k in saved if k.startswith(('backbone.', 'neck.fc0', 'neck.bn0'))
    ]
    assert len(same) > 50
    for key in same:
        assert torch.equal(state[key], saved[key]), key
    assert state['neck.fc1.weight'].shape == (64, 32)


def test_another_methods_checkpoint_starts_a_run(trained, tmp_path, heard):
    _, content = trained
    content = {'state_dict': dict(content['state_dict'])}
    for key in list(content['state_dict']):
        if key.startswith(('neck.', 'queue.', 'encoder_k.')):
            del content['state_dict'][key]
    for number in range(7):
        content['state_dict'][f'memory.{number}'] = torch.ones(1)
    content['state_dict']['head.fc_cls.weight'] = torch.ones(3, 3)
    torch.save(content, tmp_path / 'other.pth')
    start(tmp_path, tmp_path / 'other.pth')
    (line,) = heard()
    left = 'has no such weights: memory.* (7 keys), head.fc_cls.weight;'
    assert left in line
    rest = line.partition('initialised at random: ')[2]
    assert 'queue.features, queue.position' in rest
    assert 'encoder_k.* (' in rest and 'encoder_k.0' not in rest


def test_weights_alone_and_parallel_names_load(trained, tmp_path, heard):
    _, content = trained
    state = {f'module.{k}': v for k, v in content['state_dict'].items()}
    state['module.queue.features'] = torch.zeros(2, 2)
    torch.save(state, tmp_path / 'flat.pth')
    model = start(tmp_path, tmp_path / 'flat.pth')
    assert 'as their shapes differ: queue.features' in heard()[0]
    key = 'backbone.layer3.1.bn2.bias'
    assert torch.equal(model.state_dict()[key], content['state_dict'][key])


def test_resume_of_the_same_model_is_let_through(trained, tmp_path):
    path, content = trained
    model = start(tmp_path, path, resume=True)
    key = 'queue.features'
    assert torch.equal(model.state_dict()[key], content['state_dict'][key])


# ---- what does not -------------------------------------------------------


@pytest.mark.parametrize('resume', [False, True])
def test_another_architecture_is_refused(trained, tmp_path, resume):
    path, _ = trained
    with pytest.raises(ValueError, match='another architecture') as error:
        start(
            *(tmp_path, path),
            resume=resume,
            backbone=dict(stem_channels=4, base_channels=4),
            neck=dict(in_channels=16),
        )
    message = str(error.value)
    assert 'conv1.weight: (4, 3, 3, 3) expected, (8, 3, 3, 3) given' in message
    assert f'ResNet_CIFAR(depth=18), got another architecture in {path}' in (
        message
    )
    assert 'change model.backbone' in message


def test_a_deeper_backbone_is_refused_in_the_main_config(tmp_path):
    deep = MODELS.build(Config.fromfile(CONFIGS / 'ahpcl_minin_r50.py').model)
    torch.save({'state_dict': deep.state_dict()}, tmp_path / 'r50.pth')
    del deep
    shallow = MODELS.build(Config.fromfile(CONFIGS / 'ahpcl_minin.py').model)
    runner = Runner(
        model=shallow,
        work_dir=str(tmp_path / 'work'),
        load_from=str(tmp_path / 'r50.pth'),
        default_hooks=dict(start=dict(type='StartCheckpointHook')),
        experiment_name='deeper',
    )
    with pytest.raises(ValueError, match=r'ResNet\(depth=18\)') as error:
        runner.load_or_resume()
    message = str(error.value)
    # 53 convolutions against 20, each with a weight and the five of its norm.
    assert f'{(53 - 20) * 6} keys unexpected' in message
    assert 'backbone.layer1.0.conv3.weight' in message
    assert f'and {(53 - 20) * 6 - 4} more' in message
    assert 'missing' not in message


@pytest.mark.parametrize(
    ('model', 'family', 'key'),
    [
        (Momentum, 'PCL, MoCo or HCSC', 'encoder_q.conv1.weight'),
        (Swav, 'SwAV', 'conv1.weight'),
    ],
)
def test_official_files_lead_to_the_converter(tmp_path, model, family, key):
    path = write_official(tmp_path / 'official.pth.tar', model(18))
    with pytest.raises(ValueError, match=f'layout of {family}') as error:
        start(tmp_path, path)
    message = str(error.value)
    assert f'module.{key}' in message
    assert f'import_checkpoint.py {path} OUT.pth' in message


@pytest.fixture(scope='module')
def idle(tmp_path_factory):
    """A runner that has loaded nothing."""
    folder = tmp_path_factory.mktemp('idle')
    config = toy_config(folder)
    config.experiment_name = 'idle'
    return Runner.from_cfg(config)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'blocks.0.weight': torch.ones(2)}, r'unknown layout: blocks\.0'),
        ({'state_dict': {'a': torch.ones(1)}}, 'unknown layout: a;'),
        ({'epoch': 3}, "no known layout: .*'epoch'"),
        ([torch.ones(1)], 'no known layout: .*got list'),
    ],
)
def test_unknown_layouts_are_refused(idle, tmp_path, content, message):
    torch.save(content, tmp_path / 'strange.pth')
    with pytest.raises(ValueError, match=message):
        idle.load_checkpoint(str(tmp_path / 'strange.pth'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(queue_len=25), r'queue\.features: \(128, 25\) expected'),
        (None, 'weights alone'),
    ],
)
def test_resume_asks_for_everything_to_fit(trained, tmp_path, change, message):
    path, content = trained
    if change is None:
        kept = {k: content[k] for k in ('state_dict', 'ahpcl')}
        path = tmp_path / 'weights.pth'
        torch.save(kept, path)
    with pytest.raises(ValueError, match=f'{message}.*resume=False'):
        start(tmp_path, path, resume=True, **(change or {}))


def test_a_model_without_weights_takes_anything(trained, tmp_path):
    config = Config.fromfile(CONFIGS / 'benchmarks' / 'pixels_digits.py')
    runner = Runner(
        model=config.model,
        work_dir=str(tmp_path),
        load_from=str(trained[0]),
        default_scope='mmselfsup',
        default_hooks=dict(start=dict(type='StartCheckpointHook')),
        experiment_name='pixels',
    )
    runner.load_or_resume()
    assert runner._has_loaded


# ---- with the tools ------------------------------------------------------


def run_tool(name, *args, folder):
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT / 'projects'),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PYTHONWARNINGS': 'ignore',
    }
    tool = ROOT / 'tools' / name
    return processes.run(
        tool, *args, folder=folder, cwd=folder, env=environment
    )


@pytest.mark.slow
def test_an_official_file_is_refused_then_converted_then_tested(tmp_path):
    """From a PCL file to kNN, as a user does it."""
    config = tmp_path / 'digits_r18.py'
    config.write_text(
        f"_base_ = '{CONFIGS / 'ahpcl_digits.py'}'\n"
        'model = dict(\n'
        "    backbone=dict(_delete_=True, type='ResNet', depth=18),\n"
        "    neck=dict(_delete_=True, type='MoCoV2Neck', in_channels=512,\n"
        '        hid_channels=512, out_channels=128),\n'
        ')\n'
    )
    path = write_official(tmp_path / 'pcl.pth.tar', Momentum(18, dim=128))
    done = run_tool('test.py', config, path, folder=tmp_path)
    assert done.returncode != 0
    assert 'import_checkpoint.py' in done.stderr + done.stdout
    out = tmp_path / 'ours.pth'
    done = run_tool(
        'model_converters/import_checkpoint.py',
        *(path, out, '--config', config),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    done = run_tool('test.py', config, out, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'knn/top1: ' in done.stdout


# ---- the parts -----------------------------------------------------------


def test_the_difference_of_two_states():
    own = {
        'a': torch.ones(2),
        'b': torch.ones(3),
        'c': torch.ones(1),
        'n.num_batches_tracked': torch.tensor(0),
    }
    same = compare_states(own, {k: own[k] for k in 'abc'})
    assert not same and same.describe() == 'no difference'
    wrong = compare_states(
        own, {'a': torch.ones(4), 'c': 3, 'd': torch.ones(1)}
    )
    assert wrong
    assert wrong.missing == ('b',)
    assert wrong.unexpected == ('d',)
    assert wrong.mis_shaped == (('a', (2,), (4,)), ('c', (1,), (-1,)))
    assert wrong.describe(1) == (
        '1 key missing (b); 1 key unexpected (d); 2 keys of another shape '
        '(a: (2,) expected, (4,) given, and 1 more)'
    )


@pytest.mark.parametrize(
    ('keys', 'family'),
    [
        (['backbone.conv1.weight', 'layer1.0.x'], 'openmmlab'),
        (['module.encoder_q.conv1.weight', 'module.queue'], 'momentum'),
        (['module.layer1.0.x', 'module.prototypes.weight'], 'swav'),
        (['layer1.0.x', 'projection_head.0.weight'], 'swav'),
        (['layer1.0.x', 'fc.weight'], 'plain'),
        (['blocks.0.x', 'my_backbone.layer1.x'], None),
    ],
)
def test_families_are_told_from_keys(keys, family):
    assert find_family(dict.fromkeys(keys, torch.ones(1))) == family
