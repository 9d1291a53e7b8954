"""Fine-tuning of the encoder on a few labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from mmengine.runner import Runner
from torch import Tensor, nn

from ahpcl.core.metrics import topk_accuracy
from ahpcl.core.metrics.stratified import stratified_count, stratified_share
from ahpcl.core.seeding import seed_from
from ahpcl.core.validation import whole_number
from ahpcl.utils.random_state import random_state_kept
from ahpcl.utils.ranks import unwrap

from .feature_metric import (
    FeatureMetric,
    check_reference_classes,
    label_of,
)
from .fine_tuning import Learner, augmented


@METRICS.register_module()
class FineTuneMetric(FeatureMetric):
    """Top-1 after fine-tuning on a share of the labels, ``semisup/...``.

    A copy of the query backbone with a new linear layer is trained on that
    share of every class of the images with the role 'reference' (Chen et
    al., "SimCLR", ICML 2020, section 6; here with SGD, random crops and
    flips of the images as they are evaluated) and tested on those with the
    role 'query'. The model stays as it is. In a val or test loop it needs
    :class:`ModelAccessHook`. It works in one process only.

    Args:
        fractions: Shares of the labels; of every class at least one image.
        epochs: Epochs of training for every share.
        least_steps: Fewest steps, however few images there are.
        batch_size: Images in a step.
        lr: Learning rate of the linear layer.
        backbone_lr: Learning rate of the backbone.
        weight_decay: Weight decay of all weights.
        padding: Pixels that a crop may be moved by.
        flip: Whether images are flipped at random; not for digits or letters.
        seed: Seed of shares, order, crops and flips.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.

    Raises:
        ValueError: If a share is not between 0 and 1, or a number is out of
            range.
    """

    default_prefix = 'semisup'
    needs_images: ClassVar[bool] = True

    def __init__(
        self,
        fractions: Sequence[float] = (0.01, 0.1),
        epochs: int = 30,
        least_steps: int = 200,
        batch_size: int = 64,
        lr: float = 0.1,
        backbone_lr: float = 0.03,
        weight_decay: float = 1e-4,
        padding: int = 2,
        flip: bool = True,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        for fraction in fractions:
            if not 0 < fraction < 1:
                raise ValueError(
                    f'expected fractions between 0 and 1, got {fraction}'
                )
        self.fractions = tuple(fractions)
        self.epochs = whole_number(epochs, 'epochs', least=1)
        self.least_steps = whole_number(least_steps, 'least_steps', least=0)
        self.batch_size = whole_number(batch_size, 'batch_size', least=1)
        self.lr = lr
        self.backbone_lr = backbone_lr
        self.weight_decay = weight_decay
        self.padding = whole_number(padding, 'padding', least=0)
        self.flip = flip
        self.seed = seed
        self._model: nn.Module | None = None

    def set_model(self, model: nn.Module) -> None:
        """Say whose backbone is fine-tuned.

        Args:
            model: The unwrapped algorithm.
        """
        self._model = model

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse what cannot be learnt."""
        super().check(labels, query)
        check_reference_classes(labels, query, least=1)

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Collect the images of a batch."""
        inputs = data_batch['inputs']
        if isinstance(inputs, list) and inputs[0].ndim == 4:
            inputs = inputs[0]  # collated, of several views the first
        for image, sample in zip(inputs, data_samples, strict=True):
            single = image[0] if isinstance(image, list) else image
            self.results.append(
                dict(
                    feature=single.cpu(),
                    label=label_of(sample),
                    role=sample.get('role', 'query'),
                )
            )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Fine-tune the model that was handed over.

        Args:
            features: The images, (N, C, H, W).
            labels: Classes, (N,).
            query: Mask of the images that are tested, (N,).

        Raises:
            ValueError: If no model was.
        """
        if self._model is None:
            raise ValueError(
                'expected a model, got none: add dict(type='
                "'ModelAccessHook') to custom_hooks"
            )
        return self.fine_tune(self._model, features, labels, query)

    def fine_tune(
        self, model: nn.Module, images: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Fine-tune and test, for every share.

        Args:
            model: The unwrapped algorithm; stays as it is.
            images: Images as they are evaluated, (N, C, H, W) uint8.
            labels: Classes, (N,), from 0; images with -1 do not count.
            query: Mask, (N,), True for images that are tested.

        Returns:
            ``top1_1pct`` and the like, percent.
        """
        self.check(labels, query)
        references = ((labels >= 0) & ~query).nonzero().squeeze(1)
        tested = ((labels >= 0) & query).nonzero().squeeze(1)
        found = {}
        for fraction in self.fractions:
            seed = seed_from(self.seed, 'fine-tune', repr(fraction))
            # The same order of a class: the one image is among the share.
            share = stratified_count(labels[references], 1, seed=seed)
            share |= stratified_share(labels[references], fraction, seed=seed)
            chosen = references[share]
            learner = Learner(model, images[:1], int(labels.max()) + 1)
            # For layers that draw, such as dropout.
            with random_state_kept(seed, learner.device):
                self._train(learner, images[chosen], labels[chosen], seed)
            scores = learner.scores(images[tested], self.batch_size)
            name = f'top1_{100 * fraction:g}pct'
            found[name] = float(topk_accuracy(scores, labels[tested]))
        return found

    def _train(
        self, learner: Learner, images: Tensor, labels: Tensor, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = min(self.batch_size, len(images))
        per_epoch = math.ceil(len(images) / size)
        steps = max(self.epochs * per_epoch, self.least_steps)
        sgd = torch.optim.SGD(
            [
                dict(
                    params=learner.backbone.parameters(), lr=self.backbone_lr
                ),
                dict(params=learner.head.parameters(), lr=self.lr),
            ],
            momentum=0.9,
            weight_decay=self.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
        # Batch norm has no statistics of a batch of one.
        learner.backbone.train(size > 1)
        order = torch.empty(0, dtype=torch.long)
        with torch.enable_grad():
            for _ in range(steps):
                while len(order) < size:
                    more = torch.randperm(len(images), generator=generator)
                    order = torch.cat([order, more])
                places, order = order[:size], order[size:]
                batch = augmented(
                    images[places], self.padding, self.flip, generator
                )
                logits = learner(batch)
                truth = labels[places].to(logits.device)
                sgd.zero_grad()
                F.cross_entropy(logits, truth).backward()
                sgd.step()
                schedule.step()


@HOOKS.register_module()
class ModelAccessHook(Hook):
    """Hands the unwrapped model to every metric that has ``set_model``.

    Needed in ``custom_hooks`` for :class:`FineTuneMetric` in a val or test
    loop.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Hand the model over before the first batch of the validation."""
        self._hand_over(runner, runner.val_loop.evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Hand the model over before the first batch of the test."""
        self._hand_over(runner, runner.test_loop.evaluator)

    def _hand_over(self, runner: Runner, evaluator: object) -> None:
        for metric in evaluator.metrics:
            if hasattr(metric, 'set_model'):
                metric.set_model(unwrap(runner.model))
