"""Features in the plane, by t-SNE or UMAP."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ahpcl.core.seeding import seed_from

METHODS = {'tsne': 't-SNE', 'umap': 'UMAP'}


class Projection(NamedTuple):
    """Images, and prototypes, in the plane.

    Args:
        method: 'tsne' or 'umap'.
        points: (n, 2) float64, of the images that were sampled.
        indices: Indices of these images, (n,) int64, ascending.
        prototypes: (K, 2) of every level, in the order given.
    """

    method: str
    points: np.ndarray
    indices: Tensor
    prototypes: tuple[np.ndarray, ...]


def project(
    rows: Tensor,
    *,
    method: str = 'tsne',
    prototypes: Sequence[Tensor] = (),
    labels: Tensor | None = None,
    max_images: int = 5000,
    seed: int = 0,
) -> Projection:
    """Lay features out in the plane.

    Rows are compared by their angle, as kNN and k-means compare them.
    Prototypes are laid into the finished picture of the images, each beside
    the images that are nearest to it (openTSNE's and UMAP's ``transform``).
    So the picture of the images does not depend on which prototypes are
    drawn, is the same for all levels, and prototypes do not push each other
    away. Prototypes live in the space of the keys: give keys as rows.

    Args:
        rows: Features of all images, (N, D).
        method: 'tsne' or 'umap'.
        prototypes: (K, D) unit rows of every level.
        labels: Class of every image, (N,); as many images of every class are
            shown, where it has them. None for any images.
        max_images: Most images that are shown.
        seed: Seed of the sample and the method.

    Raises:
        ValueError: For another method, fewer than 10 images, or prototypes
            of another space.
        ImportError: If the method's library is not installed.
    """
    if method not in METHODS:
        raise ValueError(
            f'expected a method of {sorted(METHODS)}, got {method!r}'
        )
    if min(len(rows), max_images) < 10:
        raise ValueError(
            f'expected at least 10 images to lay out, got {len(rows)} images '
            f'and max_images={max_images}'
        )
    for level in prototypes:
        if level.shape[1] != rows.shape[1]:
            raise ValueError(
                f'expected prototypes of the {rows.shape[1]} dimensions of '
                f'the rows, got {level.shape[1]}; prototypes live in the '
                'space of the keys'
            )
    indices = even_sample(len(rows), max_images, labels, seed)
    unit = torch.nn.functional.normalize(rows[indices].float().cpu(), dim=1)
    number = seed_from(seed, method) % 2**31
    make = _tsne if method == 'tsne' else _umap
    points, place = make(unit.numpy(), number)
    placed = []
    if prototypes:
        stacked = torch.cat([level.float().cpu() for level in prototypes])
        places = place(stacked.numpy())
        cuts = np.cumsum([len(level) for level in prototypes])[:-1]
        placed = np.split(places, cuts)
    return Projection(method, points, indices, tuple(placed))


def even_sample(
    number: int, most: int, labels: Tensor | None, seed: int
) -> Tensor:
    """Choose images, as many of every class where it has them.

    Args:
        number: Number of images N.
        most: Most images to choose.
        labels: Class of every image, (N,); None for one class.
        seed: Seed of the choice.

    Returns:
        Ascending indices, (min(N, most),) int64.
    """
    if number <= most:
        return torch.arange(number)
    generator = torch.Generator().manual_seed(seed_from(seed, 'sample'))
    order = torch.randperm(number, generator=generator)
    if labels is None:
        return order[:most].sort().values
    # The rank of an image within its class in the random order.
    own = labels[order]
    by_class = torch.argsort(own, stable=True)
    sizes = torch.unique_consecutive(own[by_class], return_counts=True)[1]
    turns = torch.cat([torch.arange(int(size)) for size in sizes])
    turn = torch.empty(number, dtype=torch.long)
    turn[by_class] = turns
    first = torch.argsort(turn, stable=True)[:most]
    return order[first].sort().values


def _tsne(rows: np.ndarray, seed: int) -> tuple[np.ndarray, Any]:
    library = _library('openTSNE', 'openTSNE')
    perplexity = min(30, (len(rows) - 1) / 3)
    exact = len(rows) <= 2000
    fitted = library.TSNE(
        perplexity=perplexity,
        metric='euclidean',
        initialization='pca',
        neighbors='exact' if exact else 'auto',
        random_state=seed,
        n_jobs=1,
    ).fit(rows)
    # transform() centres the picture in place: it is centred here already.
    fitted -= (fitted.max(axis=0) + fitted.min(axis=0)) / 2

    def place(others: np.ndarray) -> np.ndarray:
        near = min(5, perplexity)
        return np.asarray(fitted.transform(others, perplexity=near))

    return np.array(fitted), place


def _umap(rows: np.ndarray, seed: int) -> tuple[np.ndarray, Any]:
    library = _library('umap', 'umap-learn')
    fitted = library.UMAP(
        n_neighbors=min(15, len(rows) - 1),
        min_dist=0.1,
        metric='euclidean',
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,
    ).fit(rows)
    return np.asarray(fitted.embedding_), fitted.transform


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"expected {name} to be installed; pip install 'ahpcl[viz]' "
            f'(or {name})'
        ) from error
