"""The tool that takes the place of mmselfsup's visualize_tsne.py."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from ahpcl.datasets import Digits
from ahpcl.evaluation.load_model import load_model
from commands import Command

CLASSIFIER = dict(
    type='mmcls.ImageClassifier',
    data_preprocessor=dict(
        type='mmcls.ClsDataPreprocessor',
        mean=[120.0] * 3,
        std=[60.0] * 3,
        to_rgb=True,
    ),
    backbone=dict(
        type='mmcls.ResNet_CIFAR',
        depth=18,
        stem_channels=4,
        base_channels=4,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),
    ),
    neck=dict(type='mmcls.GlobalAveragePooling'),
    head=dict(
        type='mmcls.LinearClsHead',
        num_classes=10,
        in_channels=16,
        loss=dict(type='mmcls.CrossEntropyLoss'),
    ),
)
LOADER = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='Digits',
        img_size=16,
        limit=40,
        pipeline=[dict(type='LoadImageBGR'), dict(type='mmcls.PackClsInputs')],
    ),
)


@pytest.fixture(scope='module')
def tool():
    return Command('visualize_tsne')


def write(path, **settings):
    Config(dict(default_scope='mmselfsup', **settings)).dump(path)
    return str(path)


def outputs(work_dir):
    """Features and pictures of the only run in a folder."""
    (folder,) = work_dir.glob('tsne_*')
    assert (folder / 'extract.log').stat().st_size > 0
    arrays = {p.stem: np.load(p) for p in (folder / 'features').iterdir()}
    pictures = sorted((folder / 'saved_pictures').glob('*.png'))
    assert sorted(p.stem for p in pictures) == sorted(arrays)
    for picture in pictures:
        with Image.open(picture) as image:
            assert len(image.convert('RGB').getcolors(1 << 20)) > 50
    return arrays


def test_it_takes_the_hosts_command_line(tool):
    line = '--checkpoint c.pth --work-dir w --vis-stage neck --seed 3 '
    line += '--max-num-class 7 --deterministic --cfg-options a.b=1 '
    line += '--device cpu --n-components 3 --perplexity 5 --init pca '
    line += '--early-exaggeration 6 --learning-rate 9 --n-iter 300 '
    line += '--n-iter-without-progress 50'
    args = vars(tool.parse_args(['c.py', *line.split()]))
    assert args == dict(
        config='c.py',
        checkpoint='c.pth',
        data_root=None,
        work_dir='w',
        vis_stage='neck',
        seed=3,
        max_num_class=7,
        deterministic=True,
        cfg_options={'a.b': 1},
        device='cpu',
        n_components=3,
        perplexity=5.0,
        init='pca',
        early_exaggeration=6.0,
        learning_rate=9.0,
        n_iter=300,
        n_iter_without_progress=50,
    )


def test_a_run_of_ours(tool, toy_run, tmp_path):
    tool.main(
        [str(toy_run.config), '--checkpoint', str(toy_run.checkpoint)]
        + ['--work-dir', str(tmp_path), '--max-num-class', '3']
        + ['--n-iter', '250', '--device', 'cpu', '--perplexity', '5']
        + ['--cfg-options', 'extract_dataloader.dataset.limit=90']
    )
    ((name, found),) = outputs(tmp_path).items()
    assert name == 'feat_2'
    # One image after the other, by hand.
    model, _ = load_model(Config.fromfile(toy_run.config), toy_run.checkpoint)
    model.eval()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    data = Digits(img_size=16, limit=90)
    rows = []
    for index in range(len(data)):
        info = data.get_data_info(index)
        if info['gt_label'] < 3:
            image = torch.tensor(info['img']).permute(2, 0, 1)[None].float()
            with torch.no_grad():
                (maps,) = model.backbone((image - mean) / std)
            rows.append(maps[0].mean((1, 2)))
    assert len(rows) == 27
    np.testing.assert_allclose(found, torch.stack(rows), atol=1e-4)


@pytest.mark.parametrize('stage', ['backbone', 'neck', 'pre_logits'])
def test_stages_of_a_classifier(tool, tmp_path, stage):
    torch.manual_seed(5)
    model = MODELS.build(CLASSIFIER).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'c.pth')
    config = write(
        tmp_path / 'c.py', model=CLASSIFIER, extract_dataloader=LOADER
    )
    tool.main(
        [config, '--checkpoint', str(tmp_path / 'c.pth'), '--device', 'cpu']
        + ['--work-dir', str(tmp_path), '--vis-stage', stage]
        + ['--n-iter', '250', '--perplexity', '5', '--init', 'pca']
        + ['--n-components', '3', '--deterministic']
    )
    found = outputs(tmp_path)
    data = Digits(img_size=16, limit=40)
    images = [data.get_data_info(i)['img'] for i in range(len(data))]
    pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        maps = model.backbone((pixels - 120) / 60)
    expected = {
        f'feat_{i}': m.mean((2, 3)) for i, m in zip((1, 2), maps, strict=True)
    }
    if stage == 'pre_logits':  # the head takes the last one only
        del expected['feat_1']
    assert list(found) and found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)


def test_images_without_labels_are_all_shown(tool, tmp_path):
    for index in range(14):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3))
        Image.fromarray(pixels.astype('uint8')).save(tmp_path / f'{index}.png')
    folder = dict(type='UnlabelledFolder', data_root=str(tmp_path))
    folder['pipeline'] = LOADER['dataset']['pipeline']
    config = write(
        tmp_path / 'c.py',
        model=CLASSIFIER,
        extract_dataloader=dict(LOADER, dataset=folder),
    )
    line = [config, '--work-dir', str(tmp_path / 'w'), '--device', 'cpu']
    tool.main([*line, '--perplexity', '4', '--n-iter', '250'])
    found = outputs(tmp_path / 'w')
    assert {values.shape for values in found.values()} == {(14, 8), (14, 16)}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--n-iter', '100'], 'at least 250, got 100'),
        (['--perplexity', '90'], 'below the 40 images, got 90'),
        (['--max-num-class', '0'], 'raise --max-num-class'),
        (['--checkpoint', 'none.pth'], 'none.pth, which does not exist'),
        (['--cfg-options', 'extract_dataloader=None'], 'inherit one of'),
        # The last of two counts.
        (['--device', 'abacus'], 'that works here, such as cpu, got abacus'),
        (['--device', 'cuda:99'], 'that works here, such as cpu, got cuda:99'),
    ],
)
def test_what_it_refuses(tool, tmp_path, arguments, message):
    config = write(
        tmp_path / 'c.py', model=CLASSIFIER, extract_dataloader=LOADER
    )
    line = [config, '--work-dir', str(tmp_path), '--device', 'cpu']
    with pytest.raises(SystemExit, match=f'error: expected .*{message}'):
        tool.main([*line, *arguments])


def test_a_stage_that_a_model_lacks(tool, toy_run, tmp_path):
    line = [str(toy_run.config), '--work-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match=r'AHPCL.*pre_logits'):
        tool.main([*line, '--vis-stage', 'pre_logits', '--device', 'cpu'])
