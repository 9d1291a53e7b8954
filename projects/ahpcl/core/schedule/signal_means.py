"""Signals of a policy where an E-step serves several epochs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ahpcl.core.validation import whole_number

__all__ = ['SignalMeans']


class SignalMeans:
    """Means of the two accuracies over the last epochs of a rung.

    In the first epoch after an E-step prototypes are new, and a classifier
    learns from nothing: its accuracy is lower than in the epoch that follows,
    whatever the encoder has learnt. A policy that compares single epochs takes
    this for an end of growth. Means over as many epochs as an E-step serves
    have the same share of each, as a rung begins with an E-step and the next
    comes when that one has served.

    Args:
        length: Epochs that an E-step serves, from 1. With 1 the means are the
            epoch's own, to the bit.

    Raises:
        ValueError: If the length is no whole number of at least 1.

    Examples:
        >>> means = SignalMeans(length=2)
        >>> [means.add(*a) for a in [(10, 40), (12, 60), (14, 44), (16, 64)]]
        [(10.0, 40.0), (11.0, 50.0), (13.0, 52.0), (15.0, 54.0)]
    """

    def __init__(self, length: int) -> None:
        self.length = whole_number(length, 'length', least=1)
        self._epochs: deque[tuple[float, float]] = deque(maxlen=self.length)

    def add(self, acc_inst: float, acc_proto: float) -> tuple[float, float]:
        """Add the accuracies of an epoch; return the means, percent."""
        self._epochs.append((float(acc_inst), float(acc_proto)))
        number = len(self._epochs)
        inst, proto = (
            sum(column) / number for column in zip(*self._epochs, strict=True)
        )
        return inst, proto

    def clear(self) -> None:
        """Forget all epochs, as those of another rung do not compare."""
        self._epochs.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the memory, as plain numbers."""
        return {
            'length': self.length,
            'epochs': [list(epoch) for epoch in self._epochs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken; empty with another length."""
        self._epochs.clear()
        if state['length'] == self.length:
            self._epochs.extend((i, p) for i, p in state['epochs'])
