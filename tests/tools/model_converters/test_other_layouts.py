"""Checkpoints of MoCo v3, SimSiam, DINO, VISSL and others: which part."""

import re
import shlex

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from ahpcl.runtime.checkpoint_layout import parts_of, state_of
from official_checkpoints import images, parallel, pooled, resnet_with_fc
from tools_modules import tool_modules
from toy import ROOT, toy_config


def encoder(seed):
    """torchvision's ResNet with the MLP that MoCo v3 and SimSiam put on."""
    model = resnet_with_fc(18, 16, True, seed)
    width = model.fc[0].in_features
    model.fc = nn.Sequential(
        *(nn.Linear(width, 24, bias=False), nn.BatchNorm1d(24), nn.ReLU()),
        nn.Linear(24, 16, bias=False),
    )
    return model


class Pair(nn.Module):
    def __init__(self, **encoders):
        super().__init__()
        for name, model in encoders.items():
            self.add_module(name, model)
        self.predictor = nn.Linear(16, 16)


def written(kind, path):
    """Write a checkpoint; answers the encoder whose features it has."""
    first, second = encoder(1), encoder(2)
    trunk = {
        key: value
        for key, value in first.state_dict().items()
        if not key.startswith('fc.')
    }
    content = {
        'mocov3': lambda: dict(
            state_dict=parallel(
                Pair(base_encoder=first, momentum_encoder=second)
            ),
            epoch=3,
        ),
        'simsiam': lambda: dict(state_dict=parallel(Pair(encoder=first))),
        'model': lambda: dict(model=trunk, epoch=3),
        'teacher': lambda: dict(
            student={
                f'module.backbone.{key}': value
                for key, value in second.state_dict().items()
            },
            teacher={
                **{f'backbone.{key}': value for key, value in trunk.items()},
                'head.last_layer.weight': torch.ones(2, 2),
            },
            epoch=3,
        ),
        'classy_state_dict': lambda: dict(
            classy_state_dict=dict(
                base_model=dict(
                    model=dict(
                        trunk={
                            f'_feature_blocks.{key}': value
                            for key, value in trunk.items()
                        },
                        heads={},
                    )
                )
            )
        ),
    }[kind]()
    torch.save(content, path)
    return first, second


KINDS = ('mocov3', 'simsiam', 'model', 'teacher', 'classy_state_dict')


@pytest.fixture(scope='module')
def tools():
    names = ('import_checkpoint', 'extract_backbone')
    with tool_modules('model_converters', *names) as modules:
        yield modules


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
    """A run whose backbone is the ResNet-18 of these checkpoints."""
    config = toy_config(tmp_path_factory.mktemp('idle'))
    config.model.backbone = dict(
        type='mmcls.ResNet', depth=18, out_indices=[3]
    )
    config.model.neck.in_channels = 512
    return Runner.from_cfg(config)


def features(model):
    model.backbone.eval()
    with torch.no_grad():
        return model.backbone(images())[-1].mean((2, 3))


@pytest.mark.parametrize('kind', KINDS)
def test_following_the_message_starts_from_the_weights(
    tools, runner, tmp_path, kind, capsys
):
    path = tmp_path / f'{kind}.pth'
    first, _ = written(kind, path)
    runner._load_from = str(path)
    with pytest.raises(ValueError) as error:
        runner.load_checkpoint(str(path))
    (command,) = re.findall(r'python (\S+\.py .*)', str(error.value))
    tool, *arguments = shlex.split(command)
    assert (ROOT / tool).is_file()
    arguments = [
        str(tmp_path / 'out.pth') if a == 'OUT.pth' else a for a in arguments
    ]
    assert tools['import_checkpoint'].main(arguments) == 0
    runner._load_from = arguments[1]
    runner.load_checkpoint(arguments[1])
    found = features(runner.model)
    torch.testing.assert_close(found, pooled(first, images()))


def test_one_of_several_is_asked_for(tools, tmp_path):
    path, out = tmp_path / 'dino.pth', tmp_path / 'out.pth'
    first, second = written('teacher', path)
    run = tools['extract_backbone'].main
    with pytest.raises(SystemExit, match=r'teacher, student.*--part teacher'):
        run([str(path), str(out), '--to', 'torchvision'])
    for part, model in (('teacher', first), ('student', second)):
        run([str(path), str(out), '--to', 'torchvision', '--part', part])
        kept = torch.load(out)
        kept = kept.get('state_dict', kept)
        own = model.state_dict()
        assert torch.equal(kept['conv1.weight'], own['conv1.weight'])
    with pytest.raises(SystemExit, match=r"teacher, student.*'model'"):
        run([str(path), str(out), '--to', 'timm', '--part', 'model'])


def test_the_key_encoder_of_moco_v3(tools, tmp_path):
    path, out = tmp_path / 'v3.pth', tmp_path / 'out.pth'
    _, second = written('mocov3', path)
    tools['extract_backbone'].main(
        [*(str(path), str(out), '--to', 'torchvision'), '--encoder', 'key']
    )
    kept = torch.load(out)
    kept = kept.get('state_dict', kept)
    own = second.state_dict()
    assert torch.equal(
        kept['layer4.1.conv2.weight'], own['layer4.1.conv2.weight']
    )


def test_a_transformer_is_none_of_them_and_said_so(tools, tmp_path):
    state = MODELS.build(
        dict(
            type='mmcls.VisionTransformer',
            arch=dict(
                embed_dims=16,
                num_layers=1,
                num_heads=2,
                feedforward_channels=32,
            ),
            img_size=16,
            patch_size=8,
        )
    ).state_dict()
    path = tmp_path / 'vit.pth'
    torch.save(
        dict(teacher={f'backbone.{k}': v for k, v in state.items()}), path
    )
    with pytest.raises(SystemExit, match=r'a ResNet.*got cls_token'):
        tools['import_checkpoint'].main([str(path), str(tmp_path / 'o.pth')])


def test_weights_are_found_where_they_are():
    weights = dict(a=torch.ones(1))
    assert parts_of(weights) == {'': weights}
    both = dict(state_dict=weights, model=dict(b=torch.ones(2)))
    assert state_of(both) is weights
    assert list(state_of(both, 'model')) == ['b']
    assert parts_of(dict(model='resnet50', epoch=1)) == {}
    assert parts_of([weights]) == {}
