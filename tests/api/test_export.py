"""What is exported gives the features of embed, wherever it is loaded."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import MODELS

import ahpcl
from ahpcl.api.run_files import RunFiles
from ahpcl.evaluation.run_data import RunData
from toy import CONFIGS

MISSING = 'the package for this format is not installed'


@pytest.fixture(scope='module')
def finished(toy_run):
    run = RunData(
        Config.fromfile(toy_run.config), toy_run.checkpoint, device='cpu'
    )
    images = np.stack([run.image(place) for place in range(7)])
    encoder = ahpcl.load(toy_run.work_dir, device='cpu')
    return SimpleNamespace(encoder=encoder, images=images)


def resnet18():
    """An encoder of configs/ahpcl_folder.py with random weights."""
    config = Config.fromfile(CONFIGS / 'ahpcl_folder.py')
    torch.manual_seed(1)
    model = MODELS.build(config.model)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return ahpcl.api.Encoder(
        RunFiles('r18.pth', '.', config, model.state_dict()), device='cpu'
    )


def normalised(images):
    """(N, H, W, 3) uint8 as ImageNet's models take it."""
    pixels = torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels - mean) / std


@pytest.mark.parametrize('space', ['features', 'prototypes'])
@pytest.mark.parametrize('preprocess', [True, False])
def test_onnx(finished, tmp_path, space, preprocess):
    onnxruntime = pytest.importorskip('onnxruntime', reason=MISSING)
    pytest.importorskip('onnxscript', reason=MISSING)
    path = tmp_path / 'encoder.onnx'
    finished.encoder.export(path, space=space, preprocess=preprocess)
    session = onnxruntime.InferenceSession(str(path))
    given = finished.images
    if not preprocess:
        own = finished.encoder.config.model.data_preprocessor
        given = (given - np.array(own.mean)) / np.array(own.std)
        given = given.transpose(0, 3, 1, 2).astype(np.float32)
    name = session.get_inputs()[0].name
    for number in (1, 2, 7):
        (found,) = session.run(None, {name: given[:number]})
        expected = finished.encoder.embed(
            finished.images[:number], space=space
        )
        np.testing.assert_allclose(found, expected, atol=1e-4)
    told = json.loads(session.get_modelmeta().custom_metadata_map['ahpcl'])
    assert told['space'] == space and told['size'] == [16, 16]
    card = (tmp_path / 'encoder.onnx.md').read_text()
    assert f'the space `{space}`' in card
    # It still works as before.
    finished.encoder.embed(finished.images[:1], space=space)


def test_onnx_runs_without_torch_and_ahpcl(finished, tmp_path):
    pytest.importorskip('onnxruntime', reason=MISSING)
    pytest.importorskip('onnxscript', reason=MISSING)
    finished.encoder.export(tmp_path / 'encoder.onnx', preprocess=True)
    np.save(tmp_path / 'images.npy', finished.images)
    program = (
        'import sys\n'
        "sys.modules['torch'] = sys.modules['ahpcl'] = None\n"
        'import numpy as np, onnxruntime\n'
        "session = onnxruntime.InferenceSession('encoder.onnx')\n"
        "pixels = np.load('images.npy')\n"
        "(features,) = session.run(None, {'pixels': pixels})\n"
        "np.save('features.npy', features)\n"
    )
    subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, check=True, timeout=120
    )
    np.testing.assert_allclose(
        np.load(tmp_path / 'features.npy'),
        finished.encoder.embed(finished.images),
        atol=1e-4,
    )


def test_safetensors_hold_all_that_load_needs(finished, tmp_path):
    pytest.importorskip('safetensors', reason=MISSING)
    path = tmp_path / 'far' / 'encoder.safetensors'
    finished.encoder.export(path, licence='apache-2.0')
    again = ahpcl.load(path, device='cpu')
    for space in ('features', 'prototypes'):
        np.testing.assert_array_equal(
            again.embed(finished.images, space=space),
            finished.encoder.embed(finished.images, space=space),
        )
    one = finished.encoder.assign(finished.images).table()
    other = again.assign(finished.images).table()
    assert one.keys() == other.keys()
    for column in one:
        np.testing.assert_array_equal(one[column], other[column])
    assert again.training_images == finished.encoder.training_images
    text = path.read_bytes()
    for private in (b'work_dir', b'optimizer', b'queue'):
        assert private not in text
    card = path.with_name('encoder.safetensors.md').read_text()
    assert card.startswith('---\nlicense: apache-2.0\nlibrary_name: ahpcl')
    assert 'knn/top1' in card and '240' in card
    assert 'held-out training images' in card
    third = tmp_path / 'third.safetensors'
    again.export(third)
    np.testing.assert_array_equal(
        ahpcl.load(third, device='cpu').embed(finished.images),
        again.embed(finished.images),
    )


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_torchvision_and_timm_give_the_features(tmp_path, ending):
    timm = pytest.importorskip('timm', reason=MISSING)
    encoder = resnet18()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 84, 84, 3), dtype=np.uint8)
    expected = encoder.embed(images)
    # The run's own pipeline resizes its images, to 96, and crops to 84.
    fitted = [encoder._features.pipeline(item) for item in _items(images)]
    pixels = torch.stack(fitted).numpy()[:, ::-1].transpose(0, 2, 3, 1)
    ready = normalised(pixels)

    path = tmp_path / f'vision{ending}'
    encoder.export(path, to='torchvision')
    model = torchvision.models.resnet18()
    if ending == '.pth':
        state = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(path)
    left = model.load_state_dict(state, strict=False)
    assert left.missing_keys == ['fc.weight', 'fc.bias']
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        found = model.eval()(ready).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)

    path = tmp_path / f'timm{ending}'
    encoder.export(path, to='timm')
    model = timm.create_model(
        'resnet18', num_classes=0, checkpoint_path=str(path)
    )
    with torch.no_grad():
        found = model.eval()(ready).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    card = (tmp_path / f'timm{ending}.md').read_text()
    assert "timm.create_model('resnet18'" in card
    assert '[0.485, 0.456, 0.406]' in card


def _items(images):
    from ahpcl.api.image_items import list_items

    return list_items(images)


def test_mmpretrain_gives_the_features(finished, tmp_path):
    path = tmp_path / 'backbone.pth'
    finished.encoder.export(path, to='mmpretrain')
    settings = dict(finished.encoder.config.model.backbone)
    settings['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(path), prefix='backbone.'
    )
    backbone = MODELS.build(settings)
    backbone.init_weights()
    own = finished.encoder.config.model.data_preprocessor
    given = (finished.images - np.array(own.mean)) / np.array(own.std)
    given = torch.from_numpy(given.transpose(0, 3, 1, 2)).float()
    backbone.eval()  # mmcls's gives None
    with torch.no_grad():
        found = backbone(given)[-1].mean((2, 3)).numpy()
    np.testing.assert_allclose(
        found, finished.encoder.embed(finished.images), atol=1e-4
    )


@pytest.mark.parametrize(
    ('name', 'options', 'said'),
    [
        ('a.bin', {}, r'\.onnx or \.safetensors'),
        ('a.onnx', dict(to='timm'), r'\.pth or \.safetensors for timm'),
        ('a.pth', dict(to='timm', space='prototypes'), "space='features'"),
        ('a.safetensors', dict(preprocess=True), "to='onnx' alone"),
        ('a.onnx', dict(space='keys'), "'features', 'prototypes'"),
        ('a.pth', dict(to='torchvision'), 'resnet18_cifar'),
    ],
)
def test_what_cannot_be_exported_is_said(
    finished, tmp_path, name, options, said
):
    with pytest.raises(ValueError, match=said):
        finished.encoder.export(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def shapes():
    """An encoder whose images are mixed to gray, with random weights."""
    config = Config.fromfile(CONFIGS / 'ahpcl_shapes.py')
    model = MODELS.build(config.model)
    files = RunFiles('shapes.pth', '.', config, model.state_dict())
    return ahpcl.api.Encoder(files, device='cpu')


def test_a_graph_without_a_step_of_the_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match='changes pixels by ChannelMix'):
        shapes().export(tmp_path / 'a.onnx', preprocess=True)
    assert not list(tmp_path.iterdir())
    # The remedy, and what the card says to do.
    pytest.importorskip('onnxscript', reason=MISSING)
    shapes().export(tmp_path / 'a.onnx')
    card = (tmp_path / 'a.onnx.md').read_text()
    assert (
        'Then, on pixels from 0 to 255 in the order B, G, R: ChannelMix'
        in card
    )


def test_values_are_changed_after_an_image_has_its_size():
    from ahpcl.api.image_items import list_items
    from ahpcl.api.preprocessing import Preprocessing

    pipeline = Preprocessing.of(shapes().config)
    # Bright above, dark in the half that is cropped away.
    image = np.full((32, 96, 3), 5, np.uint8)
    image[:16, 32:64] = 200
    (item,) = list_items(image[None], None, 3)
    pixels = pipeline(item).float()
    assert pixels.shape == (3, 32, 32)
    assert float(pixels.mean()) == pytest.approx(128, abs=1)
    assert float(pixels.std()) == pytest.approx(48, abs=1)


def test_an_onnx_file_says_who_runs_it(tmp_path):
    path = tmp_path / 'encoder.onnx'
    path.write_bytes(b'onnx')
    with pytest.raises(ValueError, match='onnxruntime'):
        ahpcl.load(path)
