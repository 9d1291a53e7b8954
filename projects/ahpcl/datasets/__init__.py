"""Datasets and transforms; importing this registers them."""

from .base import ImageListDataset
from .decode import read_rgb, to_rgb
from .digits import Digits
from .epoch import set_epoch
from .folder import UnlabelledFolder
from .memory import ImageStore, InMemoryDataset
from .mini_imagenet import MiniImageNet
from .scan import scan_images
from .shapes import HierarchicalShapes
from .transforms import (
    LoadImageBGR,
    SafeColorJitter,
    SeededMultiView,
    SetRole,
)
from .uniform_cluster_sampler import UniformClusterSampler

__all__ = [
    'Digits',
    'HierarchicalShapes',
    'ImageListDataset',
    'ImageStore',
    'InMemoryDataset',
    'LoadImageBGR',
    'MiniImageNet',
    'SafeColorJitter',
    'SeededMultiView',
    'SetRole',
    'UniformClusterSampler',
    'UnlabelledFolder',
    'read_rgb',
    'scan_images',
    'set_epoch',
    'to_rgb',
]
