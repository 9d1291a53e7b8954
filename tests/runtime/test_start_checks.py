"""All that does not fit is said at once, with settings that do."""

import copy
import re
import shlex

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ahpcl.compat.frameworks import both_frameworks
from ahpcl.runtime.start_checks import fitting_batch
from ahpcl.utils.setting_error import Problems, SettingError, written_options
from commands import Command
from toy import CONFIGS, METHODS, toy_config


@pytest.fixture(scope='module')
def tool():
    return Command('run')


def suggested(message):
    """What stands behind --cfg-options in a message, as a shell splits it."""
    (found,) = re.findall(r'--cfg-options (.*)', message)
    return shlex.split(found)


def start(tool, arguments):
    """Read the command line as train.py does, and begin to train."""
    args = tool.parse_args([*arguments])
    config = tool.prepare(args)
    tool.check_compile(config)
    return Runner.from_cfg(config)


def one_epoch(work_dir):
    return [
        *('train_cfg.max_epochs=2', 'default_hooks.checkpoint.interval=9'),
        *('train_dataloader.num_workers=0', 'randomness.seed=1'),
    ]


@pytest.mark.parametrize('absent', [None, 'mmselfsup', 'mmpretrain'])
def test_two_frameworks_are_a_line(monkeypatch, absent):
    with monkeypatch.context() as patch:
        patch.setattr(
            'importlib.util.find_spec',
            lambda name: None if name == absent else object(),
        )
        said = both_frameworks()
    assert (said is None) == (absent is not None)
    if said:
        assert 'uninstall mmselfsup and mmcls' in said


@pytest.mark.parametrize('images', [40, 7, 30])
def test_a_folder_of_few_images(tool, make_image, tmp_path, images, capsys):
    """40 as in the report; with 7 the window is too wide for any ladder."""
    root = tmp_path / 'photos'
    for number in range(images):
        make_image(root / f'{number}.png', seed=number, size=(40, 30))
    arguments = [
        *(str(CONFIGS / 'ahpcl_folder.py'), '--cfg-options'),
        *(f'data_root={root}', 'image_size=32', *one_epoch(tmp_path)),
        *('custom_hooks.0.warmup_epochs=0',),
        *('custom_hooks.0.extract_dataloader.num_workers=0',),
        *('custom_hooks.0.extract_dataloader.persistent_workers=False',),
        *('custom_hooks.0.clustering.n_init=1',),
    ]
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    with pytest.raises(ValueError, match='got 3 that do not') as error:
        start(tool, [*arguments, *work_dir]).train()
    told = str(error.value)
    assert f'{images} images for batches of 64' in told
    assert 'a queue of at most' in told and '3. expected' in told
    remedy = suggested(told)
    assert len(remedy) >= 3
    capsys.readouterr()
    runner = start(tool, [*arguments, *remedy, *work_dir])
    assert 'warning' not in capsys.readouterr().out
    runner.train()
    assert runner.epoch == 2
    assert runner.model.head.hierarchy is not None


@pytest.mark.parametrize('name', METHODS)
def test_every_method_names_settings_that_fit(
    tool, tmp_path, name, monkeypatch
):
    monkeypatch.delenv('AHPCL_SCALE', raising=False)
    path = CONFIGS / 'baselines' / f'{name}.py'
    limits = [
        f'{key}={value}'
        for key, value in limited(Config.fromfile(path), 37).items()
    ]
    arguments = [
        *(str(path), '--cfg-options', *limits, *one_epoch(tmp_path)),
        'train_cfg.val_interval=9',
    ]
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    with pytest.raises(SettingError, match='37 images') as error:
        start(tool, [*arguments, *work_dir]).train()
    remedy = suggested(str(error.value))
    runner = start(tool, [*arguments, *remedy, *work_dir])
    runner.train()
    assert runner.epoch == 2


def limited(config, images):
    """Options that limit every training set to so many images."""
    found = {}

    def walk(node, path):
        wanted = dict(type='Digits', split='train')
        if isinstance(node, dict) and wanted.items() <= node.items():
            found[f'{path}.limit'] = images
        items = (
            node.items()
            if isinstance(node, dict)
            else enumerate(node)
            if isinstance(node, list | tuple)
            else ()
        )
        for name, child in items:
            walk(child, f'{path}.{name}' if path else str(name))

    walk(config._cfg_dict.to_dict(), '')
    return found


@pytest.mark.parametrize(
    'ladder',
    [
        dict(rungs=[120, 60, 30, 10, 4], window=3),
        dict(rungs=[5, 50, 500], window=3),
        dict(type='GeometricLadder', start=2, ratio=2, stop=400),
        dict(type='GeometricLadder', start=300, ratio=0.5, stop=2),
        dict(type='AutoLadder', window=4),
        dict(type='AutoLadder', direction='ascending'),
    ],
)
@pytest.mark.parametrize('images', [50, 20])
def test_every_ladder_names_one_that_fits(ladder, images):
    from ahpcl.engine import build_ladder

    try:
        build_ladder(ladder, images)
    except SettingError as error:
        found = build_ladder({**ladder, **error.options}, images)
        assert max(found.rungs) * 2 <= images
        assert found.window <= ladder.get('window', 3)
        if 'rungs' in ladder:
            ascends = ladder['rungs'][0] < ladder['rungs'][-1]
            assert (found.rungs[0] < found.rungs[-1]) == ascends
    else:
        assert ladder.get('type') == 'AutoLadder' and images == 50


def test_what_can_not_be_helped_has_no_remedy():
    from ahpcl.engine import build_ladder

    with pytest.raises(ValueError) as error:
        build_ladder(dict(type='AutoLadder'), 1)
    assert 'cfg-options' not in str(error.value)


def test_an_extract_loader_changed_beside_the_hook_is_said(tmp_path):
    config = toy_config(tmp_path)
    config.extract_dataloader = copy.deepcopy(
        config.custom_hooks[0]['extract_dataloader']
    )
    config.extract_dataloader.batch_size = 33
    config.train_cfg.update(max_epochs=1, val_interval=9)
    Runner.from_cfg(config).train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'extract_dataloader says batch_size=33, but' in log


def test_batches_by_ranks():
    for images in range(2, 70):
        for ranks in (1, 2, 3):
            size = fitting_batch(images, ranks)
            if images >= 2 * ranks:
                assert images // ranks >= 2 * size
                assert images // ranks < 4 * size


def test_problems_are_found_together_and_one_alone_is_itself():
    problems = Problems()
    problems.report('3 images')
    with problems.checking('hook.'):
        raise SettingError('expected 1, got 2', {'a': [1, 2]})
    with pytest.raises(SettingError, match=r'^expected 1') as error:
        problems.report('3 images')
    assert suggested(str(error.value)) == ['hook.a=[1,2]']
    inner = Problems()
    for number in range(2):
        with inner.checking():
            raise ValueError(f'bad {number}')
    with problems.checking():
        inner.report('3 images')
    with pytest.raises(SettingError, match='got 3') as error:
        problems.report('3 images')
    assert str(error.value).count('bad') == 2
    assert written_options({'a': None, 'b': 'x'}) == 'a=None b=x'
