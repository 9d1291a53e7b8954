"""Every key of the main config has an effect, is refused, or is documented.

Every leaf of the resolved config is changed, and what is built from it must
behave in another way, or refuse. A key that no rule below covers fails: who
adds one says what it does.
"""

import copy
import fnmatch
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATASETS,
    HOOKS,
    LOG_PROCESSORS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
)
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmselfsup.structures import SelfSupDataSample
from torch import nn

from ahpcl.cli import arguments
from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from ahpcl.engine import build_ladder
from toy import CONFIGS

CONFIG = Config.fromfile(CONFIGS / 'ahpcl_minin.py')._cfg_dict.to_dict()


def leaves(node, path=''):
    """Dotted key -> value; lists of settings are walked, others are one."""
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, list) and node and isinstance(node[0], dict | list):
        pairs = enumerate(node)
    else:
        yield path, node
        return
    for name, child in pairs:
        yield from leaves(child, f'{path}.{name}' if path else str(name))


KEYS = dict(leaves(CONFIG))

# ---- documented ----------------------------------------------------------

# Keys that no object shows, each with the reason.
DOCUMENTED = {
    'custom_imports.*': 'mmengine reads it before anything is built',
    'default_scope': 'where mmengine looks names up; components are in the '
    'root registry, which every scope sees',
    'env_cfg.*': "the process's own: mmengine passes it to torch and OpenCV",
    'log_level': "of mmengine's logger",
    'visualizer.*': 'where scalars go; tests/compat/test_runners.py',
    'randomness.seed': 'tests/integration/test_run.py; a resume keeps that of '
    'the checkpoint and says so',
    'load_from': 'tests/runtime/test_start_checkpoint_hook.py',
    'resume': 'tests/runtime/test_resume_settings.py',
    'train_cfg.*': 'tests/runtime/test_resume_settings.py and '
    'test_train_loop.py',
    'data_root': 'moves every data set: test_variables_move_what_they_made',
    'image_size': 'moves every pipeline: tests/datasets/test_image_size.py',
    'extract_dataloader.*': 'of runs without an E-step, and moves that of '
    'the hook: test_variables_move_what_they_made',
    '*.decoded_cache': 'where pixels are read from, not which: '
    'tests/datasets/test_decoded_cache.py',
    '*.fused': 'how an update is computed, not what: '
    'tests/runtime/test_optimizer_state.py',
}

# ---- other values --------------------------------------------------------

# The first pattern that fits gives a value that must show.
VALUES = {
    '*.type': 'NoSuchThing',
    '*.norm_cfg.type': 'SyncBN',
    'model.cluster_space': 'projection',
    '*.constructor': 'DefaultOptimWrapperConstructor',
    '*.loss_proto.momentum': 0.5,
    '*.backend': 'cv2',
    '*.edge': 'long',
    '*.role': 'nobody',
    '*.algorithm_keys': [],
    '*.meta_keys': ['img_shape'],
    '*.image_part': 'all',
    '*.split': 'test',
    'test_dataloader.*.split': 'train',
    '*.data_root': 'data/there/is/none',
    '*.linkage': 'divisive',
    '*.warm_from': 'centroids',
    '*.reference': 'level',
    '*.views.0.0.scale': (0.9, 1.0),
    '*.prob': 0.0,
    '*.sigma_min': 1.9,
    '*.sigma_max': 0.2,
    '*.channel_weights': (1.0, 0.0, 0.0),
    '*.brightness': 0.0,
    '*.contrast': 0.0,
    '*.saturation': 0.0,
    '*.hue': 0.0,
    '*.num_views': [3],
    '*.out_indices': [3],
    '*.rungs': [40, 20, 10],
    '*.policy.max_epochs': 1,
    '*.policy.threshold': 0.5,
    '*.policy.growth': 9.0,
    '*.policy.relax': 0.1,
    '*.policy.length': 2,
    '*.mean': (0.0, 0.0, 0.0),
    '*.std': (1.0, 1.0, 1.0),
    '*.mean_pattern': '.*nothing.*',
    '*.in_channels': 1,
    '*.depth': 34,
}


def other(key, value):
    for pattern in sorted(VALUES, key=len, reverse=True):
        if fnmatch.fnmatch(key, pattern):
            assert VALUES[pattern] != value, key
            return VALUES[pattern]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2
    raise AssertionError(
        f'{key}={value!r} is new: give it another value in VALUES, and a '
        'check below, or say in DOCUMENTED why it shows nowhere'
    )


# ---- what is built from a config, and how it behaves ----------------------


def pipeline_of(config, path):
    """What comes out of a pipeline for a few images."""
    node = at(config, path)
    generator = np.random.default_rng(0)
    transforms = Compose(node)
    found = []
    for index in range(12):
        image = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        np.random.seed(index)
        torch.manual_seed(index)
        done = transforms(dict(img=image, sample_idx=index, gt_label=3))
        sample = done['data_samples']
        found += [view.numpy().tobytes() for view in done['inputs']]
        found += [sorted(sample.all_keys()), str(sample.metainfo)]
    return found


def views_of(config, path):
    """The views of a few images by the model's preprocessor."""
    maker = MODELS.build(at(config, path))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (12, 3, 70, 90), generator=generator)
    batch = dict(inputs=[images.byte()], data_samples=samples_of(12))
    views, _ = maker.make_views(batch, epoch=0, seed=0)
    return [view.numpy().tobytes() for view in views]


def samples_of(number):
    samples = []
    for index in range(number):
        sample = SelfSupDataSample()
        sample.sample_idx = InstanceData(value=torch.tensor([index]))
        samples.append(sample)
    return samples


def model_of(config, path):
    torch.manual_seed(0)
    model = MODELS.build(config['model'])
    model.init_weights()
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    raw = dict(inputs=[drawn(6, 3, 32, 32).abs() * 50 for _ in range(2)])
    views, _ = model.data_preprocessor(raw, False)
    samples = samples_of(6)
    level = PrototypeLevel(
        F.normalize(drawn(12, 128)),
        torch.tensor([0, 1, 2, 3, 4, 0]),
        torch.full((12,), 0.2),
    )
    model.head.set_prototypes(PrototypeHierarchy((level,)), {12: 0.1})
    model._steps = 1  # the key encoder is no copy any more
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(0.01)
        losses = model.train().loss(views, samples)
    keys = [p.double().sum().item() for p in model.encoder_k.parameters()]
    shapes = [(k, tuple(v.shape)) for k, v in model.state_dict().items()]
    values = {name: float(value) for name, value in losses.items()}
    return [str(model), shapes, keys, values]


def loader_of(config, path):
    node = dict(at(config, path))
    node['dataset'] = list(range(40))
    loader = Runner.build_dataloader(node, seed=0)
    names = (
        *('batch_size', 'num_workers', 'drop_last', 'pin_memory'),
        'persistent_workers',
    )
    return [
        *(getattr(loader, name) for name in names),
        *(type(loader.sampler).__name__, list(loader.sampler)),
        str(getattr(loader.collate_fn, 'func', loader.collate_fn)),
    ]


def dataset_of(config, path, root):
    node = dict(at(config, path), pipeline=[])
    if node.get('data_root') == CONFIG['data_root']:
        node['data_root'] = str(root)
    dataset = DATASETS.build(node)
    paths = [
        dataset.get_data_info(place)['img_path']
        for place in range(len(dataset))
    ]
    return [*paths, dataset.decoded_max_side]


def metric_of(config, path):
    return attributes(METRICS.build(at(config, path)))


def optimizer_of(config, path):
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    model.head = nn.Module()
    model.head.loss_proto = nn.Linear(2, 2)
    wrapper = build_optim_wrapper(model, config['optim_wrapper'])
    kept = [
        {k: v for k, v in group.items() if k != 'params'}
        for group in wrapper.optimizer.param_groups
    ]
    return [type(wrapper), type(wrapper.optimizer), kept]


def schedule_of(config, path):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    (node,) = config['param_scheduler']
    schedule = PARAM_SCHEDULERS.build(
        dict(node, end=3),
        default_args=dict(optimizer=optimizer, epoch_length=4),
    )
    rates = [schedule.by_epoch]
    for step in range(12):
        optimizer.step()
        if not schedule.by_epoch or step % 4 == 3:
            schedule.step()
        rates.append(optimizer.param_groups[0]['lr'])
    return rates


def hook_of(config, path):
    return attributes(HOOKS.build(at(config, path)))


def cluster_hook_of(config, path):
    (node,) = config['custom_hooks']
    hook = HOOKS.build(node)
    ladder = build_ladder(node['ladder'], 38400)
    found = attributes(hook)
    found += [ladder.rungs, ladder.window]
    found += attributes(hook._clustering)
    smoothing = [hook._smoothing.at(ladder)]
    while ladder.advance():
        smoothing.append(hook._smoothing.at(ladder))
    # Signals that stall, gain and stall again, as an epoch sees them.
    generator = np.random.default_rng(0)
    decisions = []
    gain = np.cumsum(generator.uniform(-0.4, 1.0, 60))
    for epoch in range(60):
        decision = hook.policy.step(
            float(20 + gain[epoch]),
            float(30 + generator.normal()),
            epoch,
            rungs=(800, 400, 200),
        )
        decisions.append((decision.action, decision.reason))
    return [*found, smoothing, decisions]


def processor_of(config, path):
    return attributes(
        LOG_PROCESSORS.build(
            dict(config['log_processor'], type='LogProcessor')
        )
    )


def attributes(thing):
    """What an object keeps of its arguments."""
    plain = (int, float, str, bool, tuple, list, dict, type(None), re.Pattern)
    found = [type(thing).__name__]
    for name, value in sorted(vars(thing).items()):
        if (isinstance(value, plain) and 'config' not in name) or hasattr(
            value, '__dataclass_fields__'
        ):
            found.append((name, repr(value)))
    return found


# Keys -> what is built, and the part of the config that it is built from.
CHECKS = (
    ('custom_hooks.0.extract_dataloader.dataset.pipeline.*', pipeline_of),
    ('*.pipeline.*', pipeline_of),
    ('model.data_preprocessor.views.*', views_of),
    ('model.data_preprocessor.num_views', views_of),
    ('model.*', model_of),
    ('*_dataloader.dataset.type', None),  # ConcatDataset: mmengine's
    ('*_dataloader.dataset.*', dataset_of),
    ('*_dataloader.*', loader_of),
    ('*_evaluator.*', metric_of),
    ('optim_wrapper.*', optimizer_of),
    ('param_scheduler.*', schedule_of),
    ('default_hooks.*', hook_of),
    ('log_processor.*', processor_of),
    ('custom_hooks.0.*', cluster_hook_of),
)
# What a part of the config ends with, of which an object is built.
ENDS = {
    pipeline_of: '.pipeline',
    views_of: '.data_preprocessor',
    loader_of: '_dataloader',
}


def at(config, path):
    names = path.split('.')
    while names:
        name = names.pop(0)
        while isinstance(config, dict) and name not in config:
            name = f'{name}.{names.pop(0)}'  # as of custom_keys
        config = config[int(name) if isinstance(config, list) else name]
    return config


def part_of(key, build):
    if build in ENDS:
        end = ENDS[build]
        return key[: key.index(end) + len(end)]
    names = key.split('.')
    if build is dataset_of:
        return '.'.join(names[:-1])
    return '.'.join(names[:2])


def changed(key):
    config = copy.deepcopy(CONFIG)
    parent, _, name = key.rpartition('.')
    node = at(config, parent) if parent else config
    value = KEYS[key]
    node[int(name) if isinstance(node, list) else name] = other(key, value)
    return config


@pytest.fixture(scope='module')
def before():
    return {}


@pytest.fixture
def root(make_mini):
    return make_mini(per_class=4)


def documented(key):
    return any(fnmatch.fnmatch(key, pattern) for pattern in DOCUMENTED)


@pytest.mark.parametrize('key', [k for k in KEYS if not documented(k)])
def test_a_key_shows_or_is_refused(key, before, request):
    builds = [b for pattern, b in CHECKS if fnmatch.fnmatch(key, pattern)]
    assert builds, f'{key} is new: no check of CHECKS covers it'
    build = builds[0]
    if build is None:
        with pytest.raises(KeyError, match='NoSuchThing'):
            DATASETS.build(dict(type=other(key, KEYS[key])))
        return
    more = ()
    if build is dataset_of:
        more = (request.getfixturevalue('root'),)
    part = part_of(key, build)
    if (build, part) not in before or more:
        before[build, part] = build(copy.deepcopy(CONFIG), part, *more)
    config = changed(key)
    try:
        found = build(config, part, *more)
    except (
        *(AssertionError, AttributeError, IndexError, KeyError),
        *(RuntimeError, TypeError, ValueError),
    ):
        return  # refused
    assert found != before[build, part], f'{key} changes nothing'


def test_variables_move_what_they_made():
    config = Config(copy.deepcopy(CONFIG))
    arguments.apply_options(
        config,
        {
            'data_root': 'elsewhere/',
            'image_size': 42,
            'extract_dataloader.batch_size': 64,
            'extract_dataloader.dataset.split': 'val',
        },
    )
    found = dict(leaves(config._cfg_dict.to_dict()))
    roots = {v for k, v in found.items() if k.endswith('data_root')}
    assert roots == {'elsewhere/'}
    sizes = [v for k, v in found.items() if k.endswith('.crop_size')]
    assert {*sizes} == {42} and len(sizes) == 6
    for key in ('batch_size', 'dataset.split'):
        place = f'extract_dataloader.{key}'
        assert found[f'custom_hooks.0.{place}'] == found[place]
        assert found[place] in (64, 'val')


def test_every_documented_key_is_there():
    """A table that names what is gone is of no use."""
    for pattern in DOCUMENTED:
        assert fnmatch.filter(KEYS, pattern), pattern
    for pattern in VALUES:
        assert fnmatch.filter(KEYS, pattern), pattern


def test_a_new_key_is_asked_for():
    with pytest.raises(AssertionError, match='is new'):
        other('model.something', 'of text')
    assert not documented('something.else')
