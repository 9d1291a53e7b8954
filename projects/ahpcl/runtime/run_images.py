"""The training images of a run, and those that a checkpoint is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset

from ahpcl.datasets.changes import Changes
from ahpcl.datasets.manifest import Manifest, manifest_of
from ahpcl.utils.ranks import on_rank_0

#: The part of a checkpoint's state that lists them.
IMAGES = 'images'


@dataclass(frozen=True)
class RunImages:
    """What a run knows of its training images.

    Attributes:
        number: How many they are.
        state: The state of their :class:`Manifest`, which goes into every
            checkpoint; None on other ranks than 0, and where the data set
            does not name its images.
        changes: What has become of the images of the checkpoint from which
            the run goes on; None where it does not, or where it is unknown.
    """

    number: int
    state: dict[str, Any] | None
    changes: Changes | None

    @property
    def places(self) -> Tensor | None:
        """Where every image was in the checkpoint, (N,) int64; -1 if new.

        None where nothing has another place, or where it is unknown.
        """
        if self.changes is None or self.changes.same_places:
            return None
        return torch.from_numpy(self.changes.places)

    def check_unchanged(self) -> None:
        """Refuse to go on within an epoch with images at other places.

        Raises:
            ValueError: If there are any.
        """
        if self.places is not None:
            assert self.changes is not None
            raise ValueError(
                'expected the images of the checkpoint to go on within an '
                f'epoch, got {self.changes.describe()}; put them back, or '
                'name the checkpoint of an epoch with --resume FILE, which '
                'takes them as they are'
            )

    def check_number(self, kept: int) -> None:
        """Refuse what a checkpoint keeps of another number of images.

        Args:
            kept: Number of images of a checkpoint, which counts only if it
                does not list them.

        Raises:
            ValueError: If they are not as many.
        """
        known = self.number if self.changes is None else self.changes.earlier
        if kept != known:
            raise ValueError(
                f'expected a checkpoint that is about {known} images, got '
                f'{kept} of which it keeps labels: it is of other data; give '
                'the data_root and limits of its run, or start from its '
                'weights with load_from=... and resume=False'
            )

    @classmethod
    def look_at(
        cls,
        dataset: Dataset,
        kept: Mapping[str, Any] | None,
        resumed: bool,
    ) -> RunImages:
        """Describe the images, compare and log; a collective call.

        Args:
            dataset: The training images.
            kept: State of the manifest in the checkpoint, if there is one.
            resumed: Whether the run goes on from a checkpoint.

        Raises:
            ValueError: If what the checkpoint keeps is no list of images.
            RuntimeError: On the other ranks, if rank 0 failed.
        """
        own: list[dict[str, Any] | None] = [None]

        def look() -> Changes | None:
            manifest = manifest_of(dataset)
            if manifest is None:
                return None
            own[0] = manifest.state_dict()
            if kept is None:
                return None
            return Manifest.from_state_dict(kept).compare(manifest)

        changes = on_rank_0(look, 'looking at the training images')
        if resumed and changes is None:
            print_log(
                'the checkpoint or the data set does not name its images: it '
                'cannot be told whether they are the same, only how many',
                logger='current',
                level=logging.WARNING,
            )
        elif changes is not None and not changes.none:
            print_log(
                f'of the {len(changes.places)} training images are '
                f'{changes.describe()}; the checkpoint was about '
                f'{changes.earlier}',
                logger='current',
                level=logging.WARNING,
            )
        return cls(len(dataset), own[0], changes)
