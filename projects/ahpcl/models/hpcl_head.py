"""The head: instance contrast plus prototype contrast at every level."""

from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Generator, Tensor

from ahpcl.core import PrototypeHierarchy


@MODELS.register_module()
class HPCLHead(BaseModule):
    """Hierarchical prototypical contrast.

    L = L_inst + proto_weight * (1/M) * sum_m L_proto^m over the M levels of
    the hierarchy that the E-step handed over, PCL's equation 11 (Li et al.,
    "Prototypical Contrastive Learning of Unsupervised Representations", ICLR
    2021) with a window of levels and label smoothing. Without a hierarchy,
    as in the warm-up, it is L_inst alone.

    The hierarchy is read only and no buffer: its shape changes with the rung.

    Args:
        loss_inst: Config of the instance loss.
        loss_proto: Config of the prototype loss.
        proto_weight: w above.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        loss_inst: dict | None = None,
        loss_proto: dict | None = None,
        proto_weight: float = 1.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_inst = MODELS.build(loss_inst or dict(type='InfoNCELoss'))
        self.loss_proto = MODELS.build(loss_proto or dict(type='ProtoNCELoss'))
        self.proto_weight = proto_weight
        self._hierarchy: PrototypeHierarchy | None = None
        self._smoothing: dict[int, float] = {}

    @property
    def temperature(self) -> float:
        """Tau of the instance loss."""
        return self.loss_inst.temperature

    @property
    def hierarchy(self) -> PrototypeHierarchy | None:
        """The prototypes in use, None during the warm-up."""
        return self._hierarchy

    def set_prototypes(
        self,
        hierarchy: PrototypeHierarchy | None,
        label_smoothing: Mapping[int, float] | None = None,
    ) -> None:
        """Take over the prototypes of an E-step.

        Args:
            hierarchy: Levels on the device of the model, or None for none.
            label_smoothing: Number of clusters of a level -> smoothing; a
                level that is not named is not smoothed.
        """
        self._hierarchy = hierarchy
        self._smoothing = dict(label_smoothing or {})

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        queue: Tensor,
        sample_idx: Tensor | None = None,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """Losses and accuracies of a batch.

        Args:
            query: (B, D) normalised float32 features of the first view.
            key: (B, D) of the second view, without gradient.
            queue: (D, Q) older keys.
            sample_idx: (B,) index of every image in the data set; needed once
                there are prototypes.
            generator: Draws the negative prototypes, on the CPU.

        Returns:
            ``loss_inst`` and ``acc_inst``; with prototypes also the weighted
            ``loss_proto``, ``acc_proto`` (mean over levels) and
            ``acc_proto_k<K>`` of every level. Accuracies are in percent.

        Raises:
            ValueError: if there are prototypes and no ``sample_idx``.
        """
        loss_inst, acc_inst = self.loss_inst(query, key, queue)
        results = dict(loss_inst=loss_inst, acc_inst=acc_inst)
        if self._hierarchy is None:
            return results
        if sample_idx is None:
            raise ValueError(
                'expected sample_idx with every image, got none; pack them: '
                "PackSelfSupInputs(algorithm_keys=['sample_idx'])"
            )
        losses, accuracies = [], []
        for level in self._hierarchy.levels:
            loss, accuracy = self.loss_proto(
                query,
                level,
                sample_idx,
                label_smoothing=self._smoothing.get(level.num_clusters, 0.0),
                generator=generator,
            )
            losses.append(loss)
            accuracies.append(accuracy)
            results[f'acc_proto_k{level.num_clusters}'] = accuracy
        results['loss_proto'] = self.proto_weight * torch.stack(losses).mean()
        results['acc_proto'] = torch.stack(accuracies).mean()
        return results
