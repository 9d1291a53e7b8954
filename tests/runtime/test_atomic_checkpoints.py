"""Checkpoints that survive kills, full disks and bit rot."""

import errno
import os
import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from mmengine.runner import Runner

from ahpcl.runtime import checkpoint_files, checkpoint_writing
from ahpcl.runtime.checkpoint_files import defect_of, good_checkpoint
from ahpcl.utils import atomic_write
from commands import Command
from toy import toy_config

PART = checkpoint_writing.PART


def saved(path, **content):
    torch.save({'weights': torch.arange(4000.0), **content}, path)
    return path


def damage(path, at=0.5):
    """Another byte in the middle, as bit rot leaves it."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    path.write_bytes(data)


# ---- files ---------------------------------------------------------------


def test_a_whole_file_has_no_defect(tmp_path):
    assert defect_of(saved(tmp_path / 'a.pth')) is None
    old = tmp_path / 'old.pth'
    torch.save({'a': 1}, old, _use_new_zipfile_serialization=False)
    assert defect_of(old) is None


def test_defects_are_named(tmp_path):
    path = saved(tmp_path / 'a.pth')
    whole = path.read_bytes()
    damage(path)
    assert 'is damaged (in a/data/0' in defect_of(path)
    for length in (10, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert defect_of(path) == 'was cut off or damaged'
    path.write_bytes(b'')
    assert defect_of(path) == 'is empty'
    path.write_text('hello')
    assert defect_of(path) == 'is no checkpoint of torch'
    assert 'cannot be read' in defect_of(tmp_path / 'none.pth')


@pytest.mark.parametrize('method', [1, 8, 9, 12, 14, 93, 99])
def test_an_entry_that_says_it_is_packed_is_damaged(tmp_path, method):
    """In both headers, as a changed byte of each leaves it."""
    path = saved(tmp_path / 'epoch_2.pth')
    data = bytearray(path.read_bytes())
    entry = data.index(b'PK\x01\x02')
    data[8], data[entry + 10] = method, method
    path.write_bytes(data)
    assert defect_of(path) is not None
    first = saved(tmp_path / 'epoch_1.pth')
    assert good_checkpoint(tmp_path) == first


def test_the_newest_good_one_is_found(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        checkpoint_files, 'print_log', lambda text, **_: said.append(text)
    )
    assert good_checkpoint(tmp_path) is None
    first, second, third = (
        saved(tmp_path / f'epoch_{i}.pth') for i in (2, 9, 10)
    )
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text(str(second))
    # Of an earlier run in this folder, or not yet pointed at.
    assert good_checkpoint(tmp_path) == second
    assert not said
    damage(second)
    assert good_checkpoint(tmp_path) == first
    (line,) = said
    assert line.startswith(f'{second} is damaged')
    assert line.endswith(f'going on from {first}')
    pointer.unlink()
    assert good_checkpoint(tmp_path) == third
    for path in (first, third):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='a complete checkpoint in') as e:
        good_checkpoint(tmp_path)
    assert all(name in str(e.value) for name in ('epoch_2', 'epoch_9.pth is'))


@pytest.mark.parametrize('seed', range(4))
def test_any_changed_byte_has_an_answer(tmp_path, seed):
    """Whatever was hit, an answer comes; hit weights are always seen."""
    path = saved(tmp_path / 'a.pth')
    whole = path.read_bytes()
    random = Random(seed)
    weights = whole.index(torch.arange(4000.0).numpy().tobytes())
    for _ in range(250):
        data = bytearray(whole)
        place = random.randrange(len(data))
        data[place] ^= random.randrange(1, 256)
        path.write_bytes(data)
        found = defect_of(path)
        if weights <= place < weights + 16000:
            assert found is not None and 'damaged' in found


def test_resume_passes_over_a_broken_checkpoint(tmp_path):
    from mmengine.config import Config

    first, second = (saved(tmp_path / f'epoch_{i}.pth') for i in (1, 2))
    (tmp_path / 'last_checkpoint').write_text(str(second))
    tool = Command('run')
    for broken, expected in ((None, second), (second, first)):
        if broken is not None:
            damage(broken)
        config = Config(dict(work_dir=str(tmp_path), resume=False))
        tool.use_resume(config, 'auto')
        assert config.resume and config.load_from == str(expected)
    with pytest.raises(SystemExit, match='a complete checkpoint, got'):
        tool.use_resume(config, str(second))
    damage(first)
    with pytest.raises(SystemExit, match=r'2\.pth is damaged.*_1'):
        tool.use_resume(config, 'auto')


# ---- writing -------------------------------------------------------------


def runner_of(work_dir, epochs=4, keep=1, **more):
    config = toy_config(work_dir)
    config.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    config.default_hooks.checkpoint.max_keep_ckpts = keep
    config.train_dataloader.dataset.limit = 128
    config.custom_hooks[0].extract_dataloader.dataset.limit = 128
    config.custom_hooks[0].warmup_epochs = epochs
    config.merge_from_dict(more)
    return Runner.from_cfg(config)


def names(folder):
    return sorted(p.name for p in Path(folder).glob('*.pth*'))


def test_old_ones_go_after_the_new_one_is_there(tmp_path, monkeypatch):
    seen = []
    publish = atomic_write.publish

    def watch(beside, target):
        if target.suffix == '.pth':
            seen.append((target.name, names(tmp_path), defect_of(beside)))
        publish(beside, target)

    monkeypatch.setattr(checkpoint_writing, 'publish', watch)
    left = tmp_path / f'epoch_7.pth{PART}'
    left.write_text('of a run that was killed')
    runner_of(tmp_path, epochs=3, keep=1).train()
    assert seen == [
        ('epoch_1.pth', [f'epoch_1.pth{PART}'], None),
        ('epoch_2.pth', ['epoch_1.pth', f'epoch_2.pth{PART}'], None),
        ('epoch_3.pth', ['epoch_2.pth', f'epoch_3.pth{PART}'], None),
    ]
    assert names(tmp_path) == ['epoch_3.pth']
    pointer = (tmp_path / 'last_checkpoint').read_text()
    assert pointer == str(tmp_path / 'epoch_3.pth')
    assert torch.load(pointer)['message_hub']['runtime_info'][
        'keep_ckpt_ids'
    ] == [3]


@pytest.mark.parametrize('kind', ['full', 'gone', 'pointer'])
def test_what_cannot_be_written_stops_with_the_last_good_one_named(
    tmp_path, monkeypatch, kind
):
    work_dir = tmp_path / 'run'
    runner = runner_of(work_dir, epochs=4)
    kept = tmp_path / 'kept'
    publish = atomic_write.publish

    def fail(beside, target):
        if kind == 'full' and target.name == 'epoch_3.pth':
            raise OSError(errno.ENOSPC, 'No space left on device')
        if kind == 'pointer' and runner.epoch == 2 and 'last' in target.name:
            raise OSError(errno.EROFS, 'Read-only file system')
        publish(beside, target)
        if kind == 'gone' and target.name == 'epoch_2.pth':
            shutil.copytree(work_dir, kept)

    monkeypatch.setattr(atomic_write, 'publish', fail)
    monkeypatch.setattr(checkpoint_writing, 'publish', fail)
    if kind == 'gone':

        def vanish(*args, **kwargs):
            if runner.epoch == 2:
                shutil.rmtree(work_dir)

        monkeypatch.setattr(runner.hooks[0], 'after_train_epoch', vanish)
    good = 'epoch_3.pth' if kind == 'pointer' else 'epoch_2.pth'
    with pytest.raises(
        RuntimeError, match=rf'the last good checkpoint is .*/{good}\. Make'
    ):
        runner.train()
    folder = kept if kind == 'gone' else work_dir
    assert defect_of(folder / good) is None
    assert not list(folder.glob('*.part'))
    if kind == 'full':
        assert good_checkpoint(folder) == folder / good
        assert names(folder) == [good]
        monkeypatch.undo()
        again = runner_of(
            work_dir, epochs=4, resume=True, load_from=str(folder / good)
        )
        again.train()
        assert names(folder) == ['epoch_4.pth']


def test_a_folder_without_the_right_to_write(tmp_path):
    if os.geteuid() == 0:
        pytest.skip('root may write everywhere')
    runner = runner_of(tmp_path, epochs=2)
    assert runner.train_loop  # built while the folder can be written
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RuntimeError, match='no checkpoint was written'):
            runner.train()
    finally:
        tmp_path.chmod(0o700)


def test_the_best_one_is_whole_too(tmp_path, monkeypatch):
    seen = []
    publish = atomic_write.publish

    def watch(beside, target):
        seen.append(target.name)
        publish(beside, target)

    monkeypatch.setattr(checkpoint_writing, 'publish', watch)
    runner_of(
        tmp_path,
        epochs=2,
        **{
            'default_hooks.checkpoint.save_best': 'knn/top1',
            'default_hooks.checkpoint.rule': 'greater',
        },
    ).train()
    (best,) = tmp_path.glob('best_*.pth')
    assert best.name in seen
    assert defect_of(best) is None
    assert checkpoint_files.newest_checkpoint(tmp_path).name == 'epoch_2.pth'
