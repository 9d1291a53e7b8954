"""The losses as modules built from a config; the math is in core."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from ahpcl.core import PrototypeLevel, info_nce, proto_nce
from ahpcl.core.contrast.batches import to_device
from ahpcl.core.contrast.classifier_loss import classify_clusters
from ahpcl.core.validation import finite_number, whole_number
from ahpcl.utils.setting_error import SettingError


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """Instance contrast, :func:`ahpcl.core.info_nce`.

    Args:
        temperature: tau. The concentrations of the clusters are scaled to it,
            too.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(
                f'expected a positive temperature, got {temperature}; '
                'MoCo v2 uses 0.2'
            )
        self.temperature = temperature

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        queue: Tensor,
        negative_masks: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, D), (B, D), (D, Q) to the loss and the accuracy in percent.

        ``negative_masks`` are masks (B, Q) of the negatives, one per level.
        """
        return info_nce(
            query,
            key,
            queue,
            temperature=self.temperature,
            negative_masks=negative_masks,
        )


@MODELS.register_module()
class ProtoNCELoss(nn.Module):
    """Prototype contrast at one level, :func:`ahpcl.core.proto_nce`.

    Args:
        negatives: ``'unique'`` has every candidate once, ``'batch'`` repeats
            the positives of the batch as PCL's released code does.
        num_negatives: Prototypes added to those of the batch; None for all.

    Raises:
        ValueError: if ``negatives`` is unknown or ``num_negatives`` negative.
    """

    def __init__(
        self, negatives: str = 'unique', num_negatives: int | None = None
    ) -> None:
        super().__init__()
        if negatives not in ('unique', 'batch'):
            raise ValueError(
                f"expected negatives 'unique' or 'batch', got {negatives!r}"
            )
        if num_negatives is not None and num_negatives < 0:
            raise ValueError(
                'expected num_negatives of at least 0, or None for all '
                f'prototypes, got {num_negatives}'
            )
        self.negatives = negatives
        self.num_negatives = num_negatives

    def forward(
        self,
        query: Tensor,
        level: PrototypeLevel,
        sample_idx: Tensor,
        label_smoothing: float = 0.0,
        generator: Generator | None = None,
        negative_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, D), a level, (B,) to the loss and the accuracy in percent.

        ``negative_mask`` is a mask (B, K) of the negatives.
        """
        return proto_nce(
            query,
            level,
            sample_idx,
            negatives=self.negatives,
            num_negatives=self.num_negatives,
            label_smoothing=label_smoothing,
            generator=generator,
            negative_mask=negative_mask,
        )


@MODELS.register_module()
class ClusterClassifierLoss(nn.Module):
    """Classify the clusters of a level by weights that are learnt.

    The loss is :func:`ahpcl.core.contrast.classifier_loss.classify_clusters`,
    where ProtoNCE contrasts with centroids. With the prototypes of every
    E-step the weights are drawn anew, as DeepCluster's are.

    It reads which cluster an image is in and no centroid, so images may be
    clustered in another space than the queries'. There is one set of weights
    for each level of the window.

    Args:
        num_clusters: K of the finest rung of the ladder, at least.
        num_levels: Levels of the window, at least.
        feat_dim: D of the queries.
        temperature: tau.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> loss = ClusterClassifierLoss(num_clusters=4, feat_dim=2)
        >>> loss.use_levels((4,))
        >>> loss.start(seed=0)
        >>> loss.weights.norm(dim=2).detach()[0].round()
        tensor([1., 1., 1., 1.])
    """

    #: Whether a query is compared with centroids, in whose space it must be.
    reads_centroids = False

    def __init__(
        self,
        num_clusters: int,
        num_levels: int = 3,
        feat_dim: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        shape = (
            whole_number(num_levels, 'loss_proto.num_levels', least=1),
            whole_number(num_clusters, 'loss_proto.num_clusters', least=2),
            whole_number(feat_dim, 'loss_proto.feat_dim', least=1),
        )
        self.temperature = finite_number(
            temperature, 'loss_proto.temperature', least=1e-3
        )
        self.feat_dim = shape[-1]
        self.weights = nn.Parameter(torch.zeros(shape))
        self._places: dict[int, int] = {}
        self.start(seed=0)

    def check_rungs(self, rungs: Sequence[int], window: int) -> None:
        """Refuse a ladder with more clusters or levels than weights.

        Raises:
            SettingError: with the numbers that fit.
        """
        levels, clusters, _ = self.weights.shape
        if max(rungs) > clusters or window > levels:
            raise SettingError(
                'expected a ladder of at most model.head.loss_proto.'
                f'num_clusters={clusters} clusters and num_levels={levels} '
                f'levels, got {max(rungs)} clusters and a window of {window}',
                {
                    'model.head.loss_proto.num_clusters': max(rungs),
                    'model.head.loss_proto.num_levels': window,
                },
            )

    def use_levels(self, num_clusters: Sequence[int]) -> None:
        """Take K of every level, finest first."""
        self._places = {k: place for place, k in enumerate(num_clusters)}

    @torch.no_grad()
    def start(self, seed: int) -> None:
        """Draw all weights anew: directions, each as likely as another.

        Args:
            seed: The same draw on every rank and device.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.weights.shape, generator=generator)
        self.weights.copy_(F.normalize(drawn, dim=2))

    def forward(
        self,
        query: Tensor,
        level: PrototypeLevel,
        sample_idx: Tensor,
        label_smoothing: float = 0.0,
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, D), a level, (B,) to the loss and the accuracy in percent.

        ``generator`` is not read: every cluster is a candidate.
        """
        place, number = self._places[level.num_clusters], level.num_clusters
        own = level.assignments[sample_idx.to(level.assignments.device)]
        return classify_clusters(
            query,
            self.weights[place, :number],
            to_device(own, query.device),
            temperature=self.temperature,
            label_smoothing=label_smoothing,
        )
