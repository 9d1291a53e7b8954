"""What a training on a folder is made of, chosen as somebody who knows would.

Every choice is said with its reason; what a user gives is kept.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ahpcl.compat.configs import PREFIX, find_config
from ahpcl.compat.options import set_data_root
from ahpcl.core import ClusterLadder
from ahpcl.datasets.image_size import pipeline_sizes, set_image_size
from ahpcl.runtime.optim_wrapper import has_bf16_instructions, use_bf16

from .plan import Plan, Request
from .survey import Survey

#: Encoders by name: the config that has them, and their depth.
MODELS = {
    'thin': ('ahpcl::ahpcl_folder_cpu.py', 18),
    'resnet18': ('ahpcl::ahpcl_folder.py', 18),
    'resnet34': ('ahpcl::ahpcl_folder.py', 34),
    'resnet50': ('ahpcl::ahpcl_folder.py', 50),
}
#: Most epochs that are chosen for a number of minutes.
MOST_EPOCHS = 800
_WARMUP = 0.2
# The ladder ends by this part of the epochs after the warm-up.
_LADDER = 0.8
_REFERENCES, _QUERIES = 8000, 2000


def make_plan(
    images: Survey, request: Request, *, on_gpu: bool, cores: int
) -> Plan:
    """Choose everything but the number of epochs.

    Args:
        images: What is known of the images.
        request: What the user said; ``model`` is a name of :data:`MODELS`.
        on_gpu: Whether there is a GPU.
        cores: Cores that may be used.

    Raises:
        ValueError: If there is no such model, or ``model`` comes with a
            config of its own.
    """
    model, config = request.model, request.config
    if model is not None and model not in MODELS:
        raise ValueError(
            f'expected model to be one of {", ".join(MODELS)}, got {model!r}; '
            'for another encoder give a config= whose model.backbone it is'
        )
    size = request.image_size
    if config is not None:
        if model is not None:
            raise ValueError(
                f'expected model or config, got both: {model!r} and '
                f'{config!r}; the config has its own encoder'
            )
        plan = Plan(_read(config), images, free=False)
        plan.reasons['encoder'] = f'as in {config}'
    else:
        name, why = model, 'as asked for'
        if name is None:
            name, why = _choose_model(images, on_gpu)
        shipped, depth = MODELS[name]
        plan = Plan(_read(shipped), images, free=True)
        plan.reasons['encoder'] = why
        if size is None:
            size, why = _choose_size(images, name == 'thin' and not on_gpu)
            plan.reasons['size'] = why
        _set_encoder(plan.config, name, depth, size)
    if request.image_size is not None:
        plan.reasons['size'] = 'as asked for'
    if size is not None:
        set_image_size(plan.config, size)
    _set_data(plan, on_gpu, cores)
    if request.skip_unreadable:
        for loader in _loaders(plan):
            loader.dataset.on_unreadable = 'skip'
    _set_batch(plan, on_gpu)
    if plan.free and has_bf16_instructions('cuda' if on_gpu else 'cpu'):
        use_bf16(plan.config.optim_wrapper)
        plan.reasons['precision'] = (
            'faster here; float32: --cfg-options '
            'optim_wrapper.type=OptimWrapper'
        )
    _set_validation(plan)
    return plan


def set_epochs(plan: Plan, epochs: int) -> None:
    """Write a number of epochs into the config, and what follows from it.

    Args:
        plan: Its config is changed.
        epochs: Number of epochs, from 1.
    """
    config = plan.config
    train = config.train_cfg
    train.max_epochs = epochs
    if config.get('val_dataloader') is not None:
        train.val_interval = max(1, epochs // 5)
    steps = steps_of(plan)
    hooks = config.default_hooks
    if hooks.get('checkpoint') is not None:
        hooks.checkpoint.interval = max(1, epochs // 10)
    if hooks.get('logger') is not None:
        hooks.logger.interval = min(hooks.logger.get('interval', 50), steps)
    if plan.free and config.model.get('momentum') is not None:
        # An average over the last thousand steps is most of a short run.
        short = epochs * steps < 10_000
        config.model.momentum = 0.99 if short else 0.999
    hook = plan.hook
    if hook is None:
        return
    if plan.free or hook.get('warmup_epochs', 0) > epochs // 2:
        hook.warmup_epochs = int(_WARMUP * epochs)
    rest = epochs - hook.get('warmup_epochs', 0)
    if plan.free or not _fits(hook, plan.images.count):
        _set_ladder(plan, max(1, rest))


def steps_of(plan: Plan) -> int:
    """Return the steps of an epoch in one process."""
    loader = plan.config.train_dataloader
    return max(1, plan.images.count // loader.batch_size)


def _read(path: str) -> Config:
    """Read a config: a file, or the name of one that is shipped."""
    if not path.startswith(PREFIX) and Path(path).is_file():
        return Config.fromfile(path)
    try:
        return Config.fromfile(find_config(path))
    except FileNotFoundError as error:
        raise ValueError(str(error)) from None


def _choose_model(images: Survey, on_gpu: bool) -> tuple[str, str]:
    if not on_gpu:
        return 'thin', 'there is no GPU, and a ResNet-18 takes 20 times longer'
    if images.short >= 128 and images.count >= 50_000:
        return 'resnet50', 'a GPU, many images and large ones'
    return 'resnet18', 'a GPU; deeper ones want more images, or larger ones'


def _choose_size(images: Survey, thin_on_cpu: bool) -> tuple[int, str]:
    """Return the side of a view, px, and why."""
    short = images.short
    if thin_on_cpu:
        size = 16 if short <= 20 else 32 if short <= 96 else 64
        return size, 'a CPU: time grows with the square of it'
    table = ((40, 32), (80, 64), (120, 96), (200, 128))
    large = 224 if images.count >= 50_000 else 160
    size = next((s for most, s in table if short <= most), large)
    return size, f'images have {short} px a side'


def _set_encoder(config: Config, name: str, depth: int, size: int) -> None:
    model = config.model
    if name == 'thin':
        if size <= 20:  # else 2 x 2 positions are left at the end
            model.backbone.strides = (1, 2, 2)
    else:
        width = 2048 if depth >= 50 else 512
        model.backbone.depth = depth
        model.neck.update(in_channels=width, hid_channels=width)
        if size <= 40:
            model.backbone.update(type='mmcls.ResNet_CIFAR', out_indices=(3,))


def view_size(config: Config) -> int | None:
    """Return the side of a training view, px; None if nothing crops."""
    return next(
        (
            size
            for place, size in pipeline_sizes(config).items()
            if place.startswith(('model.', 'train_dataloader.'))
        ),
        None,
    )


def _set_data(plan: Plan, on_gpu: bool, cores: int) -> None:
    """Name the folder everywhere, and load as this machine can."""
    config, images = plan.config, plan.images
    set_data_root(config, images.folder, lambda line: None, 'the folder')
    if platform.system() != 'Linux':
        config.env_cfg.mp_cfg.mp_start_method = 'spawn'
    if not plan.free:
        return
    size = view_size(config) or images.short
    side = 4 * size  # up to it no crop of a view is enlarged
    if images.long > side:
        plan.reasons['reading'] = (
            f'images are kept decoded with {side} px a side'
        )
    in_process = not on_gpu
    workers = 0 if in_process else min(8, max(1, cores - 1))
    for loader in _loaders(plan):
        loader.update(num_workers=workers, persistent_workers=workers > 0)
        loader.dataset.decoded_cache = 'auto'
        loader.dataset.decoded_max_side = side
    if on_gpu:
        config.train_dataloader.pin_memory = True


def _loaders(plan: Plan) -> list[Any]:
    """Return all loaders of the training images."""
    found = [plan.config.train_dataloader]
    if plan.config.get('extract_dataloader') is not None:
        found.append(plan.config.extract_dataloader)
    hook = plan.hook
    if hook is not None:
        found.append(hook.extract_dataloader)
    return found


def _set_batch(plan: Plan, on_gpu: bool) -> None:
    """Batch, rate and queue from the number of images."""
    config, count = plan.config, plan.images.count
    model, loader = config.model, config.train_dataloader
    if plan.free:
        most = 256 if on_gpu and count >= 100_000 else 128
        most = min(most, max(8, _power_of_two(count // 8)))
        # Few images want many steps more than large batches: of 2,000 in as
        # many seconds batches of 32 taught, and of 128 did not.
        batch = min(most, max(32, _power_of_two(count // 32)))
        optimizer = config.optim_wrapper.optimizer
        rate = (
            0.1
            if plan.config.model.backbone.type.endswith('ResNet_CIFAR')
            else 0.03
        )
        optimizer.lr = rate * math.sqrt(batch / 128)
        loader.batch_size = batch
        plan.reasons['batch'] = (
            f'{count // batch} steps an epoch; the rate '
            f'{optimizer.lr:.3g} goes with it'
        )
    else:
        loader.batch_size = min(loader.batch_size, _power_of_two(count // 2))
    if model.get('queue_len') is not None:
        most = model.queue_len
        if plan.free:
            most = 16384 if on_gpu and count >= 100_000 else 1024
        model.queue_len = min(most, _power_of_two(count // 2))
        plan.reasons['queue'] = 'at most half of the images'


def _set_validation(plan: Plan) -> None:
    """Let kNN watch the training where images have labels."""
    config, images = plan.config, plan.images
    if not images.classes or config.get('val_dataloader') is not None:
        return
    extract = config.get('extract_dataloader')
    if extract is None:
        return
    load, *fit, _ = extract.dataset.pipeline
    known = max(0.05, images.labelled)
    parts = []
    for role, share, most in (
        ('reference', (0.0, 0.8), _REFERENCES),
        ('query', (0.8, 1.0), _QUERIES),
    ):
        dataset = dict(extract.dataset, **images.label_options)
        dataset['per_class'] = share
        if known > most:
            dataset['limit'] = most
        pack = dict(
            type='PackSelfSupInputs',
            algorithm_keys=['sample_idx', 'gt_label'],
            meta_keys=['role'],
        )
        dataset['pipeline'] = [
            load,
            *fit,
            dict(type='SetRole', role=role),
            pack,
        ]
        parts.append(dataset)
    loader = dict(
        extract,
        dataset=dict(type='ConcatDataset', datasets=parts),
        collate_fn=dict(type='default_collate'),
    )
    config.val_dataloader, config.val_cfg = loader, dict()
    # Every class votes, so few neighbours where classes are small.
    usual = images.labelled / images.classes
    config.val_evaluator = [dict(type='KNNMetric', k=20 if usual > 25 else 5)]
    source = 'class folders'
    if images.labels != 'folders':
        source = images.labels
    plan.reasons['knn'] = (
        f'{images.classes} classes of {source}; a fifth of every class is '
        'tested; training sees no labels'
    )


def _fits(hook: Any, count: int) -> bool:
    rungs = hook.ladder.get('rungs')
    return bool(rungs) and 2 * max(rungs) <= count


def _set_ladder(plan: Plan, epochs: int) -> None:
    """A ladder of as many rungs as these epochs can climb.

    Args:
        plan: Its config is changed.
        epochs: Epochs after the warm-up.
    """
    hook, count = plan.hook, plan.images.count
    finest = max(count // 12, min(8, count // 4))
    finest = min(finest, 3200 if count >= 38_400 else 1000)
    coarsest = 10 if finest >= 40 else 2
    window = hook.ladder.get('window', 3)
    natural = round(math.log2(finest / coarsest)) + 1
    window = min(window, max(1, natural))
    # Two epochs for every advance, or the policy has nothing to compare.
    advances = min(natural - window, int(_LADDER * epochs / 2))
    number = max(window, window + advances)
    ratio = (finest / coarsest) ** (1 / max(1, number - 1))
    ladder = ClusterLadder.geometric(finest, max(ratio, 1.01), coarsest, 1)
    rungs = list(ladder.rungs)
    window = min(window, len(rungs))
    hook.ladder = dict(type='ClusterLadder', rungs=rungs, window=window)
    loss = plan.config.model.head.get('loss_proto') or {}
    if 'num_clusters' in loss:  # it has weights for every cluster
        loss.update(num_clusters=finest, num_levels=window)
    moves = len(rungs) - window
    stay = max(1, int(_LADDER * epochs / max(1, moves)))
    if plan.moves_ladder and moves:
        hook.policy = dict(
            type='SlidingWindowPolicy',
            length=2 if stay > 2 else 1,
            max_epochs=stay,
        )
    elif not moves:
        hook.policy = None
    plan.reasons['ladder'] = (
        f'{finest} are {count // finest} images each; {moves} advances of '
        f'{stay} epochs at most'
        if moves
        else f'{finest} are {count // finest} images each; too few epochs to '
        'move it'
    )


def _power_of_two(number: int) -> int:
    return 1 << max(0, int(number).bit_length() - 1)
