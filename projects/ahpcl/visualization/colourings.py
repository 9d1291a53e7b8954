"""What the pictures of a projection are coloured by."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ahpcl.core.clustering.lineage import Lineage
from ahpcl.core.clustering.prototypes import PrototypeHierarchy
from ahpcl.utils.text import as_utf8

from .canvas import count
from .clusters import ClassName
from .colours import distinct_colours, hierarchy_colours
from .embedding import Colouring
from .projection import Projection


def by_class(
    projection: Projection, labels: Tensor, class_name: ClassName = str
) -> Colouring:
    """Draw images in the colour of their class.

    Args:
        projection: Projection of some of the images.
        labels: Class of every image, (N,), -1 where unknown.
        class_name: Name of a class.

    Raises:
        ValueError: If no image has a label.
    """
    classes = int(labels.max()) + 1
    if classes < 1:
        raise ValueError('expected labels of some images, got none')
    return Colouring(
        f'by class, {count(classes, "class", "classes")}',
        labels[projection.indices].numpy(),
        distinct_colours(classes),
        [as_utf8(class_name(label)) for label in range(classes)],
    )


def by_prototype(
    projection: Projection,
    hierarchy: PrototypeHierarchy,
    lineages: Sequence[Lineage | None],
) -> list[Colouring]:
    """Draw images in the colour of their cluster, for every level.

    Children have the hue of their parent.

    Args:
        projection: Projection of some of the images and of the prototypes of
            every level.
        hierarchy: Hierarchy of all images, finest first.
        lineages: Lineage of every level; None for the coarsest.
    """
    colours = hierarchy_colours(hierarchy.num_clusters, lineages)
    return [
        Colouring(
            f'by prototype, K = {level.num_clusters}',
            level.assignments.cpu()[projection.indices].numpy(),
            own,
            prototypes=places,
        )
        for level, own, places in zip(
            hierarchy, colours, projection.prototypes, strict=True
        )
    ]
