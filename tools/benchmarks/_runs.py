"""What the folder of a finished run tells about it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from ahpcl.runtime.checkpoint_files import newest_checkpoint

_TIME = re.compile(r'^\d{4}/(\d\d/\d\d \d\d:\d\d:\d\d) |^(\d\d/\d\d \S+) - ')
_STAMP = '%Y%m%d_%H%M%S'


def read_run(work_dir: Path) -> dict[str, Any]:
    """Read a work folder as mmengine's Runner leaves it.

    A resumed run counts from its start; one that was started again in the same
    folder hides those before it.

    Args:
        work_dir: With the config and a folder per start.

    Returns:
        ``config_file``, ``config``, ``epochs``, ``knn`` (epoch -> percent),
        ``knn_end``, ``images_per_second`` as logged (the iterations alone),
        ``seconds`` of the whole run, ``checkpoint`` (the last one or None)
        and, of a run on a GPU, ``peak_memory`` in bytes.

    Raises:
        ValueError: If the folder holds no finished epoch or no config.
    """
    starts = [_read_start(path) for path in sorted(work_dir.glob('*_*/'))]
    starts = [start for start in starts if start and start['train']]
    for number in range(len(starts) - 1, 0, -1):
        if starts[number]['train'][0]['epoch'] == 1:
            starts = starts[number:]
            break
    configs = sorted(work_dir.glob('*.py'))
    if not starts or not configs:
        raise ValueError(
            f'expected a folder with the config and the logs of a run, got '
            f'{work_dir}; name the --work-dir of tools/train.py'
        )
    train = [row for start in starts for row in start['train']]
    knn = {}
    for start in starts:
        knn.update(start['knn'])
    seconds_per_iteration = sum(r['time'] for r in train) / len(train)
    last = newest_checkpoint(work_dir)
    memory = [row['memory'] for row in train if 'memory' in row]
    return dict(
        config_file=str(configs[-1]),
        config=configs[-1].stem,
        epochs=train[-1]['epoch'],
        knn=knn,
        knn_end=knn[max(knn)] if knn else None,
        seconds_per_iteration=seconds_per_iteration,
        processes=starts[-1]['processes'],
        seconds=sum(start['seconds'] for start in starts),
        peak_memory=max(memory) * 2**20 if memory else None,
        checkpoint=None if last is None else str(last),
    )


def _read_start(folder: Path) -> dict[str, Any] | None:
    """One start of a run, None for a folder that is none."""
    scalars = folder / 'vis_data' / 'scalars.json'
    log = folder / f'{folder.name}.log'
    if not scalars.is_file() or not log.is_file():
        return None
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    text = log.read_text(errors='replace')
    processes = re.search(r'GPU number: (\d+)', text)
    return dict(
        train=[row for row in rows if 'loss' in row],
        knn={r['step']: r['knn/top1'] for r in rows if 'knn/top1' in r},
        seconds=_seconds(folder.name, text),
        processes=int(processes[1]) if processes else 1,
    )


def _seconds(stamp: str, log: str) -> float:
    """From the start that names the folder to the log's last line."""
    start = datetime.strptime(stamp, _STAMP)
    for line in reversed(log.splitlines()):
        found = _TIME.match(line)
        if found:
            text = f'{start.year}/{found[1] or found[2]}'
            end = datetime.strptime(text, '%Y/%m/%d %H:%M:%S')
            if end < start:  # over the turn of the year
                end = end.replace(year=start.year + 1)
            return (end - start).total_seconds()
    return 0.0
