"""Runs in an environment that has MMPretrain and no mmselfsup.

``AHPCL_MMPRETRAIN_PYTHON`` names its interpreter (``.ci/run`` makes one).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get('AHPCL_MMPRETRAIN_PYTHON')
CONFIG = 'configs/ahpcl_digits.py'
SHORT = ('train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=1')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PYTHON is None,
        reason='AHPCL_MMPRETRAIN_PYTHON names no environment with MMPretrain',
    ),
]


def run(
    python, program, config, folder, epochs, *arguments, fails=False, **also
):
    """Trains in a process of its own; answers what it printed.

    `also` is added to its environment.
    """
    done = subprocess.run(
        [
            *(python, program, config, '--work-dir', folder),
            *arguments,
            '--cfg-options',
            *(f'train_cfg.max_epochs={epochs}', *SHORT),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            'CUDA_VISIBLE_DEVICES': '',
            'OMP_NUM_THREADS': '1',
            **also,
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    printed = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, printed[-4000:]
    return printed


def weights(folder, epoch):
    path = folder / f'epoch_{epoch}.pth'
    return torch.load(path, weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def mmpretrain_train():
    """MMPretrain's own tools/train.py."""
    found = subprocess.run(
        [
            PYTHON,
            '-c',
            'import importlib.util as u, mmpretrain as m;'
            "assert u.find_spec('mmselfsup') is None;"
            "print(m.__path__[0] + '/.mim/tools/train.py')",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()[-1]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, mmpretrain_train):
    """Two epochs of AHPCL by MMPretrain's program."""
    folder = tmp_path_factory.mktemp('whole')
    printed = run(PYTHON, mmpretrain_train, CONFIG, folder, 2)
    assert 'knn/top1' in printed
    return folder


def assert_same(found, expected):
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_ours_goes_on_where_its_own_program_stopped(tmp_path, whole):
    stopped = whole / 'epoch_1.pth'
    run(PYTHON, 'tools/train.py', CONFIG, tmp_path, 2, '--resume', stopped)
    assert_same(weights(tmp_path, 2), weights(whole, 2))


def test_is_the_same_run_under_mmselfsup_and_goes_on_there(tmp_path, whole):
    one = tmp_path / 'whole'
    run(sys.executable, 'tools/train.py', CONFIG, one, 2)
    assert_same(weights(one, 1), weights(whole, 1))
    for python, folder, stopped in (
        (sys.executable, 'there', whole / 'epoch_1.pth'),
        (PYTHON, 'back', one / 'epoch_1.pth'),
    ):
        folder = tmp_path / folder
        run(python, 'tools/train.py', CONFIG, folder, 2, '--resume', stopped)
        assert_same(weights(folder, 2), weights(one, 2))


def test_where_both_are_installed_mmselfsup_is_used_and_said(tmp_path, whole):
    asked = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    there = subprocess.run(
        [PYTHON, '-c', asked], capture_output=True, text=True, check=True
    ).stdout.strip()
    printed = run(
        *(sys.executable, 'tools/train.py', CONFIG, tmp_path, 2),
        PYTHONPATH=there,
    )
    assert 'mmselfsup and MMPretrain are both installed' in printed
    assert_same(weights(tmp_path, 2), weights(whole, 2))


def test_moco_trains_and_the_report_is_made(tmp_path, mmpretrain_train):
    run(PYTHON, mmpretrain_train, 'configs/baselines/mocov2.py', tmp_path, 1)
    subprocess.run(
        [PYTHON, 'tools/analysis_tools/report.py', tmp_path],
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    assert list(tmp_path.glob('**/*.html'))


ENCODERS = {
    'ViT': dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(
            embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32
        ),
        img_size=84,
        patch_size=28,
        out_type='cls_token',
    ),
    'ConvNeXt': dict(
        type='mmpretrain.ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 32]),
    ),
}


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp('photographs')
    draws = np.random.default_rng(0)
    for number in range(48):
        pixels = draws.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    return folder


@pytest.mark.parametrize(
    ('encoder', 'method', 'program'),
    [
        ('ViT', 'ahpcl', 'ours'),
        ('ConvNeXt', 'ahpcl', 'its own'),
        ('ConvNeXt', 'mocov2', 'ours'),
        ('ViT', 'mocov2', 'its own'),
    ],
)
def test_a_folder_and_an_encoder_by_its_name_there(
    tmp_path, photographs, mmpretrain_train, encoder, method, program
):
    """Its RandomResizedCrop and GaussianBlur have device counterparts."""
    config = tmp_path / f'{method}_folder.py'
    # Its own program has no --data: there the config names the folder.
    arguments = ['--data', photographs] if program == 'ours' else []
    root = {} if arguments else dict(data_root=str(photographs))
    config.write_text(
        f"""
_base_ = '{ROOT / 'configs/ahpcl_folder.py'}'
model = dict(
    queue_len=16,
    backbone=dict(_delete_=True, **{ENCODERS[encoder]!r}),
    neck=dict(
        _delete_=True,
        type='NonLinearNeck',
        in_channels=32,
        hid_channels=32,
        out_channels=128,
        num_layers=2,
        with_last_bn=False,
        with_avg_pool=False,
    ),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset={root!r},
)
__hook = dict(
    _base_.custom_hooks[0],
    ladder=dict(type='ClusterLadder', rungs=[8, 4], window=2),
    warmup_epochs=0,
)
__hook['extract_dataloader'].dataset.update({root!r})
custom_hooks = [
    __hook if {method == 'ahpcl'} else dict(type='SyncBuffersHook')
]
"""
    )
    own = mmpretrain_train if program == 'its own' else 'tools/train.py'
    printed = run(PYTHON, own, config, tmp_path / 'run', 1, *arguments)
    assert ('acc_proto_k8' in printed) == (method == 'ahpcl')
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


def test_a_baseline_says_what_it_needs(tmp_path):
    printed = run(
        *(PYTHON, 'tools/train.py', 'configs/baselines/swav.py', tmp_path, 1),
        fails=True,
    )
    assert 'pip install mmselfsup' in printed
