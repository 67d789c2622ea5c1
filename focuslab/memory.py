"""Memory that this process keeps for itself once it is freed.

The C library of Linux gives large buffers back to the system as soon as they are freed, and must then fetch them anew,
page by page: where the same buffers are needed at every step, that can take as long as the work.
"""

import contextlib
import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def keep_freed_memory(total: int, buffer: int) -> None:
    """Let this process keep what it frees, up to `total` bytes, in buffers of up to `buffer` bytes.

    Other C libraries, and other systems, are left as they are.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_TRIM_THRESHOLD, total)
            libc.mallopt(_M_MMAP_THRESHOLD, buffer)
