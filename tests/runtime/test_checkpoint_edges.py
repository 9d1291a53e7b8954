"""Checkpoints at the edges: bits that flipped, other folders, the best."""

import shutil
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner.checkpoint import CheckpointLoader

import ahpcl  # noqa: F401  (patches the loader)
from ahpcl.compat.checkpoint_defects import defect_of
from ahpcl.runtime import atomic_checkpoint_hook, lost_ranks
from ahpcl.runtime.atomic_checkpoint_hook import AtomicCheckpointHook
from ahpcl.runtime.checkpoint_files import POINTER, good_checkpoint
from toy import toy_config, train


def flip_a_weight(path, value=1000.0):
    content = bytearray(path.read_bytes())
    at = content.index(torch.full((4,), value).numpy().tobytes())
    content[at + 3] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_bit_is_refused_whoever_loads_the_file(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=dict(w=torch.full((4,), 1000.0))), path)
    CheckpointLoader.load_checkpoint(str(path), 'cpu')
    flip_a_weight(path)
    with pytest.raises(ValueError, match=r'complete checkpoint.*damaged'):
        CheckpointLoader.load_checkpoint(str(path), 'cpu')


def test_an_older_one_is_found_in_the_folder_of_the_newest(tmp_path):
    work, out = tmp_path / 'work', tmp_path / 'out'
    work.mkdir(), out.mkdir()
    torch.save(dict(w=torch.full((4,), 1000.0)), out / 'epoch_1.pth')
    shutil.copy(out / 'epoch_1.pth', out / 'epoch_2.pth')
    flip_a_weight(out / 'epoch_2.pth')
    (work / POINTER).write_text(str(out / 'epoch_2.pth'))
    assert good_checkpoint(work) == out / 'epoch_1.pth'


def test_an_older_one_is_found_where_the_newest_was_moved_away(tmp_path):
    work, out = tmp_path / 'work', tmp_path / 'out'
    work.mkdir(), out.mkdir()
    torch.save({}, out / 'epoch_1.pth')
    (work / POINTER).write_text(str(out / 'epoch_2.pth'))
    assert good_checkpoint(work) == out / 'epoch_1.pth'


def test_a_file_written_without_checksums_passes(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(w=torch.full((4,), 1000.0)), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert defect_of(path) is None
    CheckpointLoader.load_checkpoint(str(path), 'cpu')
    path.write_bytes(path.read_bytes()[:-30])
    assert 'cut off' in defect_of(path)


def test_step_interval_that_falls_on_the_ends_of_epochs(tmp_path, monkeypatch):
    saved, save = [], AtomicCheckpointHook.save_within

    def record(self, runner, batches):
        path = save(self, runner, batches)
        saved.append(path.rpartition('/')[2])
        return path

    monkeypatch.setattr(AtomicCheckpointHook, 'save_within', record)
    config = toy_config(tmp_path)
    config.train_cfg.max_epochs = 3
    config.train_dataloader.update(batch_size=32, drop_last=True)
    config.default_hooks.checkpoint.update(interval=100, step_interval=7)
    train(config)
    # The last epoch has the checkpoint of the end.
    assert saved == ['epoch_1_batch_0.pth', 'epoch_2_batch_0.pth']


def test_the_best_one_stays_where_a_better_one_cannot_be_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        CheckpointHook, 'rule_map', dict.fromkeys(['greater', 'less'], is_new)
    )
    write, tried = atomic_checkpoint_hook.write_checkpoint, []

    def failing(save, out_dir, filename, *args, **kw):
        if filename.startswith('best'):
            tried.append(filename)
            if len(tried) == 2:
                raise RuntimeError('no room')
        write(save, out_dir, filename, *args, **kw)

    monkeypatch.setattr(atomic_checkpoint_hook, 'write_checkpoint', failing)
    config = toy_config(tmp_path)
    config.train_cfg.val_interval = 1
    config.default_hooks.checkpoint.update(save_best='auto', rule='greater')
    with pytest.raises(RuntimeError, match='no room'):
        train(config)
    assert [path.name for path in tmp_path.glob('best*')] == tried[:1]
    content = torch.load(good_checkpoint(tmp_path), weights_only=True)
    info = content['message_hub']['runtime_info']
    assert info['best_ckpt'].endswith(tried[0])


def replace_best(out_dir, old, new):
    """As mmengine does: it removes the old one, and names the new one."""
    hook = AtomicCheckpointHook(save_best='score', rule='greater')
    hook.file_backend, hook.out_dir = LocalBackend(), str(out_dir)
    hook.best_ckpt_path = str(old)
    runner = SimpleNamespace(message_hub=SimpleNamespace(runtime_info={}))
    with hook._best_kept(runner):
        hook.file_backend.remove(str(old))
        hook.best_ckpt_path = str(new)


def test_a_best_one_by_another_name_of_its_folder_stays(tmp_path):
    real, link = tmp_path / 'real', tmp_path / 'link'
    real.mkdir()
    link.symlink_to(real)
    for name in ('best_1.pth', 'best_2.pth'):
        (real / name).touch()
    replace_best(link, real / 'best_1.pth', link / 'best_1.pth')
    assert (real / 'best_1.pth').exists()
    replace_best(link, real / 'best_1.pth', link / 'best_2.pth')
    assert [path.name for path in real.iterdir()] == ['best_2.pth']


def test_the_best_one_of_another_run_stays(tmp_path):
    own, other = tmp_path / 'own', tmp_path / 'other'
    for folder in (own, other):
        folder.mkdir()
        (folder / 'best_1.pth').touch()
    replace_best(own, other / 'best_1.pth', own / 'best_1.pth')
    assert (other / 'best_1.pth').exists()


def is_new(new, old):
    return True


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch):
    store = SimpleNamespace(
        check=lambda keys: time.sleep(60), set=lambda *_: time.sleep(60)
    )
    monkeypatch.setattr(lost_ranks, '_store', lambda: store)
    monkeypatch.setattr(lost_ranks, 'get_world_size', lambda: 2)
    call = lost_ranks.LostRankDetector(patience=0.1)
    begun = time.monotonic()
    call.sign()
    assert call.absent() is None
    assert time.monotonic() - begun < 30
