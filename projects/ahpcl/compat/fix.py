"""What a fix is, and the record that one leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fix:
    """One narrow mend of one defect of the host.

    Attributes:
        name: Short name, unique in the table.
        symptom: What a user sees without the fix.
        upstream: Where the defect lives, and the thread about it.
        needed: Whether the host at hand has the defect: a probe of its
            behaviour where it has one, of its code elsewhere. False where
            the host is healthy, absent, or already mended.
        apply: Mends it.
    """

    name: str
    symptom: str
    upstream: str
    needed: Callable[[], bool]
    apply: Callable[[], None]


@dataclass(frozen=True)
class Record:
    """What became of a fix in this process.

    Attributes:
        name: The fix's name.
        symptom: What a user sees without it.
        upstream: Where the defect lives.
        applied: Whether the fix is in force.
        reason: Why it is, or why it is not.
    """

    name: str
    symptom: str
    upstream: str
    applied: bool
    reason: str


def settle(fix: Fix) -> Record:
    """Applies a fix if the host needs it, and says what was done.

    A probe that no longer fits the host (an import or a name that has
    gone) switches its fix off: a host that changed so much has to be
    looked at afresh, and importing the package must not fail over it.

    Args:
        fix: The fix.

    Returns:
        Its record.
    """
    try:
        needed = fix.needed()
        if needed:
            fix.apply()
        reason = 'the host has the defect' if needed else 'not needed here'
    except (ImportError, AttributeError) as error:
        needed = False
        reason = f'the host no longer fits the probe: {error}'
    return Record(fix.name, fix.symptom, fix.upstream, needed, reason)
