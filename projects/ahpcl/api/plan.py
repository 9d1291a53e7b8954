"""What a training on a folder was asked to be, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from .survey import Survey


@dataclass(frozen=True)
class Request:
    """What a user said of a training; what is None is chosen.

    Attributes:
        minutes: How long it may take, about.
        epochs: How many epochs instead.
        model: Name of an encoder.
        config: A config of the user's, whose encoder, sizes and rates are
            kept.
        image_size: Side of a view, px.
        labels: Where kNN has its classes from, see
            :func:`ahpcl.api.survey.survey`.
        skip_unreadable: Leave out files that cannot be read.
        cfg_options: Any other keys of the config.

    Raises:
        ValueError: If the length is given twice or is none.
    """

    minutes: float | None = None
    epochs: int | None = None
    model: str | None = None
    config: str | None = None
    image_size: int | None = None
    labels: str | None = 'auto'
    skip_unreadable: bool = False
    cfg_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        minutes, epochs = self.minutes, self.epochs
        if minutes is not None and epochs is not None:
            raise ValueError(
                f'expected minutes or epochs, got both: {minutes} and {epochs}'
            )
        for name, value in (('minutes', minutes), ('epochs', epochs)):
            if value is not None and not value > 0:
                raise ValueError(f'expected {name} above 0, got {value}')
        if epochs is not None and epochs != int(epochs):
            raise ValueError(f'expected whole epochs, got {epochs}')


@dataclass
class Plan:
    """A config that is being made, and why it is so.

    Attributes:
        config: The config.
        images: What is known of the images.
        reasons: Why, by what was chosen.
        free: Whether encoder, sizes and rates are ours to choose; not with a
            config that the user gave.
        moves_ladder: Whether its config had a policy to begin with.
    """

    config: Config
    images: Survey
    free: bool
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hook = self.hook
        self.moves_ladder = bool(hook) and hook.get('policy') is not None

    @property
    def hook(self) -> Any:
        """Settings of the hook that clusters; None if there is none."""
        for hook in self.config.get('custom_hooks') or []:
            if hook.get('ladder') is not None:
                return hook
        return None
