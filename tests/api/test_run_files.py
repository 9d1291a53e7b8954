"""A run is self-contained: what is loaded, from where, and what is said."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

import ahpcl
from ahpcl.evaluation.run_data import RunData
from toy import toy_method, train

#: Another machine: no mmselfsup, no data, one file.
ELSEWHERE = """
import sys

sys.modules['mmselfsup'] = None
import numpy as np
import ahpcl

encoder = ahpcl.load(sys.argv[1], device='cpu')
images = np.load('images.npy')
np.save('features.npy', encoder.embed(images))
np.save('keys.npy', encoder.embed(images, space='prototypes'))
found = encoder.assign(images)
np.save('clusters.npy', found.levels[0].clusters)
assert len(found.nearest[0]) == 3
"""


@pytest.fixture(scope='module')
def images(toy_run):
    run = RunData(
        Config.fromfile(toy_run.config), toy_run.checkpoint, device='cpu'
    )
    return np.stack([run.image(place) for place in range(9)])


def test_one_file_is_enough_in_another_process_without_mmselfsup(
    toy_run, images, tmp_path
):
    shutil.copy(toy_run.checkpoint, tmp_path / 'copied.pth')
    np.save(tmp_path / 'images.npy', images)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', ELSEWHERE, 'copied.pth'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    encoder = ahpcl.load(toy_run.work_dir, device='cpu')
    expected = {
        'features': encoder.embed(images),
        'keys': encoder.embed(images, space='prototypes'),
        'clusters': encoder.assign(images).levels[0].clusters,
    }
    for name, rows in expected.items():
        found = np.load(tmp_path / f'{name}.npy')
        np.testing.assert_allclose(found, rows, atol=1e-5, err_msg=name)


def test_the_parts_of_mmselfsup_without_it():
    from mmengine.registry import MODELS

    from ahpcl.api.plain_parts import PLAIN

    torch.manual_seed(0)
    maps = (torch.randn(3, 8, 4, 4),)
    for settings in (
        dict(type='MoCoV2Neck', in_channels=8, hid_channels=6, out_channels=5),
        dict(type='LinearNeck', in_channels=8, out_channels=5),
        dict(
            type='NonLinearNeck',
            in_channels=8,
            hid_channels=6,
            out_channels=5,
            num_layers=3,
            norm_cfg=dict(type='BN1d'),
        ),
        dict(
            type='NonLinearNeck',
            in_channels=8,
            hid_channels=6,
            out_channels=5,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=dict(type='BN1d'),
        ),
    ):
        theirs = MODELS.build(settings)
        for value in theirs.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
        options = {k: v for k, v in settings.items() if k != 'type'}
        ours = PLAIN[settings['type']](**options)
        ours.load_state_dict(theirs.state_dict())
        ours.eval()
        theirs.eval()
        torch.testing.assert_close(ours(maps)[0], theirs(maps)[0])
    settings = dict(depth=18, base_channels=8, stem_channels=8)
    theirs = MODELS.build(dict(type='ResNet', out_indices=[4], **settings))
    ours = PLAIN['ResNet'](out_indices=[4], **settings)
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours(pixels)[-1], theirs(pixels)[-1])


@pytest.mark.parametrize('method', ['simclr', 'mocov2'])
def test_another_method_embeds_and_offers_cluster(method, tmp_path, images):
    config = toy_method(method, tmp_path, images=128, epochs=1)
    train(config)
    encoder = ahpcl.load(tmp_path, device='cpu')
    run = RunData(config, tmp_path / 'epoch_1.pth', device='cpu')
    np.testing.assert_allclose(
        encoder.embed([run.image(place) for place in range(5)]),
        run.training.features[:5].numpy(),
        atol=1e-5,
    )
    if method == 'mocov2':
        keys = encoder.embed(images, space='prototypes')
        np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
    else:
        with pytest.raises(ValueError, match='another method'):
            encoder.embed(images, space='prototypes')
    with pytest.raises(ValueError, match=r'ahpcl\.cluster'):
        encoder.assign(images)


def test_a_run_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match='does not exist'):
        ahpcl.load(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match=r'checkpoint \(\*\.pth\)'):
        ahpcl.load(tmp_path)
    (tmp_path / 'epoch_1.pth').write_bytes(b'cut off')
    with pytest.raises(ValueError, match='complete checkpoint'):
        ahpcl.load(tmp_path)
    (tmp_path / 'notes.safetensors').write_bytes(b'none')
    with pytest.raises(ValueError, match='safetensors file'):
        ahpcl.load(tmp_path / 'notes.safetensors')


def test_weights_without_a_config_ask_for_one(toy_run, tmp_path, images):
    content = torch.load(toy_run.checkpoint, weights_only=True)
    bare = tmp_path / 'weights.pth'
    torch.save(content['state_dict'], bare)
    with pytest.raises(ValueError, match='config='):
        ahpcl.load(bare)
    whole = ahpcl.load(toy_run.work_dir, device='cpu').embed(images)
    for config in (
        toy_run.config,
        str(toy_run.config),
        Config.fromfile(toy_run.config),
    ):
        found = ahpcl.load(bare, config=config, device='cpu')
        np.testing.assert_array_equal(found.embed(images), whole)
    # Beside the file one config is found by itself.
    shutil.copy(toy_run.config, tmp_path)
    found = ahpcl.load(bare, device='cpu')
    np.testing.assert_array_equal(found.embed(images), whole)


def test_a_program_in_a_checkpoint_is_not_run(toy_run, tmp_path):
    canary = tmp_path / 'executed'
    content = torch.load(toy_run.checkpoint, weights_only=True)
    content['meta']['cfg'] += f"\nx = open({str(canary)!r}, 'w')\n"
    path = tmp_path / 'epoch_1.pth'
    torch.save(content, path)
    with pytest.raises(ValueError, match='a program'):
        ahpcl.load(path)
    assert not canary.exists()


def test_weights_of_another_model_are_named(toy_run, tmp_path):
    config = Config.fromfile(toy_run.config)
    config.model.backbone.base_channels = 16
    with pytest.raises(ValueError, match='of another shape'):
        ahpcl.load(toy_run.checkpoint, config=config)
    path = tmp_path / 'vision.pth'
    torch.save({'layer1.0.conv1.weight': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match='import_checkpoint'):
        ahpcl.load(path, config=config)
