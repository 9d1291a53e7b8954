"""Transforms for image pipelines; importing this registers them."""

from .affine import RandomAffine
from .color import ChannelMix, SafeColorJitter
from .loading import LoadImageBGR
from .multi_view import SeededMultiView
from .packing import PackViews
from .role import SetRole

__all__ = [
    'ChannelMix',
    'LoadImageBGR',
    'PackViews',
    'RandomAffine',
    'SafeColorJitter',
    'SeededMultiView',
    'SetRole',
]
