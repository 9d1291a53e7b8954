"""When to move to the next number of clusters.

Every policy looks once per epoch, from the first epoch that has prototypes,
at the epoch means of the two accuracies, and keeps, raises its threshold or
advances. The state is plain numbers; the order of calls is the caller's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from ahpcl.core.schedule.epoch_rules import EpochRule, EpochsPerRung
from ahpcl.core.schedule.policy_base import (
    Action,
    Decision,
    Policy,
    Signals,
    relative_gain,
)
from ahpcl.core.validation import finite_number, whole_number

__all__ = [
    'Decision',
    'FixedPolicy',
    'PlateauPolicy',
    'Policy',
    'SlidingWindowPolicy',
    'StabilityPolicy',
]


class SlidingWindowPolicy(Policy):
    """AHPCL's own policy: stay while either accuracy still grows.

    An epoch is compared with the `length` epochs before it since the last
    advance. While there are fewer: keep. If acc_proto exceeds the best of
    them: keep. Otherwise, if acc_inst gained more than the threshold over
    its best: keep the rung, but raise the threshold; else advance, which
    empties the memory and sets the threshold to `threshold * relax **
    epoch`, as late gains are harder. The gain is relative to the best; from
    a best of 0 any accuracy above 0 is an infinite gain, 0 is none.

    Args:
        length: Epochs compared with, from 1.
        threshold: The initial threshold, a fraction, from 0.
        growth: Factor of a raise, from 1.
        relax: Factor per epoch of training, above 0, at most 1.
        min_epochs: Fewest epochs of a rung, see `Policy`.
        max_epochs: Most epochs of a rung, see `Policy`.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> policy = SlidingWindowPolicy(length=1)
        >>> accuracies = [(40, 60), (41, 61), (41, 60)]  # acc_inst, acc_proto
        >>> [policy.step(*a, epoch=3).action for a in accuracies]
        ['keep', 'keep', 'advance']
    """

    def __init__(
        self,
        length: int = 5,
        threshold: float = 0.01,
        growth: float = 1.5,
        relax: float = 0.99,
        *,
        min_epochs: EpochsPerRung = None,
        max_epochs: EpochsPerRung = None,
    ) -> None:
        super().__init__(min_epochs=min_epochs, max_epochs=max_epochs)
        self.length = whole_number(length, 'length', least=1)
        self.initial_threshold = finite_number(threshold, 'threshold', least=0)
        self.growth = finite_number(growth, 'growth', least=1)
        self.relax = finite_number(relax, 'relax', least=0, most=1)
        if self.relax == 0:
            raise ValueError(
                'expected relax above 0, got 0; 1 switches the relaxing off'
            )
        self._threshold = self.initial_threshold
        self._inst: deque[float] = deque(maxlen=self.length)
        self._proto: deque[float] = deque(maxlen=self.length)

    @property
    def threshold(self) -> float:
        """The relative gain of acc_inst that now keeps the rung."""
        return self._threshold

    def _decide(self, signals: Signals) -> Decision:
        known = len(self._inst)
        if known < self.length:
            return Decision(
                'keep',
                f'{known} of {self.length} epochs to compare with',
            )
        best_proto, best_inst = max(self._proto), max(self._inst)
        proto = (
            f'acc_proto {signals.acc_proto:.2f} against {best_proto:.2f}, '
            f'the best of {self.length} epochs'
        )
        if signals.acc_proto > best_proto:
            return Decision('keep', f'{proto}: it grows')
        gain = relative_gain(signals.acc_inst, best_inst)
        inst = (
            f'acc_inst {signals.acc_inst:.2f} against {best_inst:.2f}, a '
            f'gain of {gain:.2%}'
        )
        if gain > self._threshold:
            return Decision(
                'raise_threshold',
                f'{proto}: no growth; {inst}, above the threshold of '
                f'{self._threshold:.2%}, which rises to '
                f'{self._threshold * self.growth:.2%}',
            )
        return Decision(
            'advance',
            f'{proto}: no growth; {inst}, not above the threshold of '
            f'{self._threshold:.2%}',
        )

    def _own_stay(self, rung: int, first: bool) -> tuple[int, int | None]:
        return self.length + 1, None

    def _remember(self, signals: Signals, action: Action) -> None:
        self._inst.append(signals.acc_inst)
        self._proto.append(signals.acc_proto)
        if action == 'raise_threshold':
            self._threshold *= self.growth

    def _forget(self, epoch: int) -> None:
        self._inst.clear()
        self._proto.clear()
        self._threshold = self.initial_threshold * self.relax**epoch

    def _state(self) -> dict[str, Any]:
        return {
            'threshold': self._threshold,
            'acc_inst': list(self._inst),
            'acc_proto': list(self._proto),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._threshold = float(state['threshold'])
        self._inst = deque(map(float, state['acc_inst']), self.length)
        self._proto = deque(map(float, state['acc_proto']), self.length)


class PlateauPolicy(Policy):
    """Advance when neither accuracy grows any more from epoch to epoch.

    That is when both improved by less than `min_gain` over the same rung's
    previous epoch; its first epoch has none and keeps.

    Args:
        min_gain: Relative gain, a fraction, from 0.
        min_epochs: Fewest epochs of a rung, see `Policy`.
        max_epochs: Most epochs of a rung, see `Policy`.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> policy = PlateauPolicy(min_gain=0.01)
        >>> accuracies = [(40, 60), (44, 60), (44, 60)]  # acc_inst, acc_proto
        >>> [policy.step(*a, epoch=3).action for a in accuracies]
        ['keep', 'keep', 'advance']
    """

    def __init__(
        self,
        min_gain: float = 0.01,
        *,
        min_epochs: EpochsPerRung = None,
        max_epochs: EpochsPerRung = None,
    ) -> None:
        super().__init__(min_epochs=min_epochs, max_epochs=max_epochs)
        self.min_gain = finite_number(min_gain, 'min_gain', least=0)
        self._previous: tuple[float, float] | None = None

    def _decide(self, signals: Signals) -> Decision:
        if self._previous is None:
            return Decision('keep', 'the first epoch of this rung')
        inst, proto = self._previous
        gain_inst = relative_gain(signals.acc_inst, inst)
        gain_proto = relative_gain(signals.acc_proto, proto)
        numbers = (
            f'acc_inst {inst:.2f} -> {signals.acc_inst:.2f} '
            f'({gain_inst:+.2%}), acc_proto {proto:.2f} -> '
            f'{signals.acc_proto:.2f} ({gain_proto:+.2%})'
        )
        if gain_inst < self.min_gain and gain_proto < self.min_gain:
            return Decision(
                'advance', f'{numbers}: both below {self.min_gain:.2%}'
            )
        return Decision(
            'keep', f'{numbers}: not both below {self.min_gain:.2%}'
        )

    def _own_stay(self, rung: int, first: bool) -> tuple[int, int | None]:
        return 2, None

    def _remember(self, signals: Signals, action: Action) -> None:
        self._previous = (signals.acc_inst, signals.acc_proto)

    def _forget(self, epoch: int) -> None:
        self._previous = None

    def _state(self) -> dict[str, Any]:
        return {'previous': list(self._previous or ())}

    def _load(self, state: Mapping[str, Any]) -> None:
        previous = state['previous']
        self._previous = (
            (float(previous[0]), float(previous[1])) if previous else None
        )


class FixedPolicy(Policy):
    """Advance every so many epochs, whatever the signals say.

    Args:
        epochs: A number from 1, or a rule of K as `min_epochs` takes it; a
            rung for which the rule has no number stays.
        min_epochs: Fewest epochs of a rung, see `Policy`.
        max_epochs: Most epochs of a rung, see `Policy`.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> policy = FixedPolicy(epochs=2)
        >>> [policy.step(40, 60, epoch).action for epoch in range(4)]
        ['keep', 'advance', 'keep', 'advance']
    """

    def __init__(
        self,
        epochs: EpochsPerRung,
        *,
        min_epochs: EpochsPerRung = None,
        max_epochs: EpochsPerRung = None,
    ) -> None:
        super().__init__(min_epochs=min_epochs, max_epochs=max_epochs)
        if epochs is None:
            raise ValueError('expected epochs as a number or a rule, got None')
        self._epochs = EpochRule(epochs, 'epochs')

    def _decide(self, signals: Signals) -> Decision:
        epochs = self._epochs.epochs(signals.rung)
        if epochs is not None and signals.stay >= epochs:
            return Decision(
                'advance', f'epoch {signals.stay} of {epochs} of this rung'
            )
        return Decision(
            'keep',
            f'epoch {signals.stay} of {epochs or "unlimited"} of this rung',
        )

    def _own_stay(self, rung: int, first: bool) -> tuple[int, int | None]:
        epochs = self._epochs.epochs(rung)
        return epochs or 1, epochs


class StabilityPolicy(Policy):
    """Advance when the clusters have settled: two E-steps in a row agree.

    The agreement is the adjusted mutual information of the levels that are
    in both E-steps. Warm-started clusters agree by construction: cluster
    with `warm_start=False`. Just after an advance only the older levels can
    be compared; `min_epochs=2` waits until the new one can be, too.

    Args:
        agreement: Adjusted mutual information that suffices, above 0, at
            most 1.
        min_epochs: Fewest epochs of a rung, see `Policy`.
        max_epochs: Most epochs of a rung, see `Policy`.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> policy = StabilityPolicy(agreement=0.95)
        >>> policy.step(40, 60, epoch=0, agreement=0.9).action
        'keep'
        >>> policy.step(40, 60, epoch=1, agreement=0.96).action
        'advance'
    """

    needs_agreement: ClassVar[bool] = True

    def __init__(
        self,
        agreement: float = 0.95,
        *,
        min_epochs: EpochsPerRung = None,
        max_epochs: EpochsPerRung = None,
    ) -> None:
        super().__init__(min_epochs=min_epochs, max_epochs=max_epochs)
        self.agreement = finite_number(agreement, 'agreement', least=0, most=1)
        if self.agreement == 0:
            raise ValueError('expected agreement above 0, got 0; try 0.95')

    def _decide(self, signals: Signals) -> Decision:
        if signals.agreement is None:
            return Decision('keep', 'no earlier E-step to agree with')
        numbers = (
            f'agreement {signals.agreement:.4f} with the E-step before, '
            f'{self.agreement:.4f} asked for'
        )
        if signals.agreement >= self.agreement:
            return Decision('advance', numbers)
        return Decision('keep', numbers)

    def _own_stay(self, rung: int, first: bool) -> tuple[int, int | None]:
        return (2 if first else 1), None
