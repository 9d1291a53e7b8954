"""Features that are extracted once for the same weights and images."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from .digest import digest_of
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
