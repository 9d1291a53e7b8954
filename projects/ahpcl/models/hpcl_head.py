"""The head: instance contrast plus prototype contrast at every level."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from ahpcl.core import PrototypeHierarchy, PrototypeLevel

from .protocols import LearnsClusters


@MODELS.register_module()
class HPCLHead(BaseModule):
    """Hierarchical prototypical contrast.

    L = inst_weight * L_inst + proto_weight * (1/M) * sum_m L_proto^m over the
    M levels of the hierarchy that the E-step handed over, PCL's equation 11
    (Li et al., "Prototypical Contrastive Learning of Unsupervised
    Representations", ICLR 2021) with a window of levels and label smoothing.
    Without a hierarchy, as in the warm-up, it is L_inst alone, whatever its
    weight. With several query views both are means over them.

    A part of weight 0 is computed without gradient, for its accuracy.

    The hierarchy is read only and no buffer: its shape changes with the rung.

    Args:
        loss_inst: Config of the instance loss.
        loss_proto: Config of the prototype loss. One that learns clusters by
            weights of its own, such as :class:`ClusterClassifierLoss`, starts
            anew with the prototypes of every E-step.
        proto_weight: Weight of L_proto; 0 for instance contrast that is
            watched by prototypes.
        inst_weight: Weight of L_inst once there are prototypes; 0 for
            prototype contrast alone.
        selection: Config of the selection of negatives once there are
            prototypes, such as :class:`HierarchicalSelection`; None for all.
        signal: Config of a prototype loss whose accuracies are reported in
            place of those of ``loss_proto``, and so shown to the policy.
            Nothing is learnt from it.
        init_cfg: As in mmengine.

    Raises:
        ValueError: if a weight is negative, or both are 0.
    """

    def __init__(
        self,
        loss_inst: dict | None = None,
        loss_proto: dict | None = None,
        proto_weight: float = 1.0,
        inst_weight: float = 1.0,
        selection: dict | None = None,
        signal: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not (
            inst_weight >= 0 <= proto_weight and inst_weight + proto_weight
        ):
            raise ValueError(
                'expected inst_weight and proto_weight of at least 0, one of '
                f'them above, got {inst_weight} and {proto_weight}'
            )
        self.loss_inst = MODELS.build(loss_inst or dict(type='InfoNCELoss'))
        self.loss_proto = MODELS.build(loss_proto or dict(type='ProtoNCELoss'))
        self.proto_weight = proto_weight
        self.inst_weight = inst_weight
        self.selection: nn.Module | None = None
        if selection is not None:
            self.selection = MODELS.build(selection)
        self.signal: nn.Module | None = None
        if signal is not None:
            self.signal = MODELS.build(signal)
        self._hierarchy: PrototypeHierarchy | None = None
        self._levels: PrototypeHierarchy | None = None
        self._smoothing: dict[int, float] = {}

    @property
    def temperature(self) -> float:
        """Tau of the instance loss."""
        return self.loss_inst.temperature

    @property
    def hierarchy(self) -> PrototypeHierarchy | None:
        """The prototypes in use, None during the warm-up."""
        return self._hierarchy

    def check_linkage(self, linkage: str) -> None:
        """Refuse an E-step whose levels the selection cannot use.

        Raises:
            ValueError: if it needs nested levels and gets none.
        """
        if self.selection is not None:
            self.selection.check_linkage(linkage)

    def check_free_of_centroids(self) -> None:
        """Refuse parts that compare queries or keys with centroids.

        Raises:
            ValueError: where the centroids are in another space than those.
        """
        parts = dict(
            loss_proto=self.loss_proto,
            signal=self.signal,
            selection=self.selection,
        )
        for name, part in parts.items():
            if part is not None and getattr(part, 'reads_centroids', True):
                raise ValueError(
                    f'expected a model.head.{name} that reads no centroids '
                    "with model.cluster_space='whitened', got "
                    f'{type(part).__name__}: they are not in the space of its '
                    'queries; set model.head.loss_proto.type='
                    "'ClusterClassifierLoss' and no signal or selection, or "
                    "model.cluster_space='projection'"
                )

    def check_rungs(self, rungs: Sequence[int], window: int) -> None:
        """Refuse a ladder for which the prototype loss has no room.

        Raises:
            SettingError: see :meth:`ClusterClassifierLoss.check_rungs`.
        """
        if isinstance(self.loss_proto, LearnsClusters):
            self.loss_proto.check_rungs(rungs, window)

    def set_prototypes(
        self,
        hierarchy: PrototypeHierarchy | None,
        label_smoothing: Mapping[int, float] | None = None,
        seed: int | None = None,
    ) -> None:
        """Take over the prototypes of an E-step.

        Args:
            hierarchy: Levels on the device of the model, or None for none.
            label_smoothing: Number of clusters of a level -> smoothing; a
                level that is not named is not smoothed.
            seed: By which what is learnt of them starts anew; None where they
                are those of a checkpoint, and it goes on.

        Raises:
            ValueError: if the selection needs nested levels and gets none.
        """
        if hierarchy is not None and self.selection is not None:
            self.selection.check(hierarchy)
        self._hierarchy = hierarchy
        # Once per E-step, so that no step waits for a GPU.
        self._levels = (
            None if hierarchy is None else hierarchy.with_indices_on_cpu()
        )
        self._smoothing = dict(label_smoothing or {})
        if isinstance(self.loss_proto, LearnsClusters):
            counts = () if hierarchy is None else hierarchy.num_clusters
            self.loss_proto.use_levels(counts)
            if seed is not None:
                self.loss_proto.start(seed)

    def forward(
        self,
        queries: Tensor | Sequence[Tensor],
        keys: Tensor | Sequence[Sequence[Tensor]],
        queue: Tensor,
        sample_idx: Tensor | None = None,
        generator: Generator | None = None,
        num_scored: int | None = None,
    ) -> dict[str, Tensor]:
        """Losses and accuracies of a batch.

        Args:
            queries: (B, D) normalised float32 features of the query view, or
                a list of them, one per view.
            keys: (B, D) of the key view, without gradient; for a list of
                queries a list of the keys (B, D) that each is contrasted
                with.
            queue: (D, Q) older keys.
            sample_idx: (B,) index of every image in the data set, best on the
                CPU; needed once there are prototypes.
            generator: Draws the negatives, on the CPU.
            num_scored: The accuracies are means over so many views, the first
                ones; None for all.

        Returns:
            The weighted ``loss_inst``, and ``acc_inst``; with prototypes also
            the weighted ``loss_proto``, ``acc_proto`` (mean over levels) and
            ``acc_proto_k<K>`` of every level. Accuracies are in percent.

        Raises:
            ValueError: if there are prototypes and no ``sample_idx``.
        """
        if isinstance(queries, Tensor):
            queries, keys = [queries], [[keys]]
        scored = slice(num_scored)
        if self._levels is None:
            loss, accuracies = self._instances(queries, keys, queue)
            loss = loss + self._idle()
            return dict(loss_inst=loss, acc_inst=accuracies[scored].mean())
        if sample_idx is None:
            raise ValueError(
                'expected sample_idx with every image, got none; pack them: '
                "PackSelfSupInputs(algorithm_keys=['sample_idx'])"
            )
        levels = self._levels.levels
        key_masks = None
        prototype_masks: list[Tensor | None] = [None] * len(levels)
        if self.selection is not None:
            args = (self._levels, sample_idx, generator)
            key_masks = self.selection.key_masks(queue, *args)
            prototype_masks = self.selection.prototype_masks(*args)
        results = {}
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and self.inst_weight > 0
        ):
            loss, accuracies = self._instances(queries, keys, queue, key_masks)
            results['loss_inst'] = self.inst_weight * loss
            if self.proto_weight == 0:
                results['loss_inst'] = results['loss_inst'] + self._idle()
            results['acc_inst'] = accuracies[scored].mean()
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and self.proto_weight > 0
        ):
            losses, shares = [], []
            for level, mask in zip(levels, prototype_masks, strict=True):
                loss, accuracies = self._prototypes(
                    queries, level, sample_idx, generator, mask
                )
                losses.append(loss)
                shares.append(accuracies[scored].mean())
                results[f'acc_proto_k{level.num_clusters}'] = shares[-1]
            mean = torch.stack(losses).mean()
            results['loss_proto'] = self.proto_weight * mean
            results['acc_proto'] = torch.stack(shares).mean()
        return results

    def _idle(self) -> Tensor | float:
        """A loss of 0 by which weights that rest get a gradient of 0.

        A parallel wrapper waits for the gradient of every parameter.
        """
        weights = list(self.loss_proto.parameters())
        return sum(0.0 * w.sum() for w in weights) if weights else 0.0

    def _instances(
        self,
        queries: Sequence[Tensor],
        keys: Sequence[Sequence[Tensor]],
        queue: Tensor,
        negative_masks: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The mean loss, and the accuracy of every view, (V,)."""
        # Only what a selection needs, so that other losses fit as well.
        extra = (
            {}
            if negative_masks is None
            else dict(negative_masks=negative_masks)
        )
        views = [
            _mean([self.loss_inst(query, key, queue, **extra) for key in own])
            for query, own in zip(queries, keys, strict=True)
        ]
        losses, accuracies = zip(*views, strict=True)
        return torch.stack(losses).mean(), torch.stack(accuracies)

    def _prototypes(
        self,
        queries: Sequence[Tensor],
        level: PrototypeLevel,
        sample_idx: Tensor,
        generator: Generator | None,
        negative_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The mean loss at a level, and the accuracy of every view, (V,)."""
        extra = (
            {} if negative_mask is None else dict(negative_mask=negative_mask)
        )
        smoothing = self._smoothing.get(level.num_clusters, 0.0)
        shown: list[Tensor] = []
        if self.signal is not None:
            shown = self._shown(queries, level, sample_idx, generator)
        views = [
            self.loss_proto(
                query,
                level,
                sample_idx,
                label_smoothing=smoothing,
                generator=generator,
                **extra,
            )
            for query in queries
        ]
        losses, accuracies = zip(*views, strict=True)
        return torch.stack(losses).mean(), torch.stack(shown or accuracies)

    @torch.no_grad()
    def _shown(
        self,
        queries: Sequence[Tensor],
        level: PrototypeLevel,
        sample_idx: Tensor,
        generator: Generator | None,
    ) -> list[Tensor]:
        """Accuracies of the signal; the generator stays where it is."""
        if generator is not None:
            generator = generator.clone_state()
        return [
            self.signal(query, level, sample_idx, generator=generator)[1]
            for query in queries
        ]


def _mean(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean loss and mean accuracy."""
    losses, accuracies = zip(*pairs, strict=True)
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()
