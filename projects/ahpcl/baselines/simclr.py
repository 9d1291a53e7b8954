"""mmselfsup's SimCLR, with the complete gradient on many ranks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmselfsup.models.algorithms import SimCLR
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from ahpcl.core.contrast.batches import full_precision, strict_top1
from ahpcl.models.features import PooledFeatures, check_view_shapes


@MODELS.register_module()
class SimCLRBaseline(PooledFeatures, SimCLR):
    """Contrast of the two views of every image with all others of the batch.

    Chen et al., "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020: NT-Xent, equation 1 and algorithm 1. Masks
    and head are mmselfsup's ``SimCLR``. Its own part is what that lacks:

    - the gradient over several ranks is complete, where mmselfsup's is
      too small by their number;
    - similarities are float32 under autocast;
    - views that are not two of one size are refused, where mmselfsup fails in
      a reshape;
    - ``acc_inst`` is logged, and features can be evaluated.

    The paper normalises with the batch statistics of all devices: on several
    GPUs set ``sync_bn='torch'`` in the config. `SplitBN` does not go with it:
    both views of an image would be in one part, whose statistics tell them
    from the negatives.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck.
        head: Config of the head, ``ContrastiveHead`` of mmselfsup.
        data_preprocessor: As in mmengine; mmselfsup's
            ``SelfSupDataPreprocessor`` unless a type is given.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone,
            neck,
            head,
            # A copy, as mmselfsup writes a default into it.
            data_preprocessor=dict(data_preprocessor or {}),
            init_cfg=init_cfg,
        )

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Refuse data that the settings cannot be trained on.

        Args:
            num_images: N.
            batch_size: Images of a batch, over all ranks.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if the batch has no negatives, if there are not two
                views of one size, or if the backbone cannot take them.
        """
        if batch_size < 2:
            raise ValueError(
                f'expected batches of at least 2 images, got {batch_size}: '
                'the other images of the batch are the negatives; raise '
                'train_dataloader.batch_size'
            )
        _check_views(view_shapes)
        check_view_shapes(self, view_shapes)

    def loss(
        self, inputs: Sequence[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """NT-Xent over the batches of all ranks.

        Args:
            inputs: Two views, (B, C, H, W) each.
            data_samples: Not read.

        Returns:
            ``loss_inst``, the same on every rank, and ``acc_inst``, the share
            of the views whose partner is the nearest of all, in percent.

        Raises:
            ValueError: if there are not two views of one size.
        """
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        _check_views([view.shape[1:] for view in views])
        # View 1 and view 2 of an image follow each other.
        images = torch.stack(views, 1).flatten(0, 1)
        rows = self.neck(self.backbone(images))[0].float()
        with full_precision(rows.device):
            rows = gather_with_gradient(F.normalize(rows, dim=1))
            positive, negative = self._similarities(rows)
            loss = self.head(positive, negative)
        logits = torch.cat([positive, negative], 1)
        hits = strict_top1(
            logits, torch.zeros_like(logits[:, 0], dtype=torch.long)
        )
        return dict(loss_inst=loss, acc_inst=100.0 * hits.float().mean())

    def _similarities(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows (2N, D) to cosines, (2N, 1) and (2N, 2N - 2)."""
        total = len(rows)
        others, partner, negatives = self._create_buffer(
            total // 2, rows.device
        )
        cosines = (rows @ rows.t())[others.bool()].view(total, total - 1)
        return (
            cosines[partner].unsqueeze(1),
            cosines[negatives.bool()].view(total, total - 2),
        )


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all ranks as one (world * n, ...), in rank order.

    The gradient of the rows is that of the sum of all ranks' losses. With a
    loss that is the same on every rank, and gradients that parallel training
    averages over the ranks, it is the gradient of one process with the whole
    batch. (mmselfsup's ``GatherLayer`` keeps the part of its own rank's loss
    alone, which makes that gradient too small by the number of ranks.)
    """
    if get_world_size() == 1:
        return rows
    return torch.cat(all_gather(rows))


def _check_views(shapes: Sequence[tuple[int, ...]]) -> None:
    found = [tuple(shape) for shape in shapes]
    if len(found) != 2 or found[0] != found[1]:
        sizes = ', '.join(' x '.join(map(str, s[-2:])) for s in found)
        raise ValueError(
            f'expected two views of one size, got {len(found)} ({sizes}); '
            'give one pipeline and num_views=[2] to model.data_preprocessor '
            "(of type 'DeviceViews') or SeededMultiView"
        )
