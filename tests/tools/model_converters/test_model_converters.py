"""Weights in and out: official layouts, four libraries."""

import importlib
import os
import sys

import pytest
import torch
import torchvision
from mmcls.models import ResNet, ResNet_CIFAR
from mmengine.config import Config
from mmengine.registry import MODELS
from mmselfsup.models.necks import LinearNeck, MoCoV2Neck, SwAVNeck

import processes
from official_checkpoints import (
    Momentum,
    Swav,
    images,
    parallel,
    pooled,
    randomised,
    write_official,
)
from toy import CONFIGS, ROOT, toy_config, train

TOOLS = ROOT / 'tools' / 'model_converters'


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; answers its output."""
    monkeypatch.syspath_prepend(str(TOOLS))

    def call(name, *args):
        capsys.readouterr()
        module = importlib.import_module(name)
        assert module.main([str(a) for a in args]) == 0
        return capsys.readouterr().out

    yield call
    for path in TOOLS.glob('*.py'):
        sys.modules.pop(path.stem, None)


def printed_config(text):
    """The tool prints the backbone config that loads what it wrote."""
    line = text.rpartition('load: backbone=')[2].partition('  #')[0]
    return eval(line)


def under(state, prefix):
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def load_torchvision(path, depth):
    model = getattr(torchvision.models, f'resnet{depth}')()
    state = torch.load(path, weights_only=True)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (['fc.weight', 'fc.bias'], [])
    return model


# ---- out: official files to torchvision ----------------------------------


@pytest.mark.parametrize(
    ('mlp', 'index', 'extra', 'encoder', 'layout'),
    [
        (False, False, [], 'query', 'pcl or moco, v1'),
        (True, False, [], 'key', 'pcl or moco, v2'),
        (True, False, ['--from', 'pcl'], 'query', 'pcl, v2'),
        (False, False, ['--from', 'moco'], 'key', 'moco, v1'),
        (True, True, [], 'query', 'hcsc, v2'),
    ],
)
def test_momentum_checkpoints_become_torchvisions(
    tool, tmp_path, mlp, index, extra, layout, encoder
):
    model = Momentum(18, mlp=mlp, index=index)
    source = write_official(tmp_path / 'checkpoint_0199.pth.tar', model)
    out = tmp_path / 'deep' / 'r18.pth'
    text = tool(
        *('extract_backbone', source, out, '--to', 'torchvision'),
        *('--encoder', encoder, *extra),
    )
    assert f'layout: {layout}\n' in text
    assert f'architecture: resnet18, {encoder} encoder' in text
    wanted = model.encoder_q if encoder == 'query' else model.encoder_k
    loaded = load_torchvision(out, 18)
    assert torch.equal(pooled(loaded, images()), pooled(wanted, images()))


def test_files_of_the_older_torch_format_are_read(tool, tmp_path):
    model = Momentum(18)
    source, out = tmp_path / 'old.pth.tar', tmp_path / 'r18.pth'
    torch.save(
        {'arch': 'resnet18', 'state_dict': parallel(model)},
        source,
        _use_new_zipfile_serialization=False,
    )
    tool('extract_backbone', source, out, '--to', 'torchvision')
    load_torchvision(out, 18)


@pytest.mark.parametrize('published', [True, False])
def test_swav_becomes_torchvisions(tool, tmp_path, published):
    # While training in 'state_dict', as published the weights alone.
    model = Swav(18, [12, 8])
    source, out = tmp_path / 'swav.pth.tar', tmp_path / 'r18.pth'
    if published:
        torch.save(parallel(model), source)
    else:
        write_official(source, model)
    text = tool('extract_backbone', source, out, '--to', 'torchvision')
    assert 'layout: swav\n' in text
    loaded = load_torchvision(out, 18)
    assert torch.equal(pooled(loaded, images()), pooled(model, images()))


def test_a_wide_swav_fits_mmpretrain_but_not_torchvision(tool, tmp_path):
    # SwAV's w2 doubles all channels, which torchvision's wide ResNet doesn't.
    torch.manual_seed(0)
    wide = ResNet(50, stem_channels=128, base_channels=128)
    state = {f'module.{k}': v.half() for k, v in wide.state_dict().items()}
    state['module.prototypes.weight'] = torch.randn(3, 4)
    source, out = tmp_path / 'w2.pth.tar', tmp_path / 'out.pth'
    torch.save(state, source)
    with pytest.raises(SystemExit, match=r'resnet50 \(stem_channels=128'):
        tool('extract_backbone', source, out, '--to', 'timm')
    assert not out.exists()
    text = tool('extract_backbone', source, out, '--to', 'mmpretrain')
    assert 'stem_channels=128, base_channels=128' in text


# ---- out: our own to four libraries --------------------------------------


def ours(tmp_path, depth):
    """A checkpoint of the main config's model, and the model."""
    name = 'ahpcl_minin.py' if depth == 18 else 'ahpcl_minin_r50.py'
    config = Config.fromfile(CONFIGS / name)
    torch.manual_seed(depth)
    model = MODELS.build(config.model)
    model.init_weights()
    randomised(model.backbone, depth)
    randomised(model.encoder_k, depth + 1)
    path = tmp_path / f'ours_{depth}.pth'
    state = model.state_dict()
    torch.save({'meta': {'epoch': 3}, 'state_dict': state}, path)
    return path, model.eval()


@pytest.mark.parametrize('depth', [18, 50])
def test_ours_gives_the_same_features_elsewhere(tool, tmp_path, depth):
    source, model = ours(tmp_path, depth)
    # BGR bytes, as they are read from files, through our preprocessor ...
    raw = torch.randint(
        0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1)
    )
    data = {'inputs': [raw.float()], 'data_samples': []}
    prepared = model.data_preprocessor(data)[0][0]
    # ... and RGB in [0, 1], as torchvision prepares them.
    normalise = torchvision.transforms.Normalize(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    theirs = normalise(raw.flip(1) / 255)
    assert torch.allclose(prepared, theirs, atol=1e-5)
    with torch.no_grad():
        expected = model.extract_feat([prepared])[-1].mean((2, 3))
        key = model.encoder_k[0](prepared)[-1].mean((2, 3))
    assert not torch.allclose(expected, key, atol=1e-2)

    def features(encoder):
        out = tmp_path / f'{encoder}.pth'
        tool(
            *('extract_backbone', source, out, '--to', 'torchvision'),
            *('--encoder', encoder),
        )
        return pooled(load_torchvision(out, depth), prepared)

    assert torch.allclose(features('query'), expected, rtol=0, atol=1e-5)
    assert torch.allclose(features('key'), key, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('target', 'depth'), [('mmdetection', 18), ('mmpretrain', 50)]
)
def test_ours_loads_through_init_cfg(tool, tmp_path, target, depth):
    source, model = ours(tmp_path, depth)
    out = tmp_path / 'out.pth'
    text = tool('extract_backbone', source, out, '--to', target)
    assert isinstance(torch.load(out, weights_only=True), dict)
    config = printed_config(text)
    assert config.pop('type') == 'ResNet'
    backbone = ResNet(**config)
    backbone.init_weights()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key


@pytest.mark.parametrize('depth', [18, 50])
def test_timm_loads_and_agrees(tool, tmp_path, depth):
    timm = pytest.importorskip('timm')
    source, model = ours(tmp_path, depth)
    out = tmp_path / 'out.pth'
    tool('extract_backbone', source, out, '--to', 'timm')
    theirs = timm.create_model(
        f'resnet{depth}', num_classes=0, checkpoint_path=str(out)
    ).eval()
    with torch.no_grad():
        expected = model.extract_feat([images()])[-1].mean((2, 3))
        assert torch.allclose(theirs(images()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('library', 'target'),
    [('mmpretrain.models', 'mmpretrain'), ('mmdet.models', 'mmdetection')],
)
@pytest.mark.parametrize('depth', [18, 50])
def test_their_own_resnet_loads_and_agrees(
    tool, tmp_path, library, target, depth
):
    models = pytest.importorskip(library, exc_type=ImportError)
    source, model = ours(tmp_path, depth)
    out = tmp_path / 'out.pth'
    text = tool('extract_backbone', source, out, '--to', target)
    config = printed_config(text)
    backbone = getattr(models, config.pop('type'))(**config)
    backbone.init_weights()
    backbone.eval()
    with torch.no_grad():
        expected = model.extract_feat([images()])[-1]
        given = backbone(images())[-1]
    assert torch.allclose(given, expected, rtol=0, atol=1e-5)


# ---- the thin encoder ----------------------------------------------------


@pytest.fixture(scope='module')
def toy_run(tmp_path_factory):
    """A short AHPCL run on digits; its folder and model."""
    folder = tmp_path_factory.mktemp('toy')
    config = toy_config(folder)
    config.train_cfg.max_epochs = 2
    config.train_cfg.val_interval = 2
    runner = train(config)
    return folder, runner.model.eval()


@pytest.mark.parametrize('target', ['torchvision', 'timm', 'mmdetection'])
def test_a_thin_resnet_is_refused_by_key(tool, toy_run, tmp_path, target):
    out = tmp_path / 'out.pth'
    with pytest.raises(SystemExit) as error:
        tool(
            *('extract_backbone', toy_run[0] / 'epoch_2.pth', out),
            *('--to', target),
        )
    message = str(error.value)
    assert 'conv1.weight: ' in message  # the 3 x 3 stem, wherever
    if target != 'mmdetection':  # whose ResNet may have three thin stages
        assert 'missing (layer4.0.conv1.weight' in message
        assert '(64, 3, 7, 7) expected, (8, 3, 3, 3) given' in message
    assert '--to mmpretrain, whose ResNet_CIFAR takes it' in message
    assert not out.exists()


def test_a_thin_resnet_works_in_mmpretrain(tool, toy_run, tmp_path):
    folder, model = toy_run
    out = tmp_path / 'out.pth'
    text = tool(
        *('extract_backbone', folder / 'epoch_2.pth', out),
        *('--to', 'mmpretrain'),
    )
    assert 'layout: ahpcl\n' in text
    assert 'resnet18_cifar (stem_channels=8, base_channels=8' in text
    assert 'strides as in its config' in text
    config = printed_config(text)
    assert config.pop('type') == 'ResNet_CIFAR'
    backbone = ResNet_CIFAR(**config)
    backbone.init_weights()
    backbone.eval()
    with torch.no_grad():
        expected = model.backbone(images(16))[-1]
        found = backbone(images(16))[-1]
    # Weights of another memory format are summed in another order.
    torch.testing.assert_close(found, expected)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


# ---- in: official files to load_from -------------------------------------


def projected(backbone, neck):
    backbone.eval()
    with torch.no_grad():
        return neck.eval()(backbone(images()))[0]


@pytest.mark.parametrize('mlp', [True, False])
def test_momentum_checkpoints_become_ours(tool, tmp_path, mlp):
    model = Momentum(18, mlp=mlp).eval()
    source = write_official(tmp_path / 'pcl.pth.tar', model)
    out = tmp_path / 'ours.pth'
    text = tool('import_checkpoint', source, out)
    assert "backbone=dict(type='ResNet', depth=18)" in text
    state = torch.load(out, weights_only=True)['state_dict']
    parts = {key.split('.')[0] for key in state}
    assert parts == {'backbone', 'neck', 'encoder_k'}  # and no queue
    backbone = ResNet(18)
    neck = MoCoV2Neck(512, 512, 16) if mlp else LinearNeck(512, 16)
    for prefixes, encoder in (
        (('backbone.', 'neck.'), model.encoder_q),
        (('encoder_k.0.', 'encoder_k.1.'), model.encoder_k),
    ):
        backbone.load_state_dict(under(state, prefixes[0]))
        neck.load_state_dict(under(state, prefixes[1]))
        with torch.no_grad():  # the official forward, projection included
            expected = encoder(images())
        given = projected(backbone, neck)
        assert torch.allclose(given, expected, rtol=0, atol=1e-5)


def test_swav_becomes_ours_with_prototypes(tool, tmp_path):
    model = Swav(18).eval()
    source = write_official(tmp_path / 'swav.pth.tar', model)
    out = tmp_path / 'ours.pth'
    tool('import_checkpoint', source, out)
    state = torch.load(out, weights_only=True)['state_dict']
    backbone = ResNet(18)
    backbone.load_state_dict(under(state, 'backbone.'))
    neck = SwAVNeck(512, 24, 16, with_l2norm=False, norm_cfg=dict(type='BN1d'))
    neck.load_state_dict(under(state, 'neck.'))
    with torch.no_grad():
        expected = model.projection_head(pooled(model, images()))
        backbone.eval()
        given = neck.eval()([backbone(images())])[0]
    assert torch.allclose(given, expected, rtol=0, atol=1e-5)
    prototypes = under(state, 'head.loss.prototypes.')
    assert torch.equal(prototypes['weight'], model.prototypes.weight)


def test_no_key_encoder_means_the_query_encoder(tool, tmp_path):
    # Published files often hold encoder_q alone.
    model = Momentum(18)
    state = {k: v for k, v in parallel(model).items() if 'encoder_q' in k}
    source, out = tmp_path / 'moco.pth.tar', tmp_path / 'ours.pth'
    torch.save({'arch': 'resnet18', 'state_dict': state}, source)
    tool('import_checkpoint', source, out)
    state = torch.load(out, weights_only=True)['state_dict']
    query, key = under(state, 'backbone.'), under(state, 'encoder_k.0.')
    assert all(torch.equal(query[name], key[name]) for name in query)
    assert len(key) == len(query) > 100
    with pytest.raises(SystemExit, match=r'with a key encoder.*without'):
        tool(
            *('extract_backbone', source, tmp_path / 'key.pth'),
            *('--to', 'timm', '--encoder', 'key'),
        )


def main_config(tmp_path, depth=18, dim=16):
    """The main config with a neck of another size."""
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{CONFIGS / 'ahpcl_minin.py'}'\n"
        f'model = dict(feat_dim={dim}, backbone=dict(depth={depth}), '
        f'neck=dict(out_channels={dim}))\n'
    )
    return path


@pytest.mark.parametrize('dim', [16, 8])
def test_a_config_says_what_it_takes(tool, tmp_path, dim):
    model = Momentum(18, dim=16)
    source = write_official(tmp_path / 'pcl.pth.tar', model)
    out, config = tmp_path / 'ours.pth', main_config(tmp_path, dim=dim)
    text = tool('import_checkpoint', source, out, '--config', config)
    state = torch.load(out, weights_only=True)['state_dict']
    built = MODELS.build(Config.fromfile(config).model)
    missing, unexpected = built.load_state_dict(state, strict=False)
    assert not unexpected
    fresh = {'queue.features', 'queue.position', 'head.loss_proto.weights'}
    fresh |= {'cluster_space.mean', 'cluster_space.matrix'}
    if dim != 16:
        last = [
            f'{m}.mlp.2.{n}'
            for m in ('neck', 'encoder_k.1')
            for n in ('weight', 'bias')
        ]
        fresh |= set(last)
        left = text.partition('left out')[2].partition('\n')[0]
        assert all(key in left for key in last)
    assert set(missing) == fresh
    q = under(built.state_dict(), 'backbone.')
    assert torch.equal(
        q['layer4.1.bn2.bias'], model.encoder_q.layer4[1].bn2.bias
    )


def test_a_config_of_another_depth_is_refused(tool, tmp_path):
    source = write_official(tmp_path / 'pcl.pth.tar', Momentum(34))
    out, config = tmp_path / 'ours.pth', main_config(tmp_path)
    with pytest.raises(SystemExit) as error:
        tool('import_checkpoint', source, out, '--config', config)
    message = str(error.value)
    assert 'got resnet34: ' in message and 'depth=34' in message
    # A ResNet-34 has one block more in its first stage, and so on.
    assert 'unexpected (backbone.layer1.2.conv1.weight' in message
    assert not out.exists()


def test_in_and_out_again_changes_nothing(tool, tmp_path):
    model = Momentum(18)
    source = write_official(tmp_path / 'pcl.pth.tar', model)
    tool('import_checkpoint', source, tmp_path / 'ours.pth')
    tool(
        *('extract_backbone', tmp_path / 'ours.pth', tmp_path / 'out.pth'),
        *('--to', 'torchvision', '--from', 'ahpcl'),
    )
    tool('import_checkpoint', tmp_path / 'out.pth', tmp_path / 'again.pth')
    first, second = (
        under(
            torch.load(tmp_path / name, weights_only=True)['state_dict'],
            'backbone.',
        )
        for name in ('ours.pth', 'again.pth')
    )
    official = model.encoder_q.state_dict()
    assert first.keys() == second.keys()
    assert first.keys() == {k for k in official if not k.startswith('fc.')}
    for key, value in first.items():
        assert torch.equal(value, official[key])
        assert torch.equal(value, second[key])


# ---- what is refused -----------------------------------------------------


class Bomb:
    """What a hostile pickle does on loading."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


TOOL_ARGS = {
    'extract_backbone': ['--to', 'torchvision'],
    'import_checkpoint': [],
    'export_prototypes': [],
}


@pytest.mark.parametrize('name', TOOL_ARGS)
def test_files_that_need_code_are_refused(tool, tmp_path, name, monkeypatch):
    monkeypatch.delenv('AHPCL_TRUST_PICKLE', raising=False)
    model, marker = Swav(18), tmp_path / 'ran'
    source = write_official(
        tmp_path / 'swav.pth.tar', model, args=Bomb(marker)
    )
    out = tmp_path / 'out.npz'
    with pytest.raises(SystemExit, match=r'any code.*--trust-pickle'):
        tool(name, source, out, *TOOL_ARGS[name])
    assert not marker.exists() and not out.exists()
    tool(name, source, out, *TOOL_ARGS[name], '--trust-pickle')
    assert marker.exists() and out.exists()


@pytest.mark.parametrize('name', TOOL_ARGS)
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'which does not exist'),
        (b'not a checkpoint', 'expected a checkpoint'),
        ({'state_dict': {'blocks.0.w': torch.ones(1)}}, 'blocks.0.w|without'),
        ({'epoch': 3}, "'epoch'|without"),
        (torch.ones(3), 'Tensor|without'),
    ],
)
def test_no_checkpoint_or_an_unknown_layout(
    tool, tmp_path, name, content, message
):
    source, out = tmp_path / 'in.pth', tmp_path / 'out.npz'
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    with pytest.raises(SystemExit, match=message):
        tool(name, source, out, *TOOL_ARGS[name])
    assert list(tmp_path.iterdir()) == [source] * (content is not None)


def test_another_layout_than_asked_for(tool, tmp_path):
    source = write_official(tmp_path / 'pcl.pth.tar', Momentum(18))
    with pytest.raises(SystemExit, match=r'as --from swav says.*encoder_q'):
        tool(
            *('extract_backbone', source, tmp_path / 'out.pth'),
            *('--to', 'timm', '--from', 'swav'),
        )


def test_no_resnet_and_changed_resnets_are_named(tool, tmp_path):
    source, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    arguments = ('extract_backbone', source, out, '--to', 'mmpretrain')
    torch.save({'backbone.patch_embed.weight': torch.ones(2)}, source)
    with pytest.raises(SystemExit, match=r'weights of a ResNet.*patch_embed'):
        tool(*arguments)
    state = ResNet(18).state_dict()
    state['layer1.0.attention.weight'] = torch.ones(2)
    del state['bn1.bias']
    state['layer3.0.bn1.weight'] = torch.ones(5)
    torch.save(state, source)
    with pytest.raises(SystemExit) as error:
        tool(*arguments)
    assert '1 key missing (bn1.bias)' in str(error.value)
    assert '1 key unexpected (layer1.0.attention.weight)' in str(error.value)
    shape = 'layer3.0.bn1.weight: (256,) expected, (5,) given'
    assert shape in str(error.value)


def test_the_source_is_never_overwritten(tool, tmp_path):
    source = write_official(tmp_path / 'pcl.pth.tar', Momentum(18))
    before = source.read_bytes()
    with pytest.raises(SystemExit, match='another file'):
        tool('extract_backbone', source, source, '--to', 'timm')
    assert source.read_bytes() == before


def test_as_a_program_it_prints_one_line_and_no_traceback(tmp_path):
    source = tmp_path / 'in.pth'
    torch.save({'blocks.0.w': torch.ones(1)}, source)
    done = processes.run(
        TOOLS / 'extract_backbone.py',
        *(source, tmp_path / 'out.pth', '--to', 'timm'),
        folder=tmp_path,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert 'error: expected a checkpoint in the layout of' in done.stderr
