"""Every shipped config parses, builds and keeps its promises."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, TASK_UTILS
from mmengine.runner import Runner

from ahpcl.cli import arguments
from ahpcl.datasets import collate_batches
from ahpcl.engine import KMeansClustering, build_ladder
from ahpcl.utils.deprecation import REMOVAL
from toy import CONFIGS

NAMES = sorted(path.name for path in CONFIGS.glob('*.py'))
ORIGINAL = 'ahpcl_minin_original.py'
# Images of the training set that a config is made for.
IMAGES = dict(
    ahpcl_digits=1442,
    ahpcl_shapes=3000,
    ahpcl_in1k=1281167,
    ahpcl_tin100=16000,
    ahpcl_tin100_cpu=4800,
    ahpcl_folder=5000,
    ahpcl_folder_cpu=5000,
)


def images(name):
    return IMAGES.get(Path(name).stem, 38400)


def test_the_promised_configs_are_there():
    variants = 's2l r50 agglomerative divisive plateau fixed stability'
    expected = {f'ahpcl_minin_{name}.py' for name in variants.split()}
    expected |= {'ahpcl_minin.py'}
    expected |= {
        f'ahpcl_{name}.py' for name in ('tin100', 'digits', 'folder', 'in1k')
    }
    assert expected <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_builds(name):
    config = Config.fromfile(CONFIGS / name)
    model = MODELS.build(config.model)
    (hook,) = config.custom_hooks
    HOOKS.build(hook)
    ladder = build_ladder(hook.ladder, images(name))
    model.head.check_rungs(ladder.rungs, ladder.window)
    pipeline = config.train_dataloader.dataset.pipeline
    assert pipeline[0].type == 'LoadImageBGR'
    extract = hook.extract_dataloader
    train = dict(config.train_dataloader.dataset)
    assert {**train, 'pipeline': None} == {
        **extract.dataset,
        'pipeline': None,
    }
    assert not extract.sampler.shuffle
    assert type(DATASETS.get(train['type'])) is type


def datasets_in(node):
    """Every setting below a config that has a pipeline."""
    if isinstance(node, dict):
        if 'pipeline' in node:
            yield node
        for child in node.values():
            yield from datasets_in(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from datasets_in(child)


def sample(picture):
    return dict(img=picture.copy(), sample_idx=0, gt_label=1)


@pytest.mark.parametrize('name', NAMES)
def test_every_pipeline_builds_and_runs(name):
    config = Config.fromfile(CONFIGS / name)
    found = list(datasets_in(config._cfg_dict))
    assert len(found) >= 2
    picture = np.random.default_rng(0).integers(
        0, 256, (70, 90, 3), dtype=np.uint8
    )
    for dataset in found:
        done = Compose(dataset.pipeline)(sample(picture))
        (image,) = done['inputs']
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3
    preprocessor = MODELS.build(config.model.data_preprocessor)
    pipeline = config.train_dataloader.dataset.pipeline
    batch = [Compose(pipeline)(sample(picture))]
    views, _ = preprocessor(collate_batches(batch), True)
    assert len(views) == 2 and views[0].shape == views[1].shape
    assert not torch.equal(views[0], views[1])


# ---- defaults ------------------------------------------------------------

# What keeps PCL's five starts, in every epoch.
PCL_RECIPE = {'ahpcl_minin_original.py', 'ahpcl_minin_original_b96.py'}


@pytest.mark.parametrize('name', NAMES)
def test_the_fast_path_is_the_default(name):
    """Warm starts, few E-steps, views on the device, batches in one piece."""
    config = Config.fromfile(CONFIGS / name)
    (hook,) = config.custom_hooks
    settings = KMeansClustering(
        **{k: v for k, v in hook.clustering.items() if k != 'type'}
    )
    policy = hook.policy and TASK_UTILS.build(hook.policy)
    agreement = getattr(policy, 'needs_agreement', False)
    if name in PCL_RECIPE:
        assert settings.settings.n_init == 5 and not settings.warm_start
    else:
        assert settings.settings.n_init == 1
        assert settings.warm_start is not agreement
    assert hook.interval == (1 if agreement or name in PCL_RECIPE else 2)
    assert settings.settings.n_iter == 20
    assert config.model.data_preprocessor.type == 'DeviceViews'
    assert not MODELS.build(config.model.data_preprocessor).falls_back
    load, pack = config.train_dataloader.dataset.pipeline
    assert (load.type, pack.type) == ('LoadImageBGR', 'PackSelfSupInputs')
    assert config.optim_wrapper.optimizer.fused
    images = config.train_dataloader.dataset
    if images.type in ('MiniImageNet', 'UnlabelledFolder'):
        # ImageNet would take a terabyte.
        cache = None if 'in1k' in name else 'auto'
        assert images.decoded_cache == cache


@pytest.mark.parametrize('name', ['pcl', 'pcl_v1', 'hcsc'])
def test_the_recipe_of_pcl_stays_in_its_configs(name):
    config = Config.fromfile(CONFIGS / 'baselines' / f'{name}.py')
    (hook,) = config.custom_hooks
    assert hook.clustering.n_init == 5
    assert 'warm_start' not in hook.clustering
    assert hook.interval == 1


@pytest.mark.parametrize(
    'name',
    [
        name
        for name in NAMES
        # As published; and with more clusters than a classifier should have.
        if 'original' not in name and name != 'ahpcl_in1k.py'
    ],
)
def test_ours_are_the_recipe_that_the_results_chose(name):
    config = Config.fromfile(CONFIGS / name)
    ours = Config.fromfile(CONFIGS / 'baselines' / 'ahpcl.py')
    assert config.model.cluster_space == ours.model.cluster_space
    found, expected = (
        {
            **c.model.head,
            'loss_inst': None,
            'loss_proto': {**c.model.head.loss_proto, 'num_clusters': None},
        }
        for c in (config, ours)
    )
    assert found == expected
    assert config.optim_wrapper.paramwise_cfg == (
        ours.optim_wrapper.paramwise_cfg
    )


@pytest.mark.parametrize('name', [ORIGINAL, 'ahpcl_in1k.py'])
def test_published_recipes_have_prototype_contrast(name):
    head = Config.fromfile(CONFIGS / name).model.head
    assert head.loss_proto.type == 'ProtoNCELoss'


@pytest.mark.parametrize('num_images', [600, 40_000, 1_300_000])
@pytest.mark.parametrize('name', ['ahpcl_folder', 'ahpcl_folder_cpu'])
def test_a_folder_of_any_size_fits_the_classifier(name, num_images):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    ladder = build_ladder(config.custom_hooks[0].ladder, num_images)
    head = MODELS.build(config.model).head
    head.check_rungs(ladder.rungs, ladder.window)
    most = head.loss_proto.weights.shape[1]
    assert max(ladder.rungs) == min(num_images // 12, most)


@pytest.mark.parametrize(
    ('name', 'side', 'view'),
    [('folder', 336, 84), ('minin', 336, 84), ('in1k', 896, 224)],
)
def test_no_crop_of_a_large_photograph_is_enlarged(name, side, view):
    """The least crop has a fifth of the area and is 3/4 as wide as high."""
    config = Config.fromfile(CONFIGS / f'ahpcl_{name}.py')
    images = config.train_dataloader.dataset
    crop = config.model.data_preprocessor.views[0][0]
    assert (images.decoded_max_side, crop.size) == (side, view)
    height, width = side / 1.5, side  # a photograph as from a camera
    least = (crop.scale[0] * height * width * 3 / 4) ** 0.5
    assert least >= view


def test_views_go_back_to_the_data_set_in_two_lines(tmp_path):
    child = tmp_path / 'mine.py'
    child.write_text(
        f"_base_ = '{CONFIGS}/_base_/scales/digits.py'\n"
        "_base_.pop('data').views_on_cpu(_base_)\n"
    )
    config = Config.fromfile(child)
    assert config.model.data_preprocessor.type == 'ViewPreprocessor'
    assert 'views' not in config.model.data_preprocessor
    _, views, _ = config.train_dataloader.dataset.pipeline
    ours = Config.fromfile(CONFIGS / 'ahpcl_digits.py')
    assert views.views == ours.model.data_preprocessor.views
    MODELS.build(config.model)


@pytest.mark.parametrize(
    'name',
    [
        name
        for name in NAMES
        # The published method is written out: defaults may change.
        if name.startswith('ahpcl_minin_') and name != ORIGINAL
    ],
)
def test_variants_are_short(name):
    assert len((CONFIGS / name).read_text().splitlines()) < 20


@pytest.mark.parametrize('name', NAMES)
def test_ladder_ends_by_four_fifths_of_the_training(name):
    config = Config.fromfile(CONFIGS / name)
    (hook,) = config.custom_hooks
    if hook.policy is None:
        pytest.skip('the ladder of this config never moves')
    ladder = build_ladder(hook.ladder, images(name))
    stays = ladder.rungs[ladder.window - 1 : -1]
    assert len(stays) >= 3
    _, most = TASK_UTILS.build(hook.policy).epochs_needed(stays)
    assert most is not None
    assert hook.warmup_epochs + most <= 0.8 * config.train_cfg.max_epochs


def test_package_scheme_finds_the_configs(tmp_path):
    child = tmp_path / 'mine.py'
    child.write_text("_base_ = 'ahpcl::ahpcl_minin.py'\nseed_of_mine = 1\n")
    config = Config.fromfile(child)
    base = Config.fromfile(CONFIGS / 'ahpcl_minin.py')
    assert config.model == base.model
    assert config.custom_hooks == base.custom_hooks
    assert '_scope_' not in str(config)


# ---- what a resolved config holds ----------------------------------------

# Beside the Runner's arguments: what mmengine reads before it makes one, and
# what the tools read (`--cfg-options data_root=...`, evaluation, clusters of
# runs without an E-step, the experiments).
USED = {*inspect.signature(Runner.__init__).parameters} | {
    *('custom_imports', 'data_root', 'extract_dataloader', 'evaluation'),
    *('fewshot_dataloader', 'get_data', 'replay', 'image_size'),
    'max_pixels',
}
SCALES = sorted(p.stem for p in (CONFIGS / '_base_/scales').glob('*.py'))
# mmselfsup's own config comes with its variables.
INHERITED = ('linear_', 'transfer_')


@pytest.mark.parametrize(
    'path',
    [
        path
        for folder in ('', 'baselines', 'benchmarks', 'experiments')
        for path in sorted((CONFIGS / folder).glob('*.py'))
        if not path.name.startswith(INHERITED)
    ],
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_a_resolved_config_holds_what_the_run_uses_and_no_more(path):
    keys = set(Config.fromfile(path))
    own = {'pool_cfg'} if path.parent.name == 'benchmarks' else set()
    assert keys - own <= USED


@pytest.mark.parametrize('scale', SCALES)
def test_a_scale_leaves_nothing_of_itself(scale, monkeypatch):
    monkeypatch.setenv('AHPCL_SCALE', scale)
    for path in sorted((CONFIGS / 'baselines').glob('*.py')):
        assert set(Config.fromfile(path)) <= USED, path


# ---- names of before -----------------------------------------------------


@pytest.fixture(scope='module')
def cli():
    return arguments


@pytest.mark.parametrize(
    ('old', 'name', 'rungs', 'note'),
    [
        (
            'baselines/pcl_tin100_cpu.py',
            'pcl_tin100_cpu',
            [94, 187, 375],
            'pcl.py with AHPCL_SCALE=tin100_cpu',
        ),
        (
            'baselines/hcsc_multicrop_minin.py',
            'hcsc_multicrop_minin',
            [90, 60, 30],
            'hcsc_multicrop.py with AHPCL_SCALE=minin',
        ),
        (
            'experiments/fixed_100.py',
            'fixed_100',
            [100],
            'a variant in',
        ),
    ],
)
@pytest.mark.parametrize('prefix', [f'{CONFIGS}/', 'ahpcl::'])
def test_a_path_of_before_is_read_with_a_warning(
    cli, capsys, prefix, old, name, rungs, note
):
    assert not (CONFIGS / old).exists()
    config = cli.read_config(prefix + old)
    assert config.custom_hooks[0].ladder.rungs == rungs
    assert cli.run_name(prefix + old, config) == name
    told = capsys.readouterr().out
    assert note in told and REMOVAL in told


def test_a_run_at_a_scale_is_named_by_it(cli, monkeypatch):
    path = str(CONFIGS / 'baselines' / 'pcl.py')
    assert cli.run_name(path, cli.read_config(path)) == 'pcl_digits'
    monkeypatch.setenv('AHPCL_SCALE', 'tin100')
    assert cli.run_name(path, cli.read_config(path)) == 'pcl_tin100'
    demo = str(CONFIGS / 'ahpcl_digits.py')
    assert cli.run_name(demo, cli.read_config(demo)) == 'ahpcl_digits'


def test_every_config_that_the_pages_name_is_there(cli):
    root = CONFIGS.parent
    pages = [*root.glob('*.md'), *root.glob('docs/**/*.md')]
    named = {
        found
        for page in pages
        for found in re.findall(
            r'(?<![\w/])configs/[\w/]+\.py(?!::)', page.read_text('utf-8')
        )
    }
    assert len(named) > 10
    gone = [name for name in named if not (root / name).is_file()]
    # Paths of before, where a page says that they still work.
    assert 'configs/baselines/mocov2_tin100_cpu.py' in gone
    for name in gone:
        cli.read_config(str(root / name))


def test_an_unknown_scale_is_named_with_those_that_there_are(cli, monkeypatch):
    monkeypatch.setenv('AHPCL_SCALE', 'tin10')
    with pytest.raises(
        SystemExit, match=r"one of cifar10, digits.*got 'tin10'"
    ):
        cli.read_config(str(CONFIGS / 'baselines' / 'pcl.py'))


def test_a_path_that_never_was_is_refused(cli):
    with pytest.raises(SystemExit, match='expected a config file'):
        cli.read_config(str(CONFIGS / 'baselines' / 'byol_tin100.py'))
