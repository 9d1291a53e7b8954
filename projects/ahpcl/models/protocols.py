"""What hooks and loops ask of a model, written down once.

A hook that works with one model alone asks :func:`require` for that class.
Where several models may answer, it asks for one of the protocols below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from ahpcl.core import PrototypeHierarchy

from .feature_bank import FeatureBank

T = TypeVar('T')


@runtime_checkable
class ChecksTraining(Protocol):
    """A model that refuses data which it cannot be trained on."""

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Raise a ValueError for N images, a batch or (C, H, W) of views."""


@runtime_checkable
class StartsTraining(Protocol):
    """A model that draws by itself, by the seed of the run and the step."""

    def start_training(self, seed: int, iteration: int) -> None:
        """Called before training, with the number of iterations done."""


@runtime_checkable
class UpgradesState(Protocol):
    """A model that can read the checkpoints of an older version."""

    def upgrade_state_dict(
        self, state: dict[str, Tensor], prefix: str = ''
    ) -> None:
        """Rename in place what an older version named in another way."""


@runtime_checkable
class EncodesKeys(Protocol):
    """A model whose images can be clustered by the features of its keys."""

    def extract_keys(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, D) unit rows of a batch of images."""


@runtime_checkable
class LearnsPrototypes(EncodesKeys, StartsTraining, Protocol):
    """What ``AdaptiveClusterHook`` asks of its model, such as ``AHPCL``.

    The model has a ``head`` that is a :class:`TakesPrototypes`.
    """

    def keep_keys(self, num_images: int) -> FeatureBank:
        """Keep the keys of the training steps from now on, for N images."""


@runtime_checkable
class TakesPrototypes(Protocol):
    """What ``AdaptiveClusterHook`` asks of the head, such as ``HPCLHead``."""

    @property
    def temperature(self) -> float:
        """Tau of the instance loss."""

    @property
    def hierarchy(self) -> PrototypeHierarchy | None:
        """The prototypes in use."""

    def check_linkage(self, linkage: str) -> None:
        """Raise a ValueError if the head needs another linkage."""

    def check_rungs(self, rungs: Sequence[int], window: int) -> None:
        """Raise a ValueError if the head cannot take such a ladder."""

    def set_prototypes(
        self,
        hierarchy: PrototypeHierarchy | None,
        label_smoothing: Mapping[int, float] | None = None,
        seed: int | None = None,
    ) -> None:
        """Use the prototypes of an E-step from now on.

        With a seed they are new, and what the head learns of them starts
        anew; without they are those of a checkpoint.
        """


@runtime_checkable
class LearnsClusters(Protocol):
    """A prototype loss with weights of its own for every cluster."""

    def check_rungs(self, rungs: Sequence[int], window: int) -> None:
        """Raise a ValueError if it has no weights for some cluster."""

    def use_levels(self, num_clusters: Sequence[int]) -> None:
        """Take K of every level, finest first."""

    def start(self, seed: int) -> None:
        """Draw all weights anew."""


@runtime_checkable
class MakesViews(Protocol):
    """A data preprocessor that makes the views, such as ``DeviceViews``."""

    @property
    def num_views(self) -> int:
        """Views of every image; 0 where it only normalises."""

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Set what the views of the next batches depend on."""

    def make_views(
        self, data: dict, epoch: int, seed: int
    ) -> tuple[list[Tensor], Any]:
        """Views of a batch as those of an epoch and a seed, and samples."""


def require(thing: Any, kind: type[T], expected: str, remedy: str) -> T:
    """The thing itself, if it is of the kind that a hook works with.

    Args:
        thing: A model without its parallel wrapper, or a part of it.
        kind: A protocol of this file, or a class.
        expected: What the thing should be, for the message.
        remedy: What a user can do, for the message.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(thing, kind):
        raise ValueError(
            f'expected {expected}, got {type(thing).__name__}; {remedy}'
        )
    return thing
