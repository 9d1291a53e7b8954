"""What a fix is, and the record that one leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fix:
    """One narrow patch of one defect of mmselfsup, mmengine or mmcv.

    Attributes:
        name: Short name, unique in the table.
        symptom: What a user sees without the fix.
        upstream: Where the defect lives, and the thread about it.
        needed: Tells whether the installed package has the defect. It
            probes the behaviour where that is possible, and the code
            elsewhere. It is False where the package is healthy, absent, or
            already patched.
        apply: Patches it.
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
    """Applies a fix if the installed package needs it; reports the outcome.

    A probe that no longer fits the package (an import or a name is gone)
    switches its fix off: a package that changed so much has to be looked at
    again, and importing ``ahpcl`` must not fail over it.

    Args:
        fix: The fix.

    Returns:
        Its record.
    """
    try:
        needed = fix.needed()
        if needed:
            fix.apply()
        reason = 'the defect is there' if needed else 'not needed here'
    except (ImportError, AttributeError) as error:
        needed = False
        reason = f'the probe no longer fits: {error}'
    return Record(fix.name, fix.symptom, fix.upstream, needed, reason)
