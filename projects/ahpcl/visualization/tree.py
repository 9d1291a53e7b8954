"""The hierarchy as a tree of thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch import Tensor

from ahpcl.core.clustering.lineage import Lineage
from ahpcl.core.clustering.prototypes import PrototypeHierarchy

from .canvas import DPI, GREY, Canvas, count
from .colours import hierarchy_colours
from .gallery import gallery_indices
from .thumbnails import ImageSource, strip
from .tree_nodes import Node, select_tree

_SIDE, _GAP = 40, 2  # px
_ROW, _MORE, _APART = 0.57, 0.2, 0.16  # inches: a leaf, 'more', two roots
_EDGE = 1.1  # inches between two columns
_THICKEST = 10.0  # points


def tree_figure(
    hierarchy: PrototypeHierarchy,
    lineages: Sequence[Lineage | None],
    distances: Callable[[int], Tensor],
    images: ImageSource,
    *,
    source: str = '',
    thumbnails: int = 4,
    max_roots: int = 8,
    max_children: int = 4,
    max_leaves: int = 36,
) -> Figure:
    """Draw clusters with their nearest images, coarse ones at the left.

    Args:
        hierarchy: Levels, finest first.
        lineages: Parents of the clusters of every level, None of the
            coarsest.
        distances: Level to the distance of every image to its prototype,
            (N,).
        images: Index to an image (H, W, 3) uint8 RGB.
        source: What the prototypes are of, such as a checkpoint's name.
        thumbnails: Number of thumbnails of every cluster.
        max_roots: See :func:`select_tree`.
        max_children: See :func:`select_tree`.
        max_leaves: See :func:`select_tree`.
    """
    roots = select_tree(
        hierarchy,
        lineages,
        max_roots=max_roots,
        max_children=max_children,
        max_leaves=max_leaves,
    )
    counts = hierarchy.num_clusters
    wide = (thumbnails * (_SIDE + _GAP) - _GAP) / DPI
    canvas = Canvas(
        max(6.0, 0.8 + len(counts) * wide + (len(counts) - 1) * _EDGE),
        0.3 + sum(map(_height, roots)) + _APART * (len(roots) - 1),
        f'Tree of clusters, K = {" > ".join(map(str, reversed(counts)))}',
        _note(hierarchy, roots, source),
    )
    lefts = [
        Canvas.margin + (len(counts) - 1 - level) * (wide + _EDGE)
        for level in range(len(counts))
    ]
    for left, clusters in zip(lefts, counts, strict=True):
        canvas.text(left, 0.1, f'K = {clusters}', size=9, weight='bold')
    nearest = [
        gallery_indices(
            distances(number),
            level.assignments,
            level.num_clusters,
            nearest=thumbnails,
            random=0,
            farthest=0,
        )
        for number, level in enumerate(hierarchy)
    ]
    colours = hierarchy_colours(counts, lineages)
    edges = _page(canvas)
    scale = _THICKEST / max(map(_most, roots))

    def draw(node: Node, top: float) -> float:
        """Draw a node and what is below; returns its middle."""
        middles, y = [], top
        for child in node.children:
            middles.append(draw(child, y))
            y += _height(child)
        if middles:
            middle = (middles[0] + middles[-1]) / 2
        else:
            middle = top + _ROW / 2 + 0.06
        left = lefts[node.level]
        text = f'#{node.cluster}   {count(node.size)}'
        if node.inside < node.size:
            text += f', {node.inside:,} here'
        canvas.text(left, middle - 0.2, text, size=7)
        shown = nearest[node.level][node.cluster].nearest
        picture = strip(images, shown, _SIDE, gap=_GAP)
        size = picture.shape[1] / DPI, picture.shape[0] / DPI
        axes = canvas.axes(left, middle - size[1] / 2, *size)
        axes.imshow(picture, interpolation='none', aspect='auto')
        axes.set_axis_off()
        for child, end in zip(node.children, middles, strict=True):
            _edge(
                edges,
                (left + size[0] + 0.04, middle),
                (lefts[child.level] - 0.05, end),
                width=max(0.6, scale * child.inside),
                colour=colours[child.level][child.cluster],
            )
        if node.left_out:
            more = count(node.left_out, 'more cluster')
            text = f'+ {more}, {count(node.left_out_images)}'
            x = lefts[node.level - 1]
            canvas.text(x, y + 0.15, text, size=7, color=GREY)
        return middle

    top = 0.25
    for root in roots:
        draw(root, top)
        top += _height(root) + _APART
    return canvas.figure


def _height(node: Node) -> float:
    """Return the inches that a node takes with all below it."""
    below = sum(map(_height, node.children)) or _ROW
    return below + (_MORE if node.left_out else 0)


def _most(node: Node) -> int:
    """Return the number of images of the thickest line below a node."""
    return max((max(c.inside, _most(c)) for c in node.children), default=1)


def _mixed(node: Node) -> bool:
    """Tell whether clusters below have images that are not in their parent."""
    return any(c.inside < c.size or _mixed(c) for c in node.children)


def _note(
    hierarchy: PrototypeHierarchy, roots: Sequence[Node], source: str
) -> list[str]:
    coarsest = hierarchy.levels[-1]
    parts = [
        source,
        count(len(coarsest.assignments)),
        'of each cluster the nearest',
        'lines as thick as images are many',
    ]
    if any(map(_mixed, roots)):
        parts.append("'here': those in the cluster at the left of it")
    hidden = coarsest.num_clusters - len(roots)
    if hidden:
        number = len(coarsest.assignments) - sum(r.size for r in roots)
        parts.append(
            f'not shown: {hidden} of the {coarsest.num_clusters} clusters '
            f'at the left, with {count(number)}'
        )
    return parts


def _page(canvas: Canvas) -> Axes:
    """Return the axes of the whole page in inches from the top left corner."""
    axes = canvas.axes(0, 0, canvas.width, canvas.height)
    axes.set_xlim(0, canvas.width)
    axes.set_ylim(canvas.height, 0)
    axes.set_axis_off()
    axes.set_zorder(-1)
    return axes


def _edge(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    width: float,
    colour: Sequence[float],
) -> None:
    half = (start[0] + end[0]) / 2
    path = Path(
        [start, (half, start[1]), (half, end[1]), end],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    axes.add_patch(
        PathPatch(
            path,
            facecolor='none',
            edgecolor=tuple(colour),
            linewidth=width,
            alpha=0.65,
            capstyle='butt',
        )
    )
