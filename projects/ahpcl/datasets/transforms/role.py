"""Marks an image as a reference or as a query."""

from typing import Literal

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SetRole(BaseTransform):
    """Say whether an image is a reference or a query of the kNN metric.

    Added key: ``role``; name it in ``meta_keys`` when packing.

    Args:
        role: 'reference' (its label is known) or 'query' (it is asked for).

    Raises:
        ValueError: if the role is unknown.
    """

    def __init__(self, role: Literal['reference', 'query']) -> None:
        if role not in ('reference', 'query'):
            raise ValueError(
                f"expected role='reference' or 'query', got {role!r}"
            )
        self.role = role

    def transform(self, results: dict) -> dict:
        """Add ``role`` to ``results``."""
        results['role'] = self.role
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(role={self.role!r})'
