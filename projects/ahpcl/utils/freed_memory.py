"""Keeps freed memory for the next step of a training on a CPU.

A step of training on a CPU asks for the same few hundred megabytes again and
again. glibc gives large pieces back to the system at once, which then fills
them with zeros, page by page, when they are asked for again: 3 to 6 % of a
step of a small encoder. Settings of your own (``MALLOC_...``) are kept.
"""

import ctypes
import os
import platform

# Of mallopt(3). Beyond 32 MiB glibc takes no threshold.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_TRIM_BYTES, _MMAP_BYTES = 2**30, 2**25


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed.

    Returns:
        Whether it does; not where there is no glibc, or where the
        environment says otherwise.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    if any(name.startswith('MALLOC_') for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(_TRIM_THRESHOLD, _TRIM_BYTES)
        and mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
    )
