"""Configs of PCL, HCSC and AHPCL's options: one thing changed in each."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS

from ahpcl.engine import build_ladder
from toy import CONFIGS

IMAGES = dict(digits=1442, tin100=16000, tin100_cpu=4800, minin=38400)
FOLDER = CONFIGS / 'baselines'
NAMES = sorted(
    path.stem
    for start in ('pcl', 'hcsc', 'ahpcl')
    for path in FOLDER.glob(f'{start}*.py')
)


@pytest.fixture
def load(monkeypatch):
    """A config of a method, at a scale."""

    def read(name, data):
        monkeypatch.setenv('AHPCL_SCALE', data)
        return Config.fromfile(FOLDER / f'{name}.py')

    return read


def changes(before, after, path=''):
    """Dotted names of what differs; lists count as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = set()
        for key in before.keys() | after.keys():
            inner = f'{path}.{key}' if path else str(key)
            found |= changes(before.get(key), after.get(key), inner)
        return found
    return set() if before == after else {path}


def settings(config):
    """What training reads, the hook among it as a dict."""
    (hook,) = config.custom_hooks
    return dict(
        model=config.model.to_dict(),
        hook=hook.to_dict(),
        schedule=config.param_scheduler,
        train=config.train_dataloader.to_dict(),
        optimizer=config.optim_wrapper.to_dict(),
        epochs=config.train_cfg.to_dict(),
    )


@pytest.mark.parametrize('data', ['digits', 'minin'])
@pytest.mark.parametrize('name', NAMES)
def test_builds_and_fits(name, data, load):
    config = load(name, data)
    model = MODELS.build(config.model)
    (hook,) = config.custom_hooks
    HOOKS.build(hook)
    assert type(model).__name__ == 'AHPCL'
    ladder = build_ladder(hook.ladder, IMAGES[data])
    model.head.check_linkage(hook.linkage)
    if not name.startswith('ahpcl'):
        assert hook.policy is None
        assert len(ladder.current) == len(ladder.rungs) == 3


@pytest.mark.parametrize('data', ['digits', 'minin'])
@pytest.mark.parametrize(
    ('base', 'ablation', 'expected'),
    [
        ('pcl', 'pcl_infonce_only', {'hook.warmup_epochs'}),
        ('pcl', 'pcl_protonce_only', {'model.head.inst_weight'}),
        ('pcl', 'pcl_no_warmup', {'hook.warmup_epochs'}),
        ('pcl', 'pcl_fixed_tau', {'hook.clustering.concentration'}),
        (
            'hcsc',
            'hcsc_multicrop',
            {
                'model.data_preprocessor.views',
                'model.data_preprocessor.num_views',
            },
        ),
    ],
)
def test_an_ablation_changes_one_thing(base, ablation, expected, data, load):
    before, after = (settings(load(n, data)) for n in (base, ablation))
    assert changes(before, after) == expected


def test_nothing_is_clustered_with_infonce_only(load):
    for data in ('digits', 'minin'):
        config = load('pcl_infonce_only', data)
        (hook,) = config.custom_hooks
        assert hook.warmup_epochs >= config.train_cfg.max_epochs


@pytest.mark.parametrize('data', IMAGES)
def test_pcl_has_the_published_shares_of_the_data(data, load):
    """25k, 50k, 100k clusters and 16,384 negatives of 1,281,167 images."""
    config, size = load('pcl', data), IMAGES[data]
    (hook,) = config.custom_hooks
    for rung, published in zip(
        hook.ladder.rungs, (25000, 50000, 100000), strict=True
    ):
        assert rung == pytest.approx(size * published / 1281167, rel=0.02)
    loss = config.model.head.loss_proto
    assert loss.num_negatives == pytest.approx(size * 16384 / 1281167, abs=1)
    # As published: less than the clusters of the smallest level.
    assert loss.num_negatives < min(hook.ladder.rungs)
