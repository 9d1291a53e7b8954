r"""Names of files as text, whatever bytes they are made of.

A name on a disk is bytes. Python reads those that are no UTF-8 as lone
surrogates, which no UTF-8 file can hold. What is written for others to read
holds them as ``\udcXX``, XX the byte in hexadecimal digits: as Python's own
error messages show them, and JSON writes them. Where a name has these
characters itself, their backslash becomes ``\u005c``, so that every name can
be had back.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress

_SURROGATE = re.compile('[\ud800-\udfff]')
_LOOKS_ESCAPED = re.compile(r'\\(?=u(?:d[89a-f][0-9a-f]{2}|005c))')
_ESCAPED = re.compile(r'\\u(d[89a-f][0-9a-f]{2}|005c)')


def as_utf8(name: str) -> str:
    r"""Return a name as text that every file can hold.

    Args:
        name: Any text, such as the path of a file.

    Returns:
        The same text where it is UTF-8; bytes that are not become
        ``\udcXX``. :func:`from_utf8` gives the name back.

    Example:
        >>> import os
        >>> as_utf8(os.fsdecode(b'caf\xe9.jpg'))
        'caf\\udce9.jpg'
        >>> as_utf8('café.jpg')
        'café.jpg'
    """
    escaped = _LOOKS_ESCAPED.sub(r'\\u005c', name)
    return _SURROGATE.sub(lambda found: f'\\u{ord(found[0]):x}', escaped)


def from_utf8(text: str) -> str:
    r"""Return the name that :func:`as_utf8` was given.

    Args:
        text: As it was written.

    Returns:
        The name, which opens the file.

    Example:
        >>> import os
        >>> os.fsencode(from_utf8('caf\\udce9.jpg'))
        b'caf\xe9.jpg'
    """
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def print_any_name() -> None:
    """Let ``print`` show names that are no UTF-8, instead of failing."""
    # A stream that somebody put there instead may not have the method.
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors='backslashreplace')
