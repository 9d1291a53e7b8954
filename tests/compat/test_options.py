"""Settings from the command line arrive as typed."""

import argparse
import re

import pytest
from mmengine.config import Config, DictAction

from ahpcl.compat.options import (
    ConfigOptions,
    follow_ladder,
    set_data_root,
    typed,
)
from toy import CONFIGS


@pytest.mark.parametrize(
    'text',
    ['1', '-1.5e3', 'true', 'False', 'None', 'a', '1,2', 'a,b,', '[1,2]']
    + ['(1,)', '[]', '()', '[(1,2),[a,b],c]', '"[1,2]"', 'a=b'],
)
def test_what_mmengine_reads_right_means_the_same(text):
    expected = DictAction._parse_iterable(text)
    found = typed(text)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/data/my images', '/data/my images'),
        (' leading and trailing ', ' leading and trailing '),
        ('[a b, c d]', ['a b', 'c d']),
        ("'a, b'", 'a, b'),
        ('["x, y", z]', ['x, y', 'z']),
        ('old (copy', 'old (copy'),
        ('a)b,c(', 'a)b,c('),
        ('(new) images', '(new) images'),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),  # never ends in mmengine
    ],
)
def test_text_stays_as_typed(text, value):
    assert typed(text) == value


def test_a_path_with_commas_is_one_path_where_it_exists(tmp_path, monkeypatch):
    folder = tmp_path / 'cats, dogs, [both]'
    folder.mkdir()
    assert typed(str(folder)) == str(folder)
    assert typed(f'{tmp_path}/a,{tmp_path}/b') == [
        f'{tmp_path}/a',
        f'{tmp_path}/b',
    ]
    monkeypatch.setenv('HOME', str(tmp_path))
    assert typed('~/cats, dogs, [both]') == '~/cats, dogs, [both]'


def test_the_action_collects_and_refuses(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--set', nargs='+', action=ConfigOptions, default={})
    args = parser.parse_args(['--set', 'a.b=1', 'c=x=y z', '--set', 'd=2'])
    assert args.set == {'a.b': 1, 'c': 'x=y z', 'd': 2}
    with pytest.raises(SystemExit):
        parser.parse_args(['--set', 'lonely'])
    assert 'lonely' in capsys.readouterr().err


FOLDER = '/somewhere/a, b (c)'


def folders(node):
    """All data_root below a dict, by a walk of our own over its text."""
    return re.findall(r"'data_root': ('[^']*'|\[[^]]*\])", repr(node))


@pytest.mark.parametrize('name', ['folder', 'minin', 'in1k', 'tin100'])
def test_every_loader_reads_the_folder(name):
    config = Config.fromfile(CONFIGS / f'ahpcl_{name}.py')
    before = folders(config.to_dict())
    said = []
    set_data_root(config, FOLDER, said.append)
    after = folders(config.to_dict())
    assert len(after) == len(before) > 2
    assert set(after) == {repr(FOLDER)}
    assert len(said) == len(after) - 1  # all but the variable itself


def test_folders_below_the_folder_move_along():
    config = Config.fromfile(CONFIGS / 'ahpcl_cifar10.py')
    set_data_root(config, FOLDER, lambda _: None)
    sets = config.test_dataloader.dataset.datasets
    roots = [part.data_root for part in sets]
    assert roots == [f'{FOLDER}/train', f'{FOLDER}/test']
    set_data_root(config, ['one', 'two'], lambda _: None)
    assert config.train_dataloader.dataset.data_root == (
        ['one/train', 'two/train']
    )


def test_other_folders_stay_and_that_is_said():
    config = Config(
        dict(
            data_root='data/a',
            train=dict(data_root='data/a/'),
            other=dict(data_root='data/ab'),
        )
    )
    said = []
    set_data_root(config, 'new', said.append)
    assert (config.train.data_root, config.other.data_root) == (
        ('new', 'data/ab')
    )
    assert "other.data_root stays 'data/ab'" in said[1]


def test_configs_without_the_variable():
    config = Config(dict(a=[dict(data_root='x')], b=dict(data_root='x')))
    set_data_root(config, 'new', lambda _: None)
    assert (config.a[0].data_root, config.b.data_root) == ('new', 'new')
    config = Config(dict(a=dict(data_root='x'), b=dict(data_root='y')))
    with pytest.raises(ValueError, match=r'a\.data_root, b\.data_root'):
        set_data_root(config, 'new', print)
    digits = Config.fromfile(CONFIGS / 'ahpcl_digits.py')
    with pytest.raises(ValueError, match=r'ahpcl_folder\.py'):
        set_data_root(digits, 'new', print)


@pytest.mark.parametrize(
    ('options', 'clusters', 'levels'),
    [
        ({'custom_hooks.0.ladder.rungs': [400, 200, 50]}, 400, 3),
        ({'custom_hooks.0.ladder.rungs': [100, 50, 10]}, 200, 3),
        ({'custom_hooks.0.ladder.window': 5}, 200, 5),
        (
            {'custom_hooks.0.ladder': dict(type='AutoLadder', finest=300)},
            300,
            3,
        ),
        (
            {
                'custom_hooks.0.ladder.rungs': [400, 200, 50],
                'model.head.loss_proto.num_clusters': 300,
            },
            300,
            3,
        ),
        ({'train_cfg.max_epochs': 2}, 200, 3),
    ],
)
def test_a_ladder_of_the_options_gets_its_weights(options, clusters, levels):
    config = Config.fromfile(CONFIGS / 'ahpcl_digits.py')
    config.merge_from_dict(options)
    said = []
    follow_ladder(config, options, said.append)
    loss = config.model.head.loss_proto
    assert loss.num_clusters == clusters
    assert loss.get('num_levels', 3) == levels
    changed = (clusters, levels) != (200, 3)
    named = 'model.head.loss_proto.num_clusters' in options
    assert len(said) == (changed and not named)


def test_prototype_contrast_follows_no_ladder():
    config = Config.fromfile(CONFIGS / 'baselines' / 'ahpcl_prototypes.py')
    before = config.to_dict()
    follow_ladder(config, {'custom_hooks.0.ladder.rungs': [900]}, print)
    assert config.to_dict() == before
