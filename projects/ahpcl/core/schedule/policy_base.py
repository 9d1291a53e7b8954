"""The base of all policies: decisions, and limits on a rung's stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ahpcl.core.schedule.epoch_rules import EpochRule, EpochsPerRung
from ahpcl.core.validation import finite_number, whole_number

__all__ = ['Action', 'Decision', 'Policy', 'Signals', 'relative_gain']

Action = Literal['keep', 'raise_threshold', 'advance']


@dataclass(frozen=True)
class Decision:
    """What to do after an epoch, and why.

    Args:
        action: `'keep'`, `'raise_threshold'` or `'advance'`.
        reason: The numbers that led to it, for people.

    Examples:
        >>> from ahpcl.core import FixedPolicy
        >>> policy = FixedPolicy(epochs=1)
        >>> policy.step(40, 60, epoch=0)
        Decision(action='advance', reason='epoch 1 of 1 of this rung')
    """

    action: Action
    reason: str


@dataclass(frozen=True)
class Signals:
    """One epoch as a policy sees it.

    Args:
        acc_inst: Mean instance accuracy, percent.
        acc_proto: Mean prototype accuracy over the levels, percent.
        stay: Epochs since the last advance, this one included, from 1.
        rung: Clusters of the newest rung; None if not given.
        agreement: Adjusted mutual information with the E-step before; None
            where there is nothing to compare.
    """

    acc_inst: float
    acc_proto: float
    stay: int
    rung: int | None
    agreement: float | None


class Policy(ABC):
    """Looks once per epoch at the signals and decides about the ladder.

    A subclass defines what it would do (`_decide`, which changes nothing)
    and how its memory changes (`_remember`, `_forget`, `_state`, `_load`).

    Args:
        min_epochs: Fewest epochs of a rung: until then the policy keeps, but
            remembers the epoch. None, a number, or a rule of K, see
            `ahpcl.core.schedule.epoch_rules.EpochRule`.
        max_epochs: Most epochs of a rung: then the policy advances, whatever
            the signals say. In the same forms.

    Raises:
        ValueError: If a number is not positive, or min exceeds max.
    """

    needs_agreement: ClassVar[bool] = False

    def __init__(
        self, *, min_epochs: EpochsPerRung, max_epochs: EpochsPerRung
    ) -> None:
        self._min = EpochRule(min_epochs, 'min_epochs')
        self._max = EpochRule(max_epochs, 'max_epochs')
        self._stay = 0
        if self._min.comparable and self._max.comparable:
            starts = self._min.breakpoints + self._max.breakpoints
            for num_clusters in [1, *starts]:
                self._limits(num_clusters)

    def step(
        self,
        acc_inst: float,
        acc_proto: float,
        epoch: int,
        *,
        rungs: Sequence[int] = (),
        agreement: float | None = None,
    ) -> Decision:
        """Judge one epoch and remember it.

        Args:
            acc_inst: Instance accuracy of the epoch, percent, averaged over
                all ranks; a mean over epochs where an E-step serves several,
                see `ahpcl.core.schedule.signal_means.SignalMeans`.
            acc_proto: Prototype accuracy, percent, the mean over levels; of
                the same epochs.
            epoch: Number of the epoch, from 0.
            rungs: Clusters of the levels in use, newest last; needed where
                an epoch limit is a rule of K.
            agreement: Adjusted mutual information of this E-step with the
                one before, None where there is none.

        Returns:
            The decision; `advance` also where the ladder has ended.

        Raises:
            ValueError: If a signal is not finite or no percentage, the epoch
                is negative, or a rule of K has no rung. Nothing is
                remembered then.
        """
        number = whole_number(epoch, 'epoch', least=0)
        signals = Signals(
            acc_inst=_percent(acc_inst, 'acc_inst'),
            acc_proto=_percent(acc_proto, 'acc_proto'),
            stay=self._stay + 1,
            rung=int(rungs[-1]) if len(rungs) else None,
            agreement=None
            if agreement is None
            else finite_number(agreement, 'agreement', least=-1.01, most=1.01),
        )
        decision = self._within_limits(signals)
        if decision.action == 'advance':
            self._stay = 0
            self._forget(number)
        else:
            self._stay = signals.stay
            self._remember(signals, decision.action)
        return decision

    def epochs_needed(self, rungs: Sequence[int]) -> tuple[int, int | None]:
        """Return the epochs until the last advance, at best and at worst.

        Args:
            rungs: Clusters of the newest rung of every stay that must end
                with an advance: `ladder.rungs[window - 1:-1]` from the start.

        Returns:
            The fewest epochs, and the most; None if there is no such limit.
        """
        fewest, most = 0, 0
        bounded = True
        for visit, rung in enumerate(rungs):
            low, high = self._limits(int(rung))
            soonest, latest = self._own_stay(int(rung), visit == 0)
            shortest = max(soonest, low or 1)
            fewest += min(shortest, high) if high else shortest
            if latest is not None:
                latest = max(latest, low or 1)
            ends = [n for n in (latest, high) if n]
            bounded = bounded and bool(ends)
            most += min(ends, default=0)
        return fewest, most if bounded else None

    def state_dict(self) -> dict[str, Any]:
        """Return the memory, as plain numbers and lists of them."""
        return {'stay': self._stay, **self._state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken; settings stay this policy's.

        Raises:
            ValueError: If it is the state of another policy.
        """
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(
                f'expected a state of {type(self).__name__} with the keys '
                f'{sorted(expected)}, got {sorted(state)}; resume with the '
                f'policy of that run'
            )
        self._stay = whole_number(state['stay'], 'stay', least=0)
        self._load(state)

    def _limits(self, num_clusters: int | None) -> tuple[int, int]:
        """Return (min, max) epochs of a rung; 0 stands for no limit."""
        low = self._min.epochs(num_clusters) or 0
        high = self._max.epochs(num_clusters) or 0
        if high and low > high:
            by_rung = self._min.depends_on_rung or self._max.depends_on_rung
            where = f' at {num_clusters} clusters' if by_rung else ''
            raise ValueError(
                f'expected min_epochs <= max_epochs, got {low} and '
                f'{high}{where}'
            )
        return low, high

    def _within_limits(self, signals: Signals) -> Decision:
        low, high = self._limits(signals.rung)
        if high and signals.stay >= high:
            return Decision(
                'advance',
                f'epoch {signals.stay} of this rung reaches max_epochs {high}',
            )
        if signals.stay < low:
            return Decision(
                'keep',
                f'epoch {signals.stay} of this rung is below min_epochs {low}',
            )
        return self._decide(signals)

    @abstractmethod
    def _decide(self, signals: Signals) -> Decision:
        """Decide by the policy's own rule, without changing anything."""

    @abstractmethod
    def _own_stay(self, rung: int, first: bool) -> tuple[int, int | None]:
        """Return the fewest and most epochs by the subclass's own rule."""

    def _remember(self, signals: Signals, action: Action) -> None:  # noqa: B027
        """Remember an epoch that did not end its rung."""

    def _forget(self, epoch: int) -> None:  # noqa: B027
        """Empty the memory after an advance in this epoch."""

    def _state(self) -> dict[str, Any]:
        """Return the subclass's own part of the state."""
        return {}

    def _load(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Load the subclass's own part of the state."""


def relative_gain(value: float, reference: float) -> float:
    """Return the gain as a share of the reference.

    From a reference of 0 every gain is infinite.

    Examples:
        >>> relative_gain(55.0, 50.0)
        0.1
    """
    if reference == 0:
        return float('inf') if value > 0 else 0.0
    return (value - reference) / reference


def _percent(value: float, what: str) -> float:
    # Means of many batches may exceed 100 by their rounding.
    return finite_number(value, f'{what}, a percentage,', least=0, most=100.01)
