"""Which clusters of a hierarchy are drawn, from the coarsest down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ahpcl.core.clustering.lineage import Lineage
from ahpcl.core.clustering.prototypes import PrototypeHierarchy


@dataclass(frozen=True)
class Node:
    """A cluster of the tree in a picture.

    Args:
        level: 0 is the finest.
        cluster: Number of the cluster in that level.
        size: Images of the cluster.
        inside: How many of them are in its parent; all of a root.
        children: The children that are drawn, the largest first.
        left_out: Children with images that are not drawn.
        left_out_images: Images of this cluster in the children left out.
    """

    level: int
    cluster: int
    size: int
    inside: int
    children: tuple[Node, ...] = ()
    left_out: int = 0
    left_out_images: int = 0

    @property
    def leaves(self) -> int:
        """Rows that it takes."""
        return sum(child.leaves for child in self.children) or 1


def select_tree(
    hierarchy: PrototypeHierarchy,
    lineages: Sequence[Lineage | None],
    *,
    max_roots: int = 8,
    max_children: int = 4,
    max_leaves: int = 36,
    min_roots: int = 5,
) -> tuple[Node, ...]:
    """Choose the largest clusters, from the coarsest level down.

    Args:
        hierarchy: Levels, finest first.
        lineages: Parents of the clusters of every level, None of the
            coarsest.
        max_roots: Clusters of the coarsest level.
        max_children: Most children that are drawn of a cluster. It goes down
            to 2 where fewer than ``min_roots`` would have room otherwise.
        max_leaves: Most leaves. Roots are left out beyond it, but one is
            always drawn.
        min_roots: See ``max_children``.

    Returns:
        The roots, the largest first. Clusters without images are left out.
    """
    sizes = [level.sizes().tolist() for level in hierarchy]
    below: list[dict[int, list[tuple[int, int]]]] = []
    for level, lineage in enumerate(lineages[: len(sizes) - 1]):
        assert lineage is not None
        found: dict[int, list[tuple[int, int]]] = {}
        shares = zip(
            lineage.parents.tolist(), lineage.share.tolist(), strict=True
        )
        for cluster, (parent, share) in enumerate(shares):
            inside = round(share * sizes[level][cluster])
            if inside:
                found.setdefault(parent, []).append((inside, cluster))
        below.append(found)

    def node(level: int, cluster: int, inside: int, most: int) -> Node:
        own = [] if level == 0 else below[level - 1].get(cluster, [])
        own = sorted(own, key=lambda pair: (-pair[0], pair[1]))
        hidden = own[most:]
        return Node(
            level,
            cluster,
            sizes[level][cluster],
            inside,
            tuple(node(level - 1, c, n, most) for n, c in own[:most]),
            len(hidden),
            sum(number for number, _ in hidden),
        )

    top = len(sizes) - 1
    order = sorted(range(len(sizes[top])), key=lambda c: (-sizes[top][c], c))
    order = [cluster for cluster in order[:max_roots] if sizes[top][cluster]]
    roots: list[Node] = []
    for most in range(max_children, min(max_children, 2) - 1, -1):
        roots, leaves = [], 0
        for cluster in order:
            root = node(top, cluster, sizes[top][cluster], most)
            leaves += root.leaves
            if roots and leaves > max_leaves:
                break
            roots.append(root)
        if len(roots) >= min(min_roots, len(order)):
            break
    return tuple(roots)
