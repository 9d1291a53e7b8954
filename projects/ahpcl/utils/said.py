"""Lines that the log of a run has once."""

from __future__ import annotations

import logging
from weakref import WeakKeyDictionary

from mmengine.logging import MMLogger, print_log

# What every log has said: one process may have several runs, such as a
# notebook.
_said: WeakKeyDictionary[MMLogger, set[str]] = WeakKeyDictionary()


def log_once(line: str) -> None:
    """Log a line, unless the log of the current run has it already.

    Several data sets and pipelines of a run are of the same images; another
    run in this process, which has a log of its own, is told again. Nothing is
    logged, or remembered, while the log drops such lines.

    Args:
        line: What to say.

    Example:
        >>> log_once('images of 7 channels have no colours')
    """  # doctest: +SKIP
    log = MMLogger.get_current_instance()
    known = _said.setdefault(log, set())
    if line not in known and log.isEnabledFor(logging.INFO):
        known.add(line)
        print_log(line, logger='current')
