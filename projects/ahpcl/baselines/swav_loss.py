"""Swapped prediction of codes, the loss of SwAV."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmengine.registry import MODELS
from mmselfsup.models.utils import MultiPrototypes
from torch import Tensor, nn

from ahpcl.core.clustering.equal_codes import sinkhorn
from ahpcl.core.contrast.batches import full_precision


@MODELS.register_module()
class SwappedPredictionLoss(nn.Module):
    """Predict the code of one view from the other views.

    Caron et al., "Unsupervised Learning of Visual Features by Contrasting
    Cluster Assignments", NeurIPS 2020, equations 1 to 5. Takes the place of
    mmselfsup's ``SwAVLoss``, whose Sinkhorn reduces over the ranks only where
    a prototype has no mass on one of them, whose queue is on CUDA devices
    only, and which always has soft codes.

    The queue of a rank holds its own features; ``SwAVScheduleHook`` starts
    it and keeps it in the checkpoint. It is used once it is full.

    Args:
        feat_dim: Feature dimension D.
        num_prototypes: K, or one K for each of several sets of prototypes,
            whose losses are averaged.
        sinkhorn_iterations: Rounds of the codes.
        epsilon: Temperature of the codes; the smaller, the harder they are.
        temperature: Temperature of the predictions.
        crops_for_assign: Views whose codes are predicted.
        queue_len: Features of all ranks together that are kept for each of
            these views; 0 for none.
        codes: ``'soft'``, or ``'hard'`` for the largest entry alone.

    Raises:
        ValueError: if a number is out of range or ``codes`` is unknown.
    """

    queue: Tensor

    def __init__(
        self,
        feat_dim: int,
        num_prototypes: int | Sequence[int] = 3000,
        sinkhorn_iterations: int = 3,
        epsilon: float = 0.05,
        temperature: float = 0.1,
        crops_for_assign: Sequence[int] = (0, 1),
        queue_len: int = 0,
        codes: str = 'soft',
    ) -> None:
        super().__init__()
        several = not isinstance(num_prototypes, int)
        counts = list(num_prototypes) if several else [num_prototypes]
        if not counts or min(counts) < 2:
            raise ValueError(
                f'expected at least two prototypes, got {num_prototypes}'
            )
        if codes not in ('soft', 'hard'):
            raise ValueError(f"expected codes 'soft' or 'hard', got {codes!r}")
        if not (temperature > 0 and epsilon > 0 and sinkhorn_iterations > 0):
            raise ValueError(
                'expected temperature, epsilon and sinkhorn_iterations above '
                f'0, got {temperature}, {epsilon} and {sinkhorn_iterations}'
            )
        if queue_len < 0 or queue_len % get_world_size():
            raise ValueError(
                f'expected a queue_len that the {get_world_size()} ranks '
                f'share equally, got {queue_len}'
            )
        if not crops_for_assign or min(crops_for_assign) < 0:
            raise ValueError(
                'expected crops_for_assign to number the views whose codes '
                f'are predicted, from 0, got {crops_for_assign}'
            )
        self.num_prototypes = counts
        self.sinkhorn_iterations = sinkhorn_iterations
        self.epsilon = epsilon
        self.temperature = temperature
        self.crops_for_assign = tuple(crops_for_assign)
        self.queue_len = queue_len
        self.codes = codes
        self.queue_started = False
        self.prototypes = (
            MultiPrototypes(feat_dim, counts)
            if several
            else nn.Linear(feat_dim, counts[0], bias=False)
        )
        # Not in the state of the model: every rank has its own.
        own = queue_len // get_world_size()
        self.register_buffer(
            'queue',
            torch.zeros(len(self.crops_for_assign), own, feat_dim),
            persistent=False,
        )
        self.queue_filled = 0  # features ever put into it

    def weights(self) -> list[nn.Parameter]:
        """The prototypes, (K, D) for every set."""
        return list(self.prototypes.parameters())

    @torch.no_grad()
    def normalise_prototypes(self) -> None:
        """Scale every prototype to length 1."""
        for weight in self.weights():
            weight.copy_(F.normalize(weight, dim=1))

    def forward(self, features: Tensor, num_views: int) -> tuple[Tensor, ...]:
        """Loss of a batch.

        Args:
            features: Normalised, (V * B, D), view after view.
            num_views: V.

        Returns:
            The loss, and how often the prediction of the next view had the
            largest entry of the code, in percent.

        Raises:
            ValueError: if there are fewer views than ``crops_for_assign``
                names.
        """
        if num_views < 2 or max(self.crops_for_assign) >= num_views:
            raise ValueError(
                f'expected views for crops_for_assign '
                f'{self.crops_for_assign} and another to predict from, got '
                f'{num_views}; change num_views of model.data_preprocessor '
                "(of type 'DeviceViews') or of SeededMultiView"
            )
        self.normalise_prototypes()
        with full_precision(features.device):
            views = features.float().chunk(num_views)
            found = [self._swap(views, w) for w in self.weights()]
        self._enqueue([views[v].detach() for v in self.crops_for_assign])
        losses, hits = zip(*found, strict=True)
        return torch.stack(losses).mean(), torch.stack(hits).mean()

    def _swap(
        self, views: Sequence[Tensor], weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy for one set of prototypes."""
        scores = [view @ weight.t() for view in views]
        losses, hits = [], []
        for number, assigned in enumerate(self.crops_for_assign):
            code = self._code(number, scores[assigned].detach(), weight)
            others = [v for v in range(len(views)) if v != assigned]
            for view in others:
                log_p = F.log_softmax(scores[view] / self.temperature, dim=1)
                losses.append(-(code * log_p).sum(1).mean())
            first = scores[others[0]].detach().argmax(1)
            hits.append((first == code.argmax(1)).float().mean() * 100)
        return torch.stack(losses).mean(), torch.stack(hits).mean()

    @torch.no_grad()
    def _code(self, number: int, scores: Tensor, weight: Tensor) -> Tensor:
        """(B, K) code of one view, with the queue where it is full."""
        batch = len(scores)
        own = self.queue.shape[1]
        if self.queue_started and own and self.queue_filled >= own:
            scores = torch.cat([self.queue[number] @ weight.t(), scores])
        reduce = _over_ranks if get_world_size() > 1 else None
        code = sinkhorn(
            scores,
            epsilon=self.epsilon,
            n_iter=self.sinkhorn_iterations,
            reduce=reduce,
        )[-batch:]
        if self.codes == 'hard':
            code = F.one_hot(code.argmax(1), code.shape[1]).to(code)
        return code

    @torch.no_grad()
    def _enqueue(self, features: Sequence[Tensor]) -> None:
        """Put the newest features in front."""
        own = self.queue.shape[1]
        if not (self.queue_started and own):
            return
        newest = torch.cat([torch.stack(list(features)), self.queue], dim=1)
        self.queue.copy_(newest[:, :own])
        self.queue_filled += len(features[0])


def _over_ranks(values: Tensor, operation: str) -> Tensor:
    values = values.contiguous()
    all_reduce(values, operation)
    return values
