"""What two state dicts do not have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Counters that older files lack: those of batch norm, which only a cumulative
# average reads, and that of the training steps.
_OPTIONAL = ('num_batches_tracked', '_extra_state')


@dataclass(frozen=True)
class StateDifference:
    """Keys that differ between the state of a model and another.

    Attributes:
        missing: Keys of the model that the other lacks, without counters.
        unexpected: Keys of the other that the model lacks.
        mis_shaped: Keys of both, with the model's shape and the other's.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mis_shaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mis_shaped)

    def describe(self, limit: int = 4) -> str:
        """Names the keys that differ.

        Args:
            limit: Keys named of each kind; the others are counted.

        Returns:
            Such as ``2 keys missing (a, b), 1 key of another shape (c: (64,)
            expected, (16,) given)``, or ``no difference``.
        """
        shapes = [
            f'{key}: {expected} expected, {given} given'
            for key, expected, given in self.mis_shaped
        ]
        kinds = {
            'missing': self.missing,
            'unexpected': self.unexpected,
            'of another shape': shapes,
        }
        return (
            '; '.join(
                f'{len(keys)} key{"s" * (len(keys) > 1)} {kind} '
                f'({name_keys(keys, limit)})'
                for kind, keys in kinds.items()
                if keys
            )
            or 'no difference'
        )


def compare_states(
    expected: Mapping[str, Any], given: Mapping[str, Any]
) -> StateDifference:
    """Compares two state dicts key by key and shape by shape.

    Args:
        expected: State of the model, tensors by name.
        given: What is to be loaded into it.

    Returns:
        The difference; empty (false) where everything fits.
    """
    return StateDifference(
        missing=tuple(
            key
            for key in expected
            if key not in given and not key.endswith(_OPTIONAL)
        ),
        unexpected=tuple(key for key in given if key not in expected),
        mis_shaped=tuple(
            (key, shape_of(expected[key]), shape_of(value))
            for key, value in given.items()
            if key in expected and shape_of(expected[key]) != shape_of(value)
        ),
    )


def name_keys(keys: Sequence[str], limit: int = 4) -> str:
    """The first keys, and how many more there are."""
    text = ', '.join(keys[:limit])
    more = len(keys) - limit
    return f'{text}, and {more} more' if more > 0 else text


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of a tensor; (-1,) of anything else."""
    return tuple(getattr(value, 'shape', (-1,)))
