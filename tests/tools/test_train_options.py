"""How train.py turns on a compiler, and keeps memory."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ahpcl.utils import freed_memory
from commands import Command
from toy import CONFIGS


@pytest.fixture(scope='module')
def train():
    DefaultScope.get_instance('train_options', scope_name='mmselfsup')
    return Command('run')


@pytest.mark.parametrize('name', ['ahpcl_digits.py', 'baselines/mocov2.py'])
def test_compile_compiles_the_encoders(train, name):
    cfg = Config.fromfile(CONFIGS / name)
    assert train.parse_args([name, '--compile']).compile
    train.use_compile(cfg)
    assert cfg.model.compile is True
    train.check_compile(cfg)


def test_compile_refuses_what_it_cannot_compile(train):
    cfg = Config(dict(model=dict(type='SwAVBaseline')))
    with pytest.raises(SystemExit, match=r"'AHPCL'.*got 'SwAVBaseline'"):
        train.use_compile(cfg)


def test_the_runners_own_option_is_refused(train):
    with pytest.raises(SystemExit, match=r'model\.compile=True.*Runner'):
        train.check_compile(Config(dict(compile=True)))
    train.check_compile(Config(dict(compile=False)))


@pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc'
)
@pytest.mark.parametrize('own', [{}, {'MALLOC_ARENA_MAX': '2'}])
def test_freed_memory_is_kept_unless_the_environment_has_its_own(own):
    """Pages that are filled again for a piece of 20 MiB."""
    program = f"""
import sys
import ctypes, resource
sys.path.insert(0, {str(Path(freed_memory.__file__).parent)!r})
from freed_memory import keep_freed_memory
print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = libc.malloc(20 << 20)
    ctypes.memset(piece, 1, 20 << 20)
    libc.free(piece)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        env=own,
        check=True,
    )
    kept, faults = done.stdout.split()
    assert kept == str(not own)
    # 20 MiB are 5,120 pages.
    assert (int(faults) < 500) is (not own)


@pytest.mark.parametrize(
    ('count', 'age', 'own'),
    [(0, 10, False), (1, 10, True), (1, -10, False), (1, None, False)],
)
def test_a_restart_goes_on_from_what_the_job_wrote(
    train, tmp_path, monkeypatch, count, age, own
):
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '2')
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    cfg = Config(dict(work_dir=str(tmp_path), load_from='start.pth'))
    assert not train.use_own_checkpoint(cfg)
    begun = (tmp_path / '.job').stat().st_mtime
    if age is not None:
        path = tmp_path / 'epoch_1.pth'
        torch.save({}, path)
        os.utime(path, (begun + age, begun + age))
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(count))
    assert train.use_own_checkpoint(cfg) == own
    assert cfg.load_from == (str(path) if own else 'start.pth')


@pytest.mark.parametrize(
    ('count', 'mark', 'age', 'own'),
    [
        (0, None, 10, False),
        # Slurm gives numbers again.
        (0, 'slurm 17', 10, False),
        (1, 'slurm 17', 10, True),
        # It ended before its first checkpoint.
        (1, 'slurm 17', -10, False),
        # It ended before it left a mark.
        (1, None, 10, False),
        (1, 'slurm 16', 10, False),
        (1, 'torchrun', 10, False),
    ],
)
def test_a_job_queued_again_goes_on_from_what_it_wrote(
    train, tmp_path, monkeypatch, count, mark, age, own
):
    monkeypatch.setenv('SLURM_JOB_ID', '17')
    monkeypatch.setenv('SLURM_RESTART_COUNT', str(count))
    work_dir, out_dir = tmp_path / 'work', tmp_path / 'out'
    work_dir.mkdir(), out_dir.mkdir()
    path = out_dir / 'epoch_1.pth'
    torch.save({}, path)
    # Of another run, older.
    torch.save({}, work_dir / 'epoch_9.pth')
    (work_dir / 'last_checkpoint').write_text(str(path))
    begun = 1e9
    os.utime(work_dir / 'epoch_9.pth', (begun - 100, begun - 100))
    os.utime(path, (begun + age, begun + age))
    if mark is not None:
        (work_dir / '.job').write_text(mark)
        os.utime(work_dir / '.job', (begun, begun))
    cfg = Config(dict(work_dir=str(work_dir), load_from=None))
    assert not train.use_own_checkpoint(cfg)  # not under Slurm
    cfg.launcher = 'slurm'
    assert train.use_own_checkpoint(cfg) == own
    assert cfg.load_from == (str(path) if own else None)
    assert (work_dir / '.job').read_text() == 'slurm 17'
    if not own and mark != 'slurm 17':
        # From now on what lies there is older than the job.
        monkeypatch.setenv('SLURM_RESTART_COUNT', '1')
        assert not train.use_own_checkpoint(cfg)


def test_one_rank_leaves_the_mark(train, tmp_path, monkeypatch):
    monkeypatch.setenv('SLURM_JOB_ID', '17')
    monkeypatch.setenv('SLURM_PROCID', '1')
    cfg = Config(dict(work_dir=str(tmp_path), launcher='slurm'))
    assert not train.use_own_checkpoint(cfg)
    assert not (tmp_path / '.job').exists()
