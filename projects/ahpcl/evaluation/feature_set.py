"""Features of a set of images, with what is known about each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ahpcl.utils.atomic_write import atomic_write


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of N images, on the CPU.

    Args:
        features: Pooled features of the query backbone, (N, C) float32.
        labels: Classes from 0, (N,) int64; -1 where unknown.
        query: Mask, (N,) bool, True for images that are tested, False for
            those that may be learnt from.
        keys: Unit rows of the key encoder, (N, D) float32, in the space of
            the prototypes; None for a method without.
        paths: File, or another name, of every image.
        classes: Names of the classes; empty if they have none.
        digest: What the features were made from: weights, images, transforms.

    Raises:
        ValueError: If the parts are not of the same images.
    """

    features: Tensor
    labels: Tensor
    query: Tensor
    keys: Tensor | None = None
    paths: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    digest: str = ''

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) == 0:
            raise ValueError(
                'expected features of shape (N, C) of at least one image, '
                f'got {tuple(self.features.shape)}'
            )
        parts = dict(labels=self.labels, query=self.query, keys=self.keys)
        if self.paths:
            parts['paths'] = self.paths
        for name, part in parts.items():
            if part is not None and len(part) != len(self.features):
                raise ValueError(
                    f'expected {name} of {len(self.features)} images, got '
                    f'{len(part)}'
                )

    @property
    def num_images(self) -> int:
        """Number of images N."""
        return len(self.features)

    @property
    def has_labels(self) -> bool:
        """Whether any image has a label."""
        return bool((self.labels >= 0).any())

    def class_name(self, label: int) -> str:
        """Return the name of a class; its number if it has none."""
        return class_name(self.classes, label)

    def save(self, path: str | os.PathLike) -> None:
        """Write an ``.npz`` that loads without pickle.

        The file appears under its name only when it is complete.
        """
        arrays = dict(
            features=self.features.numpy(),
            labels=self.labels.numpy(),
            query=self.query.numpy(),
            paths=np.array(self.paths, dtype=np.str_),
            classes=np.array(self.classes, dtype=np.str_),
            digest=np.array(self.digest, dtype=np.str_),
        )
        if self.keys is not None:
            arrays['keys'] = self.keys.numpy()
        with atomic_write(path) as beside, beside.open('wb') as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> FeatureSet:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: If the file is damaged or another one.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except Exception as error:  # whatever a damaged archive brings up
            raise ValueError(
                f'expected a file of features, got {path}: {error}'
            ) from error
        needed = {'features', 'labels', 'query', 'paths', 'classes', 'digest'}
        if not needed <= content.keys():
            missing = sorted(needed - content.keys())
            raise ValueError(
                f'expected a file of features, got {path} without '
                f'{", ".join(missing)}'
            )
        try:
            return cls._of(content)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f'expected a file of features, got {path} with arrays of '
                f'other kinds: {error}'
            ) from error

    @classmethod
    def _of(cls, content: dict[str, np.ndarray]) -> FeatureSet:
        keys = content.get('keys')
        return cls(
            features=torch.from_numpy(content['features']).float(),
            labels=torch.from_numpy(content['labels']).long(),
            query=torch.from_numpy(content['query']).bool(),
            keys=None if keys is None else torch.from_numpy(keys).float(),
            paths=tuple(content['paths'].tolist()),
            classes=tuple(content['classes'].tolist()),
            digest=str(content['digest']),
        )


def class_name(classes: Sequence[str], label: int) -> str:
    """Return the name of a class; its number if it has none."""
    return classes[label] if 0 <= label < len(classes) else str(label)
