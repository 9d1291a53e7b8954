"""Transforms for image pipelines; importing this registers them."""

from .color import SafeColorJitter
from .loading import LoadImageBGR
from .multi_view import SeededMultiView
from .packing import PackViews
from .role import SetRole

__all__ = [
    'LoadImageBGR',
    'PackViews',
    'SafeColorJitter',
    'SeededMultiView',
    'SetRole',
]
