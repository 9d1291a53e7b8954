"""One variable for the size of the images in all pipelines."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

from ahpcl.cli import arguments
from ahpcl.datasets.image_size import (
    check_image_size,
    pipeline_sizes,
    set_image_size,
)
from toy import CONFIGS, toy_config, train, views_on_cpu

NAMES = sorted(path.name for path in CONFIGS.glob('*.py'))


def datasets_in(node, path=''):
    """Every setting below a config that has a pipeline; written here again."""
    if isinstance(node, dict):
        if 'pipeline' in node:
            yield path, node
        for name, child in node.items():
            yield from datasets_in(child, f'{path}.{name}'.lstrip('.'))
    elif isinstance(node, list | tuple):
        for number, child in enumerate(node):
            yield from datasets_in(child, f'{path}.{number}')


def seen_sizes(config):
    """Run all pipelines on a picture: path -> sizes that come out."""
    picture = np.random.default_rng(0).integers(
        0, 256, (70, 90, 3), dtype=np.uint8
    )
    found = {}

    def image_of(data):
        if 'img_size' not in data:
            return picture
        rendered = DATASETS.build(dict(data, pipeline=[], lazy_init=False))
        return rendered[0]['img']

    for path, data in datasets_in(config._cfg_dict):
        image = image_of(data)
        done = Compose(data['pipeline'])(
            dict(img=image.copy(), sample_idx=0, gt_label=1)
        )
        found[path] = {tuple(view.shape[-2:]) for view in done['inputs']}
    views = config.model.data_preprocessor
    if 'views' in views:
        made = MODELS.build(views)
        image = image_of(config.train_dataloader.dataset)
        pack = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])
        packed = Compose([pack])(dict(img=image, sample_idx=0))
        batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        data = dict(inputs=[batch], data_samples=[packed['data_samples']])
        made, _ = made.make_views(data, 0, 0)
        found['views'] = {tuple(view.shape[-2:]) for view in made}
    return found


@pytest.mark.parametrize('name', NAMES)
def test_one_change_moves_every_pipeline(name, capsys):
    config = Config.fromfile(CONFIGS / name)
    check_image_size(config)
    arguments.apply_options(config, dict(image_size=48))
    check_image_size(config)
    raw = 'views' in config.model.data_preprocessor
    for path, sizes in seen_sizes(config).items():
        if raw and path == 'train_dataloader.dataset':
            continue  # images as they are, for the views on the device
        assert sizes == {(48, 48)}, path
    assert 'also changes' in capsys.readouterr().out


def test_edges_before_a_crop_change_in_proportion():
    config = Config.fromfile(CONFIGS / 'ahpcl_in1k.py')
    set_image_size(config, 112)
    fit = config.extract_dataloader.dataset.pipeline[1:3]
    assert (fit[0].scale, fit[1].crop_size) == (128, 112)


def test_the_size_that_it_has_changes_nothing():
    for name in NAMES:
        config = Config.fromfile(CONFIGS / name)
        before = config.pretty_text
        assert set_image_size(config, config.image_size) == []
        assert config.pretty_text == before


def test_small_crops_keep_their_own(monkeypatch):
    monkeypatch.setenv('AHPCL_SCALE', 'tin100')
    path = CONFIGS / 'baselines' / 'ahpcl_multicrop.py'
    config = Config.fromfile(path)
    set_image_size(config, 80)
    sizes = seen_sizes(config)
    where = 'views' if 'views' in sizes else 'train_dataloader.dataset'
    assert sizes[where] == {(80, 80), (32, 32)}


@pytest.mark.parametrize('name', ['ahpcl_minin.py', 'ahpcl_shapes.py'])
def test_one_pipeline_of_another_size_is_refused_by_its_key(name):
    whole = Config.fromfile(CONFIGS / name)
    places = pipeline_sizes(whole)
    assert len(places) >= 4
    for place in places:
        config = Config.fromfile(CONFIGS / name)
        config.merge_from_dict({place: 40}, allow_list_keys=True)
        with pytest.raises(ValueError, match=r'image_size=40') as error:
            check_image_size(config)
        assert f'{place}=40' in str(error.value)
        # The remedies.
        set_image_size(config, 40)
        check_image_size(config)
        config.merge_from_dict({place: 44}, allow_list_keys=True)
        config.image_size = None
        check_image_size(config)


def test_a_config_that_inherits_a_data_set_may_say_it(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'ahpcl::ahpcl_minin.py'\nimage_size = 56\n")
    config = arguments.read_config(str(path))
    # The Runner alone cannot know: it refuses, with what to call.
    with pytest.raises(ValueError, match=r'set_image_size\(cfg, 56\)'):
        check_image_size(config)
    arguments.apply_options(config, {})
    assert {*pipeline_sizes(config).values()} == {56}


@pytest.mark.parametrize('size', [0, -3, '84', 1.5, True])
def test_what_is_no_size(size):
    config = Config.fromfile(CONFIGS / 'ahpcl_folder.py')
    with pytest.raises(SystemExit, match='positive number'):
        arguments.apply_options(config, dict(image_size=size))


def test_the_runner_refuses_what_disagrees(tmp_path):
    config = toy_config(tmp_path)
    config.model.data_preprocessor.views[0][0].size = 12
    with pytest.raises(ValueError, match='image_size=12'):
        Runner.from_cfg(config).train()


@pytest.mark.parametrize('device', [False, True])
def test_a_run_at_another_size(tmp_path, device):
    config = toy_config(tmp_path)
    if not device:
        views_on_cpu(config)
    set_image_size(config, 20)
    config.train_cfg.update(max_epochs=2, val_interval=2)
    runner = train(config)
    assert len(runner.model.head.hierarchy.levels) == 2
    loader = runner.train_dataloader
    batch = loader.collate_fn([loader.dataset[i] for i in range(2)])
    views, _ = runner.model.data_preprocessor(batch, True)
    assert {tuple(view.shape) for view in views} == {(2, 3, 20, 20)}
    image = runner.val_dataloader.dataset[0]['inputs'][0]
    assert image.shape == (3, 20, 20)


def test_stored_photographs_change_in_proportion():
    config = Config.fromfile(CONFIGS / 'ahpcl_folder.py')
    data = config.train_dataloader.dataset
    assert data.decoded_max_side == 4 * 84
    set_image_size(config, 42)
    (hook,) = config.custom_hooks
    for own in (data, hook.extract_dataloader.dataset):
        assert own.decoded_max_side == 4 * 42


def test_crops_in_mmpretrains_words():
    crop = dict(type='RandomResizedCrop', scale=84, crop_ratio_range=(0.2, 1))
    config = dict(train_dataloader=dict(dataset=dict(pipeline=[crop])))
    assert [*pipeline_sizes(config).values()] == [84]
    set_image_size(config, 64)
    assert crop['scale'] == 64
