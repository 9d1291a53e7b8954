"""Which view of an image is a query, which a key; many in one forward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# The view that the key encoder sees; the first view is the large query.
KEY_VIEW = 1


@dataclass(frozen=True)
class ViewPlan:
    """The roles of V views, by their number.

    Attributes:
        queries: Views that the query encoder sees; those of the size of the
            first view come first.
        keys: Views that the key encoder sees; the keys of the first of them
            go to the queue.
        targets: For every query view the positions in ``keys`` that it is
            contrasted with: all of another view.
        num_large: Query views of the size of the first view.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]
    num_large: int


def plan_views(sizes: Sequence[tuple[int, ...]], symmetric: bool) -> ViewPlan:
    """Hand out the roles.

    Args:
        sizes: (H, W) of every view.
        symmetric: Whether the first two views are both query and key.

    Raises:
        ValueError: if there are fewer than two views, the first two differ in
            size, or a later one is larger.
    """
    if len(sizes) < 2:
        raise ValueError(
            f'expected two views of every image, got {len(sizes)}; set '
            'num_views=[2] where the views are made (model.data_preprocessor '
            "of type 'DeviceViews', or SeededMultiView in the pipeline)"
        )
    large = tuple(sizes[0])
    if tuple(sizes[KEY_VIEW]) != large or any(
        a > b for size in sizes for a, b in zip(size, large, strict=True)
    ):
        text = ', '.join('x'.join(map(str, size)) for size in sizes)
        raise ValueError(
            'expected the first two views, a query and the key, to be the '
            f'largest and of one size, got {text}; put the two large crops '
            'first into the views'
        )
    keys = (KEY_VIEW, 0) if symmetric else (KEY_VIEW,)
    queries = [v for v in range(len(sizes)) if symmetric or v != KEY_VIEW]
    # Stable, so views of one size keep their order.
    queries.sort(key=lambda view: tuple(sizes[view]) != large)
    return ViewPlan(
        queries=tuple(queries),
        keys=keys,
        targets=tuple(
            tuple(p for p, key in enumerate(keys) if key != view)
            for view in queries
        ),
        num_large=sum(tuple(sizes[view]) == large for view in queries),
    )


def encode_by_size(
    encode: Callable[[Tensor], Tensor], views: Sequence[Tensor]
) -> list[Tensor]:
    """Encode several views, those of one size in one forward.

    Args:
        encode: (n, C, H, W) -> (n, D).
        views: (B, C, H, W) each, of any sizes.

    Returns:
        (B, D) of every view.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, view in enumerate(views):
        groups.setdefault(tuple(view.shape[-2:]), []).append(number)
    features: dict[int, Tensor] = {}
    for members in groups.values():
        if len(members) == 1:
            features[members[0]] = encode(views[members[0]])
            continue
        together = encode(torch.cat([views[n] for n in members]))
        parts = together.split([len(views[n]) for n in members])
        features.update(zip(members, parts, strict=True))
    return [features[number] for number in range(len(views))]
