"""A run with pictures is the run without them."""

import copy

import pytest
import torch

from ahpcl.visualization.figure_hook import FigureHook
from toy import toy_config, train


def short(work_dir, epochs, **hook):
    config = toy_config(work_dir)
    config.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    if hook:
        loader = copy.deepcopy(config.custom_hooks[0]['extract_dataloader'])
        config.custom_hooks += [
            dict(type='FigureHook', extract_dataloader=loader, **hook)
        ]
    return config


def pictures(work_dir):
    return {file.name for file in work_dir.rglob('vis_image/*.png')}


def test_weights_are_the_same_with_pictures(tmp_path):
    plain = train(short(tmp_path / 'plain', 2))
    settings = dict(interval=1, kinds=['gallery', 'sizes'])
    with_figures = train(short(tmp_path / 'figures', 2, **settings))
    states = [run.model.state_dict() for run in (plain, with_figures)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    # None in the warm-up; then an E-step of 40 and 20 clusters.
    names = {'sizes', 'gallery_k40_1', 'gallery_k20_1'}
    step = with_figures.iter // 2
    found = pictures(tmp_path / 'figures')
    assert found == {f'{name}_{step}.png' for name in names}
    assert not pictures(tmp_path / 'plain')
    events = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    (file,) = (tmp_path / 'figures').rglob('events.out.tfevents.*')
    found = events.EventAccumulator(str(file)).Reload()
    assert set(found.Tags()['images']) == names


@pytest.mark.campaign
def test_every_so_many_epochs(tmp_path):
    pytest.importorskip('openTSNE')
    plain = train(short(tmp_path / 'plain', 4))
    settings = dict(interval=3, kinds=['tsne'], max_images=60)
    run = train(short(tmp_path / 'figures', 4, **settings))
    # Before epoch 3.
    found = pictures(tmp_path / 'figures')
    assert found == {f'tsne_{2 * run.iter // 4}.png'}
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name


@pytest.mark.parametrize(
    'settings', [dict(interval=0), dict(kinds=['umap']), dict(kinds=[])]
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(ValueError, match='interval'):
        FigureHook({}, **settings)
