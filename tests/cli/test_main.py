"""The command: its table, and errors in one line."""

import importlib.util
import io
import json
import os
import sys
from types import SimpleNamespace

import pytest
from mmengine.registry import TASK_UTILS

import ahpcl
import ahpcl.engine  # (registers what is built)
from ahpcl import doctor
from ahpcl.cli import main as command
from ahpcl.cli.console import say
from ahpcl.cli.main import COMMANDS, call, main
from odd_folders import save, scene


def module_of(run):
    """A command without arguments."""
    return SimpleNamespace(
        __doc__='', add_arguments=lambda parser: None, main=run
    )


def test_help_lists_every_command(capsys):
    assert main([]) == main(['--help']) == 0
    said = capsys.readouterr().out
    assert all(f'\n  {name} ' in said for name in COMMANDS)
    assert main(['--version']) == 0
    assert capsys.readouterr().out.strip() == ahpcl.__version__


def test_an_unknown_command_names_its_neighbour(capsys):
    assert main(['trian', 'photos']) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize('name', sorted(set(COMMANDS) - {'doctor'}))
def test_every_command_says_how_it_is_used(name, capsys):
    if importlib.util.find_spec(f'ahpcl.cli.{name}') is None:
        pytest.skip('not part of this package yet')
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f'usage: ahpcl {name}')


def test_the_doctor_reads_its_own_arguments(capsys):
    assert main(['doctor', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['can_train'] is True


def test_a_command_does_not_import_the_others(monkeypatch):
    for name in COMMANDS:
        monkeypatch.delitem(sys.modules, f'ahpcl.cli.{name}', raising=False)
    with pytest.raises(SystemExit):
        main(['train', '--help'])
    assert 'ahpcl.cli.train' in sys.modules
    assert 'ahpcl.cli.figures' not in sys.modules


def test_a_missing_module_breaks_no_other(monkeypatch, capsys):
    monkeypatch.setitem(COMMANDS, 'absent', 'is not there')
    assert main(['absent']) == 2
    assert "no command 'absent'" in capsys.readouterr().err
    assert main(['--version']) == 0


@pytest.mark.parametrize(
    ('error', 'code'),
    [
        (ValueError('expected images, got none'), 1),
        (FileNotFoundError(2, 'No such file', 'a.jpg'), 1),
        (ValueError('math domain error'), None),
        # Python's own, which begins as ours do.
        (TypeError('expected str, bytes or os.PathLike object'), None),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, code, capsys):
    def fail(args):
        raise error

    module = module_of(fail)
    if code is None:  # what nobody foresaw comes with where it is from
        with pytest.raises(type(error), match=r'domain|PathLike'):
            call(module, [])
        return
    assert call(module, []) == code
    assert capsys.readouterr().err == f'error: {error}\n'


def test_an_option_that_a_component_has_not(capsys):
    def build(args):
        TASK_UTILS.build(dict(type='SlidingWindowPolicy', lenght=3))

    assert call(module_of(build), []) == 1
    said = capsys.readouterr().err
    assert said.startswith('error: expected options of SlidingWindowPolicy')
    assert said.endswith("got 'lenght'; did you mean 'length'?\n")


def test_training_on_nothing(tmp_path, capsys):
    assert command.main(['train', str(tmp_path / 'no')]) == 1
    said = capsys.readouterr().err
    assert said.startswith('error: expected a folder of images')
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize('by', [['doctor', '--data'], None])
def test_any_name_can_be_printed(tmp_path, monkeypatch, by):
    """A stream that takes UTF-8 alone, and a file of another coding."""
    out = io.TextIOWrapper(io.BytesIO(), 'utf-8', errors='strict')
    folder = tmp_path / os.fsdecode(b'\xe4\xf6')
    for number in range(2):
        save(folder / f'{number}.png', scene(number))
    monkeypatch.setattr(sys, 'stdout', out)
    if by is None:
        assert doctor.main(['--data', str(folder)]) == 1  # too few images
    else:
        assert main([*by, str(folder)]) == 1
        say(str(folder))
    out.flush()
    assert rb'\udce4\udcf6' in out.buffer.getvalue()
