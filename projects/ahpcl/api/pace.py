"""How fast a config trains here: a few steps whose results are thrown away."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ahpcl.compat.frameworks import scope_of
from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.engine.extraction import preprocessed
from ahpcl.models.protocols import EncodesKeys
from ahpcl.utils.random_state import random_state_kept

_UNTIMED, _LEAST_STEPS, _MOST_STEPS = 2, 4, 40
_SECONDS = 6.0
_POINTS = 10_000
# Steps and E-steps are not all that takes time, nor always as fast.
_SLACK = 1.08
_START = 4.0


@dataclass(frozen=True)
class Pace:
    """Seconds that the parts of a training take.

    Attributes:
        step: A step of the training.
        image: An image on its way through the key encoder.
        cluster: Time of a clustering: seconds per image and cluster.
    """

    step: float
    image: float
    cluster: float

    def seconds(self, config: Config, images: int, checked: int) -> float:
        """Estimate how long a config takes to train.

        Args:
            config: Its epochs, its ladder and its validation are set.
            images: Number of training images.
            checked: Number of images of a validation.
        """
        train, loader = config.train_cfg, config.train_dataloader
        epochs = train.max_epochs
        steps = max(1, images // loader.batch_size)
        total = epochs * steps * self.step
        for hook in config.get('custom_hooks') or []:
            ladder = hook.get('ladder') or {}
            if 'rungs' not in ladder:
                continue
            times = max(0, epochs - hook.get('warmup_epochs', 0))
            times = -(-times // hook.get('interval', 1)) + 1
            # The mean over the windows, from a cold start each time.
            window = ladder.get('window', 3)
            clusters = sum(ladder.rungs) / len(ladder.rungs) * window
            starts = (hook.get('clustering') or {}).get('n_init', 1)
            each = images * self.image
            each += images * clusters * starts * self.cluster
            total += times * each
        if checked:
            checks = 1 + epochs // train.get('val_interval', 1)
            total += checks * checked * self.image
        return _SLACK * total + _START


def measure(config: Config, *, seconds: float = _SECONDS) -> Pace:
    """Time some steps of a config, on the device that it would train on.

    Nothing of it stays but the decoded cache of the images: the model is
    thrown away, and the random state is as before.

    Args:
        config: A config that can train.
        seconds: About how long the steps may take.
    """
    init_default_scope(scope_of(config))
    with random_state_kept(0):
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        model = MODELS.build(copy.deepcopy(config.model)).to(device)
        wrapper = build_optim_wrapper(
            model, copy.deepcopy(config.optim_wrapper)
        )
        model.train()
        loader = _loader(config.train_dataloader)
        batches = _endless(loader)
        steps: list[float] = []
        begun = time.perf_counter()
        while len(steps) < _UNTIMED + _LEAST_STEPS or (
            time.perf_counter() - begun < seconds
            and len(steps) < _UNTIMED + _MOST_STEPS
        ):
            start = time.perf_counter()
            model.train_step(next(batches), wrapper)
            _wait(device)
            steps.append(time.perf_counter() - start)
        batches.close()
        return Pace(
            step=_mean_of_most(steps[_UNTIMED:]),
            image=_image_seconds(config, model, seconds / 2),
            cluster=_cluster_seconds(device),
        )


def _mean_of_most(values: list[float]) -> float:
    """Return the mean without what is far off, such as the first of workers.

    The median alone would miss that a loader is late for every fifth step.
    """
    usual = median(values)
    kept = [value for value in values if value < 5 * usual]
    return sum(kept) / len(kept)


def _loader(settings: Any) -> DataLoader:
    return Runner.build_dataloader(copy.deepcopy(settings), seed=0)


def _endless(loader: DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


@torch.no_grad()
def _image_seconds(config: Config, model: Any, seconds: float) -> float:
    settings = config.get('extract_dataloader')
    for hook in config.get('custom_hooks') or []:
        settings = hook.get('extract_dataloader') or settings
    if settings is None or not isinstance(model, EncodesKeys):
        return 0.0
    model.eval()
    begun, images = time.perf_counter(), 0
    for batch in _loader(settings):
        inputs, samples = preprocessed(model, batch)
        model.extract_keys(inputs).sum().item()
        images += len(samples)
        if time.perf_counter() - begun > seconds:
            break
    return (time.perf_counter() - begun) / max(1, images)


def _cluster_seconds(device: str) -> float:
    """Time a k-means of points without structure, the slowest kind."""
    clusters = 100
    points = F.normalize(torch.randn(_POINTS, 128, device=device), dim=1)
    start = time.perf_counter()
    spherical_kmeans(points, clusters, KMeansSettings(n_init=1))
    _wait(device)
    return (time.perf_counter() - start) / (_POINTS * clusters)


def _wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()
