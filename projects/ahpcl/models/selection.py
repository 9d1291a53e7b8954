"""Selection of negatives by the hierarchy of prototypes."""

import torch
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from ahpcl.core import PrototypeHierarchy
from ahpcl.core.contrast.selection import select_keys, select_prototypes


@MODELS.register_module()
class HierarchicalSelection(nn.Module):
    """HCSC's two selections (Guo et al., CVPR 2022).

    Instance-wise: at every level a key of the queue stays a negative with the
    probability that it does not belong to the query's cluster; L_inst is the
    mean over the levels. Prototypical: a prototype stays a negative with the
    probability that it does not belong to the parent of the query's own
    prototype; at the coarsest level all stay. What is dropped is masked by
    minus infinity. One draw per image, level and iteration serves all its
    query views. The accuracies are among all negatives, so that they mean
    the same with and without a selection.

    A step costs O((Q + K) K' D) time and O(B (Q + K)) memory per level, K'
    the clusters of the level itself (keys) or of the next one (prototypes).

    Differs from the published code, which leaves dropped negatives in the
    softmax with a logit of 0, never contrasts the last prototype of a level,
    drops 0.1 % of the keys at least, sums the instance loss over the levels
    and takes the prototypes of the whole batch out of the negatives of every
    query. As there, the cluster of a query is what the E-step gave its image.

    Args:
        instances: Select among the keys of the queue.
        prototypes: Select among the prototypes; needs nested levels, so a
            ``linkage`` of ``'agglomerative'`` or ``'divisive'``.

    Raises:
        ValueError: if there is nothing to select.
    """

    def __init__(
        self, instances: bool = True, prototypes: bool = True
    ) -> None:
        super().__init__()
        if not instances and not prototypes:
            raise ValueError(
                'expected instances or prototypes to select among, got '
                'neither; leave the selection of the head out'
            )
        self.instances = instances
        self.prototypes = prototypes

    def check_linkage(self, linkage: str) -> None:
        """Refuse levels that will not be nested.

        Raises:
            ValueError: if prototypes are selected by parents that
                ``linkage`` does not give.
        """
        if self.prototypes and linkage == 'independent':
            raise ValueError(
                "expected linkage='agglomerative' or 'divisive' for the "
                f'selection of prototypes by their parents, got {linkage!r}; '
                'change the linkage of the AdaptiveClusterHook, or set '
                'selection.prototypes=False'
            )

    def check(self, hierarchy: PrototypeHierarchy) -> None:
        """Refuse levels that are not nested.

        Raises:
            ValueError: as :meth:`check_linkage`.
        """
        if any(level.parents is None for level in hierarchy.levels[:-1]):
            self.check_linkage('independent')

    @torch.no_grad()
    def key_masks(
        self,
        queue: Tensor,
        hierarchy: PrototypeHierarchy,
        sample_idx: Tensor,
        generator: Generator,
    ) -> list[Tensor] | None:
        """Masks (B, Q), one per level, of a queue (D, Q); None for all."""
        if not self.instances:
            return None
        return [
            select_keys(queue, level, sample_idx, generator)
            for level in hierarchy.levels
        ]

    @torch.no_grad()
    def prototype_masks(
        self,
        hierarchy: PrototypeHierarchy,
        sample_idx: Tensor,
        generator: Generator,
    ) -> list[Tensor | None]:
        """Masks (B, K), one per level; None where all are negatives."""
        levels = hierarchy.levels
        masks: list[Tensor | None] = [None] * len(levels)
        if not self.prototypes:
            return masks
        for number, level in enumerate(levels[:-1]):
            assert level.parents is not None
            masks[number] = select_prototypes(
                level,
                levels[number + 1],
                level.parents,
                sample_idx,
                generator,
            )
        return masks
