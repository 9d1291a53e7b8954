"""A few epochs of every method in bfloat16: a part of `gpu_check.py`.

AHPCL and the baselines, in a few processes at once, on rendered images at a
scale that is configured for a GPU. Every loss must be finite, and must fall:

- AHPCL, PCL, HCSC, MoCo v2: the instance loss, as that of the prototypes
  changes with their number. Means are of the iterations from which on the
  queue holds keys only: before, its random rows are easy negatives.
- SimCLR, SeLa, ODC: the loss.
- SwAV: the loss from the second epoch on. Then its queue starts, which makes
  other codes, and its prototypes begin to move.

In the last epoch its mean must be below that of the first that counts. Not so
for DeepCluster, whose classifier starts from scratch in every epoch: there the
last quarter of the last epoch must be below its first quarter. The learning
rate stays as it is at the start, so that the last epoch still learns.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _measure import prepare
from _part import Record, parse_part
from _provenance import ROOT
from _tables import write_json
from mmengine.hooks import Hook
from mmengine.runner import Runner

BASELINES = ROOT / 'configs' / 'baselines'
SCALES = ROOT / 'configs' / '_base_' / 'scales'
EPOCHS = 5
FINITE = 'nowhere: finite is enough'
#: The loss of a method, and where it must fall.
METHODS = dict(
    ahpcl=('loss_inst', 'over epochs'),
    pcl=('loss_inst', 'over epochs'),
    hcsc=('loss_inst', 'over epochs'),
    mocov2=('loss_inst', 'over epochs'),
    simclr=('loss', 'over epochs'),
    swav=('loss', 'over epochs'),
    deepcluster=('loss', 'within the last epoch'),
    # Its labels change with every step, so that it need not fall.
    odc=('loss', FINITE),
    sela=('loss', 'over epochs'),
)
SIZES = dict(base='tin100', images=3840, side=64, batch=128, queue=1024)
SMALL = dict(base='digits', images=256, side=16, batch=32, queue=64)
# The data set of a scale is replaced by rendered images, and what depends on
# the number of images or epochs follows.
_SCALE = """
_base_ = '{scales}/{base}.py'
__images = dict(
    type='HierarchicalShapes',
    num_images={images},
    img_size={side},
    nuisance=0.25,
)
model = dict(queue_len={queue})
data = dict(
    images={images},
    labels=dict(deepcluster=100, odc=50, sela=50, swav=100),
    swav=dict(queue_len=256, queue_start_epoch=1, freeze_iters={iterations}),
)
train_dataloader = dict(
    dataset=dict(
        __images,
        pipeline=_base_.train_dataloader.dataset.pipeline,
        _delete_=True,
    )
)
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(
            _base_.extract_dataloader,
            num_workers=0,
            persistent_workers=False,
            dataset=dict(
                __images, pipeline=_base_.extract_dataloader.dataset.pipeline
            ),
        ),
        ladder=dict(
            type='ClusterLadder', rungs=[100, 64, 32, 16, 4], window=3
        ),
        policy=dict(type='FixedPolicy', epochs=2),
    )
]
train_cfg = dict(max_epochs={epochs})
param_scheduler = None
"""
_AHPCL = """
_base_ = 'scale.py'
_base_.pop('data')
"""


class LossWatch(Hook):
    """Keeps a loss of every iteration, without waiting for the device.

    Args:
        key: Of the loss.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.losses: list[torch.Tensor] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the loss."""
        self.losses.append(outputs[self.key].detach().float())

    def values(self) -> list[float]:
        """The losses so far."""
        return torch.stack(self.losses).tolist()


def judge(
    losses: Sequence[float], per_epoch: int, where: str, skip: int = 0
) -> dict[str, Any]:
    """Whether losses are finite and fall.

    Args:
        losses: Of every iteration.
        per_epoch: Iterations of an epoch.
        where: ``over epochs`` compares the mean of the last epoch with that
            of the first, ``within the last epoch`` its last and first
            quarter, :data:`FINITE` nothing.
        skip: Iterations at the start that do not count; the first epoch then
            starts so much later.

    Returns:
        ``finite``, ``falls`` (None where nothing is compared), and the two
        means as ``first`` and ``last``.
    """
    ending = losses[-per_epoch:]
    if where in ('over epochs', FINITE):
        first, last = losses[skip : skip + per_epoch], ending
    else:
        quarter = max(1, per_epoch // 4)
        first, last = ending[:quarter], ending[-quarter:]
    means = [math.fsum(part) / len(part) for part in (first, last)]
    return dict(
        finite=all(map(math.isfinite, losses)),
        falls=None if where == FINITE else means[1] < means[0],
        first=means[0],
        last=means[1],
    )


def train(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train a method.

    Args:
        name: Of `METHODS`.
        settings: As `main` writes them.

    Returns:
        What `judge` says, and ``took``, in seconds.
    """
    key, where = METHODS[name]
    scale = Path(settings['scale'])
    own = scale.with_name('ahpcl.py')
    file = own if name == 'ahpcl' else BASELINES / f'{name}.py'
    # The name of the scale's file, as it is seen from the others.
    os.environ['AHPCL_SCALE'] = os.path.relpath(scale, SCALES)[: -len('.py')]
    cfg = prepare(
        dict(settings, config=str(file), work_dir=str(scale.parent / name))
    )
    cfg.experiment_name = cfg.visualizer.name = f'gpu_check_{name}'
    begin = time.perf_counter()
    runner = Runner.from_cfg(cfg)
    watch = LossWatch(key)
    runner.register_hook(watch)
    runner.train()
    found = judge(
        watch.values(),
        len(runner.train_dataloader),
        where,
        skip=settings['skip'].get(name if name == 'swav' else key, 0),
    )
    return dict(
        loss=key, where=where, **found, took=time.perf_counter() - begin
    )


def train_all(file: Path) -> None:
    """Train some methods in this process, each with an answer of its own.

    Args:
        file: With the settings.
    """
    settings = json.loads(file.read_text())
    torch.set_num_threads(1)
    for name in settings['names']:
        try:
            answer = train(name, settings)
        except Exception as error:
            traceback.print_exc()
            answer = dict(error=f'{type(error).__name__}: {error}')
        write_json(file.with_name(f'{name}.json'), answer)


def wait_for_answers(
    running: Sequence[subprocess.Popen], files: Mapping[str, Path]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Answers of processes, each as soon as it is there.

    Args:
        running: The processes.
        files: Of the answers, by name.

    Yields:
        Name and answer; that of a process that died is an ``error``.
    """
    left = dict(files)
    while left:
        ended = all(process.poll() is not None for process in running)
        for name, file in list(left.items()):
            if file.is_file():
                yield name, json.loads(file.read_text())
                del left[name]
            elif ended:
                codes = [process.returncode for process in running]
                yield name, dict(error=f'no answer, exit statuses {codes}')
                del left[name]
        time.sleep(0.2)


def main(argv: Sequence[str] | None = None) -> None:
    """Train all of them, in as many processes as there are cores for."""
    args = parse_part(argv)
    sizes = SMALL if args.small else SIZES
    settings = dict(sizes, small=args.small, epochs=EPOCHS)
    record = Record(args.json, args.device, settings)
    iterations = sizes['images'] // sizes['batch']  # of an epoch
    cores = len(os.sched_getaffinity(0))
    jobs = max(1, min(4, cores // 4))
    with tempfile.TemporaryDirectory() as folder:
        scale = Path(folder) / 'scale.py'
        scale.write_text(
            _SCALE.format(
                scales=SCALES,
                epochs=EPOCHS,
                iterations=iterations,
                **sizes,
            )
        )
        scale.with_name('ahpcl.py').write_text(_AHPCL)
        running = []
        for job in range(jobs):
            given = dict(
                names=list(METHODS)[job::jobs],
                scale=str(scale),
                batch_size=sizes['batch'],
                workers=min(3, cores // jobs - 1),
                options={'optim_wrapper.type': 'BF16OptimWrapper'},
                skip=dict(
                    loss_inst=math.ceil(sizes['queue'] / sizes['batch']),
                    swav=iterations,
                ),
            )
            file = Path(folder) / f'job{job}.json'
            write_json(file, given)
            running.append(
                subprocess.Popen(
                    [sys.executable, __file__, str(file)],
                    stdout=subprocess.DEVNULL,
                )
            )
        files = {name: Path(folder) / f'{name}.json' for name in METHODS}
        for name, answer in wait_for_answers(running, files):
            with record.row(name, **answer) as row:
                refuse(row)


def refuse(row: dict[str, Any]) -> None:
    """Raise what is wrong with a row.

    Raises:
        RuntimeError: If the training failed, or its loss is not finite or
            does not fall.
    """
    if 'error' in row:
        raise RuntimeError(row['error'])
    if not row['finite'] or row['falls'] is False:
        raise RuntimeError(
            f'expected a finite {row["loss"]} that falls {row["where"]}, got '
            f'{row["first"]:.4g}, then {row["last"]:.4g}'
        )


if __name__ == '__main__':
    if len(sys.argv) == 2:
        train_all(Path(sys.argv[1]))
    else:
        main()
