"""An image, or its views, and its sample as a model takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Pack views as mmselfsup does, where MMPretrain is installed instead.

    ``inputs`` is a list, also of a single image, which MMPretrain's
    ``PackInputs`` packs bare.

    Args:
        algorithm_keys: Names of numbers that become fields of the sample, as
            tensors, such as ``sample_idx`` and ``gt_label``.
        meta_keys: Names of what becomes the sample's metainfo as it is.
    """

    def __init__(
        self,
        algorithm_keys: Sequence[str] = (),
        meta_keys: Sequence[str] = (),
    ) -> None:
        self.algorithm_keys = tuple(algorithm_keys)
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Return ``inputs``, (C, H, W) uint8 each, and ``data_samples``."""
        image = results['img']
        views = image if isinstance(image, list) else [image]
        sample = BaseDataElement(
            metainfo={key: results[key] for key in self.meta_keys},
            **{key: torch.tensor(results[key]) for key in self.algorithm_keys},
        )
        return dict(inputs=[_planes(v) for v in views], data_samples=sample)


def _planes(image: np.ndarray) -> torch.Tensor:
    """Turn (H, W, C) or (H, W) into (C, H, W)."""
    if image.ndim == 2:
        image = image[..., None]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
