"""A linear classifier on frozen features."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics import topk_accuracy
from ahpcl.core.metrics.linear_probe import (
    logistic_probe,
    probe_with_choice,
    sgd_probe,
)

from .feature_metric import FeatureMetric, check_reference_classes

GRIDS = dict(
    logreg=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    sgd=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
)


@METRICS.register_module()
class LinearMetric(FeatureMetric):
    """Top-1 of a linear classifier, logged as ``linear/...`` in percent.

    It is trained on the images with the role 'reference' and tested on those
    with the role 'query', once: the setting is chosen on a held-out share of
    the references. ``<protocol>_top1``, ``<protocol>_top5`` (with more than
    five classes) and the setting, ``logreg_C`` or ``sgd_lr``, are logged.

    Args:
        protocol: 'logreg', full-batch logistic regression by scikit-learn,
            or 'sgd', the field's linear evaluation by SGD.
        grid: Values of C, or learning rates; None for some around what is
            usual.
        held_out: Share of the references to choose on.
        seed: Seed of the held-out share and of SGD's order.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.
        **settings: Settings of
            :func:`~ahpcl.core.metrics.linear_probe.logistic_probe` or
            :func:`~ahpcl.core.metrics.linear_probe.sgd_probe`.

    Raises:
        ValueError: If the protocol is unknown.
    """

    default_prefix = 'linear'

    def __init__(
        self,
        protocol: Literal['logreg', 'sgd'] = 'logreg',
        grid: Sequence[float] | None = None,
        held_out: float = 0.2,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if protocol not in GRIDS:
            raise ValueError(
                f"expected protocol 'logreg' or 'sgd', got {protocol!r}"
            )
        self.protocol = protocol
        self.grid = GRIDS[protocol] if grid is None else tuple(grid)
        self.held_out = held_out
        self.seed = seed
        if protocol == 'sgd':
            self.fit = partial(sgd_probe, seed=seed, **settings)
        else:
            self.fit = partial(logistic_probe, **settings)

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse what cannot be learnt."""
        super().check(labels, query)
        check_reference_classes(labels, query)

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Choose, train and test."""
        check_reference_classes(labels, query)
        found = probe_with_choice(
            self.fit,
            features[~query],
            labels[~query],
            features[query],
            grid=self.grid,
            held_out=self.held_out,
            seed=self.seed,
        )
        name = 'lr' if self.protocol == 'sgd' else 'C'
        if found.at_edge:
            print_log(
                f'linear probe ({self.protocol}): {name} = '
                f'{found.setting:g} was chosen, at the edge of the grid '
                f'{self.grid}; widen it',
                logger='current',
                level=30,
            )
        truth = labels[query].to(found.scores.device)
        accuracies = {
            f'{self.protocol}_top1': float(topk_accuracy(found.scores, truth))
        }
        if found.scores.shape[1] > 5:
            accuracies[f'{self.protocol}_top5'] = float(
                topk_accuracy(found.scores, truth, 5)
            )
        accuracies[f'{self.protocol}_{name}'] = found.setting
        return accuracies
