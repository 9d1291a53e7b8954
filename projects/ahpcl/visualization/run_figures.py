"""All pictures of a run, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from ahpcl.evaluation.run_data import RunData

from .colourings import by_class, by_prototype
from .confusion import confusion_figure
from .embedding import embedding_figure
from .gallery import gallery_figures
from .projection import project
from .sizes import sizes_figure
from .tree import tree_figure

KINDS = ('tsne', 'umap', 'gallery', 'sizes', 'confusion', 'tree')
Tell = Callable[[str], None]


def run_figures(
    data: RunData,
    kinds: Sequence[str] = KINDS,
    *,
    levels: Sequence[int] | None = None,
    max_images: int = 5000,
    seed: int = 0,
    tell: Tell = lambda line: None,
) -> Iterator[tuple[str, Figure]]:
    """Draw what a checkpoint says about its training images.

    Args:
        data: Data of the checkpoint.
        kinds: Which pictures to make, of :data:`KINDS`.
        levels: Numbers of clusters whose galleries and confusions are drawn;
            None for all.
        max_images: Most images that t-SNE and UMAP show.
        seed: Seed of samples and layouts.
        tell: Takes a line for everything that is left out, with the reason.

    Yields:
        Name, fit for a file, and figure, as soon as it is drawn.

    Raises:
        ValueError: For an unknown kind or level, or too few images.
        ImportError: If a library of the extra ``viz`` is missing.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f'expected kinds of {KINDS}, got {unknown}')
    if max_images < 10:
        raise ValueError(
            f'expected max_images of at least 10, got {max_images}'
        )
    counts = data.hierarchy.num_clusters
    for level in levels or ():
        if level not in counts:
            raise ValueError(
                f'expected levels of the cluster counts {counts}, got {level}'
            )
    chosen = [
        place
        for place, number in enumerate(counts)
        if levels is None or number in levels
    ]
    for kind in kinds:
        if kind == 'sizes':
            sizes = [level.sizes() for level in data.hierarchy]
            yield 'sizes', sizes_figure(sizes, source=_source(data))
        elif kind == 'gallery':
            for place in chosen:
                yield from _gallery(data, place, seed)
        elif kind == 'confusion':
            yield from _confusion(data, chosen, tell)
        elif kind == 'tree':
            if len(counts) == 1:
                tell('tree left out: there is one level only')
                continue
            yield (
                'tree',
                tree_figure(
                    data.hierarchy,
                    _lineages(data),
                    data.distances,
                    data.image,
                    source=_source(data),
                ),
            )
        else:
            yield from _embedding(data, kind, max_images, seed, tell)


def _source(data: RunData) -> str:
    own = '' if data.own_prototypes else ', fresh k-means of its features'
    return f'{data.name}{own}'


def _lineages(data: RunData) -> list:
    return [data.lineage(place) for place in range(len(data.hierarchy))]


def _gallery(
    data: RunData, place: int, seed: int
) -> Iterator[tuple[str, Figure]]:
    level = data.hierarchy[place]
    pages = gallery_figures(
        level,
        data.distances(place),
        data.image,
        labels=data.training.labels,
        class_name=data.training.class_name,
        source=_source(data),
        seed=seed,
    )
    for page, figure in enumerate(pages):
        yield f'gallery_k{level.num_clusters}_{page + 1:02d}', figure


def _confusion(
    data: RunData, chosen: Sequence[int], tell: Tell
) -> Iterator[tuple[str, Figure]]:
    if not data.training.has_labels:
        tell('confusion left out: the training images have no labels')
        return
    for place in chosen:
        level = data.hierarchy[place]
        figure = confusion_figure(
            level.assignments,
            data.training.labels,
            level.num_clusters,
            class_name=data.training.class_name,
            source=_source(data),
        )
        yield f'confusion_k{level.num_clusters}', figure


def _embedding(
    data: RunData, method: str, max_images: int, seed: int, tell: Tell
) -> Iterator[tuple[str, Figure]]:
    """Yield points with the prototypes, then pooled features by class."""
    training = data.training
    labels = training.labels if data.training.has_labels else None
    spaces = ['points']
    if labels is None:
        tell(f'{method} by class left out: the images have no labels')
    elif data.own_prototypes:
        spaces.append('features')
    for space in spaces:
        own = space == 'points'
        projection = project(
            data.points if own else training.features,
            method=method,
            prototypes=[lv.centroids for lv in data.hierarchy] if own else (),
            labels=labels,
            max_images=max_images,
            seed=seed,
        )
        colourings = []
        if labels is not None:
            colourings.append(
                by_class(projection, labels, training.class_name)
            )
        if own:
            colourings += by_prototype(
                projection, data.hierarchy, _lineages(data)
            )
        keys = own and data.own_prototypes
        yield (
            f'{method}_{"keys" if keys else "features"}',
            embedding_figure(
                projection,
                colourings,
                num_images=training.num_images,
                features='keys (key encoder, after its neck), training images'
                if keys
                else 'pooled backbone features, training images',
                source=_source(data),
            ),
        )
