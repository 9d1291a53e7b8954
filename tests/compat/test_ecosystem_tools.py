"""The ecosystem's own tools, unmodified, on our configs and checkpoints.

Each is started by its path in the installed packages, as a user starts it.
"""

import importlib.util
import os
import re
from pathlib import Path

import mmcls
import mmselfsup
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

import processes
from ahpcl.evaluation import KNNMetric
from ahpcl.evaluation.load_model import load_model
from toy import CONFIGS, ROOT

BENCHMARKS = CONFIGS / 'benchmarks'
MMSELFSUP = Path(mmselfsup.__file__).parent / '.mim' / 'tools'
MMCLS = Path(mmcls.__file__).parent / '.mim' / 'tools'
EXTRACT = ROOT / 'tools' / 'model_converters' / 'extract_backbone.py'


def run(tool: Path, *arguments: object, cwd: Path) -> str:
    """Start a tool of mmselfsup; answers all that it printed."""
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT / 'projects'),
        'PYTHONWARNINGS': 'ignore',
        'CUDA_VISIBLE_DEVICES': '',
        'OMP_NUM_THREADS': '1',
    }
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        environment.pop(name, None)
    done = processes.run(
        tool, *arguments, folder=cwd, cwd=cwd, env=environment
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    return said


def features(model, settings):
    """Pooled features and labels of a loader's images, in order."""
    loader = Runner.build_dataloader(settings)
    rows = []
    with torch.no_grad():
        for batch in loader:
            images, _ = model.data_preprocessor(batch)
            (maps,) = model.backbone(images[0])
            rows.append(maps.mean((2, 3)))
    return torch.cat(rows), torch.tensor(loader.dataset.get_gt_labels())


@pytest.mark.slow
def test_knn_tool_agrees_with_our_metric(toy_run, tmp_path):
    tool = MMSELFSUP / 'benchmarks/classification/knn_imagenet/test_knn.py'
    dataset = BENCHMARKS / 'knn_digits.py'
    said = run(
        tool,
        toy_run.config,
        *('--checkpoint', toy_run.checkpoint),
        *('--dataset-config', dataset),
        *('--work-dir', tmp_path, '--num-knn', 1, 20),
        cwd=tmp_path,
    )
    host = {
        f'top1_k{k}': float(value)
        for k, value in re.findall(
            r'(\d+)-NN classifier: Top1 - ([\d.]+)', said
        )
    }
    assert host.keys() == {'top1_k1', 'top1_k20'}
    model, _ = load_model(Config.fromfile(toy_run.config), toy_run.checkpoint)
    model.eval()
    settings = Config.fromfile(dataset)
    reference, classes = features(model, settings.train_dataloader)
    query, truth = features(model, settings.val_dataloader)
    assert (len(reference), len(query)) == (1442, 355)
    ours = KNNMetric(k=[1, 20], temperature=0.07).measure(
        torch.cat([reference, query]),
        torch.cat([classes, truth]),
        torch.arange(1797) >= 1442,
    )
    # One image more or less where two votes are as good as equal.
    assert host == pytest.approx(ours, abs=100.1 / 355)
    assert host['top1_k1'] > 40  # chance is 10


@pytest.mark.campaign
def test_linear_probe_of_an_extracted_backbone(toy_run, tmp_path):
    backbone = tmp_path / 'backbone.pth'
    run(
        EXTRACT,
        *(toy_run.checkpoint, backbone, '--to', 'mmpretrain'),
        cwd=tmp_path,
    )
    said = run(
        MMCLS / 'train.py',
        BENCHMARKS / 'linear_digits.py',
        *('--work-dir', tmp_path / 'linear', '--cfg-options'),
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={backbone}',
        'model.backbone.init_cfg.prefix=backbone.',
        # The toy's width.
        'model.backbone.stem_channels=8',
        'model.backbone.base_channels=8',
        'model.head.in_channels=32',
        'train_cfg.max_epochs=30',
        'train_cfg.val_interval=30',
        'default_hooks.checkpoint.interval=10',
        cwd=tmp_path,
    )
    assert f'load backbone. in model from: {backbone}' in said
    accuracy = re.findall(r'accuracy/top1: ([\d.]+)', said)
    assert len(accuracy) == 1
    assert float(accuracy[0]) > 20  # chance is 10
    probe = tmp_path / 'linear'
    first, last = (
        torch.load(probe / f'epoch_{n}.pth', weights_only=False)['state_dict']
        for n in (20, 30)
    )
    given = torch.load(backbone)['state_dict']
    assert set(given) == {key for key in last if key.startswith('backbone.')}
    # Frozen, running statistics included; the classifier learns.
    assert all(torch.equal(last[key], value) for key, value in given.items())
    assert not torch.equal(first['head.fc.weight'], last['head.fc.weight'])


@pytest.mark.slow
def test_published_and_extracted_files_hold_our_weights(toy_run, tmp_path):
    converters = MMSELFSUP / 'model_converters'
    state = torch.load(toy_run.checkpoint)['state_dict']
    run(
        converters / 'publish_model.py',
        *(toy_run.checkpoint, tmp_path / 'published.pth'),
        cwd=tmp_path,
    )
    (published,) = tmp_path.glob('published_*.pth')
    model, content = load_model(Config.fromfile(toy_run.config), published)
    assert 'optimizer' not in content
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    run(
        converters / 'extract_backbone_weights.py',
        *(toy_run.checkpoint, tmp_path / 'plain.pth'),
        cwd=tmp_path,
    )
    plain = torch.load(tmp_path / 'plain.pth')['state_dict']
    assert len(plain) > 50
    assert all(torch.equal(state[f'backbone.{k}'], plain[k]) for k in plain)


# What the configs promise, without the tools.


@pytest.mark.parametrize(
    ('probe', 'ours'),
    [
        ('linear_digits', 'ahpcl_digits'),
        ('linear_tin100_cpu', 'ahpcl_tin100_cpu'),
        ('linear_minin', 'ahpcl_minin'),
    ],
)
def test_a_probe_has_the_backbone_that_it_is_for(probe, ours):
    settings = Config.fromfile(BENCHMARKS / f'{probe}.py')
    model = MODELS.build(dict(settings.model, _scope_='mmcls'))
    trained = MODELS.build(Config.fromfile(CONFIGS / f'{ours}.py').model)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    state = trained.backbone.state_dict()
    model.backbone.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    model.eval(), trained.eval()
    with torch.no_grad():
        (expected,) = trained.extract_feat([images])
        (found,) = model.extract_feat(images)
    torch.testing.assert_close(found, expected.mean((2, 3)))
    preprocess = model.data_preprocessor, trained.data_preprocessor
    assert torch.equal(preprocess[0].mean, preprocess[1].mean)
    assert torch.equal(preprocess[0].std, preprocess[1].std)
    # mmselfsup's protocol.
    assert settings.optim_wrapper.optimizer == dict(
        type='SGD', lr=30.0, momentum=0.9, weight_decay=0.0
    )
    assert settings.train_dataloader.batch_size == 8 * 32


@pytest.mark.parametrize('name', ['digits', 'tin100_cpu', 'minin'])
def test_pipelines_of_the_benchmarks_run(name):
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), 'uint8')
    sides = {'digits': 16, 'tin100_cpu': 32, 'minin': 84}
    for kind in ('linear', 'knn'):
        settings = Config.fromfile(BENCHMARKS / f'{kind}_{name}.py')
        for loader in (settings.train_dataloader, settings.val_dataloader):
            assert DATASETS.get(loader.dataset.type) is not None
            steps = loader.dataset.pipeline
            if kind == 'linear':
                # As the default scope of that config has it.
                steps = [
                    dict(step, type=f'mmcls.{step.type}')
                    if step.type.endswith(('Inputs', 'ResizeEdge'))
                    or 'Random' in step.type
                    else step
                    for step in steps
                ]
            done = Compose(steps)(
                dict(img=picture.copy(), sample_idx=0, gt_label=1)
            )['inputs']
            done = done if kind == 'linear' else done[0]
            # The digits come at their size.
            resized = name != 'digits' or 'Random' in str(steps)
            assert done.shape[1:] == (
                (sides[name],) * 2 if resized else (70, 90)
            )


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_transfer_configs(library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f'{library} is not installed')
    settings = Config.fromfile(BENCHMARKS / f'transfer_{library}.py')
    backbone = settings.model.backbone
    assert (backbone.type, backbone.depth) == ('ResNet', 50)
    assert backbone.init_cfg.type == 'Pretrained'
    assert settings.model.get('pretrained') is None
