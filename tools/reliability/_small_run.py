"""A run on the digits that takes half a minute, started as users start one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / 'tools' / 'train.py'

CONFIG = """# Written by {tool}.
_base_ = '{base}'
custom_imports = dict(
    imports=['ahpcl', '_moments'], allow_failed_imports=False)
train_dataloader = dict(
    batch_size={batch}, drop_last=True, num_workers=1,
    persistent_workers=True, dataset=dict(limit=384))
model = dict(
    queue_len=64,
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(in_channels=32, hid_channels=32))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(
            _base_.extract_dataloader, num_workers=0,
            persistent_workers=False,
            dataset=dict(_base_.extract_dataloader.dataset, limit=384)),
        ladder=dict(rungs=[40, 20, 10, 5], window=2),
        policy=dict(type='SlidingWindowPolicy', length=1, max_epochs=2),
        warmup_epochs=1),
    dict(type='MomentHook', path='{moments}'),
    dict(type='FaultHook', once='{fault}'),
]
env_cfg = dict(dist_cfg=dict(timeout=30))
train_cfg = dict(max_epochs={epochs}, val_interval=2)
val_dataloader = dict(num_workers=0, persistent_workers=False)
default_hooks = dict(
    runtime_info=dict(max_history=200),
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts=2, step_interval=5))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""


def write_config(folder: Path, ranks: int, epochs: int, tool: str) -> Path:
    """Write the config; the batch of all ranks together is 32.

    Returns:
        The file; the run says its moments in ``moments.txt`` beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'config.py'
    text = CONFIG.format(
        tool=tool,
        base=ROOT / 'configs' / 'ahpcl_digits.py',
        batch=32 // ranks,
        moments=folder / 'moments.txt',
        fault=folder / 'fault',
        epochs=epochs,
    )
    path.write_text(text, 'utf-8')
    return path


def start(
    config: Path,
    work_dir: Path,
    ranks: int,
    *arguments: str,
    environment: dict[str, str] | None = None,
    restarts: int = 0,
) -> subprocess.Popen[bytes]:
    """Start or resume a training in a process group of its own.

    Its output is appended to ``output.txt`` beside the config.
    """
    command = [sys.executable]
    if ranks > 1 or restarts:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        command += ['-m', 'torch.distributed.run', f'--nproc_per_node={ranks}']
        if restarts:  # as dist_train.sh
            command += [
                *('--rdzv-backend=c10d', f'--rdzv-id={port}'),
                f'--rdzv-endpoint=127.0.0.1:{port}',
                f'--max-restarts={restarts}',
            ]
        else:
            command += [f'--master_port={port}']
    command += [str(TRAIN), str(config), '--work-dir', str(work_dir)]
    command += ['--resume', *arguments]
    if ranks > 1 or restarts:
        command += ['--launcher', 'pytorch']
    path = os.pathsep.join(
        [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
    )
    with (config.parent / 'output.txt').open('ab') as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                'PYTHONPATH': path,
                'OMP_NUM_THREADS': '1',
                **(environment or {}),
            },
        )


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it, from ``/proc``."""
    parents = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / 'stat').read_text('utf-8', 'replace')
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(stat.rpartition(')')[2].split()[1])
    found = [pid]
    for member in found:
        found += [p for p, parent in parents.items() if parent == member]
    return found


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a training, its ranks and their loaders."""
    for pid in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
