"""Counts kinds of images, by their features."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics.count import count_kinds
from ahpcl.core.metrics.count_result import CountSettings, KindCount
from ahpcl.engine.extraction import preprocessed
from ahpcl.models.features import first_view, pool_features

from .feature_metric import FeatureMetric
from .run_data import RunData

GREY_IMAGES = 500
_BATCH = 128


@METRICS.register_module()
class CountMetric(FeatureMetric):
    """How many kinds there are, logged as ``count/...``.

    ``kinds`` is logged where the features tell (see
    :func:`ahpcl.core.metrics.count_kinds`); ``best`` is the candidate that
    has most support in any case, ``low`` and ``high`` are the ends of the
    interval, and ``support``, ``agreement``, ``silhouette``, ``restarts`` and
    ``tightness`` the evidence for it. Labels are not looked at, and all
    images count, whatever their role. Nothing is logged of too few images.

    Args:
        max_kinds: Largest number of kinds that is tried.
        images_per_kind: Least images per kind, on average.
        seed: Seed of all random draws.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.
    """

    default_prefix = 'count'
    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        max_kinds: int = 100,
        images_per_kind: int = 20,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.settings = CountSettings(
            max_kinds=max_kinds, images_per_kind=images_per_kind
        )
        self.seed = seed

    def count(
        self, features: Tensor, views: tuple[Tensor, Tensor] | None = None
    ) -> KindCount:
        """Count, with all evidence.

        Args:
            features: Features, (N, D).
            views: See :func:`ahpcl.core.metrics.count_kinds`.
        """
        return count_kinds(
            features, self.settings, views=views, seed=self.seed
        )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Count the kinds of all images."""
        return numbers_of(self.count(features))


def numbers_of(found: KindCount) -> dict[str, float]:
    """Return what is logged of a count."""
    best = found.best
    if best is None or found.interval is None:
        return {}
    numbers: dict[str, float] = {}
    if found.number is not None:
        numbers['kinds'] = found.number
    numbers.update(
        best=best.clusters, low=found.interval[0], high=found.interval[1]
    )
    for name in (
        *('support', 'agreement', 'silhouette', 'restarts', 'tightness'),
        'views',
    ):
        value = getattr(best, name)
        if value is not None:
            numbers[name] = value
    return numbers


@torch.no_grad()
def grey_views(
    run: RunData, most: int = GREY_IMAGES
) -> tuple[Tensor, Tensor] | None:
    """Return points of some training images, in colour and in grey.

    Args:
        run: A checkpoint and its images.
        most: Number of images at most, spread evenly.

    Returns:
        (M, D) each, in the space in which kinds are counted; None where the
        images are gone or have not three bands.
    """
    loader = run.training_loader
    places = torch.arange(len(loader.dataset))
    if len(places) > most:
        places = places[torch.arange(most) * len(places) // most]
    rows = []
    try:
        for part in places.split(_BATCH):
            samples: list[Any] = []
            for place in part.tolist():
                sample = dict(loader.dataset[place])
                sample['inputs'] = _grey(sample['inputs'])
                samples.append(sample)
            rows.append(_rows(run, loader.collate_fn(samples)))
    except (OSError, ValueError):
        return None
    return run.kind_rows[places], torch.cat(rows)


def _rows(run: RunData, batch: Any) -> Tensor:
    """Return rows of a batch, as :attr:`RunData.kind_rows` holds them."""
    inputs, _ = preprocessed(run.model, batch)
    images = first_view(inputs)
    if run.counts_points:
        return run.model.extract_keys(images).float().cpu()
    features = pool_features(run.model.extract_feat(images))
    return F.normalize(features.float(), dim=1).cpu()


def _grey(inputs: Any) -> Any:
    """Return an image, or several views, with the mean of its bands."""
    if isinstance(inputs, list | tuple):
        return [_grey(view) for view in inputs]
    if inputs.ndim != 3 or len(inputs) != 3:
        raise ValueError(
            f'expected an image of three bands, got {tuple(inputs.shape)}'
        )
    mean = inputs.float().mean(dim=0, keepdim=True)
    if not inputs.is_floating_point():
        mean = mean.round()
    return mean.to(inputs.dtype).expand_as(inputs).contiguous()
