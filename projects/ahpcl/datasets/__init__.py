"""Datasets and transforms; importing this registers them."""

from .base import ImageListDataset
from .concat import ConcatImages
from .decode import read_image, read_rgb, to_rgb
from .decoded_cache import DecodedCache
from .decoded_cache_build import build_cache
from .decoded_cache_open import open_or_build
from .digits import Digits
from .epoch import set_epoch
from .fit_config import fit_to_images, fit_to_pixels, pixels_of
from .folder import UnlabelledFolder
from .image_size import check_image_size, set_image_size
from .memory import ImageStore, InMemoryDataset
from .mini_imagenet import MiniImageNet
from .pixel_format import PixelFormat
from .pixel_survey import measure
from .sample_list import SampleList
from .scan import scan_images
from .shapes import HierarchicalShapes
from .transforms import (
    ChannelMix,
    LoadImageBGR,
    RandomAffine,
    SafeColorJitter,
    SeededMultiView,
    SetRole,
)
from .whole_batch import WholeBatch, collate_batches

__all__ = [
    'ChannelMix',
    'ConcatImages',
    'DecodedCache',
    'Digits',
    'HierarchicalShapes',
    'ImageListDataset',
    'ImageStore',
    'InMemoryDataset',
    'LoadImageBGR',
    'MiniImageNet',
    'PixelFormat',
    'RandomAffine',
    'SafeColorJitter',
    'SampleList',
    'SeededMultiView',
    'SetRole',
    'UnlabelledFolder',
    'WholeBatch',
    'build_cache',
    'check_image_size',
    'collate_batches',
    'fit_to_images',
    'fit_to_pixels',
    'measure',
    'open_or_build',
    'pixels_of',
    'read_image',
    'read_rgb',
    'scan_images',
    'set_epoch',
    'set_image_size',
    'to_rgb',
]
