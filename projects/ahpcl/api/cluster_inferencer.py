"""Clusters of images, in the form of mmengine's inferencers."""

from __future__ import annotations

import os
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import INFERENCERS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from .assignment import Assigner, Assignment
from .inferencers import FeatureInferencer, Source


@INFERENCERS.register_module()
class ClusterInferencer(FeatureInferencer):
    """Tells to which clusters of a run images belong.

    ``ClusterInferencer('runs/photos')('new/')`` answers a dict with
    ``assignment``, an :class:`ahpcl.api.assignment.Assignment`, and
    ``features``, ``names`` and ``skipped`` as :class:`FeatureInferencer`
    does; the features are those of the prototypes' space.
    :meth:`ahpcl.api.Encoder.assign` is made by it.

    Args:
        model: See :class:`FeatureInferencer`.
        weights: See there.
        device: See there.
        scope: See there.
        show_progress: See there.

    Raises:
        ValueError: If the run cannot be read, or has no prototypes.
    """

    forward_kwargs = set()  # noqa: RUF012
    postprocess_kwargs = {'nearest'}  # noqa: RUF012

    def __init__(
        self,
        model: Source | Config | dict | None = None,
        weights: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        scope: str | None = None,
        show_progress: bool = True,
    ) -> None:
        super().__init__(model, weights, device, scope, show_progress)
        self.assigner = Assigner.of(self.files)

    @classmethod
    def sharing(cls, other: FeatureInferencer) -> ClusterInferencer:
        """Make one that computes with the encoder of another.

        Raises:
            ValueError: If the run has no prototypes.
        """
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        made._names, made._skipped = [], []
        made.assigner = Assigner.of(other.files)
        return made

    def forward(
        self, inputs: Tensor, space: str = 'prototypes'
    ) -> list[Tensor]:
        """Encode a batch in the space of the prototypes."""
        return super().forward(inputs, space)

    def postprocess(
        self,
        preds: list[Tensor],
        visualization: Any,
        return_datasamples: bool = False,
        nearest: int = 3,
    ) -> dict | list[BaseDataElement]:
        """Assign the rows; see the class.

        Args:
            preds: Rows of the images.
            visualization: Not read.
            return_datasamples: Return a data element for every image, with
                ``feature`` and ``clusters``, one entry for every level.
            nearest: How many training images to name.
        """
        features = self._stacked(preds)
        found: Assignment = self.assigner(
            features,
            tuple(self._names),
            nearest=nearest,
            skipped=tuple(self._skipped),
        )
        if not return_datasamples:
            return dict(
                assignment=found,
                features=features,
                names=found.names,
                skipped=tuple(self._skipped),
            )
        samples = []
        for place, name in enumerate(found.names):
            clusters = InstanceData(
                num_clusters=[level.num_clusters for level in found.levels],
                cluster=[int(lv.clusters[place]) for lv in found.levels],
                distance=[float(lv.distances[place]) for lv in found.levels],
                probability=[
                    float(lv.probabilities[place]) for lv in found.levels
                ],
            )
            samples.append(
                BaseDataElement(
                    metainfo=dict(img_path=name),
                    feature=torch.from_numpy(features[place]),
                    clusters=clusters,
                )
            )
        return samples
