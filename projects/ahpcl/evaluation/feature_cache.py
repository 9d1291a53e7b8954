"""Features that are extracted once for the same weights and images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader, Dataset

from .feature_set import FeatureSet

Extract = Callable[[nn.Module, DataLoader], FeatureSet]


class FeatureCache:
    """A folder of feature files, each with what it was made from.

    Args:
        folder: Folder of the files; None keeps no files.
        stem: Beginning of their names.
    """

    def __init__(self, folder: str | os.PathLike | None, stem: str) -> None:
        self.folder = None if folder is None else Path(folder)
        self.stem = stem

    def get(
        self, name: str, model: nn.Module, loader: DataLoader, extract: Extract
    ) -> FeatureSet:
        """Read features, or extract and keep them.

        A file that is damaged or of other weights, images or transforms is
        replaced.

        Args:
            name: Name of the use, or a folder of images.
            model: The unwrapped algorithm.
            loader: Loader over the images.
            extract: Function that makes the features.
        """
        digest = digest_of(name, model, loader.dataset)
        file = None
        if self.folder is not None:
            file = self.folder / f'{self.stem}_{Path(name).name}.npz'
            found = self._read(file, digest)
            if found is not None:
                return found
        made = replace(extract(model, loader), digest=digest)
        if file is not None:
            made.save(file)
        return made

    def _read(self, file: Path, digest: str) -> FeatureSet | None:
        if not file.is_file():
            return None
        try:
            found = FeatureSet.load(file)
        except ValueError as error:
            print_log(f'{error}; extracting again', logger='current')
            return None
        if found.digest == digest:
            return found
        print_log(
            f'{file} is of other weights, images or transforms; extracting '
            'again',
            logger='current',
        )
        return None


def digest_of(name: str, model: nn.Module, dataset: Dataset) -> str:
    """Return a digest that tells weights, images and transforms apart.

    Images in memory are told apart by their pixels, files by their paths,
    sizes and times of change.

    Args:
        name: What the images are used for.
        model: The model whose weights count.
        dataset: Images with their transforms, or several such sets, joined.

    Returns:
        64 hexadecimal digits.
    """
    found = hashlib.sha256(os.fsencode(name))
    for key, value in model.state_dict().items():
        found.update(key.encode())
        flat = value.detach().cpu().contiguous().view(-1)
        found.update(flat.view(torch.uint8).numpy())
    for part in getattr(dataset, 'datasets', None) or [dataset]:
        found.update(repr(part.pipeline).encode())
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = str(info.get('img_path', index))
        found.update(os.fsencode(f'{path} {info.get("gt_label")}'))
        if 'img' in info:
            found.update(np.ascontiguousarray(info['img']))
        elif os.path.isfile(path):
            status = os.stat(path)
            found.update(f'{status.st_size} {status.st_mtime_ns}'.encode())
    return found.hexdigest()
