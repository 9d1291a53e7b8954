"""How many epochs a rung lasts: a number, or a rule of its clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ahpcl.core.validation import whole_number

__all__ = ['EpochRule', 'EpochsPerRung']

EpochsPerRung: TypeAlias = (
    int | Callable[[int], int] | Sequence[Sequence[int]] | None
)


@dataclass(frozen=True)
class EpochRule:
    """Epochs as a function of K, the clusters of the newest rung.

    Args:
        rule: None (no number for any K), one number for all, a function
            K -> epochs, or pairs `(K_from, epochs)`, the config's form. Of
            the pairs the one with the largest `K_from` <= K applies; below
            the smallest `K_from` there is no number.
        name: Name of the setting, for errors.

    Raises:
        ValueError: If a number is not whole or below 1, a `K_from` occurs
            twice, or the rule is none of the above.

    Examples:
        >>> rule = EpochRule([(1, 10), (100, 14)], 'max_epochs')
        >>> rule.epochs(50), rule.epochs(100)
        (10, 14)
    """

    rule: EpochsPerRung
    name: str

    def __post_init__(self) -> None:
        """Check everything that can be checked without a K."""
        rule = self.rule
        if rule is None or callable(rule):
            return
        if not isinstance(rule, Sequence):
            whole_number(rule, self.name, least=1)
            return
        if isinstance(rule, str) or not all(
            isinstance(pair, Sequence) and len(pair) == 2 for pair in rule
        ):
            raise ValueError(
                f'expected {self.name} as a number, a function of K or pairs '
                f'(K_from, epochs), got {rule!r}'
            )
        for start, epochs in rule:
            whole_number(start, f'K_from of {self.name}', least=1)
            whole_number(epochs, self.name, least=1)
        if not rule or len(set(self.breakpoints)) < len(rule):
            raise ValueError(
                f'expected pairs (K_from, epochs) with every K_from once in '
                f'{self.name}, got {rule!r}'
            )

    @property
    def breakpoints(self) -> list[int]:
        """The `K_from` of all pairs, ascending; empty for the other forms."""
        if isinstance(self.rule, Sequence):
            return sorted(start for start, _ in self.rule)
        return []

    @property
    def comparable(self) -> bool:
        """Whether all its values are known before training."""
        return not callable(self.rule)

    @property
    def depends_on_rung(self) -> bool:
        """Whether the number may differ from rung to rung."""
        return callable(self.rule) or isinstance(self.rule, Sequence)

    def epochs(self, num_clusters: int | None) -> int | None:
        """Return the number for a rung, None where the rule has none.

        Args:
            num_clusters: K of the newest rung; None if it is not known.

        Raises:
            ValueError: If the rule needs K and has none, or a function
                returns what is not a whole number of 1 or more.
        """
        rule = self.rule
        if rule is None or isinstance(rule, int):
            return rule
        if not callable(rule) and not isinstance(rule, Sequence):
            return whole_number(rule, self.name, least=1)
        if num_clusters is None:
            raise ValueError(
                f'expected the rungs in use for a rule of K in {self.name}, '
                f'got none; pass rungs=ladder.current'
            )
        if callable(rule):
            return whole_number(
                rule(num_clusters),
                f'{self.name} at {num_clusters} clusters',
                least=1,
            )
        holding = [(k, n) for k, n in rule if k <= num_clusters]
        return int(max(holding)[1]) if holding else None
