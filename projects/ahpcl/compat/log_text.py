"""Lets log files hold the names of files that are no UTF-8."""

from __future__ import annotations

import functools
import logging
import tempfile
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from .fix import Fix

_NAME = 'caf\udce9.jpg'


def write_any_text(handler: logging.Handler) -> None:
    r"""Let a handler write bytes that are no UTF-8 as ``\udcXX``.

    Args:
        handler: Handler of a file or a stream; others stay as they are.
    """
    reconfigure = getattr(
        getattr(handler, 'stream', None), 'reconfigure', None
    )
    if reconfigure is not None:
        reconfigure(errors='backslashreplace')


def _needed() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'log')
        logger = MMLogger('ahpcl-probe', log_file=str(file))
        handlers, logger.handlers = logger.handlers, []
        written = handlers[-1]
        stream = getattr(written, 'stream', None)
        errors = getattr(stream, 'errors', 'backslashreplace')
        for handler in handlers[1:]:
            handler.close()
        return errors == 'strict'


def _apply() -> None:
    original = MMLogger.__init__

    @functools.wraps(original)
    def init(self: MMLogger, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for handler in self.handlers:
            write_any_text(handler)

    MMLogger.__init__ = init


LOG_TEXT = Fix(
    name='log-text',
    symptom=(
        "UnicodeEncodeError: 'utf-8' codec can't encode character '\\udce9', "
        'and the line is missing in the log, where a file has such a name'
    ),
    upstream='mmengine 0.10.7 logging/logger.py; no thread',
    needed=_needed,
    apply=_apply,
)
