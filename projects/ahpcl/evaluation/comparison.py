"""Was it worth training? A run beside what costs nothing."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.core import spherical_kmeans
from ahpcl.core.clustering.agreement import adjusted_mutual_information
from ahpcl.core.metrics.cluster_quality import silhouette
from ahpcl.core.metrics.feature_health import rankme, spread
from ahpcl.core.metrics.knn import knn_accuracy
from ahpcl.core.metrics.neighbours import nearest_neighbours
from ahpcl.engine.extraction import preprocessed
from ahpcl.models.features import first_view, pool_features

from .load_model import load_model
from .run_data import RunData

MAX_IMAGES = 2000
#: Rows that every comparison has.
RUN, UNTRAINED, PIXELS = 'this run', 'its encoder, untrained', 'pixels'
_BATCH = 128
_PIXELS = 16  # a side
_NEIGHBOURS = 10


def compare(
    run: RunData,
    pretrained: str | os.PathLike | None = None,
    *,
    max_images: int = MAX_IMAGES,
) -> dict[str, Any]:
    """Compare a run with its untrained encoder, pixels and other weights.

    All see the same images: labelled ones of the config where it has some,
    else training images; so many at most, spread evenly.

    Args:
        run: A checkpoint and its images.
        pretrained: Weights for the same encoder, a file; None for those that
            the run started from (``load_from``), if any.
        max_images: Number of images at most.

    Returns:
        ``images``, ``tested`` (0 without labels), ``clusters`` K of the
        restarts, and ``rows``: by encoder ``knn`` in percent (None without
        labels), ``agreement`` (adjusted mutual information of two k-means
        from different seeds, 1 at best), ``together`` (percent of nearest
        neighbours that are in the cluster of their image), ``silhouette``
        (-1 to 1), ``rankme`` (dimensions in use) and ``spread``.

    Raises:
        OSError: If the images are gone.
        ValueError: If they cannot be read, there are too few, or the weights
            do not fit.
    """
    loader, places, labels, query = _sample(run, max_images)
    if len(places) < 2 * _NEIGHBOURS:
        raise ValueError(
            f'expected {2 * _NEIGHBOURS} images to compare on, got '
            f'{len(places)}'
        )
    clusters = max(2, round(math.sqrt(len(places) / 2)))
    if pretrained is None:
        started = run.config.get('load_from')
        exists = started and os.path.isfile(started)
        if exists and not run.config.get('resume'):
            pretrained = started
    encoders: dict[str, nn.Module | None] = {
        RUN: run.model,
        UNTRAINED: load_model(run.config, None)[0],
    }
    if pretrained is not None:
        name = f'weights of {os.path.basename(pretrained)}'
        encoders[name] = load_model(run.config, pretrained)[0]
    encoders[PIXELS] = None
    rows = {}
    for name, model in encoders.items():
        if model is not None:
            model.to(run.device).eval()
        features = _features(run.model, model, loader, places)
        rows[name] = _measure(features, labels, query, clusters)
    return dict(
        images=len(places),
        tested=0 if labels is None else int(query.sum()),
        clusters=clusters,
        rows=rows,
    )


def _sample(
    run: RunData, most: int
) -> tuple[DataLoader, list[int], Tensor | None, Tensor]:
    """Return a loader, places in its set, and their labels and roles."""
    if run.evaluation_loader is None:
        loader = run.training_loader
        places = _evenly(torch.arange(len(loader.dataset)), most)
        return loader, places.tolist(), None, torch.empty(0)
    labels, query = run.evaluation_roles
    known = labels >= 0
    voters = _evenly((known & ~query).nonzero()[:, 0], most * 4 // 5)
    tested = _evenly((known & query).nonzero()[:, 0], most // 5)
    places = torch.cat([voters, tested])
    loader = run.evaluation_loader
    if not len(voters) or not len(tested):
        return loader, places.tolist(), None, torch.empty(0)
    return loader, places.tolist(), labels[places], query[places]


def _evenly(places: Tensor, most: int) -> Tensor:
    """Return at most so many of these places, spread evenly."""
    if len(places) <= most:
        return places
    return places[torch.arange(most) * len(places) // most]


@torch.no_grad()
def _features(
    reader: nn.Module,
    model: nn.Module | None,
    loader: DataLoader,
    places: list[int],
) -> Tensor:
    """Return features of images, (n, D); small images without a model.

    Args:
        reader: A model whose preprocessor makes batches of the images.
        model: The encoder; None for the pixels themselves.
        loader: A loader of the images.
        places: Places of n images.
    """
    rows = []
    for start in range(0, len(places), _BATCH):
        part = places[start : start + _BATCH]
        batch = loader.collate_fn([loader.dataset[place] for place in part])
        inputs, _ = preprocessed(model or reader, batch)
        images = first_view(inputs)
        if model is None:
            small = F.interpolate(images, _PIXELS, mode='area')
            rows.append(small.flatten(1).float().cpu())
        else:
            rows.append(pool_features(model.extract_feat(images)).cpu())
    return torch.cat(rows).float()


def _measure(
    features: Tensor, labels: Tensor | None, query: Tensor, clusters: int
) -> dict[str, float | None]:
    """Measure one encoder, with labels and without."""
    knn = None
    if labels is not None:
        knn = knn_accuracy(
            features[~query],
            labels[~query],
            features[query],
            labels[query],
            k=min(20, int((~query).sum())),
        )
    rows = F.normalize(features - features.mean(dim=0), dim=1)
    first, second = (
        spherical_kmeans(rows, clusters, seed=seed).assignments
        for seed in (0, 1)
    )
    _, near = nearest_neighbours(rows, rows, _NEIGHBOURS + 1)
    own = torch.arange(len(rows))[:, None]
    others = near != own  # an image is its own nearest
    together = (first[near] == first[:, None])[others].float().mean()
    return dict(
        knn=knn,
        agreement=adjusted_mutual_information(first, second),
        together=100 * float(together),
        silhouette=silhouette(rows, first),
        rankme=rankme(features),
        spread=spread(features),
    )
