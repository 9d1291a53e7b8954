"""Encoders beyond ResNet train, embed and are exported."""

import json

import numpy as np
import pytest
import torch

import ahpcl
from ahpcl.datasets import set_image_size
from ahpcl.models import TimmBackbone, TorchvisionBackbone
from ahpcl.models.fast_encoders import encode
from ahpcl.models.library_backbones import read_weights
from toy import toy_config, train

# Digits have 16 px, and 32 for ConvNeXt: tiny patches, few channels.
VIT = dict(
    type='TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=16,
    patch_size=4,
    depth=2,
    embed_dim=24,
    num_heads=2,
)
ENCODERS = {
    'vit, class token': (dict(VIT, pooling='token'), 24),
    'vit, mean': (dict(VIT, pooling='avg'), 24),
    'convnext': (
        dict(
            type='TimmBackbone',
            model_name='convnext_atto',
            depths=(1, 1, 1, 1),
            dims=(8, 16, 24, 32),
        ),
        32,
    ),
    'mobilenet': (
        dict(type='TorchvisionBackbone', model_name='mobilenet_v3_small'),
        576,
    ),
}


def small_run(folder, backbone, width):
    config = toy_config(folder)
    if 'convnext' in backbone['model_name']:
        set_image_size(config, 32)
    config.model.backbone = backbone
    config.model.neck.in_channels = width
    config.train_cfg.update(max_epochs=2, val_interval=2)
    config.train_dataloader.dataset.limit = 128
    config.custom_hooks[0].extract_dataloader.dataset.limit = 128
    config.custom_hooks[0].ladder = dict(rungs=[10, 5], window=2)
    train(config)
    return ahpcl.load(folder, device='cpu')


@pytest.mark.parametrize('name', ENCODERS)
@pytest.mark.slow
def test_two_epochs_embed_assign_and_export(name, tmp_path):
    backbone, width = ENCODERS[name]
    if backbone['type'] == 'TimmBackbone':
        pytest.importorskip('timm')
    encoder = small_run(tmp_path / 'run', backbone, width)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, *encoder.size, 3), dtype=np.uint8)
    features = encoder.embed(images)
    assert features.shape == (3, width) and encoder.width == width
    found = encoder.assign(images)
    assert [level.num_clusters for level in found.levels] == [10, 5]
    assert len(found.nearest[0]) == 3

    own = encoder.config.model.data_preprocessor
    ready = (images - np.array(own.mean)) / np.array(own.std)
    ready = torch.from_numpy(ready.transpose(0, 3, 1, 2)).float()
    if backbone['type'] == 'TimmBackbone':
        import timm

        options = {
            key: value
            for key, value in backbone.items()
            if key not in ('type', 'model_name', 'pooling')
        }
        if 'pooling' in backbone:
            options['global_pool'] = backbone['pooling']
        path = encoder.export(tmp_path / 'timm.pth', to='timm')
        model = timm.create_model(
            backbone['model_name'],
            num_classes=0,
            checkpoint_path=str(path),
            **options,
        )
    else:
        import torchvision

        path = encoder.export(tmp_path / 'vision.pth', to='torchvision')
        model = torchvision.models.get_model(backbone['model_name'])
        state = torch.load(path, weights_only=True)
        left = model.load_state_dict(state, strict=False)
        assert not left.unexpected_keys
        model.classifier = torch.nn.Identity()
    with torch.no_grad():
        expected = model.eval()(ready).numpy()
    np.testing.assert_allclose(expected, features, atol=1e-4)
    with pytest.raises(ValueError, match="'onnx' or 'safetensors'"):
        encoder.export(tmp_path / 'x.pth', to='mmpretrain')

    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    encoder.export(tmp_path / 'encoder.onnx', preprocess=True)
    session = onnxruntime.InferenceSession(str(tmp_path / 'encoder.onnx'))
    told = json.loads(session.get_modelmeta().custom_metadata_map['ahpcl'])
    assert told['preprocess'] is True
    for number in (1, 3):
        (found,) = session.run(None, {'pixels': images[:number]})
        np.testing.assert_allclose(found, features[:number], atol=1e-4)


def test_views_that_do_not_fit_the_patches_are_refused(tmp_path):
    pytest.importorskip('timm')
    config = toy_config(tmp_path)
    config.model.backbone = dict(VIT, img_size=20)
    config.model.neck.in_channels = 24
    with pytest.raises(ValueError, match=r'16 x 16.*patches of \(4, 4\)'):
        train(config)


def test_the_mean_of_a_transformers_tokens_and_its_class_token():
    import torchvision

    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 16)
    backbone = TorchvisionBackbone('vit_b_16', image_size=16).eval()
    model = torchvision.models.vit_b_16(image_size=16).eval()
    model.load_state_dict(backbone.model.state_dict(), strict=False)
    seen = []
    model.encoder.register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        model(images)
        (tokens,) = seen
        (first,) = backbone(images)
        backbone.pooling = 'avg'
        (mean,) = backbone(images)
    torch.testing.assert_close(first[:, :, 0, 0], tokens[:, 0])
    torch.testing.assert_close(mean[:, :, 0, 0], tokens[:, 1:].mean(1))


@pytest.mark.parametrize(
    'name', ['resnet18', 'convnext_tiny', 'mobilenet_v2', 'densenet121']
)
def test_features_of_torchvision_are_what_its_classifier_sees(name):
    import torchvision

    torch.manual_seed(0)
    backbone = TorchvisionBackbone(name).eval()
    model = torchvision.models.get_model(name).eval()
    left = model.load_state_dict(backbone.model.state_dict(), strict=False)
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(left.missing_keys) == 2 and not left.unexpected_keys
    seen = []
    linear[-1].register_forward_hook(lambda m, i, out: seen.append(i[0]))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model(images)
        (rows,) = backbone(images)
    torch.testing.assert_close(rows[:, :, 0, 0], seen[0])


def test_weights_come_from_a_file_and_must_fit(tmp_path):
    timm = pytest.importorskip('timm')
    given = timm.create_model('resnet18')  # with a classifier
    path = tmp_path / 'r18.pth'
    torch.save({'state_dict': given.state_dict()}, path)
    backbone = TimmBackbone('resnet18', weights=str(path))
    backbone.init_weights()
    own = backbone.model.state_dict()
    for key, value in given.state_dict().items():
        if not key.startswith('fc.'):
            assert torch.equal(own[key], value), key
    with pytest.raises(ValueError, match=r'resnet34 of timm.*missing'):
        TimmBackbone('resnet34', weights=str(path)).init_weights()
    path.write_bytes(b'no weights')
    with pytest.raises(ValueError, match='can be read'):
        read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match='weights by name'):
        read_weights(path)


@pytest.mark.parametrize(
    ('kind', 'options', 'said'),
    [
        (TimmBackbone, dict(model_name='resnet_18'), "'resnet_18'"),
        (
            TimmBackbone,
            dict(model_name='resnet18', img_size=32),
            'options that resnet18 of timm takes',
        ),
        (TorchvisionBackbone, dict(model_name='vit_tiny'), "'vit_tiny'"),
        (
            TorchvisionBackbone,
            dict(model_name='resnet18', pooling='avg'),
            "'token' or 'avg' for a vision transformer",
        ),
    ],
)
def test_names_and_options_are_checked(kind, options, said):
    if kind is TimmBackbone:
        pytest.importorskip('timm')
    with pytest.raises(ValueError, match=said):
        kind(**options)


def test_a_pooled_map_serves_any_neck():
    from mmselfsup.models.necks import LinearNeck

    backbone = TorchvisionBackbone('mobilenet_v3_small').eval()
    neck = LinearNeck(576, 5)
    rows = encode(backbone, neck, torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))
