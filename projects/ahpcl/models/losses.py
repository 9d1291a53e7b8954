"""The losses as modules built from a config; the math is in core."""

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from ahpcl.core import PrototypeLevel, info_nce, proto_nce


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
