"""The command, from a run of a few digits to files."""

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import processes
from commands import Command
from toy import ROOT, toy_config, train

TOOL = ROOT / 'tools' / 'analysis_tools' / 'figures.py'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    config = toy_config(folder)
    config.train_cfg.update(max_epochs=2, val_interval=2)
    train(config)
    config.dump(folder / 'config.py')
    return folder


@pytest.fixture
def call():
    """The command in this process; one test starts it as users do."""
    return lambda *given: Command('figures').main([str(one) for one in given])


def test_pictures_of_a_run(run):
    kinds = ['curves', 'gallery', 'sizes', 'confusion', 'tree']
    done = processes.run(
        TOOL,
        *(run / 'config.py', run / 'epoch_2.pth', '--kinds', *kinds),
        *('--levels', '20', '--tensorboard'),
        folder=run,
    )
    assert done.returncode == 0, done.stderr
    folder = run / 'figures'
    names = ['confusion_k20', 'curves', 'gallery_k20_01', 'sizes', 'tree']
    for suffix in ('png', 'svg'):
        found = sorted(file.stem for file in folder.glob(f'*.{suffix}'))
        assert found == names
    for name in names:
        with Image.open(folder / f'{name}.png') as image:
            image.verify()
        ElementTree.parse(folder / f'{name}.svg')
        assert (folder / f'{name}.svg').stat().st_size < 3e6
        assert f'{name}.png' in done.stdout
    assert list(folder.glob('events.out.tfevents.*'))
    assert list((run / 'features').glob('*.npz'))


def test_what_needs_labels_or_logs_is_left_out(run, tmp_path, call, capsys):
    content = torch.load(run / 'epoch_2.pth', weights_only=True)
    del content['ahpcl']['images']  # as of 0.1, for any 240 images
    torch.save(content, tmp_path / 'epoch_2.pth')
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(240):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number:03d}.png')
    config = Config.fromfile(run / 'config.py')
    loader = config.custom_hooks[0]['extract_dataloader']
    loader['dataset'] = dict(
        type='UnlabelledFolder',
        data_root=str(folder),
        pipeline=loader['dataset']['pipeline'],
    )
    config.dump(tmp_path / 'config.py')
    call(
        *(tmp_path / 'config.py', tmp_path / 'epoch_2.pth', '--out'),
        *(tmp_path / 'here', '--kinds', 'curves', 'sizes', 'confusion'),
    )
    said = capsys.readouterr().out.splitlines()
    left_out = [line for line in said if 'left out' in line]
    assert len(left_out) == 2
    assert left_out[0].startswith('curves left out: expected logs of a run')
    assert left_out[1] == (
        'confusion left out: the training images have no labels'
    )
    assert sorted(file.name for file in (tmp_path / 'here').glob('[!.]*')) == (
        ['sizes.png', 'sizes.svg']
    )


def test_bad_input_is_one_line(run, tmp_path, call):
    config, checkpoint = run / 'config.py', run / 'epoch_2.pth'
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'a': torch.zeros(3)}}, other)
    (tmp_path / 'file').write_text('')
    cases = {
        'which does not exist': (config, tmp_path / 'none.pth'),
        'cluster counts (40, 20), got 7': (config, checkpoint, '--levels', 7),
        'at least 10, got 3': (config, checkpoint, '--max-images', 3),
        'a folder for --out': (config, checkpoint, '--out', tmp_path / 'file'),
        str(other): (config, other),
    }
    for text, arguments in cases.items():
        with pytest.raises(SystemExit) as raised:
            call(*arguments, '--kinds', 'sizes')
        assert isinstance(raised.value.code, str)  # printed; exit status 1
        assert text in raised.value.code
        assert '\n' not in raised.value.code
